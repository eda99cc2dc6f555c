//! Attention, and what is added to its scores by distance.

use burn_backend::ops::{FloatTensorOps, IntTensorOps};
use burn_backend::{FloatDType, Scalar, Shape};
use burn_dispatch::{Dispatch as B, DispatchDevice};
use headstart_graph::{Attention, disentangled_row, relative_position_bucket};
use headstart_kernels::dropout::Dropout;
use headstart_kernels::gemm::Operands;

use super::{Mode, random};
use crate::custom;
use crate::tensor::{T, dims, from_f32, from_i64, reshape, scale};

/// Added to a score, it makes its exponential exactly 0.
pub(super) const NEVER: f64 = -1e9;

/// `softmax(scale·q·kᵀ + masks + bias)·v`, in training with dropout of the probabilities.  Factors of products are rounded to
/// `operands` where our kernel takes them.
pub(super) fn attention(
    a: &Attention,
    [query, key, value]: [T; 3],
    mut rest: Vec<T>,
    operands: Operands,
    mode: &mut Mode<'_>,
    device: &DispatchDevice,
) -> T {
    let bias = if a.bias { rest.pop() } else { None };
    let (q, k) = (dims(&query), dims(&key));
    let (n, s_q, width, s_k) = (q[0], q[1], q[2], k[1]);
    let factor = a.scale.unwrap_or(1.0 / ((width / a.heads) as f64).sqrt());
    let is_plain = bias.is_none() && !a.causal;
    let drops = a.dropout > 0.0 && matches!(mode, Mode::Training { .. });
    if is_plain && !drops {
        return custom::attention([query, key, value], rest.pop(), a.heads, factor, operands, None);
    }
    if is_plain
        && custom::attends([&query, &key, &value], rest.last())
        && let Mode::Training { rng, .. } = mode
    {
        let drop = Dropout { p: a.dropout as f32, seed: rng.next_u64() };
        return custom::attention([query, key, value], rest.pop(), a.heads, factor, operands, Some(drop));
    }
    let query = if factor == 1.0 { query } else { scale(query, factor) };
    let mut scores = B::float_matmul(split(query, a.heads), B::float_transpose(split(key, a.heads)));
    if let Some(bias) = bias {
        scores = B::float_add(scores, bias);
    }
    if let Some(mask) = rest.pop() {
        let keep = B::int_into_float(mask, FloatDType::F32);
        let never = scale(B::float_add_scalar(keep, Scalar::Float(-1.0)), -NEVER);
        scores = B::float_add(scores, reshape(never, &[n, 1, 1, s_k]));
    }
    if a.causal {
        let never =
            (0..s_q * s_k).map(|at| if at % s_k > at / s_k { NEVER as f32 } else { 0.0 }).collect::<Vec<_>>();
        scores = B::float_add(scores, from_f32(&[1, 1, s_q, s_k], never, device));
    }
    let kept = random::dropout(custom::softmax(scores, 3), a.dropout, mode, device);
    let mixed = B::float_matmul(kept, split(value, a.heads));
    reshape(B::float_permute(mixed, &[0, 2, 1, 3]), &[n, s_q, width])
}

/// `[batch, sequence, width]` → `[batch, heads, sequence, width/heads]`.
fn split(t: T, heads: usize) -> T {
    let [n, s, width] = dims(&t)[..] else { unreachable!("the graph checked that tokens have three axes") };
    B::float_permute(reshape(t, &[n, s, heads, width / heads]), &[0, 2, 1, 3])
}

/// Rows of `weight [buckets, heads]` by distance → `[1, heads, queries, keys]`.
pub(super) fn relative_position_bias(
    weight: T,
    [s_q, s_k]: [usize; 2],
    distance_max: usize,
    bidirectional: bool,
    device: &DispatchDevice,
) -> T {
    let [buckets, heads] = dims(&weight)[..] else { unreachable!("the graph checked the weight") };
    let rows = (0..s_q * s_k)
        .map(|at| {
            let distance = (at % s_k) as i64 - (at / s_k) as i64;
            relative_position_bucket(distance, buckets, distance_max, bidirectional)
        })
        .collect::<Vec<_>>();
    let taken = B::float_select(weight, 0, from_i64(&[s_q * s_k], rows, device));
    B::float_permute(reshape(taken, &[1, s_q, s_k, heads]), &[0, 3, 1, 2])
}

/// What the positions' vectors say of each pair → `[batch, heads, sequence, sequence]`.
pub(super) fn disentangled_scores(
    (x, positions): (T, T),
    heads: usize,
    distance_max: usize,
    log_buckets: bool,
    by_key: bool,
    factor: f64,
    device: &DispatchDevice,
) -> T {
    let [n, s, width] = dims(&x)[..] else { unreachable!("the graph checked that tokens have three axes") };
    let rows = dims(&positions)[0];
    let positions = split(reshape(positions, &[1, rows, width]), heads);
    let every = B::float_matmul(split(scale(x, factor), heads), B::float_transpose(positions));
    // Row i of `every` has i's score at each distance.  By key it is j's, at the distance of (i, j).
    let wanted = (0..s * s)
        .map(|at| {
            let distance = (at / s) as i64 - (at % s) as i64;
            disentangled_row(if by_key { -distance } else { distance }, rows / 2, distance_max, log_buckets)
        })
        .collect();
    let wanted = B::int_expand(from_i64(&[1, 1, s, s], wanted, device), Shape::new([n, heads, s, s]));
    let scores = B::float_gather(3, every, wanted);
    if by_key { B::float_swap_dims(scores, 2, 3) } else { scores }
}
