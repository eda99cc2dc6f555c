//! Layer norm (Ba, Kiros and Hinton, 2016): every row is centred and scaled by its own mean and variance.
//!
//! ```text
//! x̂ = (x − μ)·r        r = 1/√(σ² + ε), μ and biased σ² over the row
//! y = γ·x̂ + β
//! dγ = Σ g·x̂        dβ = Σ g        over rows
//! dx = r·(γg − mean(γg) − x̂·mean(γg·x̂))
//! ```

use rayon::prelude::*;

use crate::simd::widest_fn;
use crate::{CHUNK, columns, lanes};

/// Mean and `1/√(σ² + ε)` by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// `[μ, r]` of every row.
    pub by_row: Vec<[f32; 2]>,
}

/// `y [rows, width]` of `x`; `weight` and `bias` are `[width]`.
///
/// ```
/// let mut y = [0.0; 4];
/// headstart_kernels::layer_norm::forward(&[1.0, 3.0, -2.0, 2.0], [&[1.0, 1.0], &[0.0, 0.5]], 0.0, &mut y);
/// assert_eq!(y, [-1.0, 1.5, -1.0, 1.5]);
/// ```
pub fn forward(x: &[f32], [weight, bias]: [&[f32]; 2], eps: f64, y: &mut [f32]) -> Statistics {
    let width = weight.len();
    assert!(
        width > 0 && bias.len() == width && x.len() == y.len() && x.len().is_multiple_of(width),
        "rows of one width"
    );
    let mut by_row = vec![[0.0; 2]; x.len() / width];
    let rows = (CHUNK / width).max(1);
    y.par_chunks_mut(rows * width)
        .zip(x.par_chunks(rows * width))
        .zip(by_row.par_chunks_mut(rows))
        .for_each(|((y, x), by_row)| forward_here(x, [weight, bias], eps, y, by_row));
    Statistics { by_row }
}

widest_fn! {
    /// The same on this thread.
    fn forward_here(x: &[f32], affine: [&[f32]; 2], eps: f64, y: &mut [f32], by_row: &mut [[f32; 2]]) {
        let [weight, bias] = affine;
        let width = weight.len();
        for ((y, x), s) in y.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(by_row) {
            let mean = lanes::sum(x, |v| v) / width as f32;
            let variance = lanes::sum(x, |v| (v - mean) * (v - mean)) / width as f32;
            let scale = (1.0 / (f64::from(variance) + eps).sqrt()) as f32;
            for (((y, &x), &w), &b) in y.iter_mut().zip(x).zip(weight).zip(bias) {
                *y = (x - mean) * scale * w + b;
            }
            *s = [mean, scale];
        }
    }
}

/// `dx` is filled; `dγ` and `dβ` are returned.
pub fn backward(x: &[f32], grad: &[f32], weight: &[f32], s: &Statistics, dx: &mut [f32]) -> [Vec<f32>; 2] {
    let width = weight.len();
    let len = s.by_row.len() * width;
    assert!(x.len() == len && grad.len() == len && dx.len() == len, "as many rows as statistics");
    let block = columns::ROWS * width;
    let (dweight, dbias) = dx
        .par_chunks_mut(block)
        .zip(x.par_chunks(block))
        .zip(grad.par_chunks(block))
        .zip(s.by_row.par_chunks(columns::ROWS))
        .map(|(((dx, x), grad), by_row)| {
            let (mut dweight, mut dbias) = (vec![0.0f32; width], vec![0.0f32; width]);
            backward_here(x, grad, weight, by_row, dx, [&mut dweight, &mut dbias]);
            (dweight, dbias)
        })
        .collect::<(Vec<_>, Vec<_>)>();
    [columns::add_all(dweight, width), columns::add_all(dbias, width)]
}

