//! Operators that pick elements, and those that count them.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_backend::tensor::IndexingUpdateOp;
use burn_backend::{IntDType, Scalar, Shape, Slice};
use burn_dispatch::{Dispatch as B, DispatchDevice};
use headstart_core::Values;
use headstart_graph::{AxisRange, ElementKind};

use super::constant::bound;
use super::elementwise::cast;
use crate::custom;
use crate::tensor::{Kind, T, dims, from_f32, from_i64, kind, reshape, slice, to_array, to_i64};

/// Position `index` of `axis`, which the result lacks.
pub(super) fn select(x: T, axis: usize, index: usize) -> T {
    let mut shape = dims(&x);
    let slices: Vec<Slice> = (0..shape.len())
        .map(|i| if i == axis { Slice::from(index..index + 1) } else { Slice::full() })
        .collect();
    let taken = slice(x, &slices);
    shape.remove(axis);
    reshape(taken, &shape)
}

/// Positions along `ids [batch, sequence]`; with `padding_id` as RoBERTa counts them.
pub(super) fn position_ids(ids: T, offset: usize, padding_id: Option<i64>, device: &DispatchDevice) -> T {
    let [n, s] = dims(&ids)[..] else { unreachable!("the graph checked that ids are [batch, sequence]") };
    match padding_id {
        None => {
            let row = from_i64(&[1, s], (offset as i64..(offset + s) as i64).collect(), device);
            B::int_expand(row, Shape::new([n, s]))
        }
        Some(id) => {
            let distance = B::int_abs(B::int_sub_scalar(ids, Scalar::Int(id)));
            let kept = B::int_clamp(distance, Scalar::Int(0), Scalar::Int(1));
            let counted = B::int_mul(B::int_cumsum(kept.clone(), 1), kept);
            B::int_add_scalar(counted, Scalar::Int(offset as i64 - 1))
        }
    }
}

/// Indices that lie on an axis of `n` positions, negative ones counted from the end, flattened.
fn checked(indices: T, n: usize) -> Result<Vec<i64>, String> {
    if kind(&indices) != Kind::Int {
        return Err("indices must be integers".into());
    }
    let mut values = to_i64(indices).map_err(|e| e.to_string())?;
    for v in &mut values {
        let at = if *v < 0 { v.wrapping_add(n as i64) } else { *v };
        if at < 0 || at >= n as i64 {
            return Err(format!("index {v} is not on an axis of {n} positions"));
        }
        *v = at;
    }
    Ok(values)
}

/// Rows of `weight` at `ids`.
pub(super) fn embedding(weight: T, ids: T, device: &DispatchDevice) -> Result<T, String> {
    let shape = dims(&ids);
    let ids = checked(ids, dims(&weight)[0])?;
    Ok(custom::embedding(weight, from_i64(&shape, ids, device)))
}

/// Parts of `x` along `axis` at `indices` of any shape.
pub(super) fn gather(x: T, indices: T, axis: usize, device: &DispatchDevice) -> Result<T, String> {
    let (shape, by) = (dims(&x), dims(&indices));
    let indices = checked(indices, shape[axis])?;
    let n = indices.len();
    let picked = pick(x, axis, from_i64(&[n], indices, device));
    Ok(reshape(picked, &[&shape[..axis], &by, &shape[axis + 1..]].concat()))
}

/// Single elements along `axis`.
pub(super) fn gather_elements(x: T, indices: T, axis: usize, device: &DispatchDevice) -> Result<T, String> {
    let (shape, by) = (dims(&x), dims(&indices));
    let indices = from_i64(&by, checked(indices, shape[axis])?, device);
    // The device wants both of one size off the axis.
    let mut part = by.clone();
    part[axis] = shape[axis];
    let slices: Vec<Slice> = part.iter().map(|&n| Slice::from(0..n)).collect();
    let x = if part == shape { x } else { slice(x, &slices) };
    Ok(match kind(&x) {
        Kind::Float => B::float_gather(axis, x, indices),
        Kind::Int => B::int_gather(axis, x, indices),
        Kind::Bool => B::bool_gather(axis, x, indices),
    })
}

