//! Batch norm in training (Ioffe and Szegedy, 2015): every channel of `[n, c, h, w]` is centred and scaled by its own
//! mean and variance over the batch.
//!
//! ```text
//! x̂ = (x − μ) / √(σ² + ε)          μ, σ² over the m = n·h·w values of a channel; σ² is biased
//! y = γ·x̂ + β
//! dβ = Σ g        dγ = Σ g·x̂
//! dx = γ / √(σ² + ε) · (g − dβ/m − x̂·dγ/m)
//! ```
//!
//! Sums are kept in f64 over short blocks that are summed in f32, so that rounding does not grow with the batch as it
//! does in a plain f32 sum.

use rayon::prelude::*;

use crate::CHUNK;
use crate::simd::widest;

/// Mean and biased variance by channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// μ, `[c]`.
    pub mean: Vec<f32>,
    /// σ², `[c]`.
    pub variance: Vec<f32>,
}

/// Statistics of `x [n, c, plane]`, where `plane` is `h·w`.
///
/// ```
/// let s = headstart_kernels::batch_norm::statistics(&[1.0, 3.0, 0.0, 0.0, 5.0, 7.0, 0.0, 2.0], 2, 2);
/// assert_eq!((s.mean, s.variance), (vec![4.0, 0.5], vec![5.0, 0.75]));
/// ```
pub fn statistics(x: &[f32], c: usize, plane: usize) -> Statistics {
    let count = (x.len() / c) as f64;
    let (mean, variance) = (0..c)
        .into_par_iter()
        .with_min_len((CHUNK / (x.len() / c).max(1)).max(1))
        .map(|channel| {
            let [sum] = channel_sums(x, x, channel, c, plane, |x, _| [x]);
            let mean = (sum / count) as f32;
            // The mean was rounded: what its rounding adds to the variance is taken off again.
            let [rest, squares] =
                channel_sums(x, x, channel, c, plane, |x, _| [x - mean, (x - mean) * (x - mean)]);
            (mean, ((squares - rest * rest / count) / count) as f32)
        })
        .unzip();
    Statistics { mean, variance }
}

/// `y = γ·(x − μ)/√(σ² + ε) + β`, as one product and one sum: `x·α + (β − μ·α)`, which is how PyTorch rounds it.
pub fn forward(x: &[f32], [gamma, beta]: [&[f32]; 2], s: &Statistics, eps: f64, plane: usize, y: &mut [f32]) {
    let scale = scales(gamma, s, eps);
    planes(y, plane).zip(x.par_chunks_exact(plane)).enumerate().for_each(|(i, (y, x))| {
        let c = i % scale.len();
        let (scale, shift) = (scale[c], beta[c] - s.mean[c] * scale[c]);
        widest(|| y.iter_mut().zip(x).for_each(|(y, x)| *y = x * scale + shift));
    });
}

/// `grad` becomes `dx`; `dγ` and `dβ` are returned.
pub fn backward(
    x: &[f32],
    gamma: &[f32],
    s: &Statistics,
    eps: f64,
    plane: usize,
    grad: &mut [f32],
) -> [Vec<f32>; 2] {
    let [dgamma, dbeta] = backward_affine(x, grad, s, eps, plane);
    let scale = scales(gamma, s, eps);
    let count = (x.len() / scale.len()) as f64;
    let inverse = inverses(s, eps);
    planes(grad, plane).zip(x.par_chunks_exact(plane)).enumerate().for_each(|(i, (grad, x))| {
        let c = i % scale.len();
        let (scale, mean) = (scale[c], s.mean[c]);
        let offset = (f64::from(dbeta[c]) / count) as f32;
        let slope = (f64::from(dgamma[c]) * inverse[c] / count) as f32;
        widest(|| {
            for (g, x) in grad.iter_mut().zip(x) {
                *g = scale * (*g - offset - (x - mean) * slope);
            }
        });
    });
    [dgamma, dbeta]
}

fn backward_affine(x: &[f32], grad: &[f32], s: &Statistics, eps: f64, plane: usize) -> [Vec<f32>; 2] {
    let c = s.mean.len();
    let inverse = inverses(s, eps);
    let (dgamma, dbeta) = (0..c)
        .into_par_iter()
        .with_min_len((CHUNK / (x.len() / c).max(1)).max(1))
        .map(|channel| {
            let mean = s.mean[channel];
            let [projected, sum] = channel_sums(x, grad, channel, c, plane, |x, g| [(x - mean) * g, g]);
            ((projected * inverse[channel]) as f32, sum as f32)
        })
        .unzip();
    [dgamma, dbeta]
}

fn inverses(s: &Statistics, eps: f64) -> Vec<f64> {
    s.variance.iter().map(|&v| 1.0 / (f64::from(v) + eps).sqrt()).collect()
}

fn scales(gamma: &[f32], s: &Statistics, eps: f64) -> Vec<f32> {
    inverses(s, eps).iter().zip(gamma).map(|(i, &g)| *i as f32 * g).collect()
}

/// The planes of a result, several to a task if they are small.
fn planes(y: &mut [f32], plane: usize) -> impl IndexedParallelIterator<Item = &mut [f32]> {
    y.par_chunks_exact_mut(plane).with_min_len((CHUNK / plane.max(1)).max(1))
}

