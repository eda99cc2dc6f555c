//! Weights that let rare classes count as much as frequent ones.

use serde::{Deserialize, Serialize};

use crate::TrainError;

/// How much each class counts in the loss.
///
/// ```
/// use headstart_train::ClassWeights;
/// let inverse = ClassWeights::Inverse.weights(&[90, 10])?;
/// assert!((inverse[0] - 0.556).abs() < 1e-3 && inverse[1] == 5.0);
/// let effective = ClassWeights::EffectiveNumber { beta: 0.9 }.weights(&[90, 10])?;
/// assert!((effective[1] / effective[0] - 1.535).abs() < 1e-3);
/// # Ok::<(), headstart_train::TrainError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// Every example counts the same.
    #[default]
    None,
    /// n / (classes · n of the class): scikit-learn's `balanced`.
    Inverse,
    /// By the effective number of examples (Cui et al., 2019): (1 − β) / (1 − β^n of the class), scaled so that the weights
    /// sum to the number of classes.  β = 0 weighs all alike, β → 1 by the inverse frequency.
    EffectiveNumber {
        /// 0 up to 1, which is not included.  The paper: 0.9, 0.99, 0.999 or 0.9999.
        beta: f64,
    },
}

impl ClassWeights {
    /// A weight for each class, given how many examples it has.  A class without examples gets 0 and is not counted.
    ///
    /// # Errors
    /// If β is outside its range.
    pub fn weights(&self, counts: &[usize]) -> Result<Vec<f64>, TrainError> {
        let n_classes = counts.iter().filter(|n| **n > 0).count() as f64;
        let n: usize = counts.iter().sum();
        let of_seen = |weight: &dyn Fn(f64) -> f64| -> Vec<f64> {
            counts.iter().map(|&c| if c == 0 { 0.0 } else { weight(c as f64) }).collect()
        };
        match *self {
            ClassWeights::None => Ok(of_seen(&|_| 1.0)),
            ClassWeights::Inverse => Ok(of_seen(&|c| n as f64 / (n_classes * c))),
            ClassWeights::EffectiveNumber { beta } if (0.0..1.0).contains(&beta) => {
                // expm1, because 1 − β^n loses its digits as β nears 1.
                let raw = of_seen(&|c| (1.0 - beta) / -(c * beta.ln()).exp_m1());
                let sum: f64 = raw.iter().sum();
                Ok(raw.into_iter().map(|w| w * n_classes / sum.max(f64::MIN_POSITIVE)).collect())
            }
            ClassWeights::EffectiveNumber { beta } => Err(TrainError::OutOfRange {
                name: "beta of the class weights",
                value: beta,
                allowed: "0 up to 1",
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: &[f64], want: &[f64]) {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!((g - w).abs() < 1e-9 * w.abs().max(1.0), "{got:?}, not {want:?}");
        }
    }

    /// scikit-learn 1.9: `compute_class_weight("balanced", ...)`; and `1 - np.power(beta, n)` as the paper's code has it.
    #[test]
    fn agrees_with_scikit_learn_and_the_paper_s_code() {
        let counts = [5000, 300, 20, 1];
        let inverse = ClassWeights::Inverse.weights(&counts).unwrap();
        close(&inverse, &[0.26605, 4.434_166_666_666_667, 66.5125, 1330.25]);
        let effective = ClassWeights::EffectiveNumber { beta: 0.999 }.weights(&counts).unwrap();
        let paper =
            [0.003_815_894_490_593_688, 0.014_617_625_26, 0.191_319_043_754_036_2, 3.790_247_436_495_37];
        close(&effective, &paper);
    }

    #[test]
    fn limits_of_beta_and_empty_classes() {
        let weights = |beta| ClassWeights::EffectiveNumber { beta }.weights(&[40, 0, 10]);
        close(&weights(0.0).unwrap(), &[1.0, 0.0, 1.0]);
        let inverse = weights(1.0 - 1e-12).unwrap();
        assert!((inverse[2] / inverse[0] - 4.0).abs() < 1e-9, "{inverse:?}");
        assert!(weights(1.0).is_err() && weights(f64::NAN).is_err() && weights(-0.1).is_err());
        close(&ClassWeights::None.weights(&[3, 0]).unwrap(), &[1.0, 0.0]);
        assert!(ClassWeights::Inverse.weights(&[]).unwrap().is_empty());
    }
}
