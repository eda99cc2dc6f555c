//! Losses.

use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_dispatch::Dispatch as B;

use crate::Device;
use crate::tensor::{T, dims, from_f32, scale};

/// Mean cross-entropy `−(1/n)·Σ log softmax(logits)[label]` of `logits [n, n_classes]`.
pub fn cross_entropy(logits: T, labels: &[usize], device: &Device) -> T {
    let shape = dims(&logits);
    let mut one_hot = vec![0.0f32; shape[0] * shape[1]];
    labels.iter().enumerate().for_each(|(i, &l)| one_hot[i * shape[1] + l] = 1.0);
    let picked = B::float_mul(B::log_softmax(logits, 1), from_f32(&shape, one_hot, device.plain()));
    scale(B::float_sum(picked), -1.0 / labels.len().max(1) as f64)
}
