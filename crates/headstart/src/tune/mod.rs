//! The part of a fit that trains the network: phases, seeds, checkpoints, and what becomes of the weights in the end.

mod ending;
mod pairs;
mod phase;

use headstart_core::{
    Array, Balance, Dataset, HeadStart, Interpolation, Objective as Learning, Plan, Precision, Regulariser,
    TargetRows, Targets, Task, TrainingPlan,
};
use headstart_engine::{Loss, fill_missing};
use headstart_graph::rewrite::{Adapter, AdapterKind, cut_at, is_adapters, main_output, start_magnitudes};
use headstart_graph::{Graph, Model, Op, Output, Tensor, ValueId, Weights};
use headstart_train::{ClassWeights, HeadFit, Outputs, TargetScale, TunedPass, mean};

use crate::checkpoint::{Checkpoint, CheckpointFile, Position};
use crate::peft::Unmerged;
use crate::prefix::Extracted;
use crate::rival::{in_original_unit, outputs};
use crate::run::Run;
use crate::runner::{Runner, View};
use crate::{Error, Session};
use ending::{interpolated, merged, valid_loss, validation};
use phase::RunningPhase;

/// What a training starts from.
pub(crate) struct Start<'a> {
    pub(crate) session: &'a Session,
    pub(crate) model: &'a Model,
    pub(crate) dataset: &'a Dataset,
    pub(crate) plan: &'a Plan,
    /// The node that was tapped by name, if one was.
    pub(crate) tap: Option<&'a str>,
    /// Examples that can be read, by part.
    pub(crate) train_idx: &'a [usize],
    pub(crate) valid_idx: &'a [usize],
    /// The probe's head, fitted on the same examples.
    pub(crate) head: &'a HeadFit,
    /// Unlabelled examples, where there are some.
    pub(crate) unlabelled: Option<&'a Dataset>,
}

/// What a training came to.
pub(crate) struct Tuned {
    /// The network: adapters merged where they can be, one output.
    pub(crate) graph: Graph,
    pub(crate) weights: Weights,
    /// The adapters apart from the network that they were merged into, where it is otherwise the source's.
    pub(crate) unmerged: Option<Unmerged>,
    /// By phase of the first seed.
    pub(crate) curves: Vec<Vec<TunedPass>>,
    pub(crate) extracted: Extracted,
    /// Loss on the validation split, if there is one.
    pub(crate) valid_loss: Option<f64>,
    /// What a person should know.
    pub(crate) notes: Vec<String>,
}

impl Tuned {
    /// Outputs `[n, n_outputs]` for some examples, as the task reads them.
    pub(crate) fn predict(
        &self,
        session: &Session,
        model: &Model,
        dataset: &Dataset,
        example_idx: &[usize],
    ) -> Result<Vec<f32>, Error> {
        let tokenizer = model.tokenizer.as_deref();
        let (preprocess, device) = (&model.preprocess, &session.device);
        let runner = Runner::new(&self.graph, &self.weights, preprocess, tokenizer, device, Precision::F32)?;
        let views: Vec<View<'_>> =
            example_idx.iter().map(|&i| View { input: &dataset.examples[i].input, seed: None }).collect();
        let rows = runner.run(&views, &|_| {})?;
        rows.into_iter()
            .map(|row| {
                let row = row?;
                Ok(outputs(dataset.task, &Array::f32(&[1, row.len()], row)))
            })
            .collect::<Result<Vec<_>, Error>>()
            .map(|rows| rows.concat())
    }
}

/// How often checkpoints are written, and whether to go on from one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resume {
    /// Least seconds between two checkpoints.
    pub seconds: f64,
    /// Go on from the run's checkpoint, if it has one.
    pub resume: bool,
}

