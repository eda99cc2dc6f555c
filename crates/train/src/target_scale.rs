//! Numbers as a network likes to learn them: centred, of unit spread, and turned back inside the network.

use headstart_core::{TargetRows, Targets};

/// Mean and spread of the numbers that are learned from.  A network of random or transferred weights puts out numbers
/// around 0 of size 1, and the losses' and optimisers' defaults are made for those.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TargetScale {
    /// Their mean.
    pub mean: f64,
    /// Their standard deviation; 1 if they do not vary.
    pub std: f64,
}

impl TargetScale {
    /// Of training targets; leaves classes and labels as they are.
    ///
    /// ```
    /// use headstart_core::Targets;
    /// use headstart_train::TargetScale;
    /// let targets = Targets::Number(vec![10.0, 14.0]);
    /// let scale = TargetScale::of(&targets);
    /// assert_eq!((scale.mean, scale.std), (12.0, 2.0));
    /// assert_eq!(scale.rows(&targets, 1).values, [-1.0, 1.0]);
    /// // ŷ = std·(w·x + b) + mean, written into the last layer.
    /// let (mut weight, mut bias) = ([0.5f32], [0.25f32]);
    /// scale.undo(&mut weight, &mut bias);
    /// assert_eq!((weight, bias), ([1.0], [12.5]));
    /// ```
    pub fn of(targets: &Targets) -> Self {
        let Targets::Number(values) = targets else { return TargetScale { mean: 0.0, std: 1.0 } };
        let n = values.len().max(1) as f64;
        let mean = values.iter().sum::<f64>() / n;
        let std = (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt();
        TargetScale { mean, std: if std > 0.0 && std.is_finite() { std } else { 1.0 } }
    }

    /// Targets as rows for a loss, numbers standardised.
    pub fn rows(&self, targets: &Targets, n_outputs: usize) -> TargetRows {
        match targets {
            Targets::Number(values) => TargetRows {
                width: 1,
                values: values.iter().map(|v| ((v - self.mean) / self.std) as f32).collect(),
            },
            other => other.rows(n_outputs),
        }
    }

    /// Makes the last linear layer put out numbers of the original unit.
    pub fn undo(&self, weight: &mut [f32], bias: &mut [f32]) {
        weight.iter_mut().for_each(|w| *w = (f64::from(*w) * self.std) as f32);
        bias.iter_mut().for_each(|b| *b = (f64::from(*b) * self.std + self.mean) as f32);
    }
}
