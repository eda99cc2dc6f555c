//! What becomes of trained weights: adapters merged, mixed with the start, judged on the validation split.

use headstart_core::{Array, Interpolation, TargetRows, TrainingPlan, Values};
use headstart_engine::{Loss, Network};
use headstart_graph::rewrite::{Adapter, AdapterKind, cut_at, main_output, merge};
use headstart_graph::{Graph, Model, Output, Tensor, Weights};
use headstart_train::{Lessons, interpolate, relation};

use super::Start;
use crate::Error;
use crate::fit::fit_head;
use crate::lessons::{Material, Part};
use crate::prefix::Prefix;

/// Examples that are judged at once.
const BATCH: usize = 32;

/// The graph without the adapters that a layer can take over, and its weights.
pub(super) fn merged(
    graph: &Graph,
    weights: &Weights,
    adapters: &[Adapter],
) -> Result<(Graph, Weights), Error> {
    let (mut graph, mut weights) = (graph.clone(), weights.clone());
    for adapter in adapters.iter().rev() {
        if !matches!(adapter.kind, AdapterKind::Bottleneck { .. }) {
            (graph, weights) = merge(&graph, &weights, adapter)?;
        }
    }
    Ok((graph, weights))
}

/// Mean loss on the examples of a part, by a network that takes what that part makes.
pub(super) fn mean_loss(network: &Network, material: &Material<'_>, loss: &Loss) -> Result<f64, Error> {
    let all: Vec<usize> = (0..material.len()).collect();
    let mut sum = 0.0;
    for at in all.chunks(BATCH) {
        let output = network.infer(&material.inputs(at, 0)?)?;
        sum += loss.of_arrays(&output, &material.targets(at), network.device())? * at.len() as f64;
    }
    Ok(sum / all.len().max(1) as f64)
}

/// The validation split as a whole network reads it, if there is one that can judge.
pub(super) fn validation<'a>(start: &Start<'a>) -> Result<Option<Material<'a>>, Error> {
    if start.valid_idx.is_empty() {
        return Ok(None);
    }
    let plain = TrainingPlan { augmentation: String::new(), ..start.training().clone() };
    let rows = start.rows(start.valid_idx);
    let part = Part { dataset: start.dataset, example_idx: start.valid_idx, rows, classes: None };
    let (material, _) = Material::new(start.session, start.model, None, part, &plain, 0)?;
    Ok(Some(material))
}

/// The loss of a whole network on the validation split.
pub(super) fn valid_loss(
    start: &Start<'_>,
    valid: &Material<'_>,
    graph: &Graph,
    weights: &Weights,
) -> Result<f64, Error> {
    let network = Network::load(graph.clone(), weights, start.session.device())?;
    mean_loss(&network, valid, &start.loss()?)
}

/// The mean of start and tuned weights that the plan asks for, with the share of the tuned ones.
pub(super) fn interpolated(
    start: &Start<'_>,
    valid: Option<&Material<'_>>,
    graph: &Graph,
    from: &Weights,
    to: Weights,
) -> Result<(Option<f64>, Weights), Error> {
    let share = match (start.training().interpolation, valid) {
        (Interpolation::None, _) => return Ok((None, to)),
        (Interpolation::Fixed { share }, _) => share,
        (Interpolation::Validated, None) => 0.5,
        (Interpolation::Validated, Some(valid)) => {
            let mut best = (f64::INFINITY, 1.0);
            for tenth in (0..=10).rev() {
                let share = f64::from(tenth) / 10.0;
                let loss = valid_loss(start, valid, graph, &interpolate(from, &to, share)?)?;
                if loss < best.0 {
                    best = (loss, share);
                }
            }
            best.1
        }
    };
    Ok((Some(share), interpolate(from, &to, share)?))
}

/// What the source's old head says of each class, from the training examples.
pub(super) fn source_relation(
    start: &Start<'_>,
    source: &Network,
    material: &Material<'_>,
    output_idx: usize,
) -> Result<TargetRows, Error> {
    let mut all = Array::f32(&[0, 0], Vec::new());
    let everyone: Vec<usize> = (0..material.len()).collect();
    for at in everyone.chunks(BATCH) {
        let logits = source.infer_output(&material.batch(at, 0)?, output_idx)?;
        all.shape = vec![all.shape[0] + logits.shape[0], logits.shape[1]];
        let (Values::F32(sum), Values::F32(more)) = (&mut all.values, logits.values) else {
            unreachable!("logits are f32")
        };
        sum.extend(more);
    }
    Ok(relation(&all, &start.targets(start.train_idx), start.dataset.classes.len()))
}

/// A trunk that was trained without a head gets one: the convex head, fitted on its features.
pub(super) fn with_new_head(start: &Start<'_>, weights: &Weights) -> Result<(Graph, Weights), Error> {
    let graph = main_output(&headstart_recipe::network(&start.model.graph, start.tap, start.plan)?)?;
    let head = graph.find("head")?;
    let features = graph.producer(head).expect("found by its path").inputs[0];
    let trunk = cut_at(&graph, &[Output { name: "features".into(), value: features }])?;
    let model = Model { weights: weights.clone(), ..start.model.clone() };
    let prefix = Prefix::new(start.session, &model, &trunk)?;
    let stage = "extracting the tuned features";
    let (rows, _, _) = prefix.extract(start.session, start.dataset, start.train_idx, stage)?;
    let fitted = fit_head(start.session, start.dataset, &rows, start.plan)?;
    let mut weights = weights.clone();
    let (k, width) = (start.dataset.n_outputs(), start.plan.feature_width);
    weights.insert("head.weight", Tensor::from_f32(&[k, width], &fitted.weight)?);
    weights.insert("head.bias", Tensor::from_f32(&[k], &fitted.bias)?);
    Ok((graph, weights))
}
