//! The convex head of a task: which one is fitted, and what it says.

use headstart_core::{Features, HeadKind, HeadPlan, Progress, Targets, Task};
use rayon::prelude::*;

use crate::cv::CvPoint;
use crate::predict::{dot, softmax};
use crate::{
    Distance, LogisticSpec, PrototypeFit, PrototypeSpec, RidgeSpec, TrainError, fit, fit_labels,
    fit_prototypes, fit_ridge,
};

/// A fitted head.
#[derive(Debug, Clone, PartialEq)]
pub struct HeadFit {
    /// `[n_outputs, width]`, for raw features: the standardisation is folded in.  outputs = W·x + b, where x has been
    /// divided by its norm if the specification said `normalise`.
    pub weight: Vec<f32>,
    /// `[n_outputs]`.
    pub bias: Vec<f32>,
    /// The strength chosen.
    pub l2: f64,
    /// What cross-validation said of the strengths it tried, strongest first; empty if there was none.
    pub cv: Vec<CvPoint>,
    /// Iterations of the last fit, on all rows; 0 for a closed form.
    pub n_iterations: usize,
    /// Whether every entry of the last fit's gradient came below the goal.
    pub converged: bool,
    /// What a person should know: why there was no cross-validation, or fewer folds than asked for.
    pub notes: Vec<String>,
}

/// Fits the head that a plan asks for: multinomial logistic regression for classes ([`fit`]), one logistic regression a
/// label ([`fit_labels`]), ridge regression for numbers ([`fit_ridge`]).
///
/// # Errors
/// See [`TrainError`].
pub fn fit_head(
    features: &Features,
    targets: &Targets,
    n_outputs: usize,
    groups: Option<&[u64]>,
    plan: &HeadPlan,
    seed: u64,
    progress: Progress<'_>,
) -> Result<HeadFit, TrainError> {
    let logistic = LogisticSpec {
        l2_candidates: plan.l2_candidates.clone(),
        n_folds: plan.n_folds,
        class_weights: plan.class_weights,
        normalise: false,
        scaling: plan.scaling,
        seed,
    };
    match targets {
        Targets::Class(labels) if plan.kind == HeadKind::Prototype => {
            // Nearest centroid by squared distance is a linear head; the cosine would need a norm before it.
            let spec = PrototypeSpec { distance: Distance::Euclidean, temperature: None };
            let PrototypeFit { weight, bias, notes, .. } =
                fit_prototypes(features, labels, n_outputs, &spec)?;
            Ok(HeadFit { weight, bias, l2: 0.0, cv: Vec::new(), n_iterations: 0, converged: true, notes })
        }
        Targets::Class(labels) => fit(features, labels, n_outputs, groups, &logistic, progress),
        Targets::Classes(labels) => fit_labels(features, labels, n_outputs, groups, &logistic, progress),
        Targets::Number(values) => {
            let spec = RidgeSpec {
                l2_candidates: plan.l2_candidates.clone(),
                n_folds: plan.n_folds,
                scaling: plan.scaling,
                seed,
            };
            fit_ridge(features, values, groups, &spec, progress)
        }
    }
}

/// What a head says of each row, `[rows, n_outputs]`: probabilities of the classes, probabilities of the labels, or
/// numbers.  Computed in 64 bits.
///
/// # Panics
/// If the lengths do not fit together.
///
/// ```
/// use headstart_core::{Features, Task};
/// let features = Features { width: 1, example_idx: vec![0], values: vec![2.0] };
/// assert_eq!(headstart_train::predict_head(Task::Regression, &features, &[3.0], &[1.0]), [7.0]);
/// assert_eq!(headstart_train::predict_head(Task::MultiLabel, &features, &[0.0], &[0.0]), [0.5]);
/// ```
pub fn predict_head(task: Task, features: &Features, weight: &[f32], bias: &[f32]) -> Vec<f32> {
    let (d, k) = (features.width, bias.len());
    assert_eq!(weight.len(), k * d, "one weight for each output and feature");
    let mut out = vec![0.0f32; features.len() * k];
    out.par_chunks_exact_mut(k.max(1)).enumerate().for_each(|(i, out)| {
        let x = features.row(i);
        let mut row: Vec<f64> =
            (0..k).map(|c| dot(x, &weight[c * d..(c + 1) * d]) + f64::from(bias[c])).collect();
        activate(task, &mut row);
        out.iter_mut().zip(row).for_each(|(o, v)| *o = v as f32);
    });
    out
}

/// Turns a network's raw outputs for one example into the task's answer, in place: softmax for classes, a sigmoid each for
/// labels, nothing for numbers.
///
/// ```
/// use headstart_core::Task;
/// let mut z = [0.0, 2.0];
/// headstart_train::activate(Task::MultiLabel, &mut z);
/// assert!(z[0] == 0.5 && (z[1] - 0.880_797).abs() < 1e-6);
/// ```
pub fn activate(task: Task, outputs: &mut [f64]) {
    match task {
        Task::Classification => softmax(outputs),
        Task::MultiLabel => outputs.iter_mut().for_each(|z| *z = 1.0 / (1.0 + (-*z).exp())),
        Task::Regression => {}
    }
}
