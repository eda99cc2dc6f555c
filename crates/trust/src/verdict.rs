//! Did the transfer help?  The model beside each thing it must beat, on the same test examples.

use headstart_core::{Comparison, Interval, Metric, Scorer, Targets, Verdict};

use crate::{TrustError, bootstrap_counts, clopper_pearson, paired_bootstrap, paired_gain};

/// What the test examples say of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The model's measure.
    pub score: f64,
    /// Its 95 % interval.
    pub score_ci95: Interval,
    /// The model beside each baseline.
    pub comparisons: Vec<Comparison>,
    /// Whether it beat them.
    pub verdict: Verdict,
}

/// Compares a model with baselines by one measure.
///
/// `model` and the baselines are outputs `[n, n_outputs]`, row-major: probabilities of classes or labels, or numbers.
/// Baselines come with their names.  A gain above 0 is for the model, also where the measure is an error.
///
/// For accuracy the intervals are exact where the bootstrap is too sure: [`clopper_pearson`]'s of the score,
/// [`paired_gain`]'s of the gains.  For every other measure they come from the bootstrap over test examples that keeps the
/// predictors paired: [`bootstrap_counts`], [`paired_bootstrap`].  The verdict is [`Verdict::of`]'s.
///
/// # Errors
/// If there are no test examples, or somebody answered a different number of them.
///
/// # Panics
/// If the measure is not one of the targets' task.
///
/// ```
/// use headstart_core::{Metric, Targets};
/// use headstart_trust::{Simplest, judge};
/// let truth = Targets::Class((0..30).map(|i| i % 3).collect());
/// let sure = truth.rows(3).values;
/// let simplest = Simplest::of(&Targets::Class(vec![0, 0, 1, 2]), 3);
/// let constant = simplest.predict(30);
/// let judged = judge(Metric::Accuracy, 3, &sure, &[(simplest.name, &constant)], &truth, 2000, 0)?;
/// assert_eq!(judged.verdict.to_string(), "helped");
/// assert!((judged.comparisons[0].gain - 2.0 / 3.0).abs() < 1e-12);
/// # Ok::<(), headstart_trust::TrustError>(())
/// ```
pub fn judge(
    metric: Metric,
    n_outputs: usize,
    model: &[f32],
    baselines: &[(&str, &[f32])],
    truth: &Targets,
    n_resamples: usize,
    seed: u64,
) -> Result<Judgement, TrustError> {
    let n = truth.len();
    if n == 0 {
        return Err(TrustError::Empty);
    }
    let fits = |who: &str, outputs: &[f32]| {
        let got = outputs.len() / n_outputs.max(1);
        if got != n {
            return Err(TrustError::LengthMismatch { who: who.to_owned(), got, want: n });
        }
        Ok(())
    };
    fits("the model", model)?;
    baselines.iter().try_for_each(|(name, outputs)| fits(name, outputs))?;
    let ones = vec![1; n];
    let of_model = Scorer::new(metric, n_outputs, model, truth);
    let score = of_model.score(&ones);
    let comparisons: Vec<Comparison> = baselines
        .iter()
        .map(|&(name, outputs)| {
            let of_baseline = Scorer::new(metric, n_outputs, outputs, truth);
            let other = of_baseline.score(&ones);
            let gain_ci95 = match correct(metric, n_outputs, model, truth) {
                Some(model) => {
                    let baseline = correct(metric, n_outputs, outputs, truth).unwrap_or_default();
                    paired_gain(&model, &baseline, n_resamples, seed)
                }
                None => paired_bootstrap(n, n_resamples, seed, |counts| {
                    metric.gain(of_model.score(counts), of_baseline.score(counts))
                }),
            };
            Comparison { baseline: name.to_owned(), score: other, gain: metric.gain(score, other), gain_ci95 }
        })
        .collect();
    let verdict = Verdict::of(&comparisons);
    let score_ci95 = score_interval(metric, n_outputs, model, truth, n_resamples, seed);
    Ok(Judgement { score, score_ci95, comparisons, verdict })
}

/// 95 % interval of a measure of outputs `[n, n_outputs]`: exact for accuracy, else from the bootstrap.
///
/// ```
/// use headstart_core::{Metric, Targets};
/// let truth = Targets::Class(vec![0, 1, 1, 0]);
/// let outputs = truth.rows(2).values;
/// let ci = headstart_trust::score_interval(Metric::Accuracy, 2, &outputs, &truth, 100, 0);
/// assert_eq!(ci, headstart_trust::clopper_pearson(4, 4));
/// ```
pub fn score_interval(
    metric: Metric,
    n_outputs: usize,
    outputs: &[f32],
    truth: &Targets,
    n_resamples: usize,
    seed: u64,
) -> Interval {
    match correct(metric, n_outputs, outputs, truth) {
        Some(correct) => clopper_pearson(correct.iter().filter(|c| **c).count(), correct.len()),
        None => {
            let scorer = Scorer::new(metric, n_outputs, outputs, truth);
            bootstrap_counts(truth.len(), n_resamples, seed, |counts| scorer.score(counts))
        }
    }
}

