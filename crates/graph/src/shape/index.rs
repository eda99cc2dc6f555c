//! Shapes of operators that pick elements or make one of many.

use crate::{Dim, Shape};

/// `indices` take the place of `axis`.
pub(super) fn gather(x: &Shape, indices: &Shape, axis: usize) -> Result<Shape, String> {
    x.axis(axis)?;
    Ok(Shape([&x.0[..axis], &indices.0, &x.0[axis + 1..]].concat()))
}

/// One element an index.
pub(super) fn gather_elements(x: &Shape, indices: &Shape, axis: usize) -> Result<Shape, String> {
    x.axis(axis)?;
    let fits = |i: usize| match (indices.0[i].fixed(), x.0[i].fixed()) {
        (Some(n), Some(m)) => n <= m,
        _ => true,
    };
    if indices.rank() != x.rank() || !(0..x.rank()).all(|i| i == axis || fits(i)) {
        return Err("the indices must lie inside the value on every axis but one".into());
    }
    Ok(indices.clone())
}

/// A part of `x` for each tuple of the last axis of `indices`.
pub(super) fn gather_nd(x: &Shape, indices: &Shape) -> Result<Shape, String> {
    let depth = indices.last()?;
    if depth == 0 || depth > x.rank() {
        return Err(format!("tuples of {depth} do not index {} axes", x.rank()));
    }
    Ok(Shape([&indices.0[..indices.rank() - 1], &x.0[depth..]].concat()))
}

/// The axes are of length 1, or go away; none named means all.
pub(super) fn reduce(x: &Shape, axes: &[usize], keep_dims: bool) -> Result<Shape, String> {
    for &axis in axes {
        x.axis(axis)?;
    }
    let goes = |i: &usize| axes.is_empty() || axes.contains(i);
    let kept = (0..x.rank()).filter(|i| keep_dims || !goes(i));
    Ok(Shape(kept.map(|i| if goes(&i) { Dim::Fixed(1) } else { x.0[i].clone() }).collect()))
}
