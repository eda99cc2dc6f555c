//! What the steps of a training make small: the task's loss, cosines of pairs, or agreement of views.

use headstart_core::{Array, Batch, Rng, TargetRows, TrainingPlan, Values};
use headstart_engine::{BatchNormPolicy, EngineTensor, Gradients, Loss, LossInput, Network, TrainMode, pair_loss};

use super::TuneError;
use crate::MixSpec;

/// A loss over batches.
pub enum Objective<'a> {
    /// The task's loss on labelled examples.
    Supervised(Loss),
    /// `(cos(f(a), f(b)) − y)²` over pairs: a batch holds all `a`, then all `b`, its rows one `y` a pair (Tunstall et al.,
    /// 2022).
    Pairs,
    /// The task's loss, and that of strong views against confident answers to weak ones (FixMatch; Sohn et al., 2020).
    Consistency {
        /// The loss on labelled examples.
        loss: Loss,
        /// The unlabelled examples.
        unlabelled: &'a dyn Unlabelled,
        /// Confidence from which an answer counts.
        threshold: f64,
        /// Weight of the unlabelled part.
        weight: f64,
    },
}

/// Examples without labels, in two views of each.
pub trait Unlabelled {
    /// Weak and strong views of the examples of one step.
    fn views(&self, pass: usize, step: usize) -> Result<[Batch; 2], TuneError>;
}

/// What a step's examples should have been answered.
pub struct StepTargets {
    /// Positions of the examples.
    pub idx: Vec<usize>,
    /// One row an example, or a pair.
    pub rows: TargetRows,
}

impl Objective<'_> {
    /// The loss of one batch.
    pub(super) fn loss(&self, made: &LossInput<'_>, targets: &StepTargets) -> EngineTensor {
        match self {
            Objective::Supervised(loss) | Objective::Consistency { loss, .. } => {
                loss.value(made.output(), &targets.rows, made.device)
            }
            Objective::Pairs => pair_loss(made.output(), &targets.rows.values, made.device),
        }
    }

    /// Loss and gradients of a step's unlabelled examples, where there are some and some answers are confident.
    pub(super) fn unlabelled(
        &self,
        network: &mut Network,
        learns: &dyn Fn(&str) -> bool,
        pass: usize,
        step: usize,
    ) -> Result<Option<(f64, Gradients)>, TuneError> {
        let Objective::Consistency { unlabelled, threshold, weight, .. } = self else { return Ok(None) };
        let [weak, strong] = unlabelled.views(pass, step)?;
        let answers = network.infer(&weak)?;
        let Some(rows) = pseudo_labels(&answers, *threshold) else { return Ok(None) };
        let n = answers.shape[0];
        let n_sure = rows.values.iter().filter(|v| **v > 0.0).count();
        let mut rng = Rng::stream(step as u64, 0x5ea1);
        let mode = TrainMode { rng: &mut rng, batch_norm: BatchNormPolicy::Frozen, n_segments: 1 };
        let loss = Loss::CrossEntropy { label_smoothing: 0.0, class_weights: None };
        let value = |made: LossInput<'_>| loss.value(made.output(), &rows, made.device);
        let (value, gradients) = network.train_gradients(&strong, learns, &value, mode)?;
        // The loss above is a mean over the confident ones; FixMatch's is one over all.
        let share = weight * n_sure as f64 / n as f64;
        let mut scaled = Gradients::none();
        scaled.add_scaled(gradients, share);
        Ok(Some((share * f64::from(value), scaled)))
    }
}

/// One-hot rows of the confident answers and rows of zeros, which cost nothing, for the others; none if none is confident.
fn pseudo_labels(logits: &Array, threshold: f64) -> Option<TargetRows> {
    let Values::F32(values) = &logits.values else { unreachable!("logits are f32") };
    let width = logits.shape[1];
    let mut rows = vec![0.0f32; values.len()];
    for (row, out) in values.chunks_exact(width).zip(rows.chunks_exact_mut(width)) {
        let mut p: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
        crate::softmax(&mut p);
        let (best, sure) = p.iter().enumerate().fold((0, 0.0), |m, (i, &v)| if v > m.1 { (i, v) } else { m });
        if sure >= threshold {
            out[best] = 1.0;
        }
    }
    rows.iter().any(|v| *v > 0.0).then_some(TargetRows { width, values: rows })
}

/// Mixes a batch of pictures and its targets by mixup or cutmix, if the plan says so.
pub(super) fn mix(
    plan: &TrainingPlan,
    batch: &mut Batch,
    targets: &mut StepTargets,
    seed: u64,
    step: usize,
) -> Result<(), TuneError> {
    if plan.mixup == 0.0 && plan.cutmix == 0.0 {
        return Ok(());
    }
    let [(_, pixels)] = &mut batch.inputs[..] else { return Ok(()) };
    let spec = MixSpec { mixup_alpha: plan.mixup, cutmix_alpha: plan.cutmix };
    let rows = Array::f32(&[targets.rows.len(), targets.rows.width], targets.rows.values.clone());
    let mixed = spec.mix(pixels, &rows, &mut Rng::stream(seed ^ 0x313, step as u64))?;
    *pixels = mixed.inputs;
    let Values::F32(values) = mixed.targets.values else { unreachable!("shares are f32") };
    targets.rows.values = values;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_confident_answers_become_labels() {
        let logits = Array::f32(&[3, 2], vec![9.0, 0.0, 0.1, 0.0, 0.0, 5.0]);
        let rows = pseudo_labels(&logits, 0.95).unwrap();
        assert_eq!(rows.values, [1.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert!(pseudo_labels(&Array::f32(&[1, 2], vec![0.1, 0.0]), 0.95).is_none());
    }
}