/// Parts of `x` at integer tuples.
pub(super) fn gather_nd(x: T, indices: T, device: &DispatchDevice) -> Result<T, String> {
    let (shape, by) = (dims(&x), dims(&indices));
    let depth = by[by.len() - 1];
    let rows = rows(indices, &shape[..depth])?;
    let n = rows.len();
    let picked = pick(as_rows(x, depth), 0, from_i64(&[n], rows, device));
    Ok(reshape(picked, &[&by[..by.len() - 1], &shape[depth..]].concat()))
}

/// Parts of `x` at integer tuples replaced by updates, or added to.
pub(super) fn scatter_nd(
    x: T,
    indices: T,
    updates: T,
    add: bool,
    device: &DispatchDevice,
) -> Result<T, String> {
    let (kind_x, shape) = (kind(&x), dims(&x));
    if kind_x != kind(&updates) {
        return Err(format!("{:?} replace parts of {kind_x:?}", kind(&updates)));
    }
    if kind_x == Kind::Bool {
        let ints = [x, updates].map(|t| cast(t, ElementKind::Int));
        let [x, updates] = ints;
        return scatter_nd(x, indices, updates, add, device).map(|t| cast(t, ElementKind::Bool));
    }
    let depth = dims(&indices)[dims(&indices).len() - 1];
    let mut rows = rows(indices, &shape[..depth])?;
    let n = rows.len();
    let inner = &shape[depth..];
    let mut updates = reshape(updates, &[&[n], inner].concat());
    let mut whole = as_rows(x, depth);
    if !add {
        // Of updates of one place the last counts; what they replace becomes 0.
        let last: BTreeMap<i64, usize> = rows.iter().enumerate().map(|(i, &row)| (row, i)).collect();
        let mut is_kept = vec![true; dims(&whole)[0]];
        last.keys().for_each(|&row| is_kept[row as usize] = false);
        let order: Vec<i64> = last.values().map(|&i| i as i64).collect();
        rows = last.into_keys().collect();
        let k = order.len();
        updates = pick(updates, 0, from_i64(&[k], order, device));
        let column = [vec![is_kept.len()], vec![1; inner.len()]].concat();
        whole = match kind_x {
            Kind::Float => {
                let keep = is_kept.iter().map(|&k| f32::from(u8::from(k))).collect();
                B::float_mul(whole, from_f32(&column, keep, device))
            }
            _ => B::int_mul(whole, from_i64(&column, is_kept.iter().map(|&k| k.into()).collect(), device)),
        };
    }
    let at = from_i64(&[rows.len()], rows, device);
    let whole = match kind_x {
        Kind::Float => B::float_select_assign(whole, 0, at, updates, IndexingUpdateOp::Add),
        _ => B::int_select_assign(whole, 0, at, updates, IndexingUpdateOp::Add),
    };
    Ok(reshape(whole, &shape))
}

/// The first axes joined.
fn as_rows(x: T, depth: usize) -> T {
    let shape = dims(&x);
    let rows = shape[..depth].iter().product();
    reshape(x, &[&[rows], &shape[depth..]].concat())
}

/// The row that each tuple of the last axis means, of axes of these sizes.
fn rows(indices: T, sizes: &[usize]) -> Result<Vec<i64>, String> {
    if kind(&indices) != Kind::Int {
        return Err("indices must be integers".into());
    }
    let tuples = to_i64(indices).map_err(|e| e.to_string())?;
    let row = |tuple: &[i64]| {
        tuple.iter().zip(sizes).try_fold(0i64, |at, (&v, &n)| {
            let i = if v < 0 { v.wrapping_add(n as i64) } else { v };
            if i < 0 || i >= n as i64 {
                return Err(format!("index {v} is not on an axis of {n} positions"));
            }
            Ok(at * n as i64 + i)
        })
    };
    tuples.chunks_exact(sizes.len()).map(row).collect()
}