/// Trains what the plan says, with checkpoints in `file`.  It is the caller's to remove: a run that is killed behind a long
/// training need not repeat that.
pub(crate) fn tune(
    start: &Start<'_>,
    run: &Run,
    file: &mut CheckpointFile,
    resume: bool,
) -> Result<Tuned, Error> {
    let plan = start.training();
    let graph = trained_graph(start)?;
    let fingerprint = start.fingerprint();
    let mut kept = if resume { file.read(&fingerprint)? } else { None }.unwrap_or_default();
    kept.position.fingerprint = fingerprint;
    let first = start.weights(&graph, 0)?;
    let mut tuned = Tuned {
        graph: graph.clone(),
        weights: Weights::new(),
        unmerged: None,
        curves: Vec::new(),
        extracted: Extracted::default(),
        valid_loss: None,
        notes: Vec::new(),
    };
    while kept.finished.len() < plan.n_seeds {
        let seed_idx = kept.finished.len();
        let weights = start.weights(&graph, seed_idx)?;
        let done = one_seed(start, &graph, weights, seed_idx, &mut kept, file, run, &mut tuned)?;
        kept.finished.push(done);
        kept.position = Position { fingerprint: kept.position.fingerprint, ..Position::default() };
        (kept.changed, kept.state) = (Weights::new(), None);
        if plan.n_seeds > 1 || file.is_due() {
            file.write(&kept)?;
        }
    }
    let soup = mean(&kept.finished)?;
    let whole = whole_weights(&graph, &first, &soup)?;
    tuned.unmerged = unmerged(plan, &whole);
    let (graph, ends) = (main_output(&graph)?, [first, whole]);
    let mut merged =
        ends.into_iter().map(|w| merged(&graph, &w, &plan.adapters)).collect::<Result<Vec<_>, _>>()?;
    let (tuned_graph, tuned_weights) = merged.pop().expect("two were merged");
    let (_, start_weights) = merged.pop().expect("two were merged");
    // A trunk without a head has no loss of the task.
    let judges = !matches!(plan.objective, Learning::Pairs { .. });
    let valid = if judges { validation(start)? } else { None };
    let (share, weights) = interpolated(start, valid.as_ref(), &tuned_graph, &start_weights, tuned_weights)?;
    if let Some(share) = share {
        tuned.notes.push(format!("the weights are {:.0} % tuned and the rest the start's", 100.0 * share));
    }
    if !judges {
        (tuned.graph, tuned.weights) = ending::with_new_head(start, &weights)?;
        return Ok(tuned);
    }
    tuned.valid_loss = valid.map(|v| valid_loss(start, &v, &tuned_graph, &weights)).transpose()?;
    let scale = TargetScale::of(&start.targets(start.train_idx));
    tuned.weights = in_original_unit(weights, &start.targets(start.train_idx), scale)?;
    tuned.graph = tuned_graph;
    Ok(tuned)
}

/// The adapters by themselves, if the bundle's network is theirs merged into the source.
fn unmerged(plan: &TrainingPlan, whole: &Weights) -> Option<Unmerged> {
    let merges = |a: &Adapter| !matches!(a.kind, AdapterKind::Bottleneck { .. });
    let is_plain =
        plan.interpolation == Interpolation::None && !matches!(plan.objective, Learning::Pairs { .. });
    if plan.adapters.is_empty() || !plan.adapters.iter().all(merges) || !is_plain {
        return None;
    }
    let own = whole.iter().filter(|(name, _)| is_adapters(name));
    let own = own.map(|(name, tensor)| (name.to_string(), tensor.clone())).collect();
    Some(Unmerged { adapters: plan.adapters.clone(), own })
}

/// What a little of a training cost.
pub(crate) struct DryRun {
    /// The network in training.
    pub(crate) graph: Graph,
    /// Examples that were tried.
    pub(crate) n: usize,
    /// Seconds of one pass over them.
    pub(crate) seconds_a_pass: f64,
    /// Seconds of the frozen part over one view of each.
    seconds_frozen: f64,
    /// What came out of it, bytes.
    frozen_bytes: usize,
}

impl DryRun {
    /// Seconds of the whole training with `n` examples.
    pub(crate) fn seconds(&self, plan: &TrainingPlan, n: usize) -> f64 {
        let passes = plan.phases.iter().map(|p| p.n_passes).sum::<usize>() * plan.n_seeds;
        let all = self.seconds_a_pass * passes as f64 + self.seconds_frozen * plan.n_views as f64;
        all * n as f64 / self.n as f64
    }