/// Which examples are right, if accuracy is the measure.
fn correct(metric: Metric, n_outputs: usize, outputs: &[f32], truth: &Targets) -> Option<Vec<bool>> {
    let (Metric::Accuracy, Targets::Class(truth)) = (metric, truth) else { return None };
    let best = |row: &[f32]| (0..row.len()).fold(0, |best, c| if row[c] > row[best] { c } else { best });
    Some(outputs.chunks_exact(n_outputs.max(1)).zip(truth).map(|(row, t)| best(row) == *t).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_hot(classes: &[usize]) -> Vec<f32> {
        Targets::Class(classes.to_vec()).rows(2).values
    }

    #[test]
    fn a_worse_model_hurts_and_an_equal_one_cannot_be_told() {
        let truth = Targets::Class(vec![0; 100]);
        let right = one_hot(&[0; 100]);
        let half = one_hot(&(0..100).map(|i| i % 2).collect::<Vec<_>>());
        let baselines: [(&str, &[f32]); 2] = [("majority", &right), ("scratch", &half)];
        let judged = judge(Metric::Accuracy, 2, &half, &baselines, &truth, 2000, 0).unwrap();
        assert_eq!((judged.verdict, judged.score), (Verdict::Hurt, 0.5));
        let c = &judged.comparisons;
        assert_eq!((c[0].score, c[0].gain, c[1].gain), (1.0, -0.5, 0.0));
        let judged = judge(Metric::Accuracy, 2, &half, &baselines[1..], &truth, 2000, 0).unwrap();
        assert_eq!(judged.verdict, Verdict::NoMeasurableGain);
    }

    #[test]
    fn a_smaller_error_is_a_gain() {
        let truth = Targets::Number((0..40).map(f64::from).collect());
        let near: Vec<f32> = (0..40).map(|i| i as f32 + 0.5 * (i % 3) as f32).collect();
        let mean = vec![19.5f32; 40];
        for (metric, want) in [(Metric::Rmse, 10.0), (Metric::Mae, 9.0), (Metric::R2, 0.9)] {
            let judged = judge(metric, 1, &near, &[("mean", &mean)], &truth, 1000, 0).unwrap();
            assert!(judged.comparisons[0].gain > want, "{metric}: {judged:?}");
            assert_eq!(judged.verdict, Verdict::Helped);
            let judged = judge(metric, 1, &mean, &[("near", &near)], &truth, 1000, 0).unwrap();
            assert_eq!(judged.verdict, Verdict::Hurt);
        }
    }

    #[test]
    fn few_numbers_do_not_settle_it() {
        // Better on two of three examples by a little, worse on one by a little less.
        let truth = Targets::Number(vec![0.0, 0.0, 0.0]);
        let judged =
            judge(Metric::Mae, 1, &[0.5, 0.5, 0.9], &[("mean", &[1.0, 1.0, 0.7])], &truth, 2000, 0).unwrap();
        assert_eq!(judged.verdict, Verdict::NoMeasurableGain);
        assert!(judged.comparisons[0].gain > 0.0 && judged.comparisons[0].gain_ci95.lo < 0.0);
    }

    #[test]
    fn refusals_name_what_they_saw() {
        let truth = Targets::Class(vec![0, 1]);
        let both = one_hot(&[0, 1]);
        let error = judge(Metric::Accuracy, 2, &both, &[("scratch", &both[..2])], &truth, 10, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "scratch made 1 predictions for 2 test examples: all must judge the same examples"
        );
        assert_eq!(
            judge(Metric::Accuracy, 2, &[], &[], &Targets::Class(vec![]), 10, 0),
            Err(TrustError::Empty)
        );
    }

    #[test]
    fn the_same_for_any_number_of_threads() {
        let truth = Targets::Classes((0..60).map(|i| if i % 3 == 0 { vec![0] } else { vec![1] }).collect());
        let outputs: Vec<f32> = (0..120).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
        let constant = [0.3, 0.7].repeat(60);
        let run = |n| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n).build().unwrap();
            let baselines: [(&str, &[f32]); 1] = [("prevalence", &constant)];
            pool.install(|| judge(Metric::AveragePrecision, 2, &outputs, &baselines, &truth, 500, 3))
        };
        assert_eq!(run(1), run(3));
    }
}
