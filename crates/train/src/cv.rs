//! What heads share about choosing the strength of a penalty by cross-validation.

use headstart_core::Features;

use crate::TrainError;

/// Strengths in a row that may be worse than the best before the path ends: the curve has one valley.
pub(crate) const N_WORSE_MAX: usize = 2;

/// One strength, judged on held-out rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CvPoint {
    /// The strength λ.
    pub l2: f64,
    /// Mean loss over held-out rows, weighted like the fit: −ln of the true class's probability, the sum of that over the
    /// labels (nats), or the squared error.
    pub loss: f64,
    /// Standard deviation of the folds' mean losses.
    pub loss_std: f64,
    /// Share of held-out answers that are right: classes, or single labels at 0.5; none for numbers.
    pub accuracy: Option<f64>,
}

/// Candidates from strong to weak, each once.
pub(crate) fn strengths(candidates: &[f64]) -> Result<Vec<f64>, TrainError> {
    if let Some(&got) = candidates.iter().find(|l2| !l2.is_finite() || **l2 <= 0.0) {
        return Err(TrainError::BadStrength { got });
    }
    let mut path = candidates.to_vec();
    path.sort_by(|a, b| b.total_cmp(a));
    path.dedup();
    if path.is_empty() { Err(TrainError::NoStrength) } else { Ok(path) }
}

/// The position with the lowest loss; the strongest of equals.
pub(crate) fn best(points: &[CvPoint]) -> usize {
    (0..points.len()).fold(0, |best, i| if points[i].loss < points[best].loss { i } else { best })
}

/// Standard deviation.
pub(crate) fn std_of(values: &[f64]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// Refuses features that no head can be fitted on, and lists that do not fit them.
pub(crate) fn check(features: &Features, n_targets: usize, groups: Option<&[u64]>) -> Result<(), TrainError> {
    let (n_rows, width) = (features.len(), features.width);
    if n_rows == 0 || width == 0 {
        return Err(TrainError::Empty { n_rows, width });
    }
    let lengths = [
        ("labels", n_targets),
        ("groups", groups.map_or(n_rows, <[u64]>::len)),
        ("vectors", features.values.len() / width),
    ];
    if let Some(&(what, got)) = lengths.iter().find(|(_, got)| *got != n_rows) {
        return Err(TrainError::LengthMismatch { what, got, n_rows });
    }
    match features.values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(i) => Err(TrainError::NotFinite {
            row: i / width,
            example_idx: features.example_idx[i / width],
            feature_idx: i % width,
            value: features.values[i],
        }),
    }
}
