//! What a model's labels are worth, where an example may have several.

use serde::{Deserialize, Serialize};

use super::mean_defined;
use super::ranking::Ranking;

/// A label is said to apply from this probability on.
pub(crate) const THRESHOLD: f32 = 0.5;

/// Measures of labels on examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MultiLabelMetrics {
    /// Examples judged.
    pub n: usize,
    /// Mean average precision: the mean over the labels that occur.  None if none does.
    pub average_precision: Option<f64>,
    /// Mean area under the ROC curve, over the labels that occur on some examples and not on all.
    pub auroc: Option<f64>,
    /// Mean over labels of F1 at a probability of 0.5; labels that neither occur nor are predicted do not count.
    pub macro_f1: f64,
    /// Share of examples whose labels at 0.5 are all right and complete.
    pub exact_match: f64,
    /// By label.
    pub labels: Vec<LabelMetrics>,
}

/// Measures of one label.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelMetrics {
    /// Its name.
    pub class: String,
    /// Examples that have it.
    pub n: usize,
    /// Its average precision.
    pub average_precision: Option<f64>,
    /// Its area under the ROC curve.
    pub auroc: Option<f64>,
    /// Share of what was said to have it that has it; 0 where nothing was.
    pub precision: f64,
    /// Share of what has it that was said to; 0 where nothing has it.
    pub recall: f64,
    /// Harmonic mean of the two.
    pub f1: f64,
}

impl MultiLabelMetrics {
    /// Judges probabilities `[n, n_labels]`, row-major, each between 0 and 1 on its own.
    ///
    /// ```
    /// use headstart_core::MultiLabelMetrics;
    /// let labels = ["cat".to_string(), "dog".to_string()];
    /// let m = MultiLabelMetrics::of(&labels, &[0.9, 0.8, 0.6, 0.1, 0.2, 0.7], &[vec![0], vec![0], vec![1]]);
    /// assert_eq!(m.average_precision, Some(0.75)); // cat 1, dog 1/2: the first picture ranks above the dog
    /// assert_eq!(m.exact_match, 2.0 / 3.0);
    /// ```
    pub fn of(classes: &[String], probabilities: &[f32], truth: &[Vec<usize>]) -> Self {
        let (n, k) = (truth.len(), classes.len());
        assert_eq!(probabilities.len(), n * k, "one probability for each label of each example");
        let share = |a: usize, b: usize| if b == 0 { 0.0 } else { a as f64 / b as f64 };
        let labels: Vec<LabelMetrics> = (0..k)
            .map(|c| {
                let score = |i: usize| probabilities[i * k + c];
                let has = |i: usize| truth[i].contains(&c);
                let ranking = Ranking::new(n, score, has);
                let count = |f: &dyn Fn(usize) -> bool| (0..n).filter(|&i| f(i)).count();
                let said = count(&|i| score(i) >= THRESHOLD);
                let actual = count(&has);
                let tp = count(&|i| score(i) >= THRESHOLD && has(i));
                LabelMetrics {
                    class: classes[c].clone(),
                    n: actual,
                    average_precision: ranking.average_precision(|_| 1),
                    auroc: ranking.auroc(|_| 1),
                    precision: share(tp, said),
                    recall: share(tp, actual),
                    f1: share(2 * tp, said + actual),
                }
            })
            .collect();
        let matches =
            |i: &usize| (0..k).all(|c| (probabilities[i * k + c] >= THRESHOLD) == truth[*i].contains(&c));
        let said = |c: usize| (0..n).any(|i| probabilities[i * k + c] >= THRESHOLD);
        MultiLabelMetrics {
            n,
            average_precision: mean_defined(labels.iter().map(|l| l.average_precision)),
            auroc: mean_defined(labels.iter().map(|l| l.auroc)),
            macro_f1: mean_defined(
                labels.iter().enumerate().map(|(c, l)| (l.n > 0 || said(c)).then_some(l.f1)),
            )
            .unwrap_or(0.0),
            exact_match: share((0..n).filter(matches).count(), n),
            labels,
        }
    }
}
