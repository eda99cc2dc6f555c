//! Numbers in a few numbers.

use serde::{Deserialize, Serialize};

/// How some numbers are spread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct NumberSummary {
    /// How many.
    pub n: usize,
    /// The smallest.
    pub min: f64,
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation.
    pub std: f64,
    /// The largest.
    pub max: f64,
}

impl NumberSummary {
    /// Of some numbers; none if there are none.
    ///
    /// ```
    /// let s = headstart_core::NumberSummary::of(&[1.0, 5.0]).expect("two numbers");
    /// assert_eq!((s.min, s.mean, s.std, s.max), (1.0, 3.0, 2.0, 5.0));
    /// ```
    pub fn of(values: &[f64]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        Some(NumberSummary {
            n: values.len(),
            min: values.iter().copied().reduce(f64::min)?,
            mean,
            std: (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt(),
            max: values.iter().copied().reduce(f64::max)?,
        })
    }
}
