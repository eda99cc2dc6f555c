//! Two predictors on the same test examples: only the examples where they differ say which is better.

use headstart_core::{Interval, Rng};
use rayon::prelude::*;

use crate::interval::{TAIL, bootstrap_counts, clopper_pearson, percentile};

/// 95 % interval of accuracy(a) − accuracy(b), from a bootstrap over examples that keeps both answers paired
/// (Efron, 1979), widened where the exact test of McNemar (1947) is less sure than the bootstrap.
///
/// With b₁₀ examples that only `a` gets right and b₀₁ that only `b` does, the gain is (b₁₀ − b₀₁)/n.  The percentile
/// bootstrap is too narrow when few examples differ: if all of three go one way no resample points the other way, yet a
/// fair coin does that one time in four.  So:
///
/// - no end is nearer to the gain than the exact one (Clopper and Pearson) for the share that `a` wins of the examples
///   that differ; an interval then excludes 0 only if McNemar's exact two-sided p is below 0.05;
/// - if none differ, the ends are ± the upper limit of the share that could differ without showing, 1 − 0.025^(1/n).
///
/// **Deviation:** neither is part of the bootstrap; `small_samples_are_not_overrated` pins them.
///
/// # Panics
/// If the lengths differ.
///
/// ```
/// // Of 40 examples, a gets 20 right that b does not, b 4 that a does not.
/// let a: Vec<bool> = (0..40).map(|i| i < 32).collect();
/// let b: Vec<bool> = (0..40).map(|i| i < 12 || i >= 36).collect();
/// let ci = headstart_trust::paired_gain(&a, &b, 2000, 0);
/// assert!(ci.lo > 0.1 && ci.lo < 0.3 && ci.hi > 0.5 && ci.hi < 0.7);
/// ```
pub fn paired_gain(correct_a: &[bool], correct_b: &[bool], n_resamples: usize, seed: u64) -> Interval {
    assert_eq!(correct_a.len(), correct_b.len(), "both must answer the same examples");
    let n = correct_a.len();
    if n == 0 {
        return Interval { lo: -1.0, hi: 1.0 };
    }
    let (n_a, n_b) = discordant(correct_a, correct_b);
    if n_a + n_b == 0 {
        let unseen = clopper_pearson(0, n).hi;
        return Interval { lo: -unseen, hi: unseen };
    }
    let difference: Vec<i32> =
        correct_a.iter().zip(correct_b).map(|(a, b)| i32::from(*a) - i32::from(*b)).collect();
    let mut gains: Vec<f64> = (0..n_resamples.max(1))
        .into_par_iter()
        .map(|r| {
            let mut rng = Rng::stream(seed, r as u64);
            f64::from((0..n).map(|_| difference[rng.below(n)]).sum::<i32>()) / n as f64
        })
        .collect();
    gains.sort_by(f64::total_cmp);
    // Given how many examples differ, the share that `a` wins is a share like any other.
    let share = clopper_pearson(n_a, n_a + n_b);
    let given = |share: f64| (2.0 * share - 1.0) * (n_a + n_b) as f64 / n as f64;
    Interval {
        lo: percentile(&gains, TAIL).min(given(share.lo)),
        hi: percentile(&gains, 1.0 - TAIL).max(given(share.hi)),
    }
}

/// 95 % interval of the difference of any measure between two predictors: `difference` is given how often each example was
/// drawn, so both are judged on the same draw.  The percentiles are [`bootstrap_counts`]'s.
///
/// ```
/// use headstart_core::{Metric, Scorer, Targets};
/// let truth = Targets::Number((0..50).map(f64::from).collect());
/// let near: Vec<f32> = (0..50).map(|i| i as f32 + 1.0 - (i % 3) as f32).collect();
/// let far = vec![24.5f32; 50];
/// let [a, b] = [&near, &far].map(|p| Scorer::new(Metric::Rmse, 1, p, &truth));
/// let ci = headstart_trust::paired_bootstrap(50, 2000, 0, |c| b.score(c) - a.score(c));
/// assert!(ci.lo > 10.0 && ci.hi < 17.0); // the errors' difference: 14.4 − 0.8
/// ```
pub fn paired_bootstrap(
    n: usize,
    n_resamples: usize,
    seed: u64,
    difference: impl Fn(&[u32]) -> f64 + Sync,
) -> Interval {
    bootstrap_counts(n, n_resamples, seed, difference)
}

