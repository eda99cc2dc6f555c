//! Ridge regression (Hoerl and Kennard, 1970) in closed form, its strength chosen by cross-validation: the head for numbers.

use std::ops::Range;

use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::cholesky::llt::factor::{cholesky_in_place, cholesky_in_place_scratch};
use faer::linalg::cholesky::llt::solve::{solve_in_place, solve_in_place_scratch};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use headstart_core::{Features, Progress, Scaling, Targets};
use rayon::prelude::*;

use crate::cv::{CvPoint, best, check, std_of, strengths};
use crate::folds::{self, Folds};
use crate::head::HeadFit;
use crate::standardise::{Scale, blocks};
use crate::{TrainError, default_l2_candidates};

/// Rows that are standardised and multiplied at a time.
const BLOCK_ROWS: usize = 256;
/// Rows of similar targets among which the folds are balanced.
const N_STRATA_MAX: usize = 10;

/// How to fit.
#[derive(Debug, Clone, PartialEq)]
pub struct RidgeSpec {
    /// Strengths λ to choose from, in any order.  One candidate is taken without cross-validation.
    pub l2_candidates: Vec<f64>,
    /// Folds of the cross-validation.
    pub n_folds: usize,
    /// What centred features are divided by, within the rows learned from.
    pub scaling: Scaling,
    /// Decides which rows are held out together.
    pub seed: u64,
}

impl Default for RidgeSpec {
    /// [`default_l2_candidates`], five folds, one common scale.
    fn default() -> Self {
        RidgeSpec { l2_candidates: default_l2_candidates(), n_folds: 5, scaling: Scaling::default(), seed: 0 }
    }
}

