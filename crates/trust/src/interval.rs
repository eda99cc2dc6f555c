//! 95 % intervals of one measure.

use headstart_core::{Interval, Rng};
use rayon::prelude::*;
use statrs::distribution::{Beta, ContinuousCDF};

/// Half of what a 95 % interval leaves out.
pub(crate) const TAIL: f64 = 0.025;
/// 97.5 % quantile of the normal distribution.
const Z: f64 = 1.959_963_984_540_054;

/// Exact interval of a share of `n`, such as accuracy (Clopper & Pearson, 1934): at least 95 % coverage at any `n`.
///
/// The ends are the 2.5 % quantile of Beta(k, n−k+1) and the 97.5 % quantile of Beta(k+1, n−k).  With `n` = 0 nothing is
/// known: 0 to 1.
///
/// # Panics
/// If `n_right > n`.
///
/// ```
/// let ci = headstart_trust::clopper_pearson(42, 48); // 0.875 of 48 test pictures
/// assert!((ci.lo - 0.747_539).abs() < 1e-6 && (ci.hi - 0.952_716).abs() < 1e-6);
/// ```
pub fn clopper_pearson(n_right: usize, n: usize) -> Interval {
    assert!(n_right <= n, "{n_right} of {n} cannot be right");
    let quantile = |a: usize, b: usize, q: f64| {
        Beta::new(a as f64, b as f64).expect("both shapes are 1 or more").inverse_cdf(q)
    };
    Interval {
        lo: if n_right == 0 { 0.0 } else { quantile(n_right, n - n_right + 1, TAIL) },
        hi: if n_right == n { 1.0 } else { quantile(n_right + 1, n - n_right, 1.0 - TAIL) },
    }
}

/// Approximate interval of a share (Wilson, 1927): narrower than the exact one, 95 % on average instead of at least.
///
/// # Panics
/// If `n_right > n`.
///
/// ```
/// let ci = headstart_trust::wilson(0, 10);
/// assert!(ci.lo == 0.0 && (ci.hi - 0.277_533).abs() < 1e-6);
/// ```
pub fn wilson(n_right: usize, n: usize) -> Interval {
    assert!(n_right <= n, "{n_right} of {n} cannot be right");
    if n == 0 {
        return Interval { lo: 0.0, hi: 1.0 };
    }
    let (p, n) = (n_right as f64 / n as f64, n as f64);
    let centre = (p + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    // At the ends both formulas are exact, up to rounding.
    Interval {
        lo: if p == 0.0 { 0.0 } else { (centre - half).max(0.0) },
        hi: if p == 1.0 { 1.0 } else { (centre + half).min(1.0) },
    }
}

/// Interval of any measure over test examples, by the percentile bootstrap (Efron, 1979).
///
/// `metric` is given positions of examples, drawn with replacement, as many as there are.  Resample r draws from a stream
/// of its own, so the result does not depend on the number of threads.
///
/// When every resample scores the same (everything right, say), the bootstrap sees no doubt where there is some: use
/// [`clopper_pearson`] for shares.
///
/// ```
/// let values = [0.2, 0.9, 0.4, 0.7, 0.5, 0.6, 0.3, 0.8];
/// let mean = |idx: &[usize]| idx.iter().map(|&i| values[i]).sum::<f64>() / idx.len() as f64;
/// let ci = headstart_trust::bootstrap(values.len(), 2000, 0, mean);
/// assert!(ci.lo > 0.35 && ci.lo < 0.45 && ci.hi > 0.65 && ci.hi < 0.75);
/// ```
pub fn bootstrap(
    n: usize,
    n_resamples: usize,
    seed: u64,
    metric: impl Fn(&[usize]) -> f64 + Sync,
) -> Interval {
    let mut scores: Vec<f64> = (0..n_resamples.max(1))
        .into_par_iter()
        .map_init(
            || vec![0usize; n],
            |idx, r| {
                let mut rng = Rng::stream(seed, r as u64);
                idx.iter_mut().for_each(|i| *i = rng.below(n));
                metric(idx)
            },
        )
        .collect();
    scores.sort_by(f64::total_cmp);
    Interval { lo: percentile(&scores, TAIL), hi: percentile(&scores, 1.0 - TAIL) }
}

/// Linear between neighbours, like NumPy's default.
pub(crate) fn percentile(sorted: &[f64], q: f64) -> f64 {
    let at = q * (sorted.len() - 1) as f64;
    let (below, part) = (at.floor() as usize, at.fract());
    let above = (below + 1).min(sorted.len() - 1);
    sorted[below] + part * (sorted[above] - sorted[below])
}
