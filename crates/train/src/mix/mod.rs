//! Mixing examples of a batch with one another, their targets in proportion.

mod beta;
mod cutmix;
mod mixup;

use headstart_core::{Array, Rng, Values};
use serde::{Deserialize, Serialize};

use crate::TrainError;
pub use cutmix::cutmix;
pub use mixup::mixup;

/// A mixed batch.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixed {
    /// The inputs, shaped as before.
    pub inputs: Array,
    /// Share of each class, `[n, n_classes]`; rows sum to what they summed to.
    pub targets: Array,
    /// Share of an example that is its own.
    pub lambda: f64,
    /// With which example of the batch each was mixed.
    pub partner: Vec<usize>,
}

/// Which ways of mixing a training uses.  With both, each batch takes one of them, equally likely.
///
/// ```
/// use headstart_core::{Array, Rng};
/// use headstart_train::MixSpec;
/// let spec = MixSpec { mixup_alpha: 0.2, cutmix_alpha: 0.0 };
/// let inputs = Array::f32(&[2, 1], vec![0.0, 1.0]);
/// let targets = Array::f32(&[2, 2], vec![1.0, 0.0, 0.0, 1.0]);
/// let mixed = spec.mix(&inputs, &targets, &mut Rng::new(4))?;
/// assert_eq!(mixed.targets.shape, [2, 2]);
/// # Ok::<(), headstart_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixSpec {
    /// α of mixup's Beta(α, α); 0 for no mixup.  The paper: 0.1 to 0.4 on ImageNet, 1 on CIFAR.
    #[serde(default)]
    pub mixup_alpha: f64,
    /// α of cutmix's Beta(α, α); 0 for no cutmix.  The paper: 1.
    #[serde(default)]
    pub cutmix_alpha: f64,
}

impl MixSpec {
    /// Mixes a batch; with neither way it stays as it is (λ = 1).
    ///
    /// # Errors
    /// As [`mixup`] and [`cutmix`].
    pub fn mix(&self, inputs: &Array, targets: &Array, rng: &mut Rng) -> Result<Mixed, TrainError> {
        let (may_mix, may_cut) = (self.mixup_alpha != 0.0, self.cutmix_alpha != 0.0);
        if may_cut && (!may_mix || rng.below(2) == 1) {
            return cutmix(inputs, targets, self.cutmix_alpha, rng);
        }
        if may_mix {
            return mixup(inputs, targets, self.mixup_alpha, rng);
        }
        let partner = (0..inputs.shape.first().copied().unwrap_or(0)).collect();
        Ok(Mixed { inputs: inputs.clone(), targets: targets.clone(), lambda: 1.0, partner })
    }
}

/// Inputs and targets as numbers, one row an example; and how many examples there are.
fn rows<'a>(inputs: &'a Array, targets: &'a Array) -> Result<(&'a [f32], &'a [f32], usize), TrainError> {
    let (Values::F32(x), Values::F32(t)) = (&inputs.values, &targets.values) else {
        return Err(TrainError::NotMixable { what: "integers (mix the features behind the embedding)" });
    };
    let n = inputs.shape.first().copied().unwrap_or(0);
    if n == 0 {
        return Err(TrainError::NotMixable { what: "an empty batch" });
    }
    let got = targets.shape.first().copied().unwrap_or(0);
    if got != n {
        return Err(TrainError::LengthMismatch { what: "targets", got, n_rows: n });
    }
    Ok((x, t, n))
}

/// A random partner for each example.
fn partners(n: usize, rng: &mut Rng) -> Vec<usize> {
    let mut partner: Vec<usize> = (0..n).collect();
    rng.shuffle(&mut partner);
    partner
}

/// λ · row + (1 − λ) · row of the partner.
fn blend(values: &[f32], n: usize, partner: &[usize], lambda: f64) -> Vec<f32> {
    let width = values.len() / n;
    let (own, other) = (lambda as f32, (1.0 - lambda) as f32);
    let row = |i: usize| &values[i * width..(i + 1) * width];
    let mixed = |(i, &p): (usize, &usize)| row(i).iter().zip(row(p)).map(|(a, b)| own * a + other * b);
    partner.iter().enumerate().flat_map(mixed).collect()
}

#[cfg(test)]
mod tests;
