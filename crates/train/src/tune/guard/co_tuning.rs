//! Co-Tuning: the source's old head is trained on too, towards what it said of each new class on average (You et al., 2020,
//! *Co-Tuning for Transfer Learning*).
//!
//! ```text
//! p(s | y) = mean over examples x of class y of softmax(source(x))_s
//! loss + λ·cross-entropy(source head, p(· | y))
//! ```
//!
//! **Deviation:** the relation is the paper's direct one; its other one, learned in reverse from a calibrated source, needs a
//! validation set of the source.

use headstart_core::{Array, TargetRows, Targets, Values};
use headstart_engine::{Device, EngineTensor, Loss, add_scaled};

/// What the source says of each class: mean probabilities `[n_classes, source classes]` from its logits `[n, source
/// classes]` on the examples.
///
/// ```
/// use headstart_core::{Array, Targets};
/// let logits = Array::f32(&[3, 2], vec![0.0, 0.0, 50.0, 0.0, 0.0, 50.0]);
/// let rows = headstart_train::relation(&logits, &Targets::Class(vec![0, 0, 1]), 2);
/// let near = |want: [f32; 4]| rows.values.iter().zip(want).all(|(r, w)| (r - w).abs() < 1e-6);
/// assert!(near([0.75, 0.25, 0.0, 1.0]));
/// ```
pub fn relation(logits: &Array, targets: &Targets, n_classes: usize) -> TargetRows {
    let Values::F32(values) = &logits.values else { unreachable!("logits are f32") };
    let width = logits.shape[1];
    let (mut sums, mut counts) = (vec![0.0f64; n_classes * width], vec![0usize; n_classes]);
    for (i, row) in values.chunks_exact(width).enumerate() {
        let mut p: Vec<f64> = row.iter().map(|&v| f64::from(v)).collect();
        crate::softmax(&mut p);
        for &class in targets.classes_of(i) {
            counts[class] += 1;
            sums[class * width..(class + 1) * width].iter_mut().zip(&p).for_each(|(s, p)| *s += p);
        }
    }
    let values = sums.iter().enumerate().map(|(i, s)| (s / counts[i / width].max(1) as f64) as f32).collect();
    TargetRows { width, values }
}

/// The relation's rows for some examples; mixed examples get mixed rows.
pub(super) fn rows(relation: &TargetRows, targets: &TargetRows) -> TargetRows {
    let width = relation.width;
    let mut values = vec![0.0f32; targets.len() * width];
    for (row, out) in targets.values.chunks_exact(targets.width).zip(values.chunks_exact_mut(width)) {
        for (share, related) in row.iter().zip(relation.values.chunks_exact(width)) {
            out.iter_mut().zip(related).for_each(|(o, r)| *o += share * r);
        }
    }
    TargetRows { width, values }
}

/// Adds the term.
pub(super) fn add(
    loss: EngineTensor,
    source_logits: EngineTensor,
    rows: &TargetRows,
    strength: f64,
    device: &Device,
) -> EngineTensor {
    let cross_entropy = Loss::CrossEntropy { label_smoothing: 0.0, class_weights: None };
    add_scaled(loss, cross_entropy.value(source_logits, rows, device), strength)
}