/// Fits w and b that minimise
///
/// ```text
/// (1/n) Σᵢ ½·(yᵢ − w·zᵢ − b)²  +  λ/2 · ‖w‖²
/// ```
///
/// where zᵢ is row i standardised as for [`crate::fit`], and b is not penalised.  scikit-learn's `Ridge(alpha)` after
/// `StandardScaler` is the same head as [`Scaling::PerFeature`] with λ = alpha/n.
///
/// With more rows than features the normal equations `(ZᵀZ/n + λI)·w = Zᵀy/n` are solved, with fewer their dual
/// `w = Zᵀ(ZZᵀ/n + λI)⁻¹·y/n`, by Cholesky factors in 64 bits.  The strength with the lowest squared error on held-out rows
/// wins.  Rows of one group, and rows with identical features, are held out together; folds have alike shares of low, middle
/// and high targets.
///
/// The result is the same, bit for bit, for any number of threads.
///
/// # Errors
/// If there is nothing to learn from, if lists do not fit together, or if a feature, target or strength is not a number to
/// work with: see [`TrainError`].
///
/// ```
/// use headstart_core::Features;
/// use headstart_train::{RidgeSpec, fit_ridge, predict_head};
/// let features = Features { width: 1, example_idx: (0..8).collect(), values: (0..8).map(|i| i as f32).collect() };
/// let targets: Vec<f64> = (0..8).map(|i| 3.0 * f64::from(i) + 1.0).collect();
/// let spec = RidgeSpec { l2_candidates: vec![1e-6], ..RidgeSpec::default() };
/// let head = fit_ridge(&features, &targets, None, &spec, &|_, _| ())?;
/// assert!((head.weight[0] - 3.0).abs() < 1e-4 && (head.bias[0] - 1.0).abs() < 1e-3);
/// # Ok::<(), headstart_train::TrainError>(())
/// ```
pub fn fit_ridge(
    features: &Features,
    targets: &[f64],
    groups: Option<&[u64]>,
    spec: &RidgeSpec,
    progress: Progress<'_>,
) -> Result<HeadFit, TrainError> {
    check(features, targets.len(), groups)?;
    if let Some(row) = targets.iter().position(|y| !y.is_finite()) {
        return Err(TrainError::TargetNotFinite { row, value: targets[row] });
    }
    let path = strengths(&spec.l2_candidates)?;
    let n = targets.len();
    let folds = if path.len() > 1 {
        let strata = Targets::Class(strata(targets, spec.n_folds));
        folds::divide(features, &strata, N_STRATA_MAX, groups, spec.n_folds, spec.seed)
    } else {
        Folds { of_row: vec![None; n], n_folds: 0 }
    };
    let mut notes = Vec::new();
    let (cv, l2) = if folds.n_folds > 0 {
        if folds.n_folds < spec.n_folds {
            let (got, asked) = (folds.n_folds, spec.n_folds);
            notes.push(format!("{got} folds instead of {asked}: no more rows can be held out"));
        }
        let done = std::sync::atomic::AtomicUsize::new(0);
        let judged: Vec<Vec<f64>> = (0..folds.n_folds)
            .into_par_iter()
            .map(|fold| {
                let (held, kept): (Vec<usize>, Vec<usize>) =
                    (0..n).partition(|&row| folds.of_row[row] == Some(fold));
                let errors = held_out_errors(features, targets, &kept, &held, &path, spec.scaling);
                progress(done.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1, folds.n_folds + 1);
                errors
            })
            .collect();
        let n_held: Vec<f64> = (0..folds.n_folds)
            .map(|f| folds.of_row.iter().filter(|of| **of == Some(f)).count() as f64)
            .collect();
        let cv: Vec<CvPoint> = path
            .iter()
            .enumerate()
            .map(|(i, &l2)| {
                let sum: f64 = judged.iter().map(|errors| errors[i]).sum();
                let means: Vec<f64> = judged.iter().zip(&n_held).map(|(e, n)| e[i] / n).collect();
                let loss = sum / n_held.iter().sum::<f64>();
                CvPoint { l2, loss, loss_std: std_of(&means), accuracy: None }
            })
            .collect();
        let l2 = cv[best(&cv)].l2;
        (cv, l2)
    } else {
        let l2 = path[path.len() / 2];
        if path.len() > 1 {
            notes.push(format!(
                "too few examples to cross-validate: took the middle strength of the penalty, {l2}"
            ));
        }
        (Vec::new(), l2)
    };
    let all: Vec<usize> = (0..n).collect();
    let system = System::new(features, targets, &all, spec.scaling);
    let (weight, bias) = system.raw(&system.solve(l2));
    progress(1, 1);
    // The bias is made to fit the rounded weights.
    let rounded: Vec<f32> = weight.iter().map(|w| *w as f32).collect();
    let lost: f64 =
        weight.iter().zip(&rounded).zip(&system.scale.mean).map(|((w, r), m)| (w - f64::from(*r)) * m).sum();
    let bias = vec![(bias + lost) as f32];
    Ok(HeadFit { weight: rounded, bias, l2, cv, n_iterations: 0, converged: true, notes })
}

/// Rows by the size of their targets, in up to ten strata of equal counts.
fn strata(targets: &[f64], n_folds: usize) -> Vec<usize> {
    let n = targets.len();
    let n_strata = (n / (2 * n_folds.max(1))).clamp(1, N_STRATA_MAX);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| targets[a].total_cmp(&targets[b]).then(a.cmp(&b)));
    let mut stratum = vec![0; n];
    order.iter().enumerate().for_each(|(rank, &row)| stratum[row] = rank * n_strata / n);
    stratum
}

/// Sums of squared errors on held-out rows, by strength.
fn held_out_errors(
    features: &Features,
    targets: &[f64],
    kept: &[usize],
    held: &[usize],
    path: &[f64],
    scaling: Scaling,
) -> Vec<f64> {
    let system = System::new(features, targets, kept, scaling);
    path.iter()
        .map(|&l2| {
            let (weight, bias) = system.raw(&system.solve(l2));
            let predict = |row: usize| {
                let x = features.row(row);
                x.iter().zip(&weight).map(|(x, w)| f64::from(*x) * w).sum::<f64>() + bias
            };
            held.iter().map(|&row| (predict(row) - targets[row]).powi(2)).sum()
        })
        .collect()
}

