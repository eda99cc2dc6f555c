//! Operators that make fewer numbers of many.

use burn_backend::ops::{FloatTensorOps, IntTensorOps};
use burn_backend::{BoolDType, FloatDType, Scalar};
use burn_dispatch::Dispatch as B;
use headstart_graph::Reduction;

use super::attention::NEVER;
use crate::tensor::{Kind, T, dims, kind, reshape, scale};

/// A function of all elements along axes; all axes if none is named.
pub(super) fn reduce(x: T, function: Reduction, axes: &[usize], keep_dims: bool) -> Result<T, String> {
    let shape = dims(&x);
    let axes: Vec<usize> = if axes.is_empty() { (0..shape.len()).collect() } else { axes.to_vec() };
    let is_extreme = matches!(function, Reduction::Max | Reduction::Min | Reduction::LogSumExp);
    if is_extreme && axes.iter().any(|&a| shape[a] == 0) {
        return Err("there is no largest or smallest of no elements".into());
    }
    let result = match kind(&x) {
        Kind::Float => float_reduce(x, function, &axes),
        Kind::Int => int_reduce(x, function, &axes)?,
        Kind::Bool => return Err(format!("{function:?} takes numbers, not truth values")),
    };
    if keep_dims {
        return Ok(result);
    }
    let kept: Vec<usize> = (0..shape.len()).filter(|i| !axes.contains(i)).map(|i| shape[i]).collect();
    Ok(reshape(result, &kept))
}

fn float_reduce(x: T, function: Reduction, axes: &[usize]) -> T {
    let each = |x: T, f: fn(T, usize) -> T| axes.iter().fold(x, |x, &axis| f(x, axis));
    let sum = |x: T| each(x, B::float_sum_dim);
    let square = |x: T| B::float_mul(x.clone(), x);
    match function {
        Reduction::Sum => sum(x),
        Reduction::Mean => each(x, B::float_mean_dim),
        Reduction::Max => each(x, B::float_max_dim),
        Reduction::Min => each(x, B::float_min_dim),
        Reduction::Prod => each(x, B::float_prod_dim),
        Reduction::L1 => sum(B::float_abs(x)),
        Reduction::L2 => norm(sum(square(x))),
        Reduction::SumSquare => sum(square(x)),
        Reduction::LogSum => B::float_log(sum(x)),
        Reduction::LogSumExp => {
            // The largest is taken out first, so that nothing overflows.
            let largest = each(x.clone(), B::float_max_dim);
            let rest = sum(B::float_exp(B::float_sub(x, largest.clone())));
            B::float_add(B::float_log(rest), largest)
        }
    }
}

/// Root of a sum of squares.  Where that is 0 the gradient is 0 too, one of those that the norm has there (PyTorch's), not
/// the 0·∞ of the root.
fn norm(sum: T) -> T {
    let is_zero = B::float_equal_elem(sum.clone(), Scalar::Float(0.0), BoolDType::Native);
    let root = B::float_sqrt(B::float_mask_fill(sum, is_zero.clone(), Scalar::Float(1.0)));
    B::float_mask_fill(root, is_zero, Scalar::Float(0.0))
}

fn int_reduce(x: T, function: Reduction, axes: &[usize]) -> Result<T, String> {
    let each = |x: T, f: fn(T, usize) -> T| axes.iter().fold(x, |x, &axis| f(x, axis));
    Ok(match function {
        Reduction::Sum => each(x, B::int_sum_dim),
        Reduction::Max => each(x, B::int_max_dim),
        Reduction::Min => each(x, B::int_min_dim),
        Reduction::Prod => each(x, B::int_prod_dim),
        Reduction::L1 => each(B::int_abs(x), B::int_sum_dim),
        Reduction::SumSquare => each(B::int_mul(x.clone(), x), B::int_sum_dim),
        _ => return Err(format!("{function:?} takes floats, not integers")),
    })
}

/// Running sum along `axis`.
pub(super) fn cum_sum(x: T, axis: usize, exclusive: bool, reverse: bool) -> Result<T, String> {
    let flip = |x: T| match kind(&x) {
        Kind::Float => B::float_flip(x, &[axis]),
        _ => B::int_flip(x, &[axis]),
    };
    let x = if reverse { flip(x) } else { x };
    let sum = match kind(&x) {
        Kind::Float => {
            let sum = B::float_cumsum(x.clone(), axis);
            if exclusive { B::float_sub(sum, x) } else { sum }
        }
        Kind::Int => {
            let sum = B::int_cumsum(x.clone(), axis);
            if exclusive { B::int_sub(sum, x) } else { sum }
        }
        Kind::Bool => return Err("a running sum takes numbers, not truth values".into()),
    };
    Ok(if reverse { flip(sum) } else { sum })
}

/// Mean over the tokens that the mask keeps, or over all.
pub(super) fn masked_mean(x: T, mask: Option<T>) -> T {
    let [n, s, width] = dims(&x)[..] else { unreachable!("the graph checked that tokens have three axes") };
    let Some(mask) = mask else { return reshape(B::float_mean_dim(x, 1), &[n, width]) };
    let keep = reshape(B::int_into_float(mask, FloatDType::F32), &[n, s, 1]);
    let sum = B::float_sum_dim(B::float_mul(x, keep.clone()), 1);
    let count = B::float_clamp_min(B::float_sum_dim(keep, 1), Scalar::Float(1e-9));
    reshape(B::float_div(sum, count), &[n, width])
}

/// Largest value over the tokens that the mask keeps.
pub(super) fn masked_max(x: T, mask: T) -> T {
    let [n, s, width] = dims(&x)[..] else { unreachable!("the graph checked that tokens have three axes") };
    let keep = reshape(B::int_into_float(mask, FloatDType::F32), &[n, s, 1]);
    let never = scale(B::float_add_scalar(keep.clone(), Scalar::Float(-1.0)), -NEVER);
    reshape(B::float_max_dim(B::float_add(B::float_mul(x, keep), never), 1), &[n, width])
}

/// Zeros where the mask is 0.
pub(super) fn mask_tokens(x: T, mask: T) -> T {
    let [n, s, _] = dims(&x)[..] else { unreachable!("the graph checked that tokens have three axes") };
    B::float_mul(x, reshape(B::int_into_float(mask, FloatDType::F32), &[n, s, 1]))
}
