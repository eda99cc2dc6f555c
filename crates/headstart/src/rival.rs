//! The rival: the same network from random weights, trained on the same examples under the plan's budget.

use std::collections::HashMap;
use std::fs;
use std::io::Write;
use std::path::PathBuf;

use headstart_core::{Array, BaselinePlan, Dataset, Targets, Task, Values};
use headstart_data::{Prepared, Preparer};
use headstart_engine::{Loss, Network, random_weights};
use headstart_graph::rewrite::{FreezeMask, HeadSpec, Tap, fold, graft, resize};
use headstart_graph::{Graph, ImagePreprocess, Model, Preprocess, Resize, Tensor, TextPreprocess, Weights};
use headstart_train::{NetworkSpec, PassPoint, TargetScale, activate, train_network};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Session};

/// A rival on given examples.  It never depends on the run's seed: another seed of the head meets the same rival, and
/// finds its answers in the cache.
pub(crate) struct Rival<'a> {
    session: &'a Session,
    model: &'a Model,
    dataset: &'a Dataset,
    train_idx: &'a [usize],
    plan: &'a BaselinePlan,
    /// The network with a new head, at the plan's size.
    pub(crate) graph: Graph,
    /// From a file to its inputs.
    pub(crate) preprocess: Preprocess,
    record_path: PathBuf,
    known: Option<Record>,
    trained: Option<(Vec<PassPoint>, Weights)>,
}

/// What is kept of a rival.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    curve: Vec<PassPoint>,
    /// Outputs by the hex of the example's hash.
    outputs: HashMap<String, Vec<f32>>,
}

impl<'a> Rival<'a> {
    /// Prepares the rival; nothing is trained yet.
    pub(crate) fn new(
        session: &'a Session,
        model: &'a Model,
        tap: Tap,
        plan: &'a BaselinePlan,
        dataset: &'a Dataset,
        train_idx: &'a [usize],
    ) -> Result<Self, Error> {
        let head = HeadSpec::Linear { n_classes: dataset.n_outputs() };
        let mut graph = graft(&model.graph, tap, &head)?;
        let preprocess = match (&model.preprocess, plan.size_px) {
            (Preprocess::Image(image), Some(size)) => {
                graph = resize(&graph, [size, size])?;
                Preprocess::Image(at_size(image, size))
            }
            (Preprocess::Text(text), _) => Preprocess::Text(TextPreprocess {
                length_max: plan.length_max.unwrap_or(text.length_max).min(text.length_max),
            }),
            (other, None) => other.clone(),
        };
        let mut h = blake3::Hasher::new();
        h.update(env!("CARGO_PKG_VERSION").as_bytes());
        h.update(session.device.to_string().as_bytes());
        h.update(graph.hash().as_bytes());
        h.update(format!("{}{preprocess:?}{plan:?}", dataset.task).as_bytes());
        for &i in train_idx {
            let e = &dataset.examples[i];
            h.update(&e.hash);
            e.target.hash_into(&mut h);
        }
        let record_path = session.baselines_dir.join(format!("{}.json", &h.finalize().to_hex()[..32]));
        let known = fs::read(&record_path).ok().and_then(|b| serde_json::from_slice::<Record>(&b).ok());
        Ok(Rival {
            session,
            model,
            dataset,
            train_idx,
            plan,
            graph,
            preprocess,
            record_path,
            known,
            trained: None,
        })
    }

    /// Trains it, unless a record of the same training exists.
    pub(crate) fn train(&mut self) -> Result<(), Error> {
        if self.known.is_none() { self.trained().map(|_| ()) } else { Ok(()) }
    }

    /// Seconds that training it will take, from two steps; 0 if a record of it exists.
    pub(crate) fn forecast_seconds(&self) -> Result<f64, Error> {
        if self.known.is_some() {
            return Ok(0.0);
        }
        let n = (2 * self.plan.batch_size).min(self.train_idx.len());
        let few = Rival {
            train_idx: &self.train_idx[..n],
            plan: self.plan,
            graph: self.graph.clone(),
            preprocess: self.preprocess.clone(),
            record_path: self.record_path.clone(),
            known: None,
            trained: None,
            ..*self
        };
        let clock = std::time::Instant::now();
        few.fit_passes(1)?;
        let by_example = clock.elapsed().as_secs_f64() / n.max(1) as f64;
        Ok(by_example * (self.train_idx.len() * self.plan.n_passes) as f64)
    }

    /// Loss by pass.
    pub(crate) fn curve(&self) -> &[PassPoint] {
        match (&self.trained, &self.known) {
            (Some((curve, _)), _) => curve,
            (None, Some(record)) => &record.curve,
            (None, None) => &[],
        }
    }

    /// The trained weights; a rival known from a record is trained again, to the same bits.
    pub(crate) fn weights(&mut self) -> Result<Weights, Error> {
        self.trained().map(|(_, weights)| weights.clone())
    }

