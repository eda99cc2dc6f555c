//! Distribution alignment for pseudo-labels.

use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::fixmatch::rows;

/// Distribution alignment (ReMixMatch; Berthelot et al., 2020): predictions on unlabelled examples are pulled towards the
/// class frequencies of the labelled ones, so that one class does not swallow the others.
///
/// ```text
/// q̃ = normalise(q · p_labelled / p_model),   p_model = running mean of q
/// ```
///
/// It is state: a checkpoint must hold it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DistributionAlignment {
    wanted: Vec<f64>,
    /// None before the first batch.
    mean: Option<Vec<f64>>,
}

/// Share of the running mean that stays at a batch.
const ALIGNMENT_DECAY: f64 = 0.999;

impl DistributionAlignment {
    /// Towards the frequencies of these counts of labelled examples.
    pub fn new(class_counts: &[usize]) -> Self {
        let n = class_counts.iter().sum::<usize>().max(1) as f64;
        DistributionAlignment { wanted: class_counts.iter().map(|c| *c as f64 / n).collect(), mean: None }
    }

    /// Takes a batch `[n, n_classes]` into the running mean, then aligns it in place.
    ///
    /// # Errors
    /// If the probabilities do not make rows of as many classes as there were counts.
    ///
    /// ```
    /// use headstart_train::DistributionAlignment;
    /// let mut q = [0.8, 0.2];
    /// DistributionAlignment::new(&[5, 5]).align(&mut q)?;
    /// assert_eq!(q, [0.5, 0.5]); // The first batch is all that is known of the model.
    /// # Ok::<(), headstart_train::TrainError>(())
    /// ```
    pub fn align(&mut self, probabilities: &mut [f32]) -> Result<(), TrainError> {
        let k = self.wanted.len();
        let rows = rows(probabilities, k)?;
        if rows.len() == 0 {
            return Ok(());
        }
        let n = rows.len() as f64;
        let mut batch = vec![0.0; k];
        rows.for_each(|row| batch.iter_mut().zip(row).for_each(|(m, p)| *m += f64::from(*p) / n));
        let mean = match self.mean.take() {
            None => batch,
            Some(mean) => {
                let moved = |(m, b): (f64, f64)| ALIGNMENT_DECAY * m + (1.0 - ALIGNMENT_DECAY) * b;
                mean.into_iter().zip(batch).map(moved).collect()
            }
        };
        for row in probabilities.chunks_exact_mut(k) {
            let aligned: Vec<f64> = row
                .iter()
                .zip(self.wanted.iter().zip(&mean))
                .map(|(p, (wanted, mean))| f64::from(*p) * wanted / mean.max(1e-6))
                .collect();
            let sum: f64 = aligned.iter().sum();
            // Only a class without labelled examples was possible: nothing to align to.
            if sum > 0.0 {
                row.iter_mut().zip(aligned).for_each(|(p, a)| *p = (a / sum) as f32);
            }
        }
        self.mean = Some(mean);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_that_swallows_the_others_gives_back() {
        let mut alignment = DistributionAlignment::new(&[10, 30]);
        let mut total = [0.0; 2];
        for step in 0..50 {
            let p = 0.85 + 0.1 * (step % 3) as f32 / 2.0;
            let mut q = [p, 1.0 - p, p - 0.2, 1.2 - p];
            alignment.align(&mut q).unwrap();
            for row in q.chunks(2) {
                assert!((row[0] + row[1] - 1.0).abs() < 1e-6);
                total.iter_mut().zip(row).for_each(|(t, q)| *t += q / 100.0);
            }
            // The order of rows by certainty stays.
            assert!(q[0] > q[2]);
        }
        // 0.8 before.  Rows are normalised one by one, so the mean comes near the wanted 0.25, not to it.
        assert!(total[0] > 0.25 && total[0] < 0.4, "{total:?}");
    }

    #[test]
    fn state_survives_a_checkpoint_and_no_batch_breaks_it() {
        let mut one = DistributionAlignment::new(&[1, 2, 3]);
        one.align(&mut [0.2, 0.5, 0.3]).unwrap();
        let json = serde_json::to_string(&one).unwrap();
        let mut two: DistributionAlignment = serde_json::from_str(&json).unwrap();
        let (mut q, mut r) = ([0.6, 0.3, 0.1], [0.6, 0.3, 0.1]);
        one.align(&mut q).unwrap();
        two.align(&mut r).unwrap();
        assert_eq!(q, r);
        assert!(one.align(&mut [0.5, 0.5]).is_err());
        one.align(&mut []).unwrap();
        let mut impossible = [1.0, 0.0];
        DistributionAlignment::new(&[0, 5]).align(&mut impossible).unwrap();
        assert_eq!(impossible, [1.0, 0.0]);
    }
}
