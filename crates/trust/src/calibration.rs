//! Do probabilities mean what they say?  The table behind a reliability diagram (Guo et al., 2017).
//!
//! The expected calibration error itself is `headstart_core::Metrics::ece`, over the same 15 bins.

/// Examples whose highest probability lies in `(lo, hi]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ReliabilityBin {
    /// Lower end, excluded (but 0 itself lies in the first bin).
    pub lo: f64,
    /// Upper end, included.
    pub hi: f64,
    /// Examples in it.
    pub n: usize,
    /// Their mean highest probability; 0 without examples.
    pub confidence: f64,
    /// Share of them that are right; 0 without examples.
    pub accuracy: f64,
}

const N_BINS: usize = 15;

/// The 15 bins of equal width, for probabilities `[n, n_classes]`, row-major.  Of equal probabilities the first counts as
/// the prediction, as in `Metrics`.
///
/// # Panics
/// If the lengths do not fit together.
///
/// ```
/// use headstart_core::Metrics;
/// let (p, truth) = ([0.9, 0.1, 0.6, 0.4, 0.38, 0.62], [0, 1, 1]);
/// let bins = headstart_trust::reliability(&p, &truth, 2);
/// let full: Vec<_> = bins.iter().filter(|b| b.n > 0).map(|b| (b.n, b.accuracy)).collect();
/// assert_eq!(full, [(2, 0.5), (1, 1.0)]);
/// // The weighted gaps add up to the expected calibration error.
/// let ece: f64 = bins.iter().map(|b| b.n as f64 / 3.0 * (b.confidence - b.accuracy).abs()).sum();
/// let classes = ["a".to_string(), "b".to_string()];
/// assert!((ece - Metrics::of(&classes, &p, &truth).ece).abs() < 1e-12);
/// ```
pub fn reliability(probabilities: &[f32], truth: &[usize], n_classes: usize) -> Vec<ReliabilityBin> {
    assert_eq!(
        probabilities.len(),
        truth.len() * n_classes,
        "one probability for each class of each example"
    );
    let mut sums = [(0usize, 0.0f64, 0usize); N_BINS];
    for (row, &t) in probabilities.chunks_exact(n_classes.max(1)).zip(truth) {
        let best = (0..n_classes).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        let confidence = f64::from(row[best]);
        let bin = ((confidence * N_BINS as f64).ceil() as usize).clamp(1, N_BINS) - 1;
        sums[bin].0 += 1;
        sums[bin].1 += confidence;
        sums[bin].2 += usize::from(best == t);
    }
    let mean = |sum: f64, n: usize| if n == 0 { 0.0 } else { sum / n as f64 };
    sums.iter()
        .enumerate()
        .map(|(i, &(n, confidence, n_right))| ReliabilityBin {
            lo: i as f64 / N_BINS as f64,
            hi: (i + 1) as f64 / N_BINS as f64,
            n,
            confidence: mean(confidence, n),
            accuracy: mean(n_right as f64, n),
        })
        .collect()
}
