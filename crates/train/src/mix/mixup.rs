//! mixup (Zhang et al., 2018): convex combinations of pairs of examples and of their targets.

use headstart_core::{Array, Rng};

use super::beta::symmetric_beta;
use super::{Mixed, blend, partners, rows};
use crate::TrainError;

/// Mixes every example with a random one of the batch:
///
/// ```text
/// x̃ = λ·x + (1 − λ)·x[partner],   t̃ = λ·t + (1 − λ)·t[partner],   λ ~ Beta(α, α) once a batch
/// ```
///
/// `inputs` `[n, …]` are pixels or features, `targets` `[n, n_classes]`.
///
/// # Errors
/// If α is not above 0, a length does not fit, or the inputs are integers.
///
/// ```
/// use headstart_core::{Array, Rng, Values};
/// use headstart_train::mixup;
/// let inputs = Array::f32(&[2, 1], vec![0.0, 1.0]);
/// let targets = Array::f32(&[2, 2], vec![1.0, 0.0, 0.0, 1.0]);
/// let mixed = mixup(&inputs, &targets, 1.0, &mut Rng::new(0))?;
/// // Here an input is the share of class 1, and stays it.
/// let (Values::F32(x), Values::F32(t)) = (&mixed.inputs.values, &mixed.targets.values) else { unreachable!() };
/// assert_eq!([x[0], x[1]], [t[1], t[3]]);
/// # Ok::<(), headstart_train::TrainError>(())
/// ```
pub fn mixup(inputs: &Array, targets: &Array, alpha: f64, rng: &mut Rng) -> Result<Mixed, TrainError> {
    let (_, _, n) = rows(inputs, targets)?;
    let lambda = symmetric_beta(alpha, rng)?;
    mixup_with(inputs, targets, partners(n, rng), lambda)
}

/// The same with partners and λ given.
pub(super) fn mixup_with(
    inputs: &Array,
    targets: &Array,
    partner: Vec<usize>,
    lambda: f64,
) -> Result<Mixed, TrainError> {
    let (x, t, n) = rows(inputs, targets)?;
    Ok(Mixed {
        inputs: Array::f32(&inputs.shape, blend(x, n, &partner, lambda)),
        targets: Array::f32(&targets.shape, blend(t, n, &partner, lambda)),
        lambda,
        partner,
    })
}
