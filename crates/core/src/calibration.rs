//! Do probabilities mean what they say?  The table behind a reliability diagram and the expected calibration error (Guo,
//! Pleiss, Sun and Weinberger, 2017).

use serde::{Deserialize, Serialize};

use crate::metrics::argmax;

const N_BINS: usize = 15;

/// Examples whose highest probability lies in one of 15 equal bins.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Mean of their highest probabilities.
    pub confidence: f64,
    /// Share of them that were right.
    pub accuracy: f64,
    /// How many.
    pub n: usize,
}

/// Bins examples by their highest probability; empty bins are left out.
///
/// `probabilities` are `[n, n_classes]`, row-major.  Of equal probabilities the first counts as the prediction.
///
/// ```
/// use headstart_core::reliability;
/// let bins = reliability(2, &[0.9, 0.1, 0.1, 0.9, 0.55, 0.45], &[0, 0, 0]);
/// assert_eq!(bins.len(), 2);
/// assert_eq!((bins[0].n, bins[0].accuracy), (1, 1.0));
/// assert_eq!((bins[1].n, bins[1].accuracy), (2, 0.5));
/// ```
pub fn reliability(n_classes: usize, probabilities: &[f32], truth: &[usize]) -> Vec<ReliabilityBin> {
    let mut bins = [(0usize, 0.0f64, 0usize); N_BINS];
    for (row, &t) in probabilities.chunks_exact(n_classes.max(1)).zip(truth) {
        let p = argmax(row);
        let confidence = f64::from(row[p]);
        let bin = &mut bins[((confidence * N_BINS as f64).ceil() as usize).clamp(1, N_BINS) - 1];
        *bin = (bin.0 + 1, bin.1 + confidence, bin.2 + usize::from(p == t));
    }
    let mean = |(n, confidence, right): (usize, f64, usize)| ReliabilityBin {
        confidence: confidence / n as f64,
        accuracy: right as f64 / n as f64,
        n,
    };
    bins.into_iter().filter(|b| b.0 > 0).map(mean).collect()
}