/// The equations of some rows, all but the strength.
struct System {
    scale: Scale,
    mean: f64,
    /// `ZᵀZ/n` `[width, width]`, or `ZZᵀ/n` `[rows, rows]` where there are fewer rows.
    gram: Mat<f64>,
    /// `Zᵀy/n`, or `y/n`.
    right: Vec<f64>,
    /// `[rows, width]`, where the dual needs it.
    z: Option<Vec<f64>>,
}

impl System {
    fn new(features: &Features, targets: &[f64], rows: &[usize], scaling: Scaling) -> Self {
        let (m, d) = (rows.len(), features.width);
        let x: Vec<f32> = rows.iter().flat_map(|&row| features.row(row)).copied().collect();
        let scale = Scale::of(&x, d, std::slice::from_ref(&(0..m)), scaling);
        let mean = rows.iter().map(|&row| targets[row]).sum::<f64>() / m as f64;
        let centred: Vec<f64> = rows.iter().map(|&row| targets[row] - mean).collect();
        let block = |range: &Range<usize>| -> Vec<f64> {
            let values = &x[range.start * d..range.end * d];
            let standard = |(i, v): (usize, &f32)| (f64::from(*v) - scale.mean[i % d]) * scale.inv_std[i % d];
            values.iter().enumerate().map(standard).collect()
        };
        let share = 1.0 / m as f64;
        if m < d {
            let z = block(&(0..m));
            let mut gram = Mat::zeros(m, m);
            let zm = MatRef::from_row_major_slice(&z, m, d);
            matmul(gram.as_mut(), Accum::Replace, zm, zm.transpose(), share, Par::Seq);
            let right = centred.iter().map(|y| y * share).collect();
            return System { scale, mean, gram, right, z: Some(z) };
        }
        let (mut gram, mut right) = (Mat::zeros(d, d), vec![0.0; d]);
        for range in blocks(std::slice::from_ref(&(0..m)), BLOCK_ROWS) {
            let z = block(&range);
            let zm = MatRef::from_row_major_slice(&z, range.len(), d);
            matmul(gram.as_mut(), Accum::Add, zm.transpose(), zm, share, Par::Seq);
            for (row, y) in z.chunks_exact(d).zip(&centred[range]) {
                right.iter_mut().zip(row).for_each(|(r, z)| *r += z * y * share);
            }
        }
        System { scale, mean, gram, right, z: None }
    }

    /// Weights for standardised features.
    fn solve(&self, l2: f64) -> Vec<f64> {
        let n = self.right.len();
        let mut a = self.gram.clone();
        (0..n).for_each(|i| a[(i, i)] += l2);
        let mut solution = self.right.clone();
        let stack = cholesky_in_place_scratch::<f64>(n, Par::Seq, Default::default())
            .or(solve_in_place_scratch::<f64>(n, 1, Par::Seq));
        let mut buffer = MemBuffer::new(stack);
        let stack = MemStack::new(&mut buffer);
        // λ > 0 makes the matrix positive definite; where rounding says otherwise, no weight is the safe answer.
        if cholesky_in_place(a.as_mut(), Default::default(), Par::Seq, stack, Default::default()).is_err() {
            return vec![0.0; self.scale.mean.len()];
        }
        solve_in_place(a.as_ref(), MatMut::from_column_major_slice_mut(&mut solution, n, 1), Par::Seq, stack);
        let Some(z) = &self.z else { return solution };
        let d = self.scale.mean.len();
        let mut weight = vec![0.0; d];
        for (row, a) in z.chunks_exact(d).zip(&solution) {
            weight.iter_mut().zip(row).for_each(|(w, z)| *w += z * a);
        }
        weight
    }

    /// Weights and bias for features as given.
    fn raw(&self, weight: &[f64]) -> (Vec<f64>, f64) {
        let weight: Vec<f64> = weight.iter().zip(&self.scale.inv_std).map(|(w, s)| w * s).collect();
        let shift: f64 = weight.iter().zip(&self.scale.mean).map(|(w, m)| w * m).sum();
        let bias = self.mean - shift;
        (weight, bias)
    }
}
