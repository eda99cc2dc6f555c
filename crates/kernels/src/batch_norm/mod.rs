//! Batch norm in training (Ioffe and Szegedy, 2015), with what follows it: every channel of rows `[pixels, c]` is centred and
//! scaled by its own mean and variance over the batch, an image may be added, and the sum be clipped, as ReLU does.
//!
//! ```text
//! x̂ = (x − μ) / √(σ² + ε)          μ, σ² over the m rows; σ² is biased
//! y = clip(γ·x̂ + β + r)
//! g = dy where clip let pass        dr = g        dβ = Σ g        dγ = Σ g·x̂
//! dx = γ / √(σ² + ε) · (g − dβ/m − x̂·dγ/m)
//! ```
//!
//! Every pass reads what it needs once.  Sums are kept in f64 over short blocks that are summed in f32, so that rounding does not
//! grow with the batch as it does in a plain f32 sum; where blocks begin depends on the shape alone.  The variance is taken in the
//! same pass as the mean, from distances to a number near it, so that no digits are lost.

mod folded;
mod passes;

use rayon::prelude::*;

use crate::Number;
use crate::clip;
use crate::simd::widest_fn;
pub use folded::Folded;
use passes::{add_sums, block, repeat, replace, task};

/// Mean and biased variance by channel.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// μ, `[c]`.
    pub mean: Vec<f32>,
    /// σ², `[c]`.
    pub variance: Vec<f32>,
}

/// Batch norm of rows by their statistics, and what follows it.
#[derive(Debug, Clone)]
pub struct BatchNorm {
    /// Of the rows, or of others.
    pub statistics: Statistics,
    /// Whether they were given and do not follow from the rows, so that no gradient passes through them: `dx = γ/√(σ² + ε)·g`.
    pub are_given: bool,
    /// ε.
    pub eps: f64,
    /// Least and greatest value: `[0, ∞]` is ReLU, `[−∞, ∞]` nothing.
    pub clip: [f32; 2],
}

/// Statistics of `x [rows, c]`.
///
/// ```
/// let s = headstart_kernels::batch_norm::statistics(&[1.0, 0.0, 3.0, 0.0, 5.0, 0.0, 7.0, 2.0], 2);
/// assert_eq!((s.mean, s.variance), (vec![4.0, 0.5], vec![5.0, 0.75]));
/// ```
pub fn statistics<N: Number>(x: &[N], c: usize) -> Statistics {
    let rows = x.len() / c;
    // Near the mean: that of some rows, far from each other.
    let some = rows.min(16);
    let mut near = vec![0.0f32; c];
    for i in 0..some {
        let row = &x[(i * rows / some) * c..][..c];
        near.iter_mut().zip(row).for_each(|(n, v)| *n += v.get() / some as f32);
    }
    let repeated = repeat(&near);
    let parts: Vec<_> = x
        .par_chunks(task(c))
        .map(|x| {
            let mut sums = [vec![0.0f64; c], vec![0.0f64; c]];
            for x in x.chunks(block(c)) {
                add_sums(&mut sums, x, x, [&repeated; 3], |x, _, [near, ..]| {
                    let d = x - near;
                    [d, d * d]
                });
            }
            sums
        })
        .collect();
    let [sum, squares] = total(parts, c);
    let m = rows as f64;
    let mean = |(s, &n): (&f64, &f32)| (f64::from(n) + s / m) as f32;
    let variance = |(q, s): (&f64, &f64)| ((q - s * s / m) / m).max(0.0) as f32;
    Statistics {
        mean: sum.iter().zip(&near).map(mean).collect(),
        variance: squares.iter().zip(&sum).map(variance).collect(),
    }
}

