//! Normalisations.

use burn_backend::Scalar;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;

use super::{BatchStatistics, Mode};
use crate::custom::Measured;
use crate::tensor::{T, dims, reshape, scale};

/// Notes what a batch norm measured of what it made.
pub(crate) fn note(
    node_idx: usize,
    momentum: f64,
    made: &T,
    [mean, variance]: Measured,
    mode: &mut Mode<'_>,
) {
    let Mode::Training { statistics: Some(statistics), .. } = mode else { return };
    let shape = dims(made);
    let n = (shape.iter().product::<usize>() / shape[1]) as f64;
    let variance = scale(variance, n / (n - 1.0).max(1.0));
    statistics.push(BatchStatistics { node_idx, mean, variance, momentum });
}

/// Divides by the Euclidean norm along the last axis.
pub(crate) fn l2_normalize(x: T) -> T {
    let last = dims(&x).len() - 1;
    let norm = B::float_sqrt(B::float_sum_dim(B::float_mul(x.clone(), x.clone()), last));
    B::float_div(x, B::float_clamp_min(norm, Scalar::Float(1e-12)))
}

/// `x/√(mean(x²) + eps)·weight` over the last axis.
pub(super) fn rms_norm(x: T, weight: T, eps: f64) -> T {
    let last = dims(&x).len() - 1;
    let square = B::float_mean_dim(B::float_mul(x.clone(), x.clone()), last);
    let inverse = B::float_recip(B::float_sqrt(B::float_add_scalar(square, Scalar::Float(eps))));
    let mut shape = vec![1; last + 1];
    shape[last] = dims(&weight)[0];
    B::float_mul(B::float_mul(x, inverse), reshape(weight, &shape))
}

/// Normalises each group's channels and positions together.
pub(super) fn group_norm(x: T, weight: T, bias: T, groups: usize, eps: f64) -> T {
    let shape = dims(&x);
    let grouped = reshape(x, &[shape[0], groups, shape[1..].iter().product::<usize>() / groups]);
    let centred = B::float_sub(grouped.clone(), B::float_mean_dim(grouped, 2));
    let variance = B::float_mean_dim(B::float_mul(centred.clone(), centred.clone()), 2);
    let inverse = B::float_recip(B::float_sqrt(B::float_add_scalar(variance, Scalar::Float(eps))));
    let normal = reshape(B::float_mul(centred, inverse), &shape);
    let mut by_channel = vec![1; shape.len()];
    by_channel[1] = shape[1];
    B::float_add(B::float_mul(normal, reshape(weight, &by_channel)), reshape(bias, &by_channel))
}

/// `g·v/‖v‖`, the norm over all axes but one.
pub(super) fn weight_norm(g: T, v: T, axis: usize) -> T {
    let square = B::float_mul(v.clone(), v.clone());
    let others = (0..dims(&v).len()).filter(|&i| i != axis);
    let norm = B::float_sqrt(others.fold(square, B::float_sum_dim));
    B::float_mul(v, B::float_div(g, norm))
}
