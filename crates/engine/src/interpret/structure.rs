//! Operators that change where elements stand, not what they are.

use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_dispatch::{Dispatch as B, DispatchDevice};
use headstart_graph::{Dim, PadMode};

use super::constant::bound;
use super::index::pick;
use crate::custom;
use crate::tensor::{
    Kind, T, aligned, broadcast_shape, cat, dims, expand, from_bool, from_f32, from_i64, kind, reshape,
};

/// Joins all axes from `start` on into one.
pub(super) fn flatten(x: T, start: usize) -> T {
    let mut shape = dims(&x);
    let joined = shape[start..].iter().product();
    shape.truncate(start);
    shape.push(joined);
    reshape(x, &shape)
}

/// Joins values of any kinds along `axis`; they must be of one.  On the other axes lengths of 1 are repeated.
pub(super) fn concat(all: Vec<T>, axis: usize) -> Result<T, String> {
    if axis == 1 && custom::concats(&all) {
        return Ok(custom::concat(all));
    }
    let kinds: Vec<Kind> = all.iter().map(kind).collect();
    if kinds.windows(2).any(|k| k[0] != k[1]) {
        return Err(format!("values of different kinds are joined: {kinds:?}"));
    }
    let mut whole = all.first().map(dims).unwrap_or_default();
    for t in &all {
        whole.iter_mut().zip(dims(t)).for_each(|(have, new)| *have = (*have).max(new));
    }
    let repeated = all.into_iter().map(|t| {
        let mut shape = whole.clone();
        shape[axis] = dims(&t)[axis];
        expand(t, &shape)
    });
    let all: Vec<T> = repeated.collect();
    // An empty part adds nothing, and some devices cannot join it.
    let mut parts: Vec<T> = all.iter().filter(|t| dims(t)[axis] > 0).cloned().collect();
    match (parts.len(), all.into_iter().next()) {
        (0, Some(first)) => Ok(first),
        (1, _) => Ok(parts.swap_remove(0)),
        _ => Ok(cat(parts, axis)),
    }
}

/// Another shape, of numbers by now.
pub(super) fn reshape_to(x: T, shape: &[Dim]) -> T {
    reshape(x, &shape.iter().map(bound).collect::<Vec<_>>())
}

/// Broadcast against a shape, of numbers by now.
pub(super) fn expand_to(x: T, shape: &[Dim]) -> T {
    let want: Vec<usize> = shape.iter().map(bound).collect();
    let have = dims(&x);
    let rank = want.len().max(have.len());
    let x = reshape(x, &[vec![1; rank - have.len()], have.clone()].concat());
    let shape = broadcast_shape(&dims(&x), &[vec![1; rank - want.len()], want].concat());
    expand(x, &shape)
}

/// More elements around a value.
pub(super) fn pad(
    mut x: T,
    pads: &[[usize; 2]],
    mode: PadMode,
    device: &DispatchDevice,
) -> Result<T, String> {
    for (axis, &[before, after]) in pads.iter().enumerate() {
        if before + after == 0 {
            continue;
        }
        let shape = dims(&x);
        x = if let PadMode::Constant(value) = mode {
            let side = |n: usize| {
                let mut shape = shape.clone();
                shape[axis] = n;
                filled(&shape, value, kind(&x), device)
            };
            concat(vec![side(before), x.clone(), side(after)], axis)?
        } else {
            let n = shape[axis] as i64;
            let at = |i: i64| match mode {
                PadMode::Edge => i.clamp(0, n - 1),
                PadMode::Wrap => i.rem_euclid(n),
                // Mirrored at 0 and at n − 1; pads are shorter than the value, so once is enough.
                _ if i < 0 => -i,
                _ if i >= n => 2 * (n - 1) - i,
                _ => i,
            };
            let indices: Vec<i64> = (-(before as i64)..n + after as i64).map(at).collect();
            let length = indices.len();
            pick(x, axis, from_i64(&[length], indices, device))
        };
    }
    Ok(x)
}

fn filled(shape: &[usize], value: f64, kind: Kind, device: &DispatchDevice) -> T {
    let n = shape.iter().product();
    match kind {
        Kind::Float => from_f32(shape, vec![value as f32; n], device),
        Kind::Int => from_i64(shape, vec![value as i64; n], device),
        Kind::Bool => from_bool(shape, vec![value != 0.0; n], device),
    }
}

/// Keeps a triangle of the last two axes, zeros the rest.
pub(super) fn triangle(x: T, upper: bool, k: i64, device: &DispatchDevice) -> T {
    let shape = dims(&x);
    let [rows, cols] = [shape[shape.len() - 2], shape[shape.len() - 1]];
    let dropped = |i: usize, j: usize| {
        let d = j as i64 - i as i64;
        if upper { d < k } else { d > k }
    };
    let mask = (0..rows).flat_map(|i| (0..cols).map(move |j| dropped(i, j))).collect();
    let [mask, x] = aligned([from_bool(&[rows, cols], mask, device), x]);
    let mask = expand(mask, &shape);
    match kind(&x) {
        Kind::Float => B::float_mask_fill(x, mask, 0.0.into()),
        Kind::Int => B::int_mask_fill(x, mask, 0.into()),
        Kind::Bool => B::bool_and(x, B::bool_not(mask)),
    }
}