impl Statistics {
    /// `[γ/√(σ² + ε), β − μ·γ/√(σ² + ε)]`.
    fn affine(&self, eps: f64, [gamma, beta]: [&[f32]; 2]) -> [Vec<f32>; 2] {
        let scale: Vec<f32> = self.inverses(eps).zip(gamma).map(|(i, &g)| i as f32 * g).collect();
        let of = |((scale, beta), mean): ((&f32, &f32), &f32)| beta - mean * scale;
        let shift = scale.iter().zip(beta).zip(&self.mean).map(of).collect();
        [scale, shift]
    }

    /// `1/√(σ² + ε)`.
    fn inverses(&self, eps: f64) -> impl Iterator<Item = f64> {
        self.variance.iter().map(move |&v| 1.0 / (f64::from(v) + eps).sqrt())
    }
}

widest_fn! {
    /// `y = clip(x·scale + shift + residual)`, numbers by channel repeated to a period.
    fn normalise(
        x: &[impl Number],
        by_channel: [&[f32]; 2],
        residual: Option<&[f32]>,
        clip: [f32; 2],
        y: &mut [f32],
    ) {
        let ([scale, shift], [lo, hi]) = (by_channel, clip);
        let period = scale.len();
        for (j, (y, x)) in y.chunks_mut(period).zip(x.chunks(period)).enumerate() {
            let numbers = y.iter_mut().zip(x).zip(scale).zip(shift);
            match residual {
                None => {
                    for (((y, x), a), b) in numbers {
                        *y = clamped(x.get() * a + b, lo, hi);
                    }
                }
                Some(r) => {
                    for ((((y, x), a), b), r) in numbers.zip(&r[j * period..]) {
                        *y = clamped(x.get() * a + b + r, lo, hi);
                    }
                }
            }
        }
    }
}

impl BatchNorm {
    /// `y = clip(γ·(x − μ)/√(σ² + ε) + β + residual)`, the norm as one product and one sum: `x·α + (β − μ·α)`, which is how
    /// PyTorch rounds it.
    pub fn forward<N: Number>(
        &self,
        x: &[N],
        [gamma, beta]: [&[f32]; 2],
        residual: Option<&[f32]>,
        y: &mut [f32],
    ) {
        let c = gamma.len();
        let [scale, shift] = self.affine([gamma, beta]).map(|v| repeat(&v));
        let task = task(c);
        y.par_chunks_mut(task).zip(x.par_chunks(task)).enumerate().for_each(|(i, (y, x))| {
            let residual = residual.map(|r| &r[i * task..][..y.len()]);
            normalise(x, [&scale, &shift], residual, self.clip, y);
        });
    }

    /// Without a residual: `grad` becomes `dx`; `dγ` and `dβ` are returned.
    pub fn backward<N: Number>(
        &self,
        x: &[N],
        [gamma, beta]: [&[f32]; 2],
        grad: &mut [f32],
    ) -> [Vec<f32>; 2] {
        let (c, [lo, hi], task) = (gamma.len(), self.clip, task(gamma.len()));
        let [scale, shift] = self.affine([gamma, beta]).map(|v| repeat(&v));
        let mean = repeat(&self.statistics.mean);
        // Without a branch, so that it is vectorised.
        let passed = |g: f32, y: f32| if (y > lo) & (y < hi) { g } else { 0.0 };
        let parts: Vec<_> = x
            .par_chunks(task)
            .zip(grad.par_chunks(task))
            .map(|(x, grad)| {
                let mut sums = [vec![0.0f64; c], vec![0.0f64; c]];
                for (x, grad) in x.chunks(block(c)).zip(grad.chunks(block(c))) {
                    add_sums(&mut sums, x, grad, [&scale, &shift, &mean], |x, g, [scale, shift, mean]| {
                        let g = passed(g, x * scale + shift);
                        [g, g * (x - mean)]
                    });
                }
                sums
            })
            .collect();
        let (made, [offset, slope]) = self.gradients(total(parts, c), x.len() / c);
        let [offset, slope] = [offset, slope].map(|v| repeat(&v));
        let channels = [&scale, &shift, &mean, &offset, &slope].map(Vec::as_slice);
        grad.par_chunks_mut(block(c)).zip(x.par_chunks(block(c))).for_each(|(grad, x)| {
            replace(grad, x, x, channels, |g, x, _, [scale, shift, mean, offset, slope]| {
                scale * (passed(g, x * scale + shift) - offset - (x - mean) * slope)
            });
        });
        made
    }