    /// Outputs `[n, n_outputs]` for the examples, as the task reads them; they are kept for the next request.
    pub(crate) fn predict(&mut self, example_idx: &[usize]) -> Result<Vec<f32>, Error> {
        let name = |i: usize| blake3::Hash::from_bytes(self.dataset.examples[i].hash).to_hex().to_string();
        if let Some(record) = &self.known {
            let rows: Option<Vec<&[f32]>> =
                example_idx.iter().map(|&i| Some(record.outputs.get(&name(i))?.as_slice())).collect();
            if let Some(rows) = rows {
                return Ok(rows.concat());
            }
        }
        let names: Vec<String> = example_idx.iter().map(|&i| name(i)).collect();
        let weights = self.weights()?;
        let (graph, folded) = fold(&self.graph, &weights)?;
        let network = Network::load(graph, &folded, &self.session.device)?;
        let preparer = Preparer::new(&self.preprocess, self.model.tokenizer.as_deref())?;
        let rows: Vec<Vec<f32>> = example_idx
            .par_iter()
            .map(|&i| {
                let prepared = preparer.prepare(&self.dataset.examples[i].input)?;
                Ok(outputs(self.dataset.task, &network.infer(&preparer.batch(&[&prepared]))?))
            })
            .collect::<Result<_, Error>>()?;
        let flat = rows.concat();
        let mut record = self.known.take().unwrap_or(Record { curve: Vec::new(), outputs: HashMap::new() });
        record.curve = self.curve().to_vec();
        record.outputs.extend(names.into_iter().zip(rows));
        self.keep(&record).map_err(Error::cache)?;
        self.known = Some(record);
        Ok(flat)
    }

    fn trained(&mut self) -> Result<&(Vec<PassPoint>, Weights), Error> {
        let fitted = match self.trained.take() {
            Some(fitted) => fitted,
            None => self.fit()?,
        };
        Ok(self.trained.insert(fitted))
    }

    fn fit(&self) -> Result<(Vec<PassPoint>, Weights), Error> {
        self.fit_passes(self.plan.n_passes)
    }

    fn fit_passes(&self, n_passes: usize) -> Result<(Vec<PassPoint>, Weights), Error> {
        let preparer = Preparer::new(&self.preprocess, self.model.tokenizer.as_deref())?;
        let prepared: Vec<Prepared> = self
            .train_idx
            .par_iter()
            .map(|&i| preparer.prepare(&self.dataset.examples[i].input))
            .collect::<Result<_, _>>()?;
        let targets = self.dataset.targets(self.train_idx);
        let scale = TargetScale::of(&targets);
        let mut network =
            Network::load(self.graph.clone(), &random_weights(&self.graph, 0)?, &self.session.device)?;
        let spec = NetworkSpec {
            n_passes,
            batch_size: self.plan.batch_size,
            lr_max: self.plan.lr_max,
            weight_decay: 0.05,
            seed: 0,
        };
        let observer = &self.session.observer;
        let curve = train_network(
            &mut network,
            &FreezeMask::all_trained(&self.graph),
            &scale.rows(&targets, self.dataset.n_outputs()),
            &Loss::of_task(self.dataset.task),
            &|idx| preparer.batch(&idx.iter().map(|&i| &prepared[i]).collect::<Vec<_>>()),
            &spec,
            &|done, total| {
                observer.progress("training the rival from random weights", done as u64, total as u64)
            },
        )?;
        Ok((curve, in_original_unit(network.weights()?, &targets, scale)?))
    }

    fn keep(&self, record: &Record) -> std::io::Result<()> {
        fs::create_dir_all(&self.session.baselines_dir)?;
        let mut file = tempfile::NamedTempFile::new_in(&self.session.baselines_dir)?;
        file.write_all(&serde_json::to_vec(record)?)?;
        file.persist(&self.record_path).map_err(|e| e.error)?;
        Ok(())
    }
}

/// The same preprocessing for smaller pictures.
fn at_size(image: &ImagePreprocess, size: usize) -> ImagePreprocess {
    let resize = match image.resize {
        Resize::Squash => Resize::Squash,
        Resize::SquashThenCrop { squashed_px } => Resize::SquashThenCrop {
            squashed_px: squashed_px.map(|px| (px * size).div_ceil(image.size_px[0])),
        },
        Resize::ShorterThenCrop { shorter_px } => {
            Resize::ShorterThenCrop { shorter_px: (shorter_px * size).div_ceil(image.size_px[0]) }
        }
    };
    ImagePreprocess { size_px: [size; 2], resize, ..image.clone() }
}

/// Lets a network that learned standardised numbers put out numbers of the targets' unit.
pub(crate) fn in_original_unit(
    mut weights: Weights,
    targets: &Targets,
    scale: TargetScale,
) -> Result<Weights, Error> {
    if targets.task() != Task::Regression {
        return Ok(weights);
    }
    let [weight, bias] = ["head.weight", "head.bias"].map(|name| weights.require(name).cloned());
    let (weight, bias) = (weight?, bias?);
    let (mut w, mut b) = (weight.to_f32()?.into_owned(), bias.to_f32()?.into_owned());
    scale.undo(&mut w, &mut b);
    weights.insert("head.weight", Tensor::from_f32(weight.shape(), &w)?);
    weights.insert("head.bias", Tensor::from_f32(bias.shape(), &b)?);
    Ok(weights)
}

/// What one row of a network's outputs means: probabilities of classes or labels, or a number.
pub(crate) fn outputs(task: Task, raw: &Array) -> Vec<f32> {
    let Values::F32(values) = &raw.values else { unreachable!("outputs are f32") };
    let mut row: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
    activate(task, &mut row);
    row.into_iter().map(|p| p as f32).collect()
}
