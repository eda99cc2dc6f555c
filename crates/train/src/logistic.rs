//! Logistic regression with an L2 penalty, its strength chosen by cross-validation: the head to use on frozen features, where
//! it is convex, deterministic, and hard to beat with few examples.  Multinomial for classes, one a label for labels.

use headstart_core::{Features, Progress, Scaling, Targets};
use rayon::prelude::*;

use crate::TrainError;
use crate::axes::Axes;
use crate::cv::{CvPoint, N_WORSE_MAX, best, check, std_of, strengths};
use crate::folds::{self, Folds};
use crate::head::HeadFit;
use crate::lbfgs::{self, Minimum, Stop};
use crate::objective::{Evaluation, Judgement, Objective, Problem};
use crate::predict::inverse_norm;
use crate::standardise::Scale;

/// How to fit.
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticSpec {
    /// Strengths λ to choose from, in any order.  One candidate is taken without cross-validation.
    pub l2_candidates: Vec<f64>,
    /// Folds of the cross-validation.  Fewer are made if there are fewer rows (or groups) that can be held out.
    pub n_folds: usize,
    /// Weigh rows by n / (n_classes · n_of_their_class), so that every class counts the same.  For labels it is ignored:
    /// each has a regression of its own.
    pub class_weights: bool,
    /// Divide each row by its Euclidean norm before all else.
    pub normalise: bool,
    /// What centred features are divided by, within the rows learned from.
    pub scaling: Scaling,
    /// Decides which rows are held out together.
    pub seed: u64,
}

impl Default for LogisticSpec {
    /// [`default_l2_candidates`], five folds, one common scale.
    fn default() -> Self {
        LogisticSpec {
            l2_candidates: default_l2_candidates(),
            n_folds: 5,
            class_weights: false,
            normalise: false,
            scaling: Scaling::default(),
            seed: 0,
        }
    }
}

/// The grid to use unless somebody knows better: eleven strengths from 10 down to 10⁻⁴, two a decade.
///
/// scikit-learn's `C` on standardised features is λ = 1/(C·n): its default C = 1 lies at 0.01 for 100 rows and at 10⁻⁴
/// for 10,000.
///
/// ```
/// let grid = headstart_train::default_l2_candidates();
/// assert_eq!((grid[0], grid.len()), (10.0, 11));
/// ```
pub fn default_l2_candidates() -> Vec<f64> {
    (0..11).map(|i| 10f64.powf(1.0 - 0.5 * f64::from(i))).collect()
}

const FOLD: Stop = Stop { gradient_max: 1e-5, n_iterations_max: 300 };
/// The last fit.  An entry g of the gradient leaves an error up to g/λ in a weight, so weak penalties need a closer look,
/// down to what 32-bit products can show.
fn stop_final(l2: f64) -> Stop {
    Stop { gradient_max: (1e-3 * l2).clamp(1e-7, 1e-6), n_iterations_max: 1000 }
}

