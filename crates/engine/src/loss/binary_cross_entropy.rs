//! Sigmoid cross-entropy: every label is a question of its own.

use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_dispatch::Dispatch as B;
use headstart_core::TargetRows;

use super::{constant, mean, weight_of};
use crate::Device;
use crate::tensor::{T, scale};

/// Mean over all cells of `−(w_c·t·log σ(z) + (1 − t)·log σ(−z))`; PyTorch's `binary_cross_entropy_with_logits` with
/// `pos_weight = w`.
pub(super) fn of_rows(logits: T, rows: &TargetRows, positive_weights: Option<&[f32]>, device: &Device) -> T {
    scale(mean(log_likelihood(logits, rows, positive_weights, device), rows.values.len()), -1.0)
}

/// `w_c·t·log σ(z) + (1 − t)·log σ(−z)`, cell by cell.
pub(super) fn log_likelihood(
    logits: T,
    rows: &TargetRows,
    positive_weights: Option<&[f32]>,
    device: &Device,
) -> T {
    let applies = constant(rows, device, |c, t| weight_of(positive_weights, c) * t);
    let not = constant(rows, device, |_, t| 1.0 - t);
    B::float_add(
        B::float_mul(B::log_sigmoid(logits.clone()), applies),
        B::float_mul(B::log_sigmoid(B::float_neg(logits)), not),
    )
}
