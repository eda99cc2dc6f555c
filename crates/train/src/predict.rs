//! From a fitted head to probabilities.

use headstart_core::Features;
use rayon::prelude::*;

/// Probabilities `[rows, n_classes]` of `softmax(W·x + b)`, computed in 64 bits.
///
/// `weight` is `[n_classes, width]`.  With `normalise`, rows are first divided by their Euclidean norm, as they must have
/// been when the head was fitted; a row of zeros stays as it is.
///
/// # Panics
/// If the lengths do not fit together.
///
/// ```
/// use headstart_core::Features;
/// let features = Features { width: 2, example_idx: vec![0], values: vec![3.0, 4.0] };
/// let p = headstart_train::predict_proba(&features, &[0.0, 0.0, 5.0, 0.0], &[0.0, -3.0], 2, true);
/// assert_eq!(p, [0.5, 0.5]); // 5·(3/5) − 3 = 0
/// ```
pub fn predict_proba(
    features: &Features,
    weight: &[f32],
    bias: &[f32],
    n_classes: usize,
    normalise: bool,
) -> Vec<f32> {
    let d = features.width;
    assert_eq!(weight.len(), n_classes * d, "one weight for each class and feature");
    assert_eq!(bias.len(), n_classes, "one bias for each class");
    let mut out = vec![0.0f32; features.len() * n_classes];
    out.par_chunks_exact_mut(n_classes.max(1)).enumerate().for_each(|(i, out)| {
        let x = features.row(i);
        let scale = if normalise { inverse_norm(x) } else { 1.0 };
        let mut logits: Vec<f64> = (0..n_classes)
            .map(|c| dot(x, &weight[c * d..(c + 1) * d]) * scale + f64::from(bias[c]))
            .collect();
        softmax(&mut logits);
        for (o, p) in out.iter_mut().zip(logits) {
            *o = p as f32;
        }
    });
    out
}

/// Turns logits into probabilities in place; does not overflow.
///
/// ```
/// let mut z = [1000.0, 1000.0, 999.0];
/// headstart_train::softmax(&mut z);
/// assert!((z[0] - 0.422_319).abs() < 1e-6 && (z.iter().sum::<f64>() - 1.0).abs() < 1e-12);
/// ```
pub fn softmax(logits: &mut [f64]) {
    let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for z in logits.iter_mut() {
        *z = (*z - max).exp();
        sum += *z;
    }
    for z in logits.iter_mut() {
        *z /= sum;
    }
}

/// 1/‖x‖, or 1 for zeros.
pub(crate) fn inverse_norm(x: &[f32]) -> f64 {
    let norm = dot(x, x).sqrt();
    if norm > 0.0 { 1.0 / norm } else { 1.0 }
}

/// In 64 bits, in eight running sums.
pub(crate) fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    let (chunks_a, chunks_b) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = chunks_a
        .remainder()
        .iter()
        .zip(chunks_b.remainder())
        .map(|(a, b)| f64::from(*a) * f64::from(*b))
        .sum();
    for (a, b) in chunks_a.zip(chunks_b) {
        for i in 0..8 {
            sums[i] += f64::from(a[i]) * f64::from(b[i]);
        }
    }
    sums.iter().sum::<f64>() + tail
}
