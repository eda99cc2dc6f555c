//! Shapes of operators that move elements without changing them.

use super::dense::may_equal;
use crate::{AxisRange, Dim, Expr, PadMode, Resampling, Shape};

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

/// Joins along `axis`; on the other axes a length of 1 is repeated.
pub(super) fn concat(inputs: &[&Shape], axis: usize) -> Result<Shape, String> {
    let x = inputs[0];
    x.axis(axis)?;
    let mut total = Expr::number(0);
    let mut dims = x.0.clone();
    for s in inputs {
        if s.rank() != x.rank() {
            return Err("all inputs must have as many dimensions".into());
        }
        for (i, (dim, new)) in dims.iter_mut().zip(&s.0).enumerate().filter(|(i, _)| *i != axis) {
            match (&*dim, new) {
                (_, Dim::Fixed(1)) => {}
                (Dim::Fixed(1), _) | (Dim::Symbol(_), Dim::Fixed(_)) => *dim = new.clone(),
                (have, new) if may_equal(have, new) => {}
                (have, new) => return Err(format!("{have} and {new} do not agree on axis {i}")),
            }
        }
        total = total.add(&Expr::from(&s.0[axis])).ok_or(TOO_MANY)?;
    }
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

/// Integers that depend on sizes.
pub(super) fn sizes(dims: &[Dim], is_scalar: bool) -> Result<Shape, String> {
    match (is_scalar, dims.len()) {
        (true, 1) => Ok(Shape::default()),
        (true, n) => Err(format!("a scalar is one number, not {n}")),
        (false, n) => Ok(Shape::fixed(&[n])),
    }
}

/// How many elements a shape has.
fn count(dims: &[Dim]) -> Result<Expr, String> {
    dims.iter().try_fold(Expr::number(1), |n, d| n.mul(&Expr::from(d)).ok_or_else(|| TOO_MANY.to_string()))
}

/// The same number of elements; where symbols leave that open, the run decides.
pub(super) fn reshape(x: &Shape, shape: &[Dim]) -> Result<Shape, String> {
    let (have, want) = (count(&x.0)?, count(shape)?);
    // Sizes are positive, so a difference of one sign is none that a run could close.
    let differ = |a: &Expr, b: &Expr| a.sub(b).and_then(|d| d.least()).is_some_and(|n| n > 0);
    if differ(&have, &want) || differ(&want, &have) {
        return Err(format!("{have} elements do not fill {}", Shape(shape.to_vec())));
    }
    Ok(Shape(shape.to_vec()))
}

/// Parts of axes.
pub(super) fn slice(x: &Shape, ranges: &[AxisRange]) -> Result<Shape, String> {
    let mut dims = x.0.clone();
    let mut seen = Vec::new();
    for r in ranges {
        let size = x.axis(r.axis)?;
        if r.step == 0 || seen.contains(&r.axis) {
            return Err(format!("axis {} is sliced twice or with step 0", r.axis));
        }
        seen.push(r.axis);
        if let (Some(n), Some(start), Some(length)) = (size.fixed(), r.start.fixed(), r.length.fixed()) {
            let reach = length.saturating_sub(1) as i128 * i128::from(r.step) + start as i128;
            if length > 0 && (start >= n || reach < 0 || reach >= n as i128) {
                return Err(format!("positions {start} to {reach} are not on axis {}", r.axis));
            }
        }
        dims[r.axis] = r.length.clone();
    }
    Ok(Shape(dims))
}

/// More elements around.
pub(super) fn pad(x: &Shape, pads: &[[usize; 2]], mode: PadMode) -> Result<Shape, String> {
    if pads.len() != x.rank() {
        return Err(format!("there are pads for {} axes", pads.len()));
    }
    let mut dims = Vec::new();
    for (d, [before, after]) in x.0.iter().zip(pads) {
        let most = match (mode, d.fixed()) {
            (PadMode::Reflect, Some(n)) => n.saturating_sub(1),
            (PadMode::Wrap, Some(n)) => n,
            (PadMode::Edge, Some(0)) => 0,
            _ => usize::MAX,
        };
        if *before.max(after) > most {
            return Err(format!("{before} and {after} are more than can be mirrored or repeated of {d}"));
        }
        let more = before.checked_add(*after).and_then(|n| i64::try_from(n).ok()).ok_or(TOO_MANY)?;
        let sum = Expr::from(d).add(&Expr::number(more)).and_then(|e| e.to_dim());
        dims.push(sum.ok_or(TOO_MANY)?);
    }
    Ok(Shape(dims))
}

/// Other sizes of some axes.
pub(super) fn resize(x: &Shape, to: &Resampling) -> Result<Shape, String> {
    if to.axes.len() != to.sizes.len() || !matches!(to.scales.len(), n if n == 0 || n == to.axes.len()) {
        return Err("there must be one size an axis, and one scale or none".into());
    }
    if to.scales.iter().any(|s| !(s.is_finite() && *s > 0.0)) {
        return Err(format!("the scales are {:?}", to.scales));
    }
    let mut dims = x.0.clone();
    for (k, (axis, size)) in to.axes.iter().zip(&to.sizes).enumerate() {
        if x.axis(*axis)? == &Dim::Fixed(0) || *size == Dim::Fixed(0) {
            return Err("nothing can be resized from or to 0".into());
        }
        // A scale that is not nearly the ratio of the sizes would ask for neighbours without bound.
        if let (Some(&scale), Some(from), Some(size)) = (to.scales.get(k), x.known(*axis), size.fixed()) {
            let scaled = from as f64 * scale;
            if scaled < 0.49 || (scaled - size as f64).abs() > 1.0 + 1e-6 * scaled {
                return Err(format!("{from} times {scale} is not {size}"));
            }
        }
        dims[*axis] = size.clone();
    }
    Ok(Shape(dims))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Coordinates, Interpolation};

    #[test]
    fn a_reshape_that_no_run_can_fill_is_refused() {
        let x = Shape(vec![Dim::batch(), Dim::Fixed(6), Dim::Fixed(25)]);
        let to = |dims: &[usize]| {
            let fixed = dims.iter().map(|&n| Dim::Fixed(n));
            reshape(&x, &[vec![Dim::batch()], fixed.collect()].concat())
        };
        assert!(to(&[2, 75]).is_ok());
        assert!(to(&[2, 60]).is_err());
        // A batch of two could be meant.
        assert!(reshape(&x, &[Dim::Fixed(2), Dim::Fixed(150)]).is_ok());
    }

    #[test]
    fn a_scale_that_is_not_the_ratio_of_the_sizes_is_refused() {
        let resized = |size: usize, scale: f64| {
            let to = Resampling {
                axes: vec![0],
                sizes: vec![Dim::Fixed(size)],
                scales: vec![scale],
                interpolation: Interpolation::Linear,
                coordinates: Coordinates::HalfPixel,
                antialias: true,
                exclude_outside: false,
            };
            resize(&Shape::fixed(&[7]), &to)
        };
        assert_eq!(resized(4, 0.6), Ok(Shape::fixed(&[4])));
        assert!(resized(1, 1e-12).is_err() && resized(4, 2.0).is_err() && resized(4, f64::NAN).is_err());
    }
}
