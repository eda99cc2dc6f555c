//! Softmax cross-entropy, with smoothed labels, class weights and soft targets.

use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_dispatch::Dispatch as B;
use headstart_core::TargetRows;

use super::weight_of;
use crate::tensor::{T, from_f32, scale};
use crate::{Device, custom};

/// Mean cross-entropy `−(1/n)·Σ log softmax(logits)[label]` of `logits [n, n_classes]`.
pub fn cross_entropy(logits: T, labels: &[usize], device: &Device) -> T {
    custom::cross_entropy(logits, labels, device)
}

/// `−Σᵢ Σ_c w_c·t′ᵢ_c·log softmax(zᵢ)_c / Σᵢ Σ_c w_c·tᵢ_c` with smoothed targets `t′ = (1 − ε)·t + ε/k`.
///
/// For hard labels this is PyTorch's `cross_entropy(weight, label_smoothing)`.
///
/// **Deviation:** with class weights *and* soft targets PyTorch divides by n, so that the same label costs otherwise when
/// it is written as a distribution.  Here the divisor is the weight present in both cases;
/// `soft_and_hard_labels_cost_the_same` pins it.
pub(super) fn of_rows(
    logits: T,
    rows: &TargetRows,
    label_smoothing: f64,
    class_weights: Option<&[f32]>,
    device: &Device,
) -> T {
    let (k, smoothing) = (rows.width, label_smoothing as f32);
    let mut total = 0.0f64;
    let mut cells = Vec::with_capacity(rows.values.len());
    for row in rows.values.chunks_exact(k.max(1)) {
        let spread = smoothing * row.iter().sum::<f32>() / k as f32;
        for (c, t) in row.iter().enumerate() {
            let w = weight_of(class_weights, c);
            total += f64::from(w * t);
            cells.push(w * ((1.0 - smoothing) * t + spread));
        }
    }
    let cells = from_f32(&[rows.len(), k], cells, device.plain());
    let picked = B::float_mul(B::log_softmax(logits, 1), cells);
    scale(B::float_sum(picked), -1.0 / if total > 0.0 { total } else { 1.0 })
}
