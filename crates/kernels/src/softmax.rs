//! Softmax over rows and its backward pass, and cross-entropy over it in one pass each.
//!
//! ```text
//! pᵢ = e^(xᵢ − max) / Σⱼ e^(xⱼ − max)        dx = p·(g − Σⱼ gⱼpⱼ)
//! loss = −(1/n)·Σ log p[label]              dx = (p − [j = label])/n
//! ```

use rayon::prelude::*;

use crate::activation::exp;
use crate::simd::widest_fn;
use crate::{CHUNK, lanes};

/// `y [rows, width]` of `x`.
///
/// ```
/// let mut y = [0.0; 3];
/// headstart_kernels::softmax::forward(&[0.0, 0.0, f32::NEG_INFINITY], 3, &mut y);
/// assert_eq!(y, [0.5, 0.5, 0.0]);
/// ```
pub fn forward(x: &[f32], width: usize, y: &mut [f32]) {
    assert!(width > 0 && x.len() == y.len(), "an element of y for each of x");
    let rows = (CHUNK / width).max(1) * width;
    y.par_chunks_mut(rows).zip(x.par_chunks(rows)).for_each(|(y, x)| {
        y.copy_from_slice(x);
        normalise_rows(y, width);
    });
}

widest_fn! {
    /// Replaces every row by its softmax.
    fn normalise_rows(rows: &mut [f32], width: usize) {
        for row in rows.chunks_exact_mut(width) {
            normalise(row);
        }
    }
}

/// Replaces a row by its softmax: returns its maximum and the inverse of the sum of the exponentials.
#[inline(always)]
pub(crate) fn normalise(row: &mut [f32]) -> [f32; 2] {
    let max = lanes::max(row);
    let scale = 1.0 / lanes::replaced_sum(row, |v| exp(v - max));
    for v in row.iter_mut() {
        *v *= scale;
    }
    [max, scale]
}

/// `dx` of `y = softmax(x)`.
pub fn backward(y: &[f32], grad: &[f32], width: usize, dx: &mut [f32]) {
    assert!(width > 0 && y.len() == dx.len() && grad.len() == dx.len(), "as many elements of y, grad and dx");
    let rows = (CHUNK / width).max(1) * width;
    dx.par_chunks_mut(rows).zip(y.par_chunks(rows)).zip(grad.par_chunks(rows)).for_each(|((dx, y), g)| {
        backward_here(y, g, width, dx);
    });
}

widest_fn! {
    /// The same on this thread.
    fn backward_here(y: &[f32], grad: &[f32], width: usize, dx: &mut [f32]) {
        let rows = y.chunks_exact(width).zip(grad.chunks_exact(width));
        for (dx, (y, g)) in dx.chunks_exact_mut(width).zip(rows) {
            let mean = lanes::sum2(y, g, |y, g| y * g);
            for ((d, &y), &g) in dx.iter_mut().zip(y).zip(g) {
                *d = y * (g - mean);
            }
        }
    }
}

/// Mean of `−log softmax(x)[label]` over the rows of `x [n, width]`, and `probabilities [n, width]`, which the backward
/// pass wants.
///
/// # Panics
/// If a label is not below `width`.
///
/// ```
/// let mut p = [0.0; 2];
/// let loss = headstart_kernels::softmax::cross_entropy(&[1.0, 1.0], &[0], &mut p);
/// assert!((loss - std::f32::consts::LN_2).abs() < 1e-6 && p == [0.5, 0.5]);
/// ```
pub fn cross_entropy(x: &[f32], labels: &[usize], probabilities: &mut [f32]) -> f32 {
    let width = x.len() / labels.len().max(1);
    assert!(x.len() == width * labels.len() && probabilities.len() == x.len(), "a row for every label");
    if width == 0 {
        return 0.0;
    }
    let losses: Vec<f64> = probabilities
        .par_chunks_exact_mut(width)
        .with_min_len((CHUNK / width).max(1))
        .zip(x.par_chunks_exact(width))
        .zip(labels)
        .map(|((p, x), &label)| {
            assert!(label < width, "label {label} of {width} classes");
            p.copy_from_slice(x);
            let [max, scale] = normalised(p);
            f64::from(max) - f64::from(x[label]) - f64::from(scale).ln()
        })
        .collect();
    (losses.iter().sum::<f64>() / labels.len() as f64) as f32
}

widest_fn! {
    /// [`normalise`] of a row by itself.
    fn normalised(row: &mut [f32]) -> [f32; 2] {
        normalise(row)
    }
}

/// `dx = grad·(p − [j = label])/n`.
pub fn cross_entropy_backward(probabilities: &[f32], labels: &[usize], grad: f32, dx: &mut [f32]) {
    let width = probabilities.len() / labels.len().max(1);
    assert!(dx.len() == probabilities.len() && dx.len() == width * labels.len(), "a row for every label");
    let scale = grad / labels.len().max(1) as f32;
    dx.iter_mut().zip(probabilities).for_each(|(d, p)| *d = p * scale);
    for (row, &label) in dx.chunks_exact_mut(width.max(1)).zip(labels) {
        row[label] -= scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    #[test]
    fn agrees_with_the_definition() {
        for (rows, width) in [(1, 1), (3, 7), (130, 128), (9, 33)] {
            let x: Vec<f32> = numbers(rows * width, 1).iter().map(|v| v * 9.0).collect();
            let g = numbers(rows * width, 2);
            let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            forward(&x, width, &mut y);
            backward(&y, &g, width, &mut dx);
            let labels: Vec<usize> = (0..rows).map(|i| i * 5 % width).collect();
            let (mut p, mut dlogits) = (vec![0.0; x.len()], vec![0.0; x.len()]);
            let loss = cross_entropy(&x, &labels, &mut p);
            cross_entropy_backward(&p, &labels, 2.0, &mut dlogits);
            let mut loss_want = 0.0;
            for r in 0..rows {
                let row: Vec<f64> = x[r * width..][..width].iter().map(|&v| f64::from(v).exp()).collect();
                let sum: f64 = row.iter().sum();
                let dot: f64 = (0..width).map(|j| row[j] / sum * f64::from(g[r * width + j])).sum();
                loss_want -= (row[labels[r]] / sum).ln() / rows as f64;
                for (j, e) in row.iter().enumerate() {
                    let (at, want) = (r * width + j, e / sum);
                    assert!((f64::from(y[at]) - want).abs() < 1e-6 && y[at] == p[at]);
                    assert!((f64::from(dx[at]) - want * (f64::from(g[at]) - dot)).abs() < 2e-6);
                    let hit = if j == labels[r] { 1.0 } else { 0.0 };
                    assert!((f64::from(dlogits[at]) - 2.0 * (want - hit) / rows as f64).abs() < 1e-6);
                }
            }
            assert!((f64::from(loss) - loss_want).abs() < 1e-5, "{loss} and {loss_want}");
        }
    }

    #[test]
    #[should_panic(expected = "label 3 of 3 classes")]
    fn a_label_that_is_no_class_is_refused() {
        cross_entropy(&[0.0; 3], &[3], &mut [0.0; 3]);
    }
}
