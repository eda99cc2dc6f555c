//! Huber's loss (1964, *Robust Estimation of a Location Parameter*).

use burn_backend::Scalar;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;
use headstart_core::TargetRows;

use super::{constant, mean};
use crate::Device;
use crate::tensor::{T, scale};

/// Mean over all cells of `½·d²` where `|d| ≤ δ` and `δ·(|d| − ½·δ)` beyond, with `d = ŷ − y`; PyTorch's `huber_loss`.
pub(super) fn of_rows(output: T, rows: &TargetRows, delta: f64, device: &Device) -> T {
    let far = B::float_abs(B::float_sub(output, constant(rows, device, |_, t| t)));
    // With c = min(|d|, δ) both branches are ½·c² + δ·(|d| − c).
    let near = B::float_clamp_max(far.clone(), Scalar::Float(delta));
    let squared = scale(B::float_mul(near.clone(), near.clone()), 0.5);
    let straight = scale(B::float_sub(far, near), delta);
    mean(B::float_add(squared, straight), rows.values.len())
}
