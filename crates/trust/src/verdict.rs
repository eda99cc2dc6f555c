//! Did the transfer help?  The model beside each thing it must beat, on the same test examples.

use headstart_core::{Comparison, Verdict};

use crate::{TrustError, paired_gain};

/// Compares a model's accuracy with that of each baseline.
///
/// `model` and the baselines are predicted classes, one a test example; `truth` the true ones.  Baselines come with their
/// names.  The intervals are [`paired_gain`]'s, the verdict [`Verdict::of`]'s.
///
/// # Errors
/// If there are no test examples, or somebody answered a different number of them.
///
/// ```
/// use headstart_trust::{judge, majority};
/// let truth: Vec<usize> = (0..30).map(|i| i % 3).collect();
/// let commonest = vec![majority(&[0, 0, 1, 2]).unwrap_or(0); 30];
/// let (comparisons, verdict) = judge(&truth, &[("majority", &commonest)], &truth, 2000, 0)?;
/// assert_eq!(verdict.to_string(), "helped");
/// assert!((comparisons[0].gain - 2.0 / 3.0).abs() < 1e-12);
/// # Ok::<(), headstart_trust::TrustError>(())
/// ```
pub fn judge(
    model: &[usize],
    baselines: &[(&str, &[usize])],
    truth: &[usize],
    n_resamples: usize,
    seed: u64,
) -> Result<(Vec<Comparison>, Verdict), TrustError> {
    if truth.is_empty() {
        return Err(TrustError::Empty);
    }
    let correct = |who: &str, predicted: &[usize]| {
        if predicted.len() != truth.len() {
            let (got, want) = (predicted.len(), truth.len());
            return Err(TrustError::LengthMismatch { who: who.to_owned(), got, want });
        }
        Ok(predicted.iter().zip(truth).map(|(p, t)| p == t).collect::<Vec<bool>>())
    };
    let accuracy = |c: &[bool]| c.iter().filter(|c| **c).count() as f64 / c.len() as f64;
    let of_model = correct("the model", model)?;
    let comparisons = baselines
        .iter()
        .map(|&(name, predicted)| {
            let of_baseline = correct(name, predicted)?;
            let score = accuracy(&of_baseline);
            Ok(Comparison {
                baseline: name.to_owned(),
                score,
                gain: accuracy(&of_model) - score,
                gain_ci95: paired_gain(&of_model, &of_baseline, n_resamples, seed),
            })
        })
        .collect::<Result<Vec<_>, _>>()?;
    let verdict = Verdict::of(&comparisons);
    Ok((comparisons, verdict))
}

/// The most frequent class of the *training* labels, what the simplest baseline always says; of equals the first class.
/// None without labels.
///
/// ```
/// assert_eq!(headstart_trust::majority(&[2, 1, 1, 2, 0]), Some(1));
/// assert_eq!(headstart_trust::majority(&[]), None);
/// ```
pub fn majority(train_labels: &[usize]) -> Option<usize> {
    let mut sorted = train_labels.to_vec();
    sorted.sort_unstable();
    let runs: Vec<&[usize]> = sorted.chunk_by(|a, b| a == b).collect();
    let longest = runs.iter().map(|run| run.len()).max()?;
    runs.iter().find(|run| run.len() == longest).map(|run| run[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worse_model_hurts_and_an_equal_one_cannot_be_told() {
        let truth = vec![0; 100];
        let half: Vec<usize> = (0..100).map(|i| i % 2).collect();
        let (comparisons, verdict) =
            judge(&half, &[("majority", &truth), ("scratch", &half)], &truth, 2000, 0).unwrap();
        assert_eq!(verdict, Verdict::Hurt);
        assert_eq!((comparisons[0].score, comparisons[0].gain, comparisons[1].gain), (1.0, -0.5, 0.0));
        let (_, verdict) = judge(&half, &[("scratch", &half)], &truth, 2000, 0).unwrap();
        assert_eq!(verdict, Verdict::NoMeasurableGain);
    }

    #[test]
    fn refusals_name_what_they_saw() {
        let error = judge(&[0, 1], &[("scratch", &[0])], &[0, 1], 10, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "scratch made 1 predictions for 2 test examples: all must judge the same examples"
        );
        assert_eq!(judge(&[], &[], &[], 10, 0), Err(TrustError::Empty));
    }
}
