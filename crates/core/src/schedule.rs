//! How the learning rate changes over the steps.

use serde::{Deserialize, Serialize};

/// A course of the learning rate over the steps of a run, as a multiple of its highest value.
///
/// ```
/// use headstart_core::Schedule;
/// let linear = Schedule::Linear { warmup: 0.1 };
/// assert_eq!(linear.at(10, 100), 1.0);
/// assert!((linear.at(55, 100) - 0.5).abs() < 1e-12);
/// assert!(linear.at(0, 100) > 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Schedule {
    /// Always the same.
    Constant,
    /// Linear rise over the share `warmup` of the steps, then straight down to 0.
    Linear {
        /// Share of the steps, 0 to 1.
        warmup: f64,
    },
    /// Linear rise, then half a cosine down to 0 (Loshchilov and Hutter, 2017).
    Cosine {
        /// Share of the steps, 0 to 1.
        warmup: f64,
    },
    /// One cycle (Smith and Topin, 2018): half a cosine from 1/25 up over 30 % of the steps, then one down to 0.
    OneCycle,
}

impl Schedule {
    /// The multiple at `step` of `n_steps`, counted from 0.
    pub fn at(self, step: usize, n_steps: usize) -> f64 {
        let half_cosine = |from: f64, to: f64, t: f64| {
            to + (from - to) * 0.5 * (1.0 + (std::f64::consts::PI * t.clamp(0.0, 1.0)).cos())
        };
        let (s, n) = (step as f64, n_steps.max(1) as f64);
        match self {
            Schedule::Constant => 1.0,
            Schedule::Linear { warmup } | Schedule::Cosine { warmup } => {
                let rise = (warmup * n).floor();
                if s < rise {
                    return (s + 1.0) / (rise + 1.0);
                }
                let t = (s - rise) / (n - rise).max(1.0);
                if matches!(self, Schedule::Linear { .. }) { 1.0 - t } else { half_cosine(1.0, 0.0, t) }
            }
            Schedule::OneCycle => {
                let rise = (0.3 * n).max(1.0);
                if s < rise {
                    half_cosine(0.04, 1.0, s / rise)
                } else {
                    half_cosine(1.0, 0.0, (s - rise) / (n - rise).max(1.0))
                }
            }
        }
    }
}
