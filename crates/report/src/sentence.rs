//! The verdict in words.

use headstart_core::{Comparison, Interval, Metric, Plan, Verdict};

use crate::number::{counted, score as value};

/// One sentence that holds the verdict and its grounds.
///
/// ```
/// # use headstart_core::*;
/// # let plan = Plan { modality: Modality::Image, task: Task::Classification, metric: Metric::Accuracy, recipe: "probe".into(), source: "s".into(), tap: "t".into(),
/// #     feature_width: 2, classes: vec!["a".into(), "b".into()], seed: 0,
/// #     split: SplitPlan { given: true, seed: 0, n_train: 9, n_valid: 0, n_test: 4 },
/// #     precision: Default::default(),
/// #     head: HeadPlan { kind: Default::default(), scaling: Default::default(), l2_candidates: vec![], n_folds: 2, class_weights: false },
/// #     training: None, baseline: None, unused_weights: vec![], groups: vec![], notes: vec![] };
/// let majority = Comparison { baseline: "majority".into(), score: 0.5, gain: 0.5, gain_ci95: [0.1, 0.8].into() };
/// let sentence = headstart_report::verdict_sentence(
///     Verdict::Helped, 1.0, [0.51, 1.0].into(), &[majority], &plan, 4,
/// );
/// assert_eq!(
///     sentence,
///     "Transfer helped: 1.000 of 4 test examples right [0.510–1.000], against 0.500 for always guessing the largest class."
/// );
/// ```
pub fn verdict_sentence(
    verdict: Verdict,
    score: f64,
    score_ci95: Interval,
    comparisons: &[Comparison],
    plan: &Plan,
    n_test: usize,
) -> String {
    let share = |x| value(plan.metric, x);
    let opening = match verdict {
        Verdict::Helped => "Transfer helped",
        Verdict::NoMeasurableGain => "No measurable gain",
        Verdict::Hurt => "Transfer hurt",
    };
    let rivals: Vec<String> =
        comparisons.iter().map(|c| format!("{} for {}", share(c.score), rival(&c.baseline, plan))).collect();
    let against = match rivals.as_slice() {
        [] => String::new(),
        [one] => format!(", against {one}"),
        [most @ .., last] => format!(", against {} and {last}", most.join(", ")),
    };
    let doubt = match verdict {
        _ if comparisons.is_empty() => " Nothing was there to compare it with.",
        Verdict::NoMeasurableGain => {
            " The test examples are too few, or the gain too small, to tell them apart."
        }
        _ => "",
    };
    let examples = counted(n_test, "test example");
    let measured = match plan.metric {
        Metric::Accuracy => format!("{} of {examples} right", share(score)),
        metric => format!("{} {} on {examples}", metric.words(), share(score)),
    };
    format!("{opening}: {measured} [{}–{}]{against}.{doubt}", share(score_ci95.lo), share(score_ci95.hi))
}

/// A baseline within a sentence.
fn rival(baseline: &str, plan: &Plan) -> String {
    match (baseline, &plan.baseline) {
        ("majority", _) => "always guessing the largest class".into(),
        ("prevalence", _) => "always saying how frequent each label is".into(),
        ("mean", _) => "always saying the mean".into(),
        ("scratch", Some(b)) => {
            format!("the same network trained from random weights for {}", counted(b.n_passes, "pass"))
        }
        ("scratch", None) => "the same network trained from random weights".into(),
        ("source", _) => "the source as it was".into(),
        (other, _) => other.into(),
    }
}

/// A baseline as the name of a row.
pub(crate) fn baseline_label(baseline: &str) -> &str {
    match baseline {
        "majority" => "Always the largest class",
        "prevalence" => "Always each label's frequency",
        "mean" => "Always the mean",
        "scratch" => "Same network, random weights",
        "source" => "Source as it was",
        other => other,
    }
}
