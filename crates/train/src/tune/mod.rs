//! The loop of fine-tuning, on one page: batches, learning rates, gradients, guards, updates, validation, checkpoints.
//!
//! Nothing here is drawn from a running generator: what a step does depends on the seed and on its position alone, so
//! that a training that was stopped and resumed ends in the same bytes as one that never was.

mod average;
mod error;
mod guard;
mod objective;

use std::collections::BTreeMap;

use headstart_core::{Batch, BatchNorm, OptimiserPlan, Rng, TargetRows, TrainingPlan};
use headstart_engine::{AdamW, BatchNormPolicy, Gradients, Network, Optimiser, Rate, Rates, Sgd, TrainMode};
use headstart_graph::{Graph, Tensor, Weights};
use serde::{Deserialize, Serialize};

pub use average::{mean, mix as interpolate};
pub use error::TuneError;
pub use guard::{Guards, Outputs, relation};
pub use objective::{Objective, Unlabelled};

/// What the loop asks of whoever has the examples.
pub trait Lessons {
    /// The batches of a pass, as positions of examples: every pass another order, a function of the pass alone.
    fn pass(&self, pass: usize) -> Vec<Vec<usize>>;
    /// The inputs of some examples, as the pass sees them.
    fn batch(&self, idx: &[usize], pass: usize) -> Result<Batch, TuneError>;
    /// What the network should say of them.
    fn targets(&self, idx: &[usize]) -> TargetRows;
}

/// One phase of a training: the same parameters learn throughout.
pub struct Job<'a> {
    /// How to train.
    pub plan: &'a TrainingPlan,
    /// Passes of this phase.
    pub n_passes: usize,
    /// Highest learning rate of each parameter that learns, by name.
    pub lr_max: BTreeMap<String, f64>,
    /// Seed of dropout and mixing.
    pub seed: u64,
    /// The examples.
    pub lessons: &'a dyn Lessons,
    /// What the steps make small.
    pub objective: Objective<'a>,
    /// What pulls the network back to its source.
    pub guards: Guards,
    /// The loss on the validation split, where there is one.
    pub validate: Option<&'a Validate<'a>>,
    /// Hears of every update, and takes a checkpoint when it wants one.
    pub watch: &'a mut dyn Watch,
}

/// The loss of a network on examples that it does not learn from.
pub type Validate<'a> = dyn Fn(&Network) -> Result<f64, TuneError> + 'a;

/// Whoever looks on.
pub trait Watch {
    /// `done` of `total` batches of the phase are through.
    fn step(&mut self, done: usize, total: usize);
    /// A pass is over.
    fn pass(&mut self, point: &TunedPass) -> Result<(), TuneError>;
    /// Whether a checkpoint is due.
    fn wants_checkpoint(&mut self) -> bool;
    /// Keeps what the training can go on from.
    fn checkpoint(&mut self, state: &State) -> Result<(), TuneError>;
}

/// What one pass came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TunedPass {
    /// Counted from 1 within its phase.
    pub pass: usize,
    /// Mean loss of its batches, each before its update.
    pub train_loss: f64,
    /// Loss on the validation split behind it.
    pub valid_loss: Option<f64>,
}

/// Where a phase stands, whole.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    /// Passes and batches behind it, the curve so far.
    pub progress: Progress,
    /// The parameters that learn, their running mean, the best so far, and the optimiser's state, by prefix.
    pub tensors: Weights,
}

/// The numbers of a [`State`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Passes that are through.
    pub n_passes: usize,
    /// Batches of the running pass that are through.
    pub n_batches: usize,
    /// Sum of the running pass's losses, each by its examples.
    pub loss_sum: f64,
    /// Examples of the running pass that are through.
    pub n_examples: usize,
    /// Curve of the passes that are through.
    pub curve: Vec<TunedPass>,
    /// Best validation loss so far.
    pub best_loss: Option<f64>,
    /// Passes since.
    pub n_passes_since: usize,
}

const NOW: &str = "now.";
const MEAN: &str = "mean.";
const BEST: &str = "best.";