    /// With a residual, whose gradient `grad` becomes: what clipping lets pass, by the result `y`, or all of it where nothing was
    /// clipped or `grad` is that already.  Writes `dx`; `dγ` and `dβ` are returned.
    pub fn backward_residual<N: Number>(
        &self,
        x: &[N],
        y: Option<&[f32]>,
        gamma: &[f32],
        grad: &mut [f32],
        dx: &mut [f32],
    ) -> [Vec<f32>; 2] {
        let (c, task) = (gamma.len(), task(gamma.len()));
        let mean = repeat(&self.statistics.mean);
        let parts: Vec<_> = x
            .par_chunks(task)
            .zip(grad.par_chunks_mut(task))
            .enumerate()
            .map(|(i, (x, grad))| {
                let mut sums = [vec![0.0f64; c], vec![0.0f64; c]];
                for (j, (x, grad)) in x.chunks(block(c)).zip(grad.chunks_mut(block(c))).enumerate() {
                    if let Some(y) = y {
                        clip::backward_here(&y[i * task + j * block(c)..][..grad.len()], self.clip, grad);
                    }
                    add_sums(&mut sums, x, grad, [&mean; 3], |x, g, [mean, ..]| [g, g * (x - mean)]);
                }
                sums
            })
            .collect();
        let (made, [offset, slope]) = self.gradients(total(parts, c), x.len() / c);
        let [offset, slope] = [offset, slope].map(|v| repeat(&v));
        let scale = repeat(&self.affine([gamma, gamma])[0]);
        let channels = [&scale, &mean, &offset, &slope, &slope].map(Vec::as_slice);
        let images = x.par_chunks(block(c)).zip(grad.par_chunks(block(c)));
        dx.par_chunks_mut(block(c)).zip(images).for_each(|(dx, (x, grad))| {
            replace(dx, x, grad, channels, |_, x, g, [scale, mean, offset, slope, _]| {
                scale * (g - offset - (x - mean) * slope)
            });
        });
        made
    }

    fn affine(&self, affine: [&[f32]; 2]) -> [Vec<f32>; 2] {
        self.statistics.affine(self.eps, affine)
    }

    fn inverses(&self) -> impl Iterator<Item = f64> {
        self.statistics.inverses(self.eps)
    }

    /// `[dγ, dβ]` of `[Σ g, Σ g·(x − μ)]`, and what is taken off a gradient: an offset, and a slope times `x − μ`.
    fn gradients(&self, [sum, projected]: [Vec<f64>; 2], rows: usize) -> ([Vec<f32>; 2], [Vec<f32>; 2]) {
        let m = rows as f64;
        let dgamma: Vec<f32> = self.inverses().zip(&projected).map(|(i, p)| (p * i) as f32).collect();
        let dbeta = sum.iter().map(|&s| s as f32).collect();
        let by = if self.are_given { 0.0 } else { 1.0 / m };
        let offset = sum.iter().map(|s| (s * by) as f32).collect();
        let slope = self.inverses().zip(&projected).map(|(i, p)| (p * i * i * by) as f32).collect();
        ([dgamma, dbeta], [offset, slope])
    }
}

#[inline(always)]
fn clamped(v: f32, lo: f32, hi: f32) -> f32 {
    let v = if v < lo { lo } else { v };
    if v > hi { hi } else { v }
}