/// Two-sided p of the exact test of McNemar (1947): could a fair coin have divided the examples on which two predictors
/// differ as unevenly?  `n_a`: those that only the first gets right; `n_b`: only the second.
///
/// ```
/// assert!((headstart_trust::mcnemar_p(3, 0) - 0.25).abs() < 1e-12);
/// assert_eq!(headstart_trust::mcnemar_p(5, 5), 1.0);
/// ```
pub fn mcnemar_p(n_a: usize, n_b: usize) -> f64 {
    let n = n_a + n_b;
    // log of C(n, i)/2ⁿ, built up term by term; in logs, because 2⁻ⁿ underflows at 1,075.
    let mut log_term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for i in 0..=n_a.min(n_b) {
        tail += log_term.exp();
        log_term += ((n - i) as f64).ln() - ((i + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// Examples that only the first gets right, and only the second.
fn discordant(a: &[bool], b: &[bool]) -> (usize, usize) {
    let count = |x: &[bool], y: &[bool]| x.iter().zip(y).filter(|(x, y)| **x && !**y).count();
    (count(a, b), count(b, a))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `n` examples of which only `a` gets the first `n_a`, only `b` the next `n_b`; both get the rest.
    fn pair(n: usize, n_a: usize, n_b: usize) -> (Vec<bool>, Vec<bool>) {
        let a = (0..n).map(|i| i < n_a || i >= n_a + n_b).collect();
        let b = (0..n).map(|i| i >= n_a).collect();
        (a, b)
    }

    #[test]
    fn small_samples_are_not_overrated() {
        for n_a in 1..=5 {
            let (a, b) = pair(20, n_a, 0);
            let ci = paired_gain(&a, &b, 2000, 0);
            assert!(ci.lo <= 0.0, "{n_a} to 0 may be chance, {ci:?}");
            let back = paired_gain(&b, &a, 2000, 0);
            assert!(back.hi >= 0.0);
        }
        let (a, b) = pair(20, 6, 0);
        assert!(paired_gain(&a, &b, 2000, 0).lo > 0.0, "6 to 0 is p = 0.031");
    }

    #[test]
    fn equal_answers_leave_the_doubt_of_what_was_not_seen() {
        let (a, b) = pair(10, 0, 0);
        let ci = paired_gain(&a, &b, 2000, 0);
        assert!((ci.hi - (1.0 - 0.025f64.powf(0.1))).abs() < 1e-9 && ci.lo == -ci.hi, "{ci:?}");
        assert_eq!(paired_gain(&[], &[], 10, 0), Interval { lo: -1.0, hi: 1.0 });
    }

    #[test]
    fn large_samples_agree_with_the_normal_interval() {
        let (a, b) = pair(2000, 300, 200);
        let ci = paired_gain(&a, &b, 4000, 1);
        let half = 1.96 * ((500.0 - 100.0f64.powi(2) / 2000.0).sqrt()) / 2000.0;
        assert!((ci.lo - (0.05 - half)).abs() < 2e-3 && (ci.hi - (0.05 + half)).abs() < 2e-3, "{ci:?}");
    }

    #[test]
    fn the_same_for_any_number_of_threads() {
        let (a, b) = pair(300, 40, 20);
        let run = |n| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            pool.install(|| paired_gain(&a, &b, 1000, 3))
        };
        assert_eq!(run(1), run(3));
    }
}
