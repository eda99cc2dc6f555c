//! How far numbers are from the truth.

use serde::{Deserialize, Serialize};

/// Measures of predicted numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegressionMetrics {
    /// Examples judged.
    pub n: usize,
    /// Mean absolute error, `mean |y − ŷ|`, in the target's unit.
    pub mae: f64,
    /// Root of the mean squared error, `√ mean (y − ŷ)²`, in the target's unit.
    pub rmse: f64,
    /// Share of the variance explained, `1 − Σ(y − ŷ)² / Σ(y − ȳ)²`; below 0 if the mean of the judged targets would do
    /// better.  Where they do not vary: 1 if all are met, else 0.
    pub r2: f64,
    /// Mean of `ŷ − y`: above 0 where predictions are too high on the whole.
    pub bias: f64,
}

impl RegressionMetrics {
    /// Judges predictions against the truth.
    ///
    /// ```
    /// use headstart_core::RegressionMetrics;
    /// let m = RegressionMetrics::of(&[1.0, 3.0, 3.0], &[1.0, 2.0, 5.0]);
    /// assert!((m.rmse - (5.0f64 / 3.0).sqrt()).abs() < 1e-12 && (m.bias + 1.0 / 3.0).abs() < 1e-12);
    /// ```
    pub fn of(predicted: &[f32], truth: &[f64]) -> Self {
        assert_eq!(predicted.len(), truth.len(), "one prediction an example");
        let sums = Sums::of(predicted, truth, |_| 1.0);
        let n = sums.n.max(1.0);
        RegressionMetrics {
            n: truth.len(),
            mae: sums.absolute / n,
            rmse: (sums.squared / n).sqrt(),
            r2: sums.r2(),
            bias: sums.error / n,
        }
    }
}

/// Weighted sums from which every measure follows.
pub(super) struct Sums {
    pub(super) n: f64,
    pub(super) absolute: f64,
    pub(super) squared: f64,
    error: f64,
    total: f64,
}

impl Sums {
    pub(super) fn of(predicted: &[f32], truth: &[f64], weight: impl Fn(usize) -> f64) -> Self {
        let mut s = Sums { n: 0.0, absolute: 0.0, squared: 0.0, error: 0.0, total: 0.0 };
        let mut sum = 0.0;
        for (i, (p, t)) in predicted.iter().zip(truth).enumerate() {
            let (w, error) = (weight(i), f64::from(*p) - t);
            s.n += w;
            s.absolute += w * error.abs();
            s.squared += w * error * error;
            s.error += w * error;
            sum += w * t;
        }
        // In a second pass: the difference of two large sums would lose what a small variance is.
        let mean = sum / s.n.max(1.0);
        s.total = truth.iter().enumerate().map(|(i, t)| weight(i) * (t - mean).powi(2)).sum();
        s
    }

    pub(super) fn r2(&self) -> f64 {
        match (self.total > 0.0, self.squared > 0.0) {
            (true, _) => 1.0 - self.squared / self.total,
            (false, true) => 0.0,
            (false, false) => 1.0,
        }
    }
}
