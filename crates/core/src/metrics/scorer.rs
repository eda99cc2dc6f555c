//! One measure, computed again and again under changing weights: what a bootstrap needs.

use super::ranking::Ranking;
use super::regression::Sums;
use super::{Metric, argmax, mean_defined, multi_label::THRESHOLD};
use crate::Targets;

/// A measure of fixed outputs and targets.  All that does not depend on how often an example counts, such as sorting, is
/// done once.
///
/// ```
/// use headstart_core::{Metric, Scorer, Targets};
/// let truth = Targets::Class(vec![0, 1, 1]);
/// let scorer = Scorer::new(Metric::Accuracy, 2, &[0.9, 0.1, 0.6, 0.4, 0.2, 0.8], &truth);
/// assert_eq!(scorer.score(&[1, 1, 1]), 2.0 / 3.0);
/// assert_eq!(scorer.score(&[2, 0, 1]), 1.0); // drawn twice, not at all, once
/// ```
pub struct Scorer<'a> {
    metric: Metric,
    n_classes: usize,
    kind: Kind<'a>,
}

enum Kind<'a> {
    /// True and predicted class of each example.
    Answers(Vec<(usize, usize)>),
    /// By label and example: does it apply, is it said to?
    Labels(Vec<(bool, bool)>),
    /// By class.
    Rankings(Vec<Ranking>),
    Numbers(&'a [f32], &'a [f64]),
}

impl<'a> Scorer<'a> {
    /// Prepares `metric` for outputs `[n, n_outputs]`, row-major.
    ///
    /// # Panics
    /// If the metric is not one of the targets' task ([`Metric::of_task`]), or the outputs do not fit the targets.
    pub fn new(metric: Metric, n_outputs: usize, outputs: &'a [f32], truth: &'a Targets) -> Self {
        let (n, k) = (truth.len(), n_outputs);
        assert_eq!(outputs.len(), n * k, "one output for each class of each example");
        assert!(Metric::of_task(truth.task()).contains(&metric), "{} has no {metric}", truth.task());
        let has = |i: usize, c: usize| truth.classes_of(i).contains(&c);
        let kind = match (metric, truth) {
            (_, Targets::Number(truth)) => Kind::Numbers(outputs, truth),
            (Metric::Auroc | Metric::AveragePrecision, _) => Kind::Rankings(
                (0..k).map(|c| Ranking::new(n, |i| outputs[i * k + c], |i| has(i, c))).collect(),
            ),
            (_, Targets::Class(truth)) => {
                Kind::Answers(truth.iter().copied().zip(outputs.chunks_exact(k).map(argmax)).collect())
            }
            (_, Targets::Classes(_)) => Kind::Labels(
                (0..k)
                    .flat_map(|c| (0..n).map(move |i| (i, c)))
                    .map(|(i, c)| (has(i, c), outputs[i * k + c] >= THRESHOLD))
                    .collect(),
            ),
        };
        Scorer { metric, n_classes: k, kind }
    }

    /// The measure when example `i` counts `counts[i]` times.  Where the examples that count do not define it, the score
    /// of chance: 0, for the area under the ROC curve 0.5.
    pub fn score(&self, counts: &[u32]) -> f64 {
        let weight = |i: usize| u64::from(counts[i]);
        match &self.kind {
            Kind::Numbers(predicted, truth) => {
                let sums = Sums::of(predicted, truth, |i| f64::from(counts[i]));
                let n = sums.n.max(1.0);
                match self.metric {
                    Metric::Mae => sums.absolute / n,
                    Metric::R2 => sums.r2(),
                    _ => (sums.squared / n).sqrt(),
                }
            }
            Kind::Rankings(rankings) if self.metric == Metric::Auroc => {
                mean_defined(rankings.iter().map(|r| r.auroc(weight))).unwrap_or(0.5)
            }
            Kind::Rankings(rankings) => {
                mean_defined(rankings.iter().map(|r| r.average_precision(weight))).unwrap_or(0.0)
            }
            Kind::Answers(answers) => self.of_answers(answers, counts),
            Kind::Labels(labels) => {
                let f1 = |label: &[(bool, bool)]| {
                    let (mut tp, mut all) = (0, 0);
                    for (i, &(has, said)) in label.iter().enumerate() {
                        tp += weight(i) * u64::from(has && said);
                        all += weight(i) * (u64::from(has) + u64::from(said));
                    }
                    (all > 0).then(|| 2.0 * tp as f64 / all as f64)
                };
                mean_defined(labels.chunks_exact(counts.len().max(1)).map(f1)).unwrap_or(0.0)
            }
        }
    }

    fn of_answers(&self, answers: &[(usize, usize)], counts: &[u32]) -> f64 {
        let k = self.n_classes;
        // By class: right, occurring, predicted.
        let mut by_class = vec![(0u64, 0u64, 0u64); k];
        for (&(t, p), &w) in answers.iter().zip(counts) {
            let w = u64::from(w);
            by_class[t].0 += w * u64::from(t == p);
            by_class[t].1 += w;
            by_class[p].2 += w;
        }
        let share = |a: u64, b: u64| (b > 0).then(|| a as f64 / b as f64);
        let score = match self.metric {
            Metric::BalancedAccuracy => mean_defined(by_class.iter().map(|c| share(c.0, c.1))),
            Metric::MacroF1 => mean_defined(by_class.iter().map(|c| share(2 * c.0, c.1 + c.2))),
            _ => share(by_class.iter().map(|c| c.0).sum(), by_class.iter().map(|c| c.1).sum()),
        };
        score.unwrap_or(0.0)
    }
}
