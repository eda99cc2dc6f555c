//! The proof: the model beside what it must beat, on the test split, once.

use headstart_core::{Comparison, Dataset, Interval, Metrics, Plan, Targets, Verdict};
use headstart_trust::{Judgement, Simplest, judge};

use crate::Error;

/// Resamples of every bootstrap.
pub(crate) const RESAMPLES: usize = 10_000;

/// What the test split said.
pub(crate) struct Proof {
    /// Positions of the judged examples.
    pub(crate) example_idx: Vec<usize>,
    pub(crate) truth: Targets,
    /// `[n, n_outputs]` of the transferred network: probabilities or numbers.
    pub(crate) outputs: Vec<f32>,
    pub(crate) metrics: Metrics,
    /// Of the plan's metric.
    pub(crate) score: f64,
    pub(crate) score_ci95: Interval,
    pub(crate) comparisons: Vec<Comparison>,
    pub(crate) verdict: Verdict,
}

impl Proof {
    /// Judges outputs `[n, n_outputs]` for some examples beside the simplest baseline and what others, by name, said of
    /// them.
    pub(crate) fn of(
        dataset: &Dataset,
        plan: &Plan,
        example_idx: &[usize],
        outputs: Vec<f32>,
        train: &Targets,
        others: &[(&'static str, Vec<f32>)],
    ) -> Result<Self, Error> {
        let (k, truth) = (dataset.n_outputs(), dataset.targets(example_idx));
        let simplest = Simplest::of(train, k);
        let constant = simplest.predict(truth.len());
        let mut baselines: Vec<(&str, &[f32])> = vec![(simplest.name, &constant)];
        baselines.extend(others.iter().map(|(name, outputs)| (*name, outputs.as_slice())));
        let Judgement { score, score_ci95, comparisons, verdict } =
            judge(plan.metric, k, &outputs, &baselines, &truth, RESAMPLES, plan.seed)?;
        let metrics = Metrics::of(&dataset.classes, &outputs, &truth);
        let example_idx = example_idx.to_vec();
        Ok(Proof { example_idx, truth, outputs, metrics, score, score_ci95, comparisons, verdict })
    }

    /// The baseline over which the gain is smallest.
    pub(crate) fn best_baseline(&self) -> Option<&Comparison> {
        self.comparisons.iter().min_by(|a, b| a.gain.total_cmp(&b.gain))
    }
}

/// The most probable class of each row; the first of equals.
pub(crate) fn predictions(probabilities: &[f32], k: usize) -> Vec<usize> {
    probabilities.chunks_exact(k).map(most_probable).collect()
}

/// Position of the highest; the first of equals.
pub(crate) fn most_probable(row: &[f32]) -> usize {
    (1..row.len()).fold(0, |best, i| if row[i] > row[best] { i } else { best })
}

/// All measures by name, for programs: the task's metrics, and what else a classifier has.
pub(crate) fn measures(metrics: &Metrics) -> std::collections::BTreeMap<String, f64> {
    let mut all: std::collections::BTreeMap<String, f64> =
        metrics.all().into_iter().map(|(metric, value)| (metric.to_string(), value)).collect();
    match metrics {
        Metrics::Classification(m) => all.insert("ece".into(), m.ece),
        Metrics::MultiLabel(m) => all.insert("exact_match".into(), m.exact_match),
        Metrics::Regression(m) => all.insert("bias".into(), m.bias),
    };
    all
}