    /// Bytes that the frozen part makes of `n` examples.
    pub(crate) fn frozen_bytes(&self, plan: &TrainingPlan, n: usize) -> f64 {
        self.frozen_bytes as f64 * plan.n_views as f64 * n as f64 / self.n as f64
    }
}

/// Trains one pass of the last phase, in which most learns, and keeps nothing.
pub(crate) fn dry_run(start: &Start<'_>) -> Result<DryRun, Error> {
    let graph = trained_graph(start)?;
    let weights = start.weights(&graph, 0)?;
    let phase = start.training().phases.last().expect("a training has a phase");
    let clock = std::time::Instant::now();
    let now = whole_weights(&graph, &weights, &Weights::new())?;
    let mut running = RunningPhase::prepare(start, &graph, &weights, now, phase, start.plan.seed)?;
    let seconds_frozen = clock.elapsed().as_secs_f64();
    let frozen_bytes = running.frozen_bytes();
    let seconds_a_pass = running.try_pass(start)?;
    Ok(DryRun { graph, n: start.train_idx.len(), seconds_a_pass, seconds_frozen, frozen_bytes })
}

impl Start<'_> {
    pub(super) fn training(&self) -> &TrainingPlan {
        self.plan.training.as_ref().expect("only plans that train come here")
    }

    pub(super) fn targets(&self, idx: &[usize]) -> Targets {
        self.dataset.targets(idx)
    }

    /// What the network should put out, numbers in their own spread.
    pub(super) fn rows(&self, idx: &[usize]) -> TargetRows {
        let scale = TargetScale::of(&self.targets(self.train_idx));
        scale.rows(&self.targets(idx), self.dataset.n_outputs())
    }

    pub(super) fn loss(&self) -> Result<Loss, Error> {
        let plan = self.training();
        if self.plan.task != Task::Classification {
            return Ok(Loss::of_task(self.plan.task));
        }
        let by = match plan.balance {
            Balance::None | Balance::Sampling => None,
            Balance::Weights => Some(ClassWeights::Inverse),
            Balance::EffectiveNumber { beta } => Some(ClassWeights::EffectiveNumber { beta }),
        };
        let counts = self.targets(self.train_idx).class_counts(self.dataset.classes.len());
        let class_weights = by.map(|by| by.weights(&counts)).transpose()?;
        let class_weights = class_weights.map(|w| w.into_iter().map(|w| w as f32).collect());
        Ok(Loss::CrossEntropy { label_smoothing: plan.label_smoothing, class_weights })
    }

    /// The weights that a seed starts from.
    fn weights(&self, graph: &Graph, seed_idx: usize) -> Result<Weights, Error> {
        let mut weights = self.model.weights.clone();
        let (k, width) = (self.dataset.n_outputs(), self.plan.feature_width);
        if self.training().head_start == HeadStart::Probe {
            // Numbers are learned in their own spread.
            let scale = TargetScale::of(&self.targets(self.train_idx));
            let is_number = self.plan.task == Task::Regression;
            let (std, centre) = if is_number { (scale.std as f32, scale.mean as f32) } else { (1.0, 0.0) };
            let w: Vec<f32> = self.head.weight.iter().map(|w| w / std).collect();
            let b: Vec<f32> = self.head.bias.iter().map(|b| (b - centre) / std).collect();
            weights.insert("head.weight", Tensor::from_f32(&[k, width], &w)?);
            weights.insert("head.bias", Tensor::from_f32(&[k], &b)?);
        }
        let mut weights = fill_missing(graph, weights, self.plan.seed.wrapping_add(seed_idx as u64))?;
        for adapter in &self.training().adapters {
            start_magnitudes(graph, adapter, &mut weights)?;
        }
        Ok(weights)
    }

    /// What a checkpoint must have been made of to be gone on from.
    pub(super) fn fingerprint(&self) -> String {
        let mut h = blake3::Hasher::new();
        h.update(env!("CARGO_PKG_VERSION").as_bytes());
        h.update(toml::to_string(self.plan).expect("a plan is plain data").as_bytes());
        h.update(self.dataset.hash().as_bytes()).update(self.model.weights.hash().as_bytes());
        h.finalize().to_hex()[..32].to_string()
    }
}

