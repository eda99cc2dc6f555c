//! Attention.

use burn_backend::ops::{ActivationOps, FloatTensorOps, IntTensorOps};
use burn_backend::{FloatDType, Scalar};
use burn_dispatch::Dispatch as B;

use crate::tensor::{T, dims, reshape, scale};

/// Multi-head scaled dot-product attention of `[batch, sequence, width]`.
pub(super) fn attention(query: T, key: T, value: T, mask: Option<T>, heads: usize) -> T {
    let (q, k) = (dims(&query), dims(&key));
    let (n, s_q, width, s_k) = (q[0], q[1], q[2], k[1]);
    let split = |t: T, s: usize| B::float_permute(reshape(t, &[n, s, heads, width / heads]), &[0, 2, 1, 3]);
    let query = scale(split(query, s_q), 1.0 / ((width / heads) as f64).sqrt());
    let scores = B::float_matmul(query, B::float_transpose(split(key, s_k)));
    let scores = match mask {
        Some(mask) => {
            let keep = B::int_into_float(mask, FloatDType::F32);
            // 0 where attended, −10⁹ where not: its exponential is exactly 0.
            let bias = scale(B::float_add_scalar(keep, Scalar::Float(-1.0)), 1e9);
            B::float_add(scores, reshape(bias, &[n, 1, 1, s_k]))
        }
        None => scores,
    };
    let mixed = B::float_matmul(B::softmax(scores, 3), split(value, s_k));
    reshape(B::float_permute(mixed, &[0, 2, 1, 3]), &[n, s_q, width])
}