/// Fits W and b that minimise
///
/// ```text
/// (1/Σw) Σᵢ wᵢ · −ln softmax(W·zᵢ + b)[yᵢ]  +  λ/2 · ‖W‖²
/// ```
///
/// where zᵢ is row i less the mean of the rows learned from and divided as [`Scaling`] says (both measured without the
/// rows held out; a feature that does not vary stays 0), and b is not penalised.  Without class weights w = 1.
///
/// **scikit-learn.**  `LogisticRegression(C)` after `StandardScaler` is the same head as [`Scaling::PerFeature`] with
/// λ = 1/(C·n) for three classes or more.  For two classes scikit-learn fits one vector w where we fit two, W = ±w/2: there λ = 2/(C·n).
///
/// **Choosing λ.**  The strengths are tried from strong to weak, each fold starting from its last solution, and the one
/// with the lowest log-loss on held-out rows wins.  Log-loss, because it hears every row's probability where accuracy only
/// counts those that change sides: at 70 rows accuracy was the same for five strengths.  The lowest rather than the strongest
/// within one standard error, because at small n that error is wide, and the strengths it then picks are underconfident.
/// Strengths after two in a row worse than the best are not tried: the curve has one valley.
///
/// Rows with an equal entry in `groups`, and rows with identical features, are held out together.  `progress` counts fits.
///
/// The result is the same, bit for bit, for any number of threads.
///
/// # Errors
/// If there is nothing to tell apart, if lists do not fit together, or if a feature or strength is not a number to work
/// with: see [`TrainError`].
///
/// ```
/// use headstart_core::Features;
/// use headstart_train::{LogisticSpec, fit, predict_proba};
/// let features = Features { width: 1, example_idx: (0..8).collect(), values: vec![0., 1., 2., 3., 6., 7., 8., 9.] };
/// let labels = [0, 0, 0, 0, 1, 1, 1, 1];
/// let spec = LogisticSpec { n_folds: 4, ..LogisticSpec::default() };
/// let head = fit(&features, &labels, 2, None, &spec, &|_, _| ())?;
/// let p = predict_proba(&features, &head.weight, &head.bias, 2, false);
/// assert!(head.converged && p[0] > 0.9 && p[15] > 0.9);
/// # Ok::<(), headstart_train::TrainError>(())
/// ```
pub fn fit(
    features: &Features,
    labels: &[usize],
    n_classes: usize,
    groups: Option<&[u64]>,
    spec: &LogisticSpec,
    progress: Progress<'_>,
) -> Result<HeadFit, TrainError> {
    check_classes(features, labels, n_classes)?;
    fit_targets(features, &Targets::Class(labels.to_vec()), n_classes, groups, spec, progress)
}

/// Fits one logistic regression a label ("one versus rest"), all with the same strength: W and b that minimise
///
/// ```text
/// (1/n) Σᵢ Σ_c [ln(1 + exp z_ic) − t_ic·z_ic]  +  λ/2 · ‖W‖²,    z = W·x + b,  t_ic = 1 where label c applies to row i
/// ```
///
/// `labels` holds each row's labels; a row may have none.  All else is as for [`fit`]: scikit-learn's
/// `OneVsRestClassifier(LogisticRegression(C))` after `StandardScaler` is the same head as [`Scaling::PerFeature`] with
/// λ = 1/(C·n).  A label that no row has gets a probability near 0.
///
/// # Errors
/// As [`fit`], but labels that no row has are allowed.
pub fn fit_labels(
    features: &Features,
    labels: &[Vec<usize>],
    n_labels: usize,
    groups: Option<&[u64]>,
    spec: &LogisticSpec,
    progress: Progress<'_>,
) -> Result<HeadFit, TrainError> {
    for (row, of_row) in labels.iter().enumerate() {
        if let Some(&class_idx) = of_row.iter().find(|c| **c >= n_labels) {
            return Err(TrainError::LabelOutOfRange { row, class_idx, n_classes: n_labels });
        }
    }
    fit_targets(features, &Targets::Classes(labels.to_vec()), n_labels, groups, spec, progress)
}

fn fit_targets(
    features: &Features,
    targets: &Targets,
    n_classes: usize,
    groups: Option<&[u64]>,
    spec: &LogisticSpec,
    progress: Progress<'_>,
) -> Result<HeadFit, TrainError> {
    check(features, targets.len(), groups)?;
    let path = strengths(&spec.l2_candidates)?;
    let mut notes = Vec::new();
    let folds = if path.len() > 1 {
        folds::divide(features, targets, n_classes, groups, spec.n_folds, spec.seed)
    } else {
        Folds { of_row: vec![None; targets.len()], n_folds: 0 }
    };
    let prepared = Prepared::new(features, targets, n_classes, &folds, spec);
    let n_steps = path.len() * folds.n_folds + 1;
    let (cv, l2, start) = if folds.n_folds > 0 {
        if folds.n_folds < spec.n_folds {
            notes.push(format!(
                "{} folds instead of {}: no more rows can be held out",
                folds.n_folds, spec.n_folds
            ));
        }
        let (cv, start) = cross_validate(&prepared, &folds, &path, |done| progress(done, n_steps));
        let l2 = cv[best(&cv)].l2;
        (cv, l2, Some(start))
    } else {
        let l2 = path[path.len() / 2];
        if path.len() > 1 {
            notes.push(format!(
                "too few examples a class to cross-validate: took the middle strength of the penalty, {l2}"
            ));
        }
        (Vec::new(), l2, None)
    };
    let objective = Objective::new(&prepared.problem, std::slice::from_ref(&(0..targets.len())));
    let start = start.unwrap_or_else(|| prepared.start(&objective));
    let minimum = solve(&objective, &prepared.axes, start, l2, stop_final(l2));
    progress(n_steps, n_steps);
    let (weight, bias) = prepared.fold_in(&objective, &minimum.x);
    let Minimum { n_iterations, converged, .. } = minimum;
    Ok(HeadFit { weight, bias, l2, cv, n_iterations, converged, notes })
}