/// Sum of the parts, in order.
fn total(parts: Vec<[Vec<f64>; 2]>, c: usize) -> [Vec<f64>; 2] {
    let mut total = [vec![0.0; c], vec![0.0; c]];
    for part in parts {
        for (total, part) in total.iter_mut().zip(part) {
            total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Bf16, numbers};

    fn close(got: &[f32], want: &[f64], tolerance: f64) -> bool {
        got.len() == want.len()
            && got.iter().zip(want).all(|(g, w)| (f64::from(*g) - w).abs() <= tolerance * w.abs().max(1.0))
    }

    /// By the formulas, in f64: `[mean, variance, y, g, dx, dγ, dβ]`.
    fn naive(
        [rows, c]: [usize; 2],
        [x, residual, g]: [&[f32]; 3],
        [gamma, beta]: [&[f32]; 2],
        [lo, hi]: [f64; 2],
    ) -> [Vec<f64>; 7] {
        let [mut means, mut variances, mut dgammas, mut dbetas] = [(); 4].map(|()| vec![0.0; c]);
        let [mut y, mut passed, mut dx] = [(); 3].map(|()| vec![0.0; x.len()]);
        let m = rows as f64;
        for ch in 0..c {
            let at: Vec<usize> = (0..rows).map(|i| i * c + ch).collect();
            let mean = at.iter().map(|&i| f64::from(x[i])).sum::<f64>() / m;
            let variance = at.iter().map(|&i| (f64::from(x[i]) - mean).powi(2)).sum::<f64>() / m;
            let inverse = 1.0 / (variance + EPS).sqrt();
            let hat = |i: usize| (f64::from(x[i]) - mean) * inverse;
            for &i in &at {
                let sum = f64::from(gamma[ch]) * hat(i) + f64::from(beta[ch]) + f64::from(residual[i]);
                y[i] = sum.clamp(lo, hi);
                passed[i] = if sum > lo && sum < hi { f64::from(g[i]) } else { 0.0 };
            }
            let dbeta = at.iter().map(|&i| passed[i]).sum::<f64>();
            let dgamma = at.iter().map(|&i| passed[i] * hat(i)).sum::<f64>();
            for &i in &at {
                dx[i] = f64::from(gamma[ch]) * inverse * (passed[i] - dbeta / m - hat(i) * dgamma / m);
            }
            (means[ch], variances[ch], dgammas[ch], dbetas[ch]) = (mean, variance, dgamma, dbeta);
        }
        [means, variances, y, passed, dx, dgammas, dbetas]
    }

    const EPS: f64 = 1e-3;

    #[test]
    fn agrees_with_the_definition_over_many_shapes() {
        for shape @ [rows, c] in
            [[1, 1], [5, 3], [2, 5], [105, 7], [288, 33], [144, 3], [12_291, 2], [300, 700]]
        {
            // Off centre, as what a ReLU leaves: a variance by E[x²] − μ² would lose digits.
            let x: Vec<f32> = numbers(rows * c, 1).iter().map(|v| v + 3.0).collect();
            let (gamma, beta, g, r) =
                (numbers(c, 2), numbers(c, 3), numbers(rows * c, 4), numbers(rows * c, 5));
            for clip in [[f32::NEG_INFINITY, f32::INFINITY], [0.0, f32::INFINITY], [-0.25, 0.5]] {
                for residual in [None, Some(&r[..])] {
                    let zeros = vec![0.0; r.len()];
                    let inputs = [&x[..], residual.unwrap_or(&zeros), &g];
                    let clip64 = clip.map(f64::from);
                    let [mean, variance, y_want, g_want, dx_want, dgamma_want, dbeta_want] =
                        naive(shape, inputs, [&gamma, &beta], clip64);
                    let norm = BatchNorm { statistics: statistics(&x, c), are_given: false, eps: EPS, clip };
                    let (mut y, mut grad) = (vec![f32::NAN; x.len()], g.clone());
                    norm.forward(&x, [&gamma, &beta], residual, &mut y);
                    let (dx, [dgamma, dbeta]) = match residual {
                        None => {
                            let made = norm.backward(&x, [&gamma, &beta], &mut grad);
                            (grad, made)
                        }
                        Some(_) => {
                            let mut dx = vec![f32::NAN; x.len()];
                            let made = norm.backward_residual(&x, Some(&y), &gamma, &mut grad, &mut dx);
                            assert!(close(&grad, &g_want, 0.0), "dr of {shape:?}");
                            (dx, made)
                        }
                    };
                    let s = &norm.statistics;
                    assert!(close(&s.mean, &mean, 1e-6), "mean of {shape:?}");
                    assert!(close(&s.variance, &variance, 1e-6), "variance of {shape:?}");
                    assert!(close(&y, &y_want, 1e-5), "y of {shape:?}");
                    assert!(close(&dx, &dx_want, 1e-4), "dx of {shape:?}");
                    assert!(close(&dgamma, &dgamma_want, 1e-4), "dγ of {shape:?}");
                    assert!(close(&dbeta, &dbeta_want, 1e-5), "dβ of {shape:?}");
                }
            }
        }
    }

    /// Images in bf16 are the same numbers.
    #[test]
    fn halves_are_their_numbers() {
        let c = 7;
        let halves: Vec<Bf16> = numbers(105 * c, 1).into_iter().map(Bf16::of).collect();
        let x: Vec<f32> = halves.iter().map(|h| h.get()).collect();
        let (gamma, beta, g) = (numbers(c, 2), numbers(c, 3), numbers(x.len(), 4));
        assert_eq!(statistics(&halves, c), statistics(&x, c));
        let norm = BatchNorm {
            statistics: statistics(&x, c),
            are_given: false,
            eps: EPS,
            clip: [0.0, f32::INFINITY],
        };
        let (mut of_halves, mut of_floats) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        norm.forward(&halves, [&gamma, &beta], Some(&g), &mut of_halves);
        norm.forward(&x, [&gamma, &beta], Some(&g), &mut of_floats);
        assert_eq!(of_halves, of_floats);
        let (mut a, mut b) = (g.clone(), g.clone());
        let made =
            [norm.backward(&halves, [&gamma, &beta], &mut a), norm.backward(&x, [&gamma, &beta], &mut b)];
        assert_eq!((a, &made[0]), (b, &made[1]));
        let (mut a, mut b) = (g.clone(), g.clone());
        let y = Some(&of_floats[..]);
        let made = [
            norm.backward_residual(&halves, y, &gamma, &mut a, &mut of_halves),
            norm.backward_residual(&x, y, &gamma, &mut b, &mut vec![0.0; x.len()]),
        ];
        assert_eq!((a, &made[0]), (b, &made[1]));
    }

    #[test]
    fn given_statistics_have_no_gradient() {
        let statistics = Statistics { mean: vec![1.0], variance: vec![3.0] };
        let clip = [f32::NEG_INFINITY, f32::INFINITY];
        let norm = BatchNorm { statistics, are_given: true, eps: 1.0, clip };
        let mut grad = [2.0, 4.0];
        let [dgamma, dbeta] = norm.backward(&[1.0, 5.0], [&[3.0], &[0.0]], &mut grad);
        assert_eq!((grad, dgamma, dbeta), ([3.0, 6.0], vec![8.0], vec![6.0]));
    }

    #[test]
    fn a_channel_of_one_value_is_its_bias() {
        let clip = [f32::NEG_INFINITY, f32::INFINITY];
        let norm = BatchNorm { statistics: statistics(&[5.0, -2.0], 2), are_given: false, eps: 1e-5, clip };
        let mut y = [0.0; 2];
        norm.forward(&[5.0, -2.0], [&[1.0, 1.0], &[0.5, 0.25]], None, &mut y);
        assert_eq!((norm.statistics.variance, y), (vec![0.0, 0.0], [0.5, 0.25]));
    }
}
