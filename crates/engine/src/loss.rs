//! Losses.

use burn_backend::Slice;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;

use crate::tensor::{T, dims, reshape, scale};
use crate::{Device, custom};

/// Mean cross-entropy `−(1/n)·Σ log softmax(logits)[label]` of `logits [n, n_classes]`.
pub fn cross_entropy(logits: T, labels: &[usize], device: &Device) -> T {
    custom::cross_entropy(logits, labels, device)
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