/// Sums of `terms(a, b)` over one channel of `a` and `b`, both `[n, c, plane]`.
fn channel_sums<const K: usize>(
    a: &[f32],
    b: &[f32],
    channel: usize,
    c: usize,
    plane: usize,
    terms: impl Fn(f32, f32) -> [f32; K] + Copy,
) -> [f64; K] {
    let mut total = [0.0f64; K];
    let of_channel = |t: &'_ [f32], at: usize| at + plane <= t.len();
    let mut at = channel * plane;
    widest(|| {
        while of_channel(a, at) {
            for (a, b) in a[at..at + plane].chunks(BLOCK).zip(b[at..at + plane].chunks(BLOCK)) {
                for (total, sum) in total.iter_mut().zip(block_sums(a, b, terms)) {
                    *total += sum;
                }
            }
            at += c * plane;
        }
    });
    total
}

/// Values summed in f32 before they are added in f64: 16 to each of eight lanes.
const BLOCK: usize = 128;

#[inline(always)]
fn block_sums<const K: usize>(a: &[f32], b: &[f32], terms: impl Fn(f32, f32) -> [f32; K]) -> [f64; K] {
    let mut lanes = [[0.0f32; 8]; K];
    let ((a8, a1), (b8, b1)) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a8.iter().zip(b8) {
        for i in 0..8 {
            let t = terms(a[i], b[i]);
            for k in 0..K {
                lanes[k][i] += t[k];
            }
        }
    }
    for (i, (a, b)) in a1.iter().zip(b1).enumerate() {
        let t = terms(*a, *b);
        for k in 0..K {
            lanes[k][i] += t[k];
        }
    }
    lanes.map(|lanes| lanes.iter().map(|&l| f64::from(l)).sum())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    const SHAPES: [[usize; 3]; 7] =
        [[1, 1, 1], [1, 3, 5], [2, 5, 1], [3, 7, 35], [2, 33, 144], [16, 3, 9], [3, 2, 4097]];

    fn close(got: &[f32], want: &[f64], tolerance: f64) -> bool {
        got.len() == want.len()
            && got.iter().zip(want).all(|(g, w)| (f64::from(*g) - w).abs() <= tolerance * w.abs().max(1.0))
    }

    /// By the formulas, in f64: `[mean, variance, y, dx, dγ, dβ]`.
    fn naive(
        [n, c, p]: [usize; 3],
        x: &[f32],
        gamma: &[f32],
        beta: &[f32],
        g: &[f32],
        eps: f64,
    ) -> [Vec<f64>; 6] {
        let [mut means, mut variances, mut dgammas, mut dbetas] = [(); 4].map(|()| vec![0.0; c]);
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        for ch in 0..c {
            let at: Vec<usize> = (0..n).flat_map(|i| (0..p).map(move |j| (i * c + ch) * p + j)).collect();
            let m = at.len() as f64;
            let mean = at.iter().map(|&i| f64::from(x[i])).sum::<f64>() / m;
            let variance = at.iter().map(|&i| (f64::from(x[i]) - mean).powi(2)).sum::<f64>() / m;
            let inverse = 1.0 / (variance + eps).sqrt();
            let hat = |i: usize| (f64::from(x[i]) - mean) * inverse;
            let dbeta = at.iter().map(|&i| f64::from(g[i])).sum::<f64>();
            let dgamma = at.iter().map(|&i| f64::from(g[i]) * hat(i)).sum::<f64>();
            for &i in &at {
                y[i] = f64::from(gamma[ch]) * hat(i) + f64::from(beta[ch]);
                dx[i] = f64::from(gamma[ch]) * inverse * (f64::from(g[i]) - dbeta / m - hat(i) * dgamma / m);
            }
            (means[ch], variances[ch], dgammas[ch], dbetas[ch]) = (mean, variance, dgamma, dbeta);
        }
        [means, variances, y, dx, dgammas, dbetas]
    }

    #[test]
    fn agrees_with_the_definition_over_many_shapes() {
        for shape @ [n, c, p] in SHAPES {
            // Off centre, as what a ReLU leaves: a variance by E[x²] − μ² would lose digits.
            let x: Vec<f32> = numbers(n * c * p, 1).iter().map(|v| v + 3.0).collect();
            let (gamma, beta, g) = (numbers(c, 2), numbers(c, 3), numbers(n * c * p, 4));
            let eps = 1e-3;
            let [mean, variance, y_want, dx_want, dgamma_want, dbeta_want] =
                naive(shape, &x, &gamma, &beta, &g, eps);
            let s = statistics(&x, c, p);
            let (mut y, mut dx) = (vec![0.0; x.len()], g.clone());
            forward(&x, [&gamma, &beta], &s, eps, p, &mut y);
            let [dgamma, dbeta] = backward(&x, &gamma, &s, eps, p, &mut dx);
            assert!(close(&s.mean, &mean, 1e-6), "mean of {shape:?}");
            assert!(close(&s.variance, &variance, 1e-6), "variance of {shape:?}");
            assert!(close(&y, &y_want, 1e-5), "y of {shape:?}");
            assert!(close(&dx, &dx_want, 1e-4), "dx of {shape:?}");
            assert!(close(&dgamma, &dgamma_want, 1e-4), "dγ of {shape:?}");
            assert!(close(&dbeta, &dbeta_want, 1e-5), "dβ of {shape:?}");
        }
    }

    #[test]
    fn a_channel_of_one_value_is_its_bias() {
        let s = statistics(&[5.0, -2.0], 2, 1);
        let mut y = [0.0; 2];
        forward(&[5.0, -2.0], [&[1.0, 1.0], &[0.5, 0.25]], &s, 1e-5, 1, &mut y);
        assert_eq!((s.variance, y), (vec![0.0, 0.0], [0.5, 0.25]));
    }
}