/// Trains one phase; the curve.  `resume` goes on from a kept state.
///
/// # Errors
/// What lessons, network or watcher report; [`TuneError::Engine`] if a loss is not a number any more.
pub fn fine_tune(
    network: &mut Network,
    mut job: Job<'_>,
    resume: Option<State>,
) -> Result<Vec<TunedPass>, TuneError> {
    let plan = job.plan;
    let mut optimiser = optimiser(plan, network.graph(), &job.lr_max);
    let mut mean = (plan.ema_decay > 0.0).then(|| learned(network, &job)).transpose()?;
    let mut best: Option<Weights> = None;
    let mut at = Progress::default();
    if let Some(state) = resume {
        restore(network, &state, &mut *optimiser, &mut mean, &mut best)?;
        at = state.progress;
    }
    let n_batches_a_pass = job.lessons.pass(0).len();
    let n_updates_a_pass = n_batches_a_pass.div_ceil(plan.n_accumulated);
    let n_updates = n_updates_a_pass * job.n_passes;
    while at.n_passes < job.n_passes && !out_of_patience(plan, &at) {
        let batches = job.lessons.pass(at.n_passes);
        for group in batches[at.n_batches.min(batches.len())..].chunks(plan.n_accumulated) {
            let update = at.n_passes * n_updates_a_pass + at.n_batches / plan.n_accumulated;
            let n_examples: usize = group.iter().map(Vec::len).sum();
            let mut gradients = Gradients::none();
            for idx in group {
                let step = at.n_passes * n_batches_a_pass + at.n_batches;
                let (loss, made) = gradients_of(network, &job, idx, at.n_passes, step)?;
                let share = idx.len() as f64 / n_examples as f64;
                if group.len() == 1 {
                    gradients = made;
                } else {
                    gradients.add_scaled(made, share);
                }
                at.loss_sum += loss * idx.len() as f64;
                at.n_examples += idx.len();
                at.n_batches += 1;
            }
            at.loss_sum += job.guards.pull(network, &mut gradients)? * n_examples as f64;
            if plan.clip_norm > 0.0 {
                gradients.clip(network.graph(), plan.clip_norm)?;
            }
            optimiser.set_lr(plan.schedule.at(update, n_updates));
            network.update(gradients, &mut *optimiser);
            if let Some(mean) = &mut mean {
                *mean = follow(mean, &learned(network, &job)?, plan.ema_decay)?;
            }
            job.watch.step(at.n_passes * n_batches_a_pass + at.n_batches, n_batches_a_pass * job.n_passes);
            if job.watch.wants_checkpoint() {
                let state = state(network, &job, &at, &*optimiser, mean.as_ref(), best.as_ref())?;
                job.watch.checkpoint(&state)?;
            }
        }
        finish_pass(network, &mut job, &mut at, mean.as_ref(), &mut best)?;
    }
    if let Some(mean) = &mean {
        network.set(mean)?;
    }
    if let Some(best) = best.filter(|_| plan.patience > 0) {
        network.set(&best)?;
    }
    Ok(at.curve)
}

/// Loss and gradients of one batch.
fn gradients_of(
    network: &mut Network,
    job: &Job<'_>,
    idx: &[usize],
    pass: usize,
    step: usize,
) -> Result<(f64, Gradients), TuneError> {
    let mut targets = job.lessons.targets(idx);
    let mut batch = job.lessons.batch(idx, pass)?;
    objective::mix(job.plan, &mut batch, &mut targets, job.seed, step)?;
    let guard = job.guards.prepare(&batch, &targets)?;
    let mut rng = Rng::stream(job.seed, step as u64);
    let mode = TrainMode {
        rng: &mut rng,
        batch_norm: match job.plan.batch_norm {
            BatchNorm::Frozen => BatchNormPolicy::Frozen,
            BatchNorm::Batch => BatchNormPolicy::Batch,
        },
        n_segments: job.plan.n_segments,
    };
    let learns = |name: &str| job.lr_max.contains_key(name);
    let loss = |made: headstart_engine::LossInput<'_>| {
        let value = job.objective.loss(&made, &targets);
        job.guards.add(value, &made, &guard)
    };
    let (value, mut gradients) = network.train_gradients(&batch, &learns, &loss, mode)?;
    let mut value = f64::from(value);
    if let Some((more, unlabelled)) = job.objective.unlabelled(network, &learns, step, job.seed)? {
        gradients.add_scaled(unlabelled, 1.0);
        value += more;
    }
    Ok((value, gradients))
}

/// Closes a pass: its point on the curve, validation, the best weights so far.
fn finish_pass(
    network: &mut Network,
    job: &mut Job<'_>,
    at: &mut Progress,
    mean: Option<&Weights>,
    best: &mut Option<Weights>,
) -> Result<(), TuneError> {
    // The running mean is what is judged and kept; the training goes on from where it is.
    let last = mean.map(|_| learned(network, job)).transpose()?;
    if let Some(mean) = mean {
        network.set(mean)?;
    }
    let valid_loss = job.validate.map(|validate| validate(network)).transpose()?;
    if let Some(loss) = valid_loss {
        if at.best_loss.is_none_or(|best| loss < best) {
            at.best_loss = Some(loss);
            at.n_passes_since = 0;
            if job.plan.patience > 0 {
                *best = Some(learned(network, job)?);
            }
        } else {
            at.n_passes_since += 1;
        }
    }
    if let Some(last) = last {
        network.set(&last)?;
    }
    at.n_passes += 1;
    let train_loss = at.loss_sum / at.n_examples.max(1) as f64;
    let point = TunedPass { pass: at.n_passes, train_loss, valid_loss };
    (at.n_batches, at.n_examples, at.loss_sum) = (0, 0, 0.0);
    at.curve.push(point.clone());
    job.watch.pass(&point)
}