pub(crate) fn check_classes(
    features: &Features,
    labels: &[usize],
    n_classes: usize,
) -> Result<(), TrainError> {
    let mut n_of_class = vec![0usize; n_classes];
    for (row, &class_idx) in labels.iter().enumerate() {
        *n_of_class.get_mut(class_idx).ok_or(TrainError::LabelOutOfRange { row, class_idx, n_classes })? += 1;
    }
    let n_seen = n_of_class.iter().filter(|n| **n > 0).count();
    match n_of_class.iter().position(|n| *n == 0) {
        // Without rows there is a better message than that classes are missing.
        _ if features.is_empty() || labels.len() != features.len() => Ok(()),
        _ if n_seen == 1 => Err(TrainError::OneClass { class_idx: labels[0] }),
        Some(class_idx) => Err(TrainError::ClassWithoutRows { class_idx, n_seen, n_classes }),
        None => Ok(()),
    }
}

/// What all folds and strengths share.
struct Prepared {
    problem: Problem,
    axes: Axes,
    /// From features as given (or normalised) to those in `problem`.
    scale: Scale,
    /// Rows held out by each fold.
    held_out: Vec<std::ops::Range<usize>>,
}

impl Prepared {
    fn new(
        features: &Features,
        targets: &Targets,
        n_classes: usize,
        folds: &Folds,
        spec: &LogisticSpec,
    ) -> Self {
        let (n, width) = (targets.len(), features.width);
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|&row| folds.of_row[row]);
        let start_of = |fold: usize| order.partition_point(|&row| folds.of_row[row] < Some(fold));
        let held_out = (0..folds.n_folds).map(|f| start_of(f)..start_of(f + 1)).collect();
        let mut x: Vec<f32> = Vec::with_capacity(n * width);
        for &row in &order {
            let values = features.row(row);
            let by = if spec.normalise { inverse_norm(values) } else { 1.0 };
            x.extend(values.iter().map(|v| (f64::from(*v) * by) as f32));
        }
        let scale = Scale::of(&x, width, std::slice::from_ref(&(0..n)), spec.scaling);
        x.par_chunks_exact_mut(width).for_each(|row| {
            for ((v, m), s) in row.iter_mut().zip(&scale.mean).zip(&scale.inv_std) {
                *v = ((f64::from(*v) - m) * s) as f32;
            }
        });
        let n_of_class = targets.class_counts(n_classes);
        let weigh = |y: usize| n as f64 / (n_classes * n_of_class[y]) as f64;
        let (targets, row_weight) = match targets {
            Targets::Class(labels) if spec.class_weights => {
                let labels: Vec<usize> = order.iter().map(|&row| labels[row]).collect();
                let weights = labels.iter().map(|&y| weigh(y)).collect();
                (Targets::Class(labels), weights)
            }
            other => (other.select(&order), vec![1.0; n]),
        };
        let axes = Axes::of(&x, width);
        let problem = Problem { x, width, targets, row_weight, n_classes, scaling: spec.scaling };
        Prepared { problem, axes, scale, held_out }
    }

    /// Rows that a fold learns from.
    fn kept(&self, fold: usize) -> [std::ops::Range<usize>; 2] {
        let held = &self.held_out[fold];
        [0..held.start, held.end..self.problem.targets.len()]
    }

    /// No weights, and biases that say how frequent each class is (half a row more than there are, for absent ones).
    fn start(&self, objective: &Objective<'_>) -> Vec<f64> {
        let (d, k) = (self.problem.width, self.problem.n_classes);
        let (mut with, mut all) = (vec![0.5; k], 1.0);
        for (row, w) in self.problem.row_weight.iter().enumerate() {
            all += w;
            self.problem.targets.classes_of(row).iter().for_each(|&c| with[c] += w);
        }
        let mut start = vec![0.0; objective.n_parameters()];
        for (b, with) in start[k * d..].iter_mut().zip(with) {
            *b = match self.problem.targets {
                Targets::Class(_) => with.ln(),
                _ => (with / (all - with)).ln(),
            };
        }
        start
    }

    /// Folds both standardisations into weights for features as given.  Biases are made to fit the rounded weights.
    fn fold_in(&self, objective: &Objective<'_>, parameters: &[f64]) -> (Vec<f32>, Vec<f32>) {
        let (d, k) = (self.problem.width, self.problem.n_classes);
        let mut weight = Vec::with_capacity(k * d);
        let mut bias = Vec::with_capacity(k);
        for c in 0..k {
            let mut b = parameters[k * d + c];
            for j in 0..d {
                let inner = parameters[c * d + j] * objective.scale.inv_std[j];
                let w = (inner * self.scale.inv_std[j]) as f32;
                b -= inner * objective.scale.mean[j] + f64::from(w) * self.scale.mean[j];
                weight.push(w);
            }
            bias.push(b as f32);
        }
        (weight, bias)
    }
}

