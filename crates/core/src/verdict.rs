//! Did the transfer help?

use std::fmt;

use serde::{Deserialize, Serialize};

/// A 95 % interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "[f64; 2]", into = "[f64; 2]")]
pub struct Interval {
    /// Lower end.
    pub lo: f64,
    /// Upper end.
    pub hi: f64,
}

impl From<[f64; 2]> for Interval {
    fn from([lo, hi]: [f64; 2]) -> Self {
        Interval { lo, hi }
    }
}

impl From<Interval> for [f64; 2] {
    fn from(i: Interval) -> Self {
        [i.lo, i.hi]
    }
}

/// A model beside a baseline on the same test examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// The baseline: `majority`, `prevalence`, `mean`, `scratch`, …
    pub baseline: String,
    /// The baseline's metric.
    pub score: f64,
    /// The model's metric less the baseline's; for errors the baseline's less the model's, so that more is better.
    pub gain: f64,
    /// 95 % interval of the gain, from a bootstrap over the test examples that keeps both predictions paired.
    pub gain_ci95: Interval,
}

/// The answer, in the design's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// Better than every baseline, beyond doubt.
    #[serde(rename = "helped")]
    Helped,
    /// The test examples cannot tell.
    #[serde(rename = "no measurable gain")]
    NoMeasurableGain,
    /// Worse than a baseline, beyond doubt.
    #[serde(rename = "hurt")]
    Hurt,
}

impl Verdict {
    /// `hurt` if any gain's interval lies below 0; `helped` if all lie above; else the test cannot tell.
    ///
    /// ```
    /// use headstart_core::{Comparison, Verdict};
    /// let c = |lo, hi| Comparison {
    ///     baseline: "majority".into(), score: 0.5, gain: (lo + hi) / 2.0, gain_ci95: [lo, hi].into(),
    /// };
    /// assert_eq!(Verdict::of(&[c(0.1, 0.3), c(0.02, 0.2)]), Verdict::Helped);
    /// assert_eq!(Verdict::of(&[c(0.1, 0.3), c(-0.1, 0.2)]), Verdict::NoMeasurableGain);
    /// assert_eq!(Verdict::of(&[c(0.1, 0.3), c(-0.3, -0.2)]), Verdict::Hurt);
    /// ```
    pub fn of(comparisons: &[Comparison]) -> Self {
        if comparisons.iter().any(|c| c.gain_ci95.hi < 0.0) {
            Verdict::Hurt
        } else if !comparisons.is_empty() && comparisons.iter().all(|c| c.gain_ci95.lo > 0.0) {
            Verdict::Helped
        } else {
            Verdict::NoMeasurableGain
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verdict::Helped => "helped",
            Verdict::NoMeasurableGain => "no measurable gain",
            Verdict::Hurt => "hurt",
        })
    }
}