fn out_of_patience(plan: &TrainingPlan, at: &Progress) -> bool {
    plan.patience > 0 && at.n_passes_since >= plan.patience
}

fn optimiser(plan: &TrainingPlan, graph: &Graph, lr_max: &BTreeMap<String, f64>) -> Box<dyn Optimiser> {
    // Vectors do not decay, as is usual since BERT: biases, norms, the gains of (IA)³ and DoRA.
    let decays: BTreeMap<&str, bool> =
        graph.params().map(|(id, name, _)| (name, graph.value(id).shape.rank() > 1)).collect();
    let rate = |(name, &lr_scale): (&String, &f64)| {
        (name.clone(), Rate { lr_scale, decays: decays.get(name.as_str()).copied().unwrap_or(true) })
    };
    let rates = Rates(lr_max.iter().map(rate).collect());
    match plan.optimiser {
        OptimiserPlan::AdamW { weight_decay } => Box::new(AdamW::new(1.0, weight_decay).with_rates(rates)),
        OptimiserPlan::Sgd { momentum, weight_decay } => {
            Box::new(Sgd::new(1.0, momentum, weight_decay).with_rates(rates))
        }
    }
}

/// Whether training changes a parameter: it learns or, where batch norm measures, is one of its running statistics.
pub fn changes(name: &str, plan: &TrainingPlan, lr_max: &BTreeMap<String, f64>) -> bool {
    let measured = name.ends_with("running_mean") || name.ends_with("running_var");
    lr_max.contains_key(name) || (measured && plan.batch_norm == BatchNorm::Batch)
}

/// The parameters that training changes.
fn learned(network: &Network, job: &Job<'_>) -> Result<Weights, TuneError> {
    Ok(network.weights_where(&|name| changes(name, job.plan, &job.lr_max))?)
}

/// `decay·mean + (1 − decay)·now`.
fn follow(mean: &Weights, now: &Weights, decay: f64) -> Result<Weights, TuneError> {
    average::mix(mean, now, 1.0 - decay)
}

fn state(
    network: &Network,
    job: &Job<'_>,
    at: &Progress,
    optimiser: &dyn Optimiser,
    mean: Option<&Weights>,
    best: Option<&Weights>,
) -> Result<State, TuneError> {
    let now = learned(network, job)?;
    let mut tensors = optimiser.state()?;
    for (prefix, weights) in [(NOW, Some(&now)), (MEAN, mean), (BEST, best)] {
        for (name, tensor) in weights.iter().flat_map(|w| w.iter()) {
            tensors.insert(format!("{prefix}{name}"), tensor.clone());
        }
    }
    Ok(State { progress: at.clone(), tensors })
}

fn restore(
    network: &mut Network,
    state: &State,
    optimiser: &mut dyn Optimiser,
    mean: &mut Option<Weights>,
    best: &mut Option<Weights>,
) -> Result<(), TuneError> {
    let part = |prefix: &str| -> Option<Weights> {
        let of = |(name, t): (&str, &Tensor)| Some((name.strip_prefix(prefix)?.to_string(), t.clone()));
        let found: Weights = state.tensors.iter().filter_map(of).collect();
        (!found.is_empty()).then_some(found)
    };
    let now = part(NOW).ok_or(TuneError::BadState("it holds no weights"))?;
    network.set(&now)?;
    optimiser.restore(&state.tensors, network.device())?;
    if mean.is_some() {
        *mean = Some(part(MEAN).ok_or(TuneError::BadState("it holds no running mean of the weights"))?);
    }
    *best = part(BEST);
    Ok(())
}

/// The learning rate of a range test (Smith, 2017): steps at rates from `1e-7` times the plan's up to 10 times; a tenth
/// of the rate at which the smoothed loss was lowest, as a multiple of the plan's.
///
/// The network is left as it was.
pub fn find_lr(network: &mut Network, job: &Job<'_>, n_steps: usize) -> Result<f64, TuneError> {
    let start = learned(network, job)?;
    let mut optimiser = optimiser(job.plan, network.graph(), &job.lr_max);
    let batches = job.lessons.pass(0);
    let (mut smooth, mut lowest, mut best) = (None, f64::INFINITY, 1.0);
    let rate = |step: usize| 10f64.powf(-4.0 + 5.0 * step as f64 / n_steps.max(2) as f64);
    for step in 0..n_steps {
        let idx = &batches[step % batches.len()];
        let Ok((loss, gradients)) = gradients_of(network, job, idx, 0, step) else { break };
        let mean = smooth.map_or(loss, |s: f64| 0.8 * s + 0.2 * loss);
        smooth = Some(mean);
        if mean < lowest {
            (lowest, best) = (mean, rate(step));
        }
        if mean > 4.0 * lowest {
            break;
        }
        optimiser.set_lr(rate(step));
        network.update(gradients, &mut *optimiser);
    }
    network.set(&start)?;
    Ok((best / 10.0).clamp(1e-3, 10.0))
}