widest_fn! {
    /// The same on this thread; adds to what `sums` hold.
    fn backward_here(
        x: &[f32],
        grad: &[f32],
        weight: &[f32],
        by_row: &[[f32; 2]],
        dx: &mut [f32],
        sums: [&mut [f32]; 2],
    ) {
        let (width, [dweight, dbias]) = (weight.len(), sums);
        let rows = dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(grad.chunks_exact(width));
        for (((dx, x), g), &[mean, scale]) in rows.zip(by_row) {
            // dx holds x̂ first, so that it is computed once.
            for (d, &x) in dx.iter_mut().zip(x) {
                *d = (x - mean) * scale;
            }
            for (((dw, db), &hat), &g) in dweight.iter_mut().zip(dbias.iter_mut()).zip(&*dx).zip(g) {
                *dw += g * hat;
                *db += g;
            }
            let offset = lanes::sum2(g, weight, |g, w| g * w) / width as f32;
            let slope = projected(g, weight, dx) / width as f32;
            for ((d, &g), &w) in dx.iter_mut().zip(g).zip(weight) {
                *d = scale * (g * w - offset - *d * slope);
            }
        }
    }
}

/// Σ a·b·c.
#[inline(always)]
fn projected(a: &[f32], b: &[f32], c: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 16];
    let mut at = 0;
    let ((a16, a1), (b16, b1), (c16, c1)) = (a.as_chunks::<16>(), b.as_chunks::<16>(), c.as_chunks::<16>());
    for ((a, b), c) in a16.iter().zip(b16).zip(c16) {
        for i in 0..16 {
            lanes[i] += a[i] * b[i] * c[i];
        }
    }
    for ((a, b), c) in a1.iter().zip(b1).zip(c1) {
        lanes[at] += a * b * c;
        at += 1;
    }
    lanes::sum(&lanes, |v| v)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    #[test]
    fn agrees_with_the_definition_over_many_shapes() {
        for (rows, width) in [(1, 1), (3, 5), (70, 48), (200, 384), (5, 33)] {
            let x: Vec<f32> = numbers(rows * width, 1).iter().map(|v| v + 2.0).collect();
            let (g, weight, bias) = (numbers(rows * width, 2), numbers(width, 3), numbers(width, 4));
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let s = forward(&x, [&weight, &bias], 1e-5, &mut y);
            let [dweight, dbias] = backward(&x, &g, &weight, &s, &mut dx);
            let (mut dw_want, mut db_want) = (vec![0.0f64; width], vec![0.0f64; width]);
            for r in 0..rows {
                let at = |v: &[f32], j: usize| f64::from(v[r * width + j]);
                let n = width as f64;
                let mean = (0..width).map(|j| at(&x, j)).sum::<f64>() / n;
                let variance = (0..width).map(|j| (at(&x, j) - mean).powi(2)).sum::<f64>() / n;
                let scale = 1.0 / (variance + 1e-5).sqrt();
                let hat = |j: usize| (at(&x, j) - mean) * scale;
                let gw = |j: usize| at(&g, j) * f64::from(weight[j]);
                let (offset, slope) =
                    (0..width).fold((0.0, 0.0), |(o, s), j| (o + gw(j) / n, s + gw(j) * hat(j) / n));
                for j in 0..width {
                    let y_want = hat(j) * f64::from(weight[j]) + f64::from(bias[j]);
                    let dx_want = scale * (gw(j) - offset - hat(j) * slope);
                    assert!((at(&y, j) - y_want).abs() < 1e-5, "y {rows}×{width}");
                    assert!((at(&dx, j) - dx_want).abs() < 1e-4, "dx {rows}×{width}");
                    dw_want[j] += at(&g, j) * hat(j);
                    db_want[j] += at(&g, j);
                }
            }
            let close = |a: &[f32], b: &[f64]| a.iter().zip(b).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-4);
            assert!(close(&dweight, &dw_want) && close(&dbias, &db_want), "dγ, dβ of {rows}×{width}");
        }
    }
}
