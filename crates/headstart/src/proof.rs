//! The proof: the model beside what it must beat, on the test split, once.

use headstart_core::{Comparison, Dataset, Features, Interval, Metrics, Plan, Verdict};
use headstart_train::{LogisticFit, predict_proba};
use headstart_trust::{bootstrap, clopper_pearson, judge, majority};

use crate::Error;
use crate::fit::labels;
use crate::rival::Rival;

/// Resamples of every bootstrap.
const RESAMPLES: usize = 10_000;

/// What the test split said.
pub(crate) struct Proof {
    /// Positions of the judged examples.
    pub(crate) example_idx: Vec<usize>,
    pub(crate) truth: Vec<usize>,
    /// `[n, n_classes]` of the transferred network.
    pub(crate) probabilities: Vec<f32>,
    pub(crate) metrics: Metrics,
    pub(crate) accuracy_ci95: Interval,
    pub(crate) balanced_accuracy_ci95: Interval,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) verdict: Verdict,
    /// The class that the majority baseline always says.
    pub(crate) majority: usize,
}

impl Proof {
    /// Judges the head, the majority and the rival on the same examples.
    pub(crate) fn of(
        dataset: &Dataset,
        plan: &Plan,
        head: &LogisticFit,
        test: &Features,
        train_labels: &[usize],
        rival: Option<&mut Rival<'_>>,
    ) -> Result<Self, Error> {
        let k = dataset.classes.len();
        let truth = labels(dataset, &test.example_idx);
        let probabilities = predict_proba(test, &head.weight, &head.bias, k, false);
        let predicted = predictions(&probabilities, k);
        let majority = majority(train_labels).unwrap_or(0);
        let mut answers = vec![("majority", vec![majority; truth.len()])];
        if let Some(rival) = rival {
            answers.push(("scratch", predictions(&rival.predict(&test.example_idx)?, k)));
        }
        let baselines: Vec<(&str, &[usize])> = answers.iter().map(|(n, p)| (*n, p.as_slice())).collect();
        let (comparisons, verdict) = judge(&predicted, &baselines, &truth, RESAMPLES, plan.seed)?;
        let metrics = Metrics::of(&dataset.classes, &probabilities, &truth);
        let n_right = predicted.iter().zip(&truth).filter(|(p, t)| p == t).count();
        let balanced = |idx: &[usize]| balanced_accuracy(k, idx.iter().map(|&i| (truth[i], predicted[i])));
        Ok(Proof {
            accuracy_ci95: clopper_pearson(n_right, truth.len()),
            balanced_accuracy_ci95: bootstrap(truth.len(), RESAMPLES, plan.seed, balanced),
            example_idx: test.example_idx.clone(),
            truth,
            probabilities,
            metrics,
            comparisons,
            verdict,
            majority,
        })
    }

    /// The baseline with the highest score.
    pub(crate) fn best_baseline(&self) -> Option<&Comparison> {
        self.comparisons.iter().max_by(|a, b| a.score.total_cmp(&b.score))
    }
}

/// The most probable class of each row; the first of equals.
pub(crate) fn predictions(probabilities: &[f32], k: usize) -> Vec<usize> {
    probabilities
        .chunks_exact(k)
        .map(|row| (1..k).fold(0, |best, i| if row[i] > row[best] { i } else { best }))
        .collect()
}

fn balanced_accuracy(k: usize, pairs: impl Iterator<Item = (usize, usize)>) -> f64 {
    let mut counts = vec![(0usize, 0usize); k];
    for (t, p) in pairs {
        counts[t].0 += 1;
        counts[t].1 += usize::from(t == p);
    }
    let recalls: Vec<f64> = counts.iter().filter(|c| c.0 > 0).map(|c| c.1 as f64 / c.0 as f64).collect();
    recalls.iter().sum::<f64>() / recalls.len().max(1) as f64
}
