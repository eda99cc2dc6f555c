//! Shapes of operators that move elements without changing them.

use super::dense::may_equal;
use crate::{Dim, Expr, Shape};

const TOO_MANY: &str = "the dimension is too large or depends on too many symbols";

/// Joins all axes from `start` on.
pub(super) fn flatten(x: &Shape, start: usize) -> Result<Shape, String> {
    if start >= x.rank() {
        return Err(format!("there is no axis {start}"));
    }
    let mut joined = 1usize;
    for i in start..x.rank() {
        joined = joined
            .checked_mul(x.number(i, "a flattened dimension")?)
            .ok_or("the flattened dimension is too large")?;
    }
    let mut dims = x.0[..start].to_vec();
    dims.push(Dim::Fixed(joined));
    Ok(Shape(dims))
}

/// Permutes axes.
pub(super) fn transpose(x: &Shape, perm: &[usize]) -> Result<Shape, String> {
    let mut seen = perm.to_vec();
    seen.sort_unstable();
    if seen != (0..x.rank()).collect::<Vec<_>>() {
        return Err(format!("{perm:?} is not a permutation of the axes"));
    }
    Ok(Shape(perm.iter().map(|&i| x.0[i].clone()).collect()))
}

/// Joins along `axis`.
pub(super) fn concat(inputs: &[&Shape], axis: usize) -> Result<Shape, String> {
    let x = inputs[0];
    x.axis(axis)?;
    let mut total = Expr::number(0);
    for s in inputs {
        let same = s.rank() == x.rank() && (0..x.rank()).all(|i| i == axis || may_equal(&s.0[i], &x.0[i]));
        if !same {
            return Err(format!("all dimensions but axis {axis} must agree"));
        }
        total = total.add(&Expr::from(&s.0[axis])).ok_or(TOO_MANY)?;
    }
    let mut dims = x.0.clone();
    dims[axis] = total.to_dim().ok_or(TOO_MANY)?;
    Ok(Shape(dims))
}

/// Drops `axis`.
pub(super) fn select(x: &Shape, axis: usize, index: usize) -> Result<Shape, String> {
    if axis >= x.rank() || x.known(axis).is_some_and(|n| index >= n) {
        return Err(format!("there is no position {index} on axis {axis}"));
    }
    let mut dims = x.0.clone();
    dims.remove(axis);
    Ok(Shape(dims))
}