fn solve(objective: &Objective<'_>, axes: &Axes, start: Vec<f64>, l2: f64, stop: Stop) -> Minimum {
    let Evaluation { value, gradient, curvature } = objective.evaluate(&start, l2);
    lbfgs::minimise(
        start,
        (value, gradient),
        stop,
        |x| {
            let e = objective.evaluate(x, l2);
            (e.value, e.gradient)
        },
        |g| axes.precondition(g, &curvature, l2),
    )
}

/// Every fold at every strength, from strong to weak, until the log-loss has turned; and the mean of the folds' solutions at the
/// best, from which the last fit has the shortest way.
fn cross_validate(
    prepared: &Prepared,
    folds: &Folds,
    path: &[f64],
    fits_done: impl Fn(usize) + Sync,
) -> (Vec<CvPoint>, Vec<f64>) {
    let mut workers: Vec<(Objective<'_>, Vec<f64>, std::ops::Range<usize>)> = (0..folds.n_folds)
        .map(|f| {
            let objective = Objective::new(&prepared.problem, &prepared.kept(f));
            let start = prepared.start(&objective);
            (objective, start, prepared.held_out[f].clone())
        })
        .collect();
    let (mut points, mut mean) = (Vec::new(), Vec::new());
    for (i, &l2) in path.iter().enumerate() {
        let judgements: Vec<Judgement> = workers
            .par_iter_mut()
            .map(|(objective, parameters, held_out)| {
                *parameters = solve(objective, &prepared.axes, std::mem::take(parameters), l2, FOLD).x;
                objective.judge(parameters, held_out.clone())
            })
            .collect();
        points.push(point(l2, &judgements));
        fits_done((i + 1) * folds.n_folds);
        if best(&points) == i {
            let of_fold = |i: usize| workers.iter().map(move |(_, parameters, _)| parameters[i]);
            mean = (0..workers[0].1.len()).map(|i| of_fold(i).sum::<f64>() / folds.n_folds as f64).collect();
        }
        if i - best(&points) >= N_WORSE_MAX {
            break;
        }
    }
    (points, mean)
}

fn point(l2: f64, folds: &[Judgement]) -> CvPoint {
    let sum = |f: fn(&Judgement) -> f64| folds.iter().map(f).sum::<f64>();
    let means: Vec<f64> = folds.iter().map(|j| j.loss / j.weight).collect();
    CvPoint {
        l2,
        loss: sum(|j| j.loss) / sum(|j| j.weight),
        loss_std: std_of(&means),
        accuracy: Some(sum(|j| j.n_right as f64) / sum(|j| j.n as f64)),
    }
}