/// Positions of one axis, in the order of `indices [n]`, which lie on it.
pub(super) fn pick(x: T, axis: usize, indices: T) -> T {
    match kind(&x) {
        Kind::Float => B::float_select(x, axis, indices),
        Kind::Int => B::int_select(x, axis, indices),
        Kind::Bool => B::bool_select(x, axis, indices),
    }
}

/// A part of a value; the ranges are numbers by now and lie inside.
pub(super) fn part(x: T, ranges: &[AxisRange], device: &DispatchDevice) -> T {
    let shape = dims(&x);
    let mut slices: Vec<Slice> = shape.iter().map(|&n| Slice::from(0..n)).collect();
    let mut x = x;
    for r in ranges {
        let (start, length) = (bound(&r.start), bound(&r.length));
        if r.step == 1 || length == 0 {
            let start = start.min(shape[r.axis]);
            slices[r.axis] = Slice::from(start..start + length);
        } else {
            let at = (0..length as i64).map(|i| start as i64 + i * r.step).collect();
            x = pick(x, r.axis, from_i64(&[length], at, device));
            slices[r.axis] = Slice::from(0..length);
        }
    }
    let whole = dims(&x).iter().zip(&slices).all(|(&n, s)| s.start == 0 && s.end == Some(n as isize));
    if whole { x } else { slice(x, &slices) }
}

/// Position of the largest or smallest element, the first of equals.
pub(super) fn arg_max(x: T, axis: usize, keep_dims: bool, smallest: bool) -> Result<T, String> {
    let mut shape = dims(&x);
    if shape[axis] == 0 {
        return Err("there is no largest of no elements".into());
    }
    let at = match (kind(&x), smallest) {
        (Kind::Float, false) => B::float_argmax(x, axis, IntDType::I64),
        (Kind::Float, true) => B::float_argmin(x, axis, IntDType::I64),
        (Kind::Int, false) => B::int_argmax(x, axis),
        (Kind::Int, true) => B::int_argmin(x, axis),
        (Kind::Bool, _) => return Err("truth values have no order".into()),
    };
    if keep_dims {
        return Ok(at);
    }
    shape.remove(axis);
    Ok(reshape(at, &shape))
}

/// Positions along `axis` in the order of their elements, the first of equals first.
pub(super) fn arg_sort(x: T, axis: usize, descending: bool, device: &DispatchDevice) -> Result<T, String> {
    let shape = dims(&x);
    let n = shape[axis];
    let inner: usize = shape[axis + 1..].iter().product();
    let count: usize = shape.iter().product();
    let mut at = vec![0i64; count];
    let mut sort = |compare: &dyn Fn(usize, usize) -> Ordering| {
        let mut line: Vec<usize> = Vec::with_capacity(n);
        for start in (0..count).filter(|i| (i / inner.max(1)).is_multiple_of(n.max(1))) {
            line.clear();
            line.extend(0..n);
            let place = |k: usize| start + k * inner;
            line.sort_by(|&a, &b| {
                let order = compare(place(a), place(b));
                if descending { order.reverse() } else { order }
            });
            line.iter().enumerate().for_each(|(k, &from)| at[place(k)] = from as i64);
        }
    };
    match to_array(x).map_err(|e| e.to_string())?.values {
        Values::F32(values) => {
            // The sign of 0, or of what is no number, says nothing.
            let key = |v: f32| if v.is_nan() { f32::NAN } else { v + 0.0 };
            sort(&|a, b| key(values[a]).total_cmp(&key(values[b])));
        }
        Values::I64(values) => sort(&|a, b| values[a].cmp(&values[b])),
    }
    Ok(from_i64(&shape, at, device))
}
