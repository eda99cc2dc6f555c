//! Operators that make fewer numbers of many.

use burn_backend::ops::{FloatTensorOps, IntTensorOps};
use burn_backend::{FloatDType, Scalar};
use burn_dispatch::Dispatch as B;

use crate::tensor::{T, dims, reshape};

/// Mean over the sequence of `x [batch, sequence, width]` where `mask [batch, sequence]` is 1.
pub(super) fn masked_mean(x: T, mask: T) -> T {
    let [n, s, width] = dims(&x)[..] else { unreachable!("tokens are [batch, sequence, width]") };
    let keep = reshape(B::int_into_float(mask, FloatDType::F32), &[n, s, 1]);
    let sum = B::float_sum_dim(B::float_mul(x, keep.clone()), 1);
    let count = B::float_clamp_min(B::float_sum_dim(keep, 1), Scalar::Float(1e-9));
    reshape(B::float_div(sum, count), &[n, width])
}
