//! FixMatch (Sohn et al., 2020): what the network is sure of in a weak view of an unlabelled example, it must also say of a
//! strong view.
//!
//! ```text
//! loss = CE(labelled batch of B) + λᵤ · 1/(μB) · Σᵢ 1[max qᵢ ≥ τ] · CE(strong view i, argmax qᵢ),   qᵢ of its weak view, without gradient
//! ```
//!
//! These are the rules, without a network: the loop that trains asks them which examples, which labels, which weights.

use headstart_core::Rng;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::permutation::Permutation;

/// The paper's settings.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FixMatchSpec {
    /// τ: the least probability at which a prediction becomes a label.
    pub threshold: f64,
    /// μ: unlabelled examples for each labelled one of a batch.
    pub n_unlabelled_per_labelled: usize,
    /// λᵤ: how much the unlabelled part of the loss counts.
    pub unlabelled_weight: f64,
}

impl Default for FixMatchSpec {
    /// τ = 0.95, μ = 7, λᵤ = 1.
    fn default() -> Self {
        FixMatchSpec { threshold: 0.95, n_unlabelled_per_labelled: 7, unlabelled_weight: 1.0 }
    }
}

/// What a network's predictions on weak views say of unlabelled examples.
#[derive(Debug, Clone, PartialEq)]
pub struct PseudoLabels {
    /// The most probable class of each.
    pub label_idx: Vec<usize>,
    /// Its probability.
    pub confidence: Vec<f32>,
    /// Whether it reaches the threshold.
    pub kept: Vec<bool>,
}

impl FixMatchSpec {
    /// Refuses settings that mean nothing.
    ///
    /// # Errors
    /// [`TrainError::OutOfRange`] names the setting.
    pub fn check(&self) -> Result<(), TrainError> {
        let refuse = |name, value, allowed| Err(TrainError::OutOfRange { name, value, allowed });
        if !(0.0..=1.0).contains(&self.threshold) {
            return refuse("confidence threshold", self.threshold, "0 to 1");
        }
        if !(1..=1000).contains(&self.n_unlabelled_per_labelled) {
            let value = self.n_unlabelled_per_labelled as f64;
            return refuse("unlabelled examples for each labelled one", value, "1 to 1,000");
        }
        if !(self.unlabelled_weight.is_finite() && self.unlabelled_weight >= 0.0) {
            return refuse("weight of the unlabelled loss", self.unlabelled_weight, "0 and above");
        }
        Ok(())
    }

    /// Positions of the unlabelled examples of one step: μ for each of `n_labelled` labelled ones.  Passes follow one
    /// another in another order each, and a batch may span two; so every example is met equally often, and any step can be
    /// computed without those before it.  Empty if there are no unlabelled examples.
    ///
    /// ```
    /// use headstart_train::FixMatchSpec;
    /// let spec = FixMatchSpec { n_unlabelled_per_labelled: 2, ..FixMatchSpec::default() };
    /// let mut pass: Vec<usize> = (0..3).flat_map(|step| spec.unlabelled_batch(step, 2, 12, 1)).collect();
    /// pass.sort_unstable();
    /// assert!(pass.into_iter().eq(0..12));
    /// ```
    pub fn unlabelled_batch(
        &self,
        step: u64,
        n_labelled: usize,
        n_unlabelled: usize,
        seed: u64,
    ) -> Vec<usize> {
        let n = n_unlabelled as u64;
        if n == 0 {
            return Vec::new();
        }
        let size = (n_labelled * self.n_unlabelled_per_labelled) as u64;
        let key = Rng::named(seed, "unlabelled").next_u64();
        let at = |i: u64| Permutation::new(n, Rng::stream(key, i / n).next_u64()).at(i % n) as usize;
        (step * size..(step + 1) * size).map(at).collect()
    }

    /// Labels for the unlabelled, from probabilities `[n, n_classes]` of their weak views.
    ///
    /// # Errors
    /// If the probabilities do not make rows, or one is not a number.
    ///
    /// ```
    /// use headstart_train::FixMatchSpec;
    /// let made = FixMatchSpec::default().pseudo_labels(&[0.02, 0.98, 0.6, 0.4], 2)?;
    /// assert_eq!((made.label_idx, made.kept), (vec![1, 0], vec![true, false]));
    /// # Ok::<(), headstart_train::TrainError>(())
    /// ```
    pub fn pseudo_labels(&self, weak: &[f32], n_classes: usize) -> Result<PseudoLabels, TrainError> {
        let rows = rows(weak, n_classes)?;
        let mut made = PseudoLabels { label_idx: Vec::new(), confidence: Vec::new(), kept: Vec::new() };
        for (row, p) in rows.enumerate() {
            if let Some(class_idx) = p.iter().position(|p| !p.is_finite()) {
                let value = p[class_idx];
                return Err(TrainError::NotFinite { row, example_idx: row, feature_idx: class_idx, value });
            }
            // The first of equals.
            let best = (0..n_classes).fold(0, |best, c| if p[c] > p[best] { c } else { best });
            made.label_idx.push(best);
            made.confidence.push(p[best]);
            made.kept.push(f64::from(p[best]) >= self.threshold);
        }
        Ok(made)
    }
}

/// `[n, n_classes]` row by row.
pub(crate) fn rows(values: &[f32], n_classes: usize) -> Result<std::slice::ChunksExact<'_, f32>, TrainError> {
    if n_classes == 0 || !values.len().is_multiple_of(n_classes) {
        return Err(TrainError::LengthMismatch {
            what: "probabilities",
            got: values.len(),
            n_rows: values.len() / n_classes.max(1),
        });
    }
    Ok(values.chunks_exact(n_classes))
}

impl PseudoLabels {
    /// Share of examples that have a label: how far the network has come.
    pub fn kept_share(&self) -> f64 {
        let n_kept = self.kept.iter().filter(|k| **k).count();
        n_kept as f64 / self.kept.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests;
