//! What a classifier's predictions are worth.

use serde::{Deserialize, Serialize};

use super::mean_defined;
use super::ranking::Ranking;
use crate::reliability;

/// Measures of a classifier on labelled examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassificationMetrics {
    /// Examples judged.
    pub n: usize,
    /// Share of examples whose most probable class is theirs.
    pub accuracy: f64,
    /// Mean over classes of recall; classes without examples do not count.
    pub balanced_accuracy: f64,
    /// Mean over classes of F1 = 2·tp / (2·tp + fp + fn); classes that neither occur nor are predicted do not count.
    pub macro_f1: f64,
    /// Expected calibration error over 15 equal bins of the highest probability (Guo et al., 2017).
    pub ece: f64,
    /// Mean over classes of the area under the ROC curve, one class against the rest (scikit-learn's
    /// `multi_class="ovr"`); classes that no example or every example is of do not count.
    #[serde(default)]
    pub auroc: Option<f64>,
    /// Mean over the classes that occur of average precision, one class against the rest.
    #[serde(default)]
    pub average_precision: Option<f64>,
    /// `confusion[truth][prediction]`, counts.
    pub confusion: Vec<Vec<usize>>,
    /// By class.
    pub classes: Vec<ClassMetrics>,
}

/// Measures of one class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassMetrics {
    /// Its name.
    pub class: String,
    /// Examples that are of it.
    pub n: usize,
    /// Share of what was predicted as it that is it; 0 where nothing was predicted.
    pub precision: f64,
    /// Share of it that was predicted as it; 0 where it does not occur.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

impl ClassificationMetrics {
    /// Judges probabilities `[n, n_classes]`, row-major, against the true classes.  Of equal probabilities the first
    /// counts as the prediction.
    ///
    /// ```
    /// use headstart_core::ClassificationMetrics;
    /// let classes = ["cat".to_string(), "dog".to_string()];
    /// let m = ClassificationMetrics::of(&classes, &[0.9, 0.1, 0.6, 0.4, 0.2, 0.8], &[0, 1, 1]);
    /// assert_eq!(m.confusion, [[1, 0], [1, 1]]);
    /// assert!((m.accuracy - 2.0 / 3.0).abs() < 1e-12);
    /// assert!((m.balanced_accuracy - 0.75).abs() < 1e-12);
    /// ```
    pub fn of(classes: &[String], probabilities: &[f32], truth: &[usize]) -> Self {
        let k = classes.len();
        let n = truth.len();
        assert_eq!(probabilities.len(), n * k, "one probability for each class of each example");
        let mut confusion = vec![vec![0usize; k]; k];
        for (row, &t) in probabilities.chunks_exact(k.max(1)).zip(truth) {
            confusion[t][argmax(row)] += 1;
        }
        let share = |a: usize, b: usize| if b == 0 { 0.0 } else { a as f64 / b as f64 };
        let mut per_class = Vec::with_capacity(k);
        let (mut recalls, mut f1s) = (Vec::new(), Vec::new());
        for (c, class) in classes.iter().enumerate() {
            let tp = confusion[c][c];
            let actual: usize = confusion[c].iter().sum();
            let predicted: usize = confusion.iter().map(|row| row[c]).sum();
            let f1 = share(2 * tp, actual + predicted);
            if actual > 0 {
                recalls.push(share(tp, actual));
            }
            if actual + predicted > 0 {
                f1s.push(f1);
            }
            per_class.push(ClassMetrics {
                class: class.clone(),
                n: actual,
                precision: share(tp, predicted),
                recall: share(tp, actual),
                f1,
            });
        }
        let mean = |v: &[f64]| if v.is_empty() { 0.0 } else { v.iter().sum::<f64>() / v.len() as f64 };
        let rankings: Vec<(Option<f64>, Option<f64>)> = (0..k)
            .map(|c| {
                let ranking = Ranking::new(n, |i| probabilities[i * k + c], |i| truth[i] == c);
                (ranking.auroc(|_| 1), ranking.average_precision(|_| 1))
            })
            .collect();
        let right: usize = (0..k).map(|c| confusion[c][c]).sum();
        ClassificationMetrics {
            n,
            accuracy: share(right, n),
            balanced_accuracy: mean(&recalls),
            macro_f1: mean(&f1s),
            ece: reliability(k, probabilities, truth)
                .iter()
                .map(|b| b.n as f64 * (b.confidence - b.accuracy).abs())
                .sum::<f64>()
                / n.max(1) as f64,
            auroc: mean_defined(rankings.iter().map(|r| r.0)),
            average_precision: mean_defined(rankings.iter().map(|r| r.1)),
            confusion,
            classes: per_class,
        }
    }
}

/// Position of the largest value; the first of equals.
pub(crate) fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, v) in row.iter().enumerate() {
        if *v > row[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference: scikit-learn 1.7 `balanced_accuracy_score`, `f1_score(average="macro")` on these labels.
    #[test]
    fn agrees_with_scikit_learn() {
        let classes: Vec<String> = ["a", "b", "c"].map(String::from).to_vec();
        let truth = [0, 0, 0, 1, 1, 2, 2, 2, 2, 2];
        let predicted = [0, 0, 1, 1, 2, 2, 2, 2, 0, 1];
        let probabilities: Vec<f32> =
            predicted.iter().flat_map(|&p| (0..3).map(move |c| if c == p { 0.8 } else { 0.1 })).collect();
        let m = ClassificationMetrics::of(&classes, &probabilities, &truth);
        assert!((m.accuracy - 0.6).abs() < 1e-12);
        assert!((m.balanced_accuracy - 0.588_888_888_888_888_9).abs() < 1e-12);
        assert!((m.macro_f1 - 0.577_777_777_777_777_8).abs() < 1e-12);
        assert!((m.ece - 0.2).abs() < 1e-6);
    }
}
