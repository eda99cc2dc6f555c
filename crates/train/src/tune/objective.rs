//! What the steps of a training make small: the task's loss, cosines of pairs, or agreement of views.

use headstart_core::{Array, Batch, Rng, TargetRows, TrainingPlan, Values};
use headstart_engine::{
    BatchNormPolicy, EngineTensor, Gradients, Loss, LossInput, Network, TrainMode, pair_loss,
};

use super::TuneError;
use crate::{FixMatchSpec, MixSpec};

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
        /// Threshold and weight.
        spec: FixMatchSpec,
    },
}

/// Examples without labels, in two views of each.
pub trait Unlabelled {
    /// Weak and strong views of the examples of one step.
    fn views(&self, step: usize) -> Result<[Batch; 2], TuneError>;
}

impl Objective<'_> {
    /// The loss of one batch.
    pub(super) fn loss(&self, made: &LossInput<'_>, targets: &TargetRows) -> EngineTensor {
        match self {
            Objective::Supervised(loss) | Objective::Consistency { loss, .. } => {
                loss.value(made.output(), targets, made.device)
            }
            Objective::Pairs => pair_loss(made.output(), &targets.values, made.device),
        }
    }

    /// Loss and gradients of a step's unlabelled examples, where there are some and some answers are confident.
    pub(super) fn unlabelled(
        &self,
        network: &mut Network,
        learns: &dyn Fn(&str) -> bool,
        step: usize,
        seed: u64,
    ) -> Result<Option<(f64, Gradients)>, TuneError> {
        let Objective::Consistency { unlabelled, spec, .. } = self else { return Ok(None) };
        let [weak, strong] = unlabelled.views(step)?;
        let answers = network.infer(&weak)?;
        let Values::F32(logits) = answers.values else { unreachable!("logits are f32") };
        let width = answers.shape[1];
        let mut weak: Vec<f64> = logits.iter().map(|&v| f64::from(v)).collect();
        weak.chunks_exact_mut(width).for_each(crate::softmax);
        let weak: Vec<f32> = weak.into_iter().map(|p| p as f32).collect();
        let pseudo = spec.pseudo_labels(&weak, width)?;
        if !pseudo.kept.contains(&true) {
            return Ok(None);
        }
        // Rows of zeros cost nothing: only confident answers are labels.
        let mut rows = TargetRows { width, values: vec![0.0; logits.len()] };
        for (i, &label) in pseudo.label_idx.iter().enumerate().filter(|(i, _)| pseudo.kept[*i]) {
            rows.values[i * width + label] = 1.0;
        }
        let mut rng = Rng::stream(seed ^ 0x5ea1, step as u64);
        let mode = TrainMode { rng: &mut rng, batch_norm: BatchNormPolicy::Frozen, n_segments: 1 };
        let loss = Loss::CrossEntropy { label_smoothing: 0.0, class_weights: None };
        let value = |made: LossInput<'_>| loss.value(made.output(), &rows, made.device);
        let (value, gradients) = network.train_gradients(&strong, learns, &value, mode)?;
        // The loss above is a mean over the confident ones; FixMatch's is one over all.
        let share = spec.unlabelled_weight * pseudo.kept_share();
        let mut scaled = Gradients::none();
        scaled.add_scaled(gradients, share);
        Ok(Some((share * f64::from(value), scaled)))
    }
}

/// Mixes a batch of pictures and its targets by mixup or cutmix, if the plan says so.
pub(super) fn mix(
    plan: &TrainingPlan,
    batch: &mut Batch,
    targets: &mut TargetRows,
    seed: u64,
    step: usize,
) -> Result<(), TuneError> {
    if plan.mixup == 0.0 && plan.cutmix == 0.0 {
        return Ok(());
    }
    let [(_, pixels)] = &mut batch.inputs[..] else { return Ok(()) };
    let spec = MixSpec { mixup_alpha: plan.mixup, cutmix_alpha: plan.cutmix };
    let rows = Array::f32(&[targets.len(), targets.width], targets.values.clone());
    let mixed = spec.mix(pixels, &rows, &mut Rng::stream(seed ^ 0x313, step as u64))?;
    *pixels = mixed.inputs;
    let Values::F32(values) = mixed.targets.values else { unreachable!("shares are f32") };
    targets.values = values;
    Ok(())
}

#[cfg(test)]
mod tests;
