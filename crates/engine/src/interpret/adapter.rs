//! What adapters need beside the common operators.

use burn_backend::Scalar;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;

use crate::tensor::{T, dims, reshape, scale, untracked};

/// `x · scale + bias` along one axis.
pub(super) fn channel_scale(x: T, by: T, bias: Option<T>, axis: usize) -> T {
    let mut shape = vec![1; dims(&x).len()];
    shape[axis] = dims(&x)[axis];
    let scaled = B::float_mul(x, reshape(by, &shape));
    match bias {
        Some(bias) => B::float_add(scaled, reshape(bias, &shape)),
        None => scaled,
    }
}

/// `m / ‖W + s·B·A‖` by output; the norm is a constant for gradients.
pub(super) fn dora_gain(magnitude: T, [weight, a, b]: [T; 3], scaling: f64) -> T {
    let [weight, a, b] = [weight, a, b].map(untracked);
    let rows = |t: T| {
        let shape = dims(&t);
        reshape(t, &[shape[0], shape[1..].iter().product()])
    };
    let update = scale(B::float_matmul(rows(b), rows(a)), scaling);
    let sum = B::float_add(rows(weight), update);
    let n = dims(&sum)[0];
    let norm = B::float_sqrt(B::float_sum_dim(B::float_mul(sum.clone(), sum), 1));
    B::float_div(magnitude, reshape(B::float_clamp_min(norm, Scalar::Float(1e-12)), &[n]))
}
