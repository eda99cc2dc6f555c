//! Normalisations.

use burn_backend::Scalar;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;

use super::{BatchStatistics, Mode};
use crate::custom;
use crate::tensor::{T, dims, reshape, scale};

/// Batch norm by running statistics, or in training, if its policy says so, by the batch's.
pub(super) fn batch_norm(
    node_idx: usize,
    x: T,
    [weight, bias, mean, variance]: [T; 4],
    eps: f64,
    momentum: f64,
    mode: &mut Mode<'_>,
) -> T {
    let Mode::Training { statistics: Some(statistics), .. } = mode else {
        return by_running_statistics(x, [weight, bias, mean, variance], eps);
    };
    let shape = dims(&x);
    let n = (shape.iter().product::<usize>() / shape[1]) as f64;
    let [output, mean, variance] = custom::batch_norm_train(x, weight, bias, eps);
    let variance = scale(variance, n / (n - 1.0).max(1.0));
    statistics.push(BatchStatistics { node_idx, mean, variance, momentum });
    output
}

/// One product and one sum, `x·α + (β − μ·α)` with `α = γ/√(σ² + ε)`: half the passes over the image, and how PyTorch
/// rounds it.
fn by_running_statistics(x: T, [weight, bias, mean, variance]: [T; 4], eps: f64) -> T {
    let mut by_channel = vec![1; dims(&x).len()];
    by_channel[1] = dims(&weight)[0];
    let inverse = B::float_recip(B::float_sqrt(B::float_add_scalar(variance, Scalar::Float(eps))));
    let scale = B::float_mul(inverse, weight);
    let shift = B::float_sub(bias, B::float_mul(mean, scale.clone()));
    B::float_add(B::float_mul(x, reshape(scale, &by_channel)), reshape(shift, &by_channel))
}

/// Divides by the Euclidean norm along the last axis.
pub(crate) fn l2_normalize(x: T) -> T {
    let last = dims(&x).len() - 1;
    let norm = B::float_sqrt(B::float_sum_dim(B::float_mul(x.clone(), x.clone()), last));
    B::float_div(x, B::float_clamp_min(norm, Scalar::Float(1e-12)))
}
