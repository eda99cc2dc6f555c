//! Losses.

use burn_backend::Slice;
use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_dispatch::Dispatch as B;

use crate::Device;
use crate::tensor::{T, dims, from_f32, reshape, scale};

/// Mean cross-entropy `−(1/n)·Σ log softmax(logits)[label]` of `logits [n, n_classes]`.
pub fn cross_entropy(logits: T, labels: &[usize], device: &Device) -> T {
    let shape = dims(&logits);
    let mut one_hot = vec![0.0f32; shape[0] * shape[1]];
    labels.iter().enumerate().for_each(|(i, &l)| one_hot[i * shape[1] + l] = 1.0);
    let picked = B::float_mul(B::log_softmax(logits, 1), from_f32(&shape, one_hot, device.plain()));
    scale(B::float_sum(picked), -1.0 / labels.len().max(1) as f64)
}

/// `[…, n_classes]` as rows `[n, n_classes]`: token classification judges each token on its own.
pub fn last_axis_as_rows(logits: T) -> T {
    let shape = dims(&logits);
    let width = shape.last().copied().unwrap_or(1);
    reshape(logits, &[shape.iter().product::<usize>() / width.max(1), width])
}

/// Mean of the cross-entropies of an answer's first and last token, from `logits [batch, sequence, 2]` (Devlin et al.,
/// 2019, section 4.2).
pub fn span_loss(logits: T, start: &[usize], end: &[usize], device: &Device) -> T {
    let [n, s, _] = dims(&logits)[..] else { unreachable!("span logits are [batch, sequence, 2]") };
    let part = |i: usize, labels: &[usize]| {
        let slices = [Slice::full(), Slice::full(), Slice::from(i..i + 1)];
        cross_entropy(reshape(B::float_slice(logits.clone(), &slices), &[n, s]), labels, device)
    };
    scale(B::float_add(part(0, start), part(1, end)), 0.5)
}
