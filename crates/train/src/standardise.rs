//! Means and spreads of features.

use std::ops::Range;

use headstart_core::Scaling;
use rayon::prelude::*;

const BLOCK_ROWS: usize = 256;

/// Mean and 1/standard deviation by feature; 0 in place of the latter for features that do not vary.
#[derive(Debug, Clone)]
pub(crate) struct Scale {
    pub(crate) mean: Vec<f64>,
    pub(crate) inv_std: Vec<f64>,
}

impl Scale {
    /// Over some rows of `[rows, width]`, in two passes.
    ///
    /// **Deviation:** a standard deviation up to 10⁻⁶ of the mean's size counts as none: that is what the rounding of
    /// 32-bit features leaves of a constant, and scikit-learn would blow it up to 1.
    pub(crate) fn of(values: &[f32], width: usize, rows: &[Range<usize>], scaling: Scaling) -> Self {
        let n = rows.iter().map(ExactSizeIterator::len).sum::<usize>().max(1) as f64;
        let mean = sum_rows(values, width, rows, |acc, row| {
            for (a, &v) in acc.iter_mut().zip(row) {
                *a += f64::from(v);
            }
        });
        let mean: Vec<f64> = mean.into_iter().map(|s| s / n).collect();
        let square = sum_rows(values, width, rows, |acc, row| {
            for ((a, &v), m) in acc.iter_mut().zip(row).zip(&mean) {
                *a += (f64::from(v) - m).powi(2);
            }
        });
        let variance: Vec<f64> = square.into_iter().map(|s| s / n).collect();
        let varies = |v: f64, m: f64| v.sqrt() > 1e-6 * m.abs();
        let varying = variance.iter().zip(&mean).filter(|(v, m)| varies(**v, **m)).map(|(v, _)| *v);
        let n_varying = varying.clone().count();
        let common = varying.sum::<f64>() / n_varying.max(1) as f64;
        let inv_std = variance
            .iter()
            .zip(&mean)
            .map(|(&v, &m)| match scaling {
                _ if !varies(v, m) => 0.0,
                Scaling::Common => 1.0 / common.sqrt(),
                Scaling::PerFeature => 1.0 / v.sqrt(),
            })
            .collect();
        Scale { mean, inv_std }
    }
}

/// Blocks in parallel, their sums added in order: the same bits for any number of threads.
fn sum_rows(
    values: &[f32],
    width: usize,
    rows: &[Range<usize>],
    add: impl Fn(&mut [f64], &[f32]) + Sync,
) -> Vec<f64> {
    let parts: Vec<Vec<f64>> = blocks(rows, BLOCK_ROWS)
        .into_par_iter()
        .map(|block| {
            let mut acc = vec![0.0; width];
            for row in values[block.start * width..block.end * width].chunks_exact(width) {
                add(&mut acc, row);
            }
            acc
        })
        .collect();
    let mut total = vec![0.0; width];
    for part in &parts {
        for (t, p) in total.iter_mut().zip(part) {
            *t += p;
        }
    }
    total
}

/// Cuts ranges of rows into pieces of at most `n_max`.
pub(crate) fn blocks(rows: &[Range<usize>], n_max: usize) -> Vec<Range<usize>> {
    rows.iter()
        .flat_map(|r| r.clone().step_by(n_max).map(|start| start..(start + n_max).min(r.end)))
        .collect()
}
