//! The data term: mean cross-entropy of some rows and its gradient, over one class a row (softmax) or any number of labels
//! (a sigmoid each).

use std::ops::Range;

use headstart_core::{Scaling, Targets};
use headstart_kernels::channels_last::{Linear, transposed_product};
use headstart_kernels::{Activation, Precision};
use rayon::prelude::*;

use crate::standardise::{Scale, blocks};

/// A block of rows and its products stay in a core's second-level cache.
const BLOCK_ROWS: usize = 128;
/// Tasks an evaluation is cut into.  A constant, because the cut decides in which order sums are rounded.
const N_TASKS: usize = 8;

/// Everything there is to learn from: rows ordered so that each fold is one contiguous piece.
pub(crate) struct Problem {
    /// `[rows, width]`, roughly centred and scaled, so that products in 32 bits lose nothing.
    pub(crate) x: Vec<f32>,
    pub(crate) width: usize,
    pub(crate) targets: Targets,
    pub(crate) row_weight: Vec<f64>,
    pub(crate) n_classes: usize,
    pub(crate) scaling: Scaling,
}

/// The loss over some rows, as a function of parameters for exactly standardised features.
///
/// Rather than copying the rows of every fold, the standardisation moves into the parameters:
/// `W·((x − μ)/σ) + b = (W/σ)·x + (b − W·μ/σ)`.
pub(crate) struct Objective<'a> {
    pub(crate) problem: &'a Problem,
    pub(crate) scale: Scale,
    tasks: Vec<Vec<Range<usize>>>,
    weight_sum: f64,
}

impl Problem {
    /// The loss of a row under logits `z + bias`; leaves the probability of each class in `p`.
    fn cross_entropy(&self, row: usize, z: &[f32], bias: &[f64], p: &mut [f64]) -> f64 {
        match &self.targets {
            Targets::Class(labels) => softmax_cross_entropy(z, bias, labels[row], p),
            other => sigmoid_cross_entropy(z, bias, other.classes_of(row), p),
        }
    }

    /// How many answers are right, and of how many: the class of a row, or each of its labels.
    fn n_right(&self, row: usize, p: &[f64]) -> (usize, usize) {
        match &self.targets {
            Targets::Class(labels) => {
                let best = (0..p.len()).fold(0, |best, c| if p[c] > p[best] { c } else { best });
                (usize::from(best == labels[row]), 1)
            }
            other => {
                let has = other.classes_of(row);
                ((0..p.len()).filter(|c| (p[*c] >= 0.5) == has.contains(c)).count(), p.len())
            }
        }
    }
}

/// What an evaluation says.
pub(crate) struct Evaluation {
    pub(crate) value: f64,
    /// `[n_classes, width]`, then `[n_classes]` for the biases.
    pub(crate) gradient: Vec<f64>,
    /// Mean over rows of p·(1−p) by class: the curvature along that class's logit.
    pub(crate) curvature: Vec<f64>,
}

impl<'a> Objective<'a> {
    pub(crate) fn new(problem: &'a Problem, rows: &[Range<usize>]) -> Self {
        let scale = Scale::of(&problem.x, problem.width, rows, problem.scaling);
        let blocks = blocks(rows, BLOCK_ROWS);
        let tasks = blocks.chunks(blocks.len().div_ceil(N_TASKS).max(1)).map(<[_]>::to_vec).collect();
        let weight_sum = rows.iter().flat_map(|r| &problem.row_weight[r.clone()]).sum();
        Objective { problem, scale, tasks, weight_sum }
    }

    pub(crate) fn n_parameters(&self) -> usize {
        self.problem.n_classes * (self.problem.width + 1)
    }

    /// Mean loss + λ/2·‖W‖², with its gradient.
    pub(crate) fn evaluate(&self, parameters: &[f64], l2: f64) -> Evaluation {
        let (d, k) = (self.problem.width, self.problem.n_classes);
        let (layer, bias) = self.unscale(parameters);
        let parts: Vec<Part> = self.tasks.par_iter().map(|task| self.run(task, &layer, &bias)).collect();
        let mut total = Part::new(k, d);
        for part in &parts {
            total.add(part);
        }
        let norm = 1.0 / self.weight_sum;
        let mut value = total.loss * norm;
        let mut gradient = vec![0.0; k * (d + 1)];
        for c in 0..k {
            for j in 0..d {
                let w = parameters[c * d + j];
                let data = self.scale.inv_std[j]
                    * (total.gradient[c * d + j] - self.scale.mean[j] * total.residual[c])
                    * norm;
                gradient[c * d + j] = data + l2 * w;
                value += 0.5 * l2 * w * w;
            }
            gradient[k * d + c] = total.residual[c] * norm;
        }
        Evaluation { value, gradient, curvature: total.curvature.iter().map(|s| s * norm).collect() }
    }

