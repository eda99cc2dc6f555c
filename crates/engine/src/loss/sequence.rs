//! Losses over the tokens of a text.

use burn_backend::Slice;
use burn_backend::ops::{ActivationOps, FloatTensorOps, ModuleOps};
use burn_dispatch::Dispatch as B;
use headstart_core::Array;

use super::cross_entropy;
use crate::Device;
use crate::tensor::{T, dims, from_array, reshape, scale};

/// Sum over the examples of the connectionist temporal classification loss (Graves, Fernández, Gomez and Schmidhuber,
/// 2006) of `logits [batch, frames, symbols]` given each example's symbols, without `blank`, by the sum of all paths that
/// spell them.  Infinite where an answer is longer than the frames can spell.
pub fn ctc_loss(logits: T, targets: &[Vec<i64>], blank: usize, device: &Device) -> T {
    let [n, frames, _] = dims(&logits)[..] else { unreachable!("frame logits are [batch, frames, symbols]") };
    let longest = targets.iter().map(Vec::len).max().unwrap_or(0).max(1);
    let padded = targets.iter().flat_map(|t| t.iter().copied().chain(std::iter::repeat(0)).take(longest));
    let ints = |shape: &[usize], values: Vec<i64>| from_array(&Array::i64(shape, values), device.plain());
    let padded = ints(&[n, longest], padded.collect());
    let lengths = ints(&[n], vec![frames as i64; n]);
    let spelled = ints(&[n], targets.iter().map(|t| t.len() as i64).collect());
    let by_frame = B::float_permute(B::log_softmax(logits, 2), &[1, 0, 2]);
    B::float_sum(B::ctc_loss(by_frame, padded, lengths, spelled, blank))
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