/// The network in training: new head, adapters, and what guards look at as further outputs.
fn trained_graph(start: &Start<'_>) -> Result<Graph, Error> {
    let plan = start.training();
    let graph = headstart_recipe::network(&start.model.graph, start.tap, start.plan)?;
    let head = graph.find("head")?;
    let features = graph.producer(head).expect("found by its path").inputs[0];
    if matches!(plan.objective, Learning::Pairs { .. }) {
        return Ok(cut_at(&graph, &[Output { name: "features".into(), value: features }])?);
    }
    let mut outputs = graph.outputs().to_vec();
    let has = |wanted: fn(&Regulariser) -> bool| plan.regularisers.iter().any(wanted);
    if has(|r| matches!(r, Regulariser::Bss { .. } | Regulariser::Distillation { .. })) {
        outputs.push(Output { name: "features".into(), value: features });
    }
    if has(|r| matches!(r, Regulariser::Delta { .. })) {
        let maps = maps(&graph);
        outputs
            .extend(maps.into_iter().enumerate().map(|(i, value)| Output { name: format!("map{i}"), value }));
    }
    Ok(cut_at(&graph, &outputs)?)
}

/// Up to four values along the network that hold more than one vector an example: the ends of its residual blocks, or of
/// its layers where it has none.
fn maps(graph: &Graph) -> Vec<ValueId> {
    let of = |wanted: &dyn Fn(&Op) -> bool| -> Vec<ValueId> {
        let nodes = graph.nodes().iter().filter(|n| wanted(&n.op));
        nodes.map(|n| n.output).filter(|&v| graph.value(v).shape.rank() > 2).collect()
    };
    let mut ends = of(&|op| *op == Op::Add);
    if ends.is_empty() {
        ends = of(&|op| matches!(op, Op::Conv2d { .. } | Op::Linear));
    }
    let n = ends.len().min(4);
    (1..=n).map(|i| ends[i * ends.len() / n - 1]).collect()
}

fn outputs_of(graph: &Graph) -> Outputs {
    let at = |name: &str| graph.outputs().iter().position(|o| o.name == name);
    let maps = (0..graph.outputs().len()).filter(|&i| graph.outputs()[i].name.starts_with("map"));
    Outputs { features: at("features"), maps: maps.collect(), source_logits: at("source_logits") }
}

/// All phases of one seed; the weights that changed.
#[allow(clippy::too_many_arguments, reason = "a seed's training touches all of a run")]
fn one_seed(
    start: &Start<'_>,
    graph: &Graph,
    weights: Weights,
    seed_idx: usize,
    kept: &mut Checkpoint,
    file: &mut CheckpointFile,
    run: &Run,
    tuned: &mut Tuned,
) -> Result<Weights, Error> {
    let plan = start.training();
    let seed = start.plan.seed.wrapping_add(seed_idx as u64);
    for at in kept.position.phase..plan.phases.len() {
        let now = whole_weights(graph, &weights, &kept.changed)?;
        let mut phase = RunningPhase::prepare(start, graph, &weights, now, &plan.phases[at], seed)?;
        tuned.extracted += phase.extracted;
        let state = kept.state.take();
        let curve = phase.train(start, kept, file, run, state, (seed_idx, at))?;
        for (name, tensor) in phase.changed(plan)?.iter() {
            kept.changed.insert(name, tensor.clone());
        }
        kept.position.phase = at + 1;
        kept.position.curves.push(curve);
        if at + 1 < plan.phases.len() {
            file.write(kept)?;
        }
    }
    if tuned.curves.is_empty() {
        tuned.curves = kept.position.curves.clone();
    }
    Ok(std::mem::take(&mut kept.changed))
}

/// `base` with what `changed` has of it.
fn whole_weights(graph: &Graph, base: &Weights, changed: &Weights) -> Result<Weights, Error> {
    graph
        .params()
        .map(|(_, name, _)| {
            let tensor = changed.get(name).map_or_else(|| base.require(name), Ok)?;
            Ok((name.to_string(), tensor.clone()))
        })
        .collect()
}