    /// Sums over `rows`, which need not be those learned from: weighted loss, weight, rows judged right, answers.
    pub(crate) fn judge(&self, parameters: &[f64], rows: Range<usize>) -> Judgement {
        let (layer, bias) = self.unscale(parameters);
        let k = self.problem.n_classes;
        let mut judgement = Judgement::default();
        let mut logits = vec![0.0f32; BLOCK_ROWS * k];
        let mut p = vec![0.0; k];
        for block in blocks(&[rows], BLOCK_ROWS) {
            let logits = &mut logits[..block.len() * k];
            layer.run_here(self.features(&block), logits);
            for (row, z) in block.zip(logits.chunks_exact(k)) {
                let w = self.problem.row_weight[row];
                judgement.loss += w * self.problem.cross_entropy(row, z, &bias, &mut p);
                judgement.weight += w;
                let (n_right, n) = self.problem.n_right(row, &p);
                judgement.n_right += n_right;
                judgement.n += n;
            }
        }
        judgement
    }

    /// Parameters for the features as stored: weights in 32 bits, biases in 64.
    fn unscale(&self, parameters: &[f64]) -> (Linear, Vec<f64>) {
        let (d, k) = (self.problem.width, self.problem.n_classes);
        let mut weight = Vec::with_capacity(k * d);
        let mut bias = parameters[k * d..].to_vec();
        for (row, b) in parameters[..k * d].chunks_exact(d).zip(&mut bias) {
            for ((w, s), m) in row.iter().zip(&self.scale.inv_std).zip(&self.scale.mean) {
                weight.push((w * s) as f32);
                *b -= w * s * m;
            }
        }
        (Linear::new(Precision::F32, &weight, None, d, Activation::Identity), bias)
    }

    /// Features as stored of some rows.
    fn features(&self, rows: &Range<usize>) -> &[f32] {
        let d = self.problem.width;
        &self.problem.x[rows.start * d..rows.end * d]
    }

    fn run(&self, task: &[Range<usize>], layer: &Linear, bias: &[f64]) -> Part {
        let (d, k) = (self.problem.width, self.problem.n_classes);
        let mut part = Part::new(k, d);
        let mut logits = vec![0.0f32; BLOCK_ROWS * k];
        let mut product = vec![0.0f32; k * d];
        let mut p = vec![0.0; k];
        for block in task {
            let n = block.len();
            let logits = &mut logits[..n * k];
            layer.run_here(self.features(block), logits);
            for (row, z) in block.clone().zip(logits.chunks_exact_mut(k)) {
                let w = self.problem.row_weight[row];
                part.loss += w * self.problem.cross_entropy(row, z, bias, &mut p);
                let has = self.problem.targets.classes_of(row);
                for c in 0..k {
                    part.curvature[c] += w * p[c] * (1.0 - p[c]);
                    let residual = w * (p[c] - f64::from(u8::from(has.contains(&c))));
                    part.residual[c] += residual;
                    z[c] = residual as f32;
                }
            }
            transposed_product(logits, self.features(block), n, &mut product);
            for (sum, v) in part.gradient.iter_mut().zip(&product) {
                *sum += f64::from(*v);
            }
        }
        part
    }
}

/// How parameters do on held-out rows: sums, so that folds can be pooled.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Judgement {
    pub(crate) loss: f64,
    pub(crate) weight: f64,
    pub(crate) n_right: usize,
    pub(crate) n: usize,
}

struct Part {
    loss: f64,
    gradient: Vec<f64>,
    residual: Vec<f64>,
    curvature: Vec<f64>,
}

impl Part {
    fn new(k: usize, d: usize) -> Self {
        Part { loss: 0.0, gradient: vec![0.0; k * d], residual: vec![0.0; k], curvature: vec![0.0; k] }
    }

    fn add(&mut self, other: &Part) {
        let add = |to: &mut [f64], from: &[f64]| to.iter_mut().zip(from).for_each(|(t, f)| *t += f);
        self.loss += other.loss;
        add(&mut self.gradient, &other.gradient);
        add(&mut self.residual, &other.residual);
        add(&mut self.curvature, &other.curvature);
    }
}

/// −ln of class `y`'s probability under logits `z + bias`; leaves all probabilities in `p`.
fn softmax_cross_entropy(z: &[f32], bias: &[f64], y: usize, p: &mut [f64]) -> f64 {
    for ((p, z), b) in p.iter_mut().zip(z).zip(bias) {
        *p = f64::from(*z) + b;
    }
    let logit = p[y];
    let max = p.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let mut sum = 0.0;
    for p in p.iter_mut() {
        *p = (*p - max).exp();
        sum += *p;
    }
    for p in p.iter_mut() {
        *p /= sum;
    }
    max + sum.ln() - logit
}

/// Sum over the labels of −ln of the probability of what is the case; leaves the probabilities in `p`.
fn sigmoid_cross_entropy(z: &[f32], bias: &[f64], has: &[usize], p: &mut [f64]) -> f64 {
    let mut loss = 0.0;
    for (c, ((p, z), b)) in p.iter_mut().zip(z).zip(bias).enumerate() {
        let logit = f64::from(*z) + b;
        // ln(1 + eᶻ) without overflow.
        let softplus = logit.max(0.0) + (-logit.abs()).exp().ln_1p();
        loss += softplus - if has.contains(&c) { logit } else { 0.0 };
        *p = 1.0 / (1.0 + (-logit).exp());
    }
    loss
}
