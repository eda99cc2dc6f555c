//! Operators on shapes, and those that change them.

use headstart_graph::{AxisRange, Dim, Expr, Op, PadMode};

use super::super::known::Known;
use super::super::node::{Node, front};
use super::super::reader::{Reader, Val};

const TOO_MANY: &str = "a size is too large or depends on too many symbols";

fn product(dims: &[Dim]) -> Result<Expr, String> {
    dims.iter().try_fold(Expr::number(1), |n, d| n.mul(&Expr::from(d))).ok_or_else(|| TOO_MANY.to_string())
}

fn dim(e: &Expr) -> Result<Dim, String> {
    e.to_dim().ok_or_else(|| format!("the size {e} is negative or too long"))
}

/// `Shape` and `Size` are told without running.
pub(super) fn shape(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let dims = r.dims(n.input(0)?);
    if n.op == "Size" {
        return Ok(Val::Known(Known::int(product(&dims)?), None));
    }
    let rank = dims.len() as i64;
    let at = |v: i64| (if v < 0 { v + rank } else { v }).clamp(0, rank) as usize;
    let (start, end) = (at(n.int("start", 0)), at(n.int("end", rank)));
    let taken = dims.get(start..end).unwrap_or_default();
    Ok(Val::Known(Known::ints(taken.iter().map(Expr::from).collect()), None))
}

/// Integers that may depend on the run's sizes.
fn exprs(val: &Val) -> Result<Vec<Expr>, String> {
    match val {
        Val::Known(known, _) => known.exprs(),
        _ => None,
    }
    .ok_or_else(|| "a shape is computed from values that only a run gives".to_string())
}

pub(super) fn reshape(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let wanted = match (n.optional(1), n.ints("shape")) {
        (Some(val), _) => exprs(val)?,
        (None, Some(ints)) => ints.iter().map(|&i| Expr::number(i)).collect(),
        (None, None) => return Err("its shape is missing".into()),
    };
    let have = r.dims(x);
    let keeps_zero = n.flag("allowzero", false);
    let mut shape: Vec<Option<Dim>> = Vec::new();
    for (i, e) in wanted.iter().enumerate() {
        shape.push(match e.as_number() {
            Some(-1) => None,
            Some(0) if !keeps_zero => Some(have.get(i).cloned().ok_or("a size is copied that is not there")?),
            _ => Some(dim(e)?),
        });
    }
    let open = shape.iter().filter(|d| d.is_none()).count();
    if open > 1 {
        return Err("two sizes of a shape are left open".into());
    }
    let given: Vec<Dim> = shape.iter().flatten().cloned().collect();
    let rest = if open == 1 {
        let n = product(&have)?.floor_div(&product(&given)?);
        Some(dim(&n.ok_or("the size left open cannot be told")?)?)
    } else {
        None
    };
    let shape: Vec<Dim> = shape.into_iter().filter_map(|d| d.or_else(|| rest.clone())).collect();
    if shape == have {
        return Ok(x.clone());
    }
    r.apply(n.path, Op::Reshape { shape }, &[x])
}

/// The axes before `axis` as one, and the rest as another.
pub(super) fn joined(r: &mut Reader, path: &str, x: &Val, axis: usize) -> Result<Val, String> {
    let d = r.dims(x);
    let shape = vec![dim(&product(&d[..axis])?)?, dim(&product(&d[axis..])?)?];
    if shape == d {
        return Ok(x.clone());
    }
    r.apply(path, Op::Reshape { shape }, &[x])
}

pub(super) fn flatten(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let rank = r.rank(x);
    let axis = n.int("axis", 1);
    let axis = if axis == rank as i64 { rank } else { front(axis, rank)? };
    let is_known = r.dims(x)[1.min(rank)..].iter().all(|d| d.fixed().is_some());
    if axis == 1 && rank > 1 && is_known {
        return r.apply(n.path, Op::Flatten { start: 1 }, &[x]);
    }
    joined(r, n.path, x, axis)
}

pub(super) fn squeeze(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let d = r.dims(x);
    let axes = match r.axes(n, 1, d.len())? {
        Some(axes) => axes,
        None => (0..d.len()).filter(|&i| d[i] == Dim::Fixed(1)).collect(),
    };
    let shape = (0..d.len()).filter(|i| !axes.contains(i)).map(|i| d[i].clone()).collect();
    r.apply(n.path, Op::Reshape { shape }, &[x])
}

pub(super) fn unsqueeze(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let mut shape = r.dims(x);
    let count = match (n.ints("axes"), n.optional(1)) {
        (Some(axes), _) => axes.len(),
        (None, Some(val)) => r.numbers(val)?.len(),
        (None, None) => return Err("its axes are missing".into()),
    };
    let rank = shape.len() + count;
    let mut axes = r.axes(n, 1, rank)?.unwrap_or_default();
    axes.sort_unstable();
    axes.dedup();
    if axes.len() != count {
        return Err("an axis is added twice".into());
    }
    for axis in axes {
        shape.insert(axis.min(shape.len()), Dim::Fixed(1));
    }
    r.apply(n.path, Op::Reshape { shape }, &[x])
}

pub(super) fn transpose(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let rank = r.rank(x);
    let perm: Vec<usize> = match n.ints("perm") {
        Some(perm) => perm.iter().map(|&p| front(p, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).rev().collect(),
    };
    if perm.iter().copied().eq(0..rank) {
        return Ok(x.clone());
    }
    let is_matrix = matches!(x, Val::Weight(_)) && perm == [1, 0];
    let y = r.apply(n.path, Op::Transpose { perm }, &[x])?;
    if is_matrix && let Val::Value(id) = y {
        let param = r.value(x)?;
        r.transposed.insert(id, param);
    }
    Ok(y)
}

pub(super) fn concat(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let inputs: Vec<&Val> = n.inputs.iter().flatten().collect();
    let first = inputs.first().ok_or("it joins nothing")?;
    let axis = n.axis("axis", 0, r.rank(first))?;
    // Empty parts add nothing; exporters make them of another kind.
    let parts: Vec<&Val> =
        inputs.iter().filter(|v| r.dims(v).get(axis) != Some(&Dim::Fixed(0))).copied().collect();
    match parts.as_slice() {
        [] => Ok((*first).clone()),
        [one] => Ok((*one).clone()),
        parts => r.apply(n.path, Op::Concat { axis }, parts),
    }
}

pub(super) fn split(r: &mut Reader, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.input(0)?;
    let d = r.dims(x);
    let axis = n.axis("axis", 0, d.len())?;
    let count = n.outputs.len();
    let sizes: Vec<Expr> = match (n.optional(1), n.ints("split")) {
        (Some(val), _) => exprs(val)?,
        (None, Some(ints)) => ints.iter().map(|&i| Expr::number(i)).collect(),
        (None, None) => {
            // Equal parts, the last one smaller.
            let total = d[axis].fixed().ok_or("the size of what is split must be known")?;
            let part = total.div_ceil(count.max(1));
            (0..count).map(|i| Expr::number(part.min(total.saturating_sub(i * part)) as i64)).collect()
        }
    };
    if sizes.len() != count {
        return Err(format!("it is split into {} parts, of which {count} are read", sizes.len()));
    }
    let mut start = Expr::number(0);
    let mut parts = Vec::new();
    for (i, size) in sizes.iter().enumerate() {
        let range = AxisRange { axis, start: dim(&start)?, length: dim(size)?, step: 1 };
        start = start.add(size).ok_or(TOO_MANY)?;
        let path = format!("{}.{i}", n.path);
        parts.push(r.apply(&path, Op::Slice { ranges: vec![range] }, &[x])?);
    }
    Ok(parts)
}

pub(super) fn slice(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let d = r.dims(x);
    let list = |r: &Reader, i: usize, name: &str| -> Result<Option<Vec<Expr>>, String> {
        let _ = r;
        match (n.ints(name), n.optional(i)) {
            (Some(ints), _) => Ok(Some(ints.iter().map(|&v| Expr::number(v)).collect())),
            (None, Some(val)) => exprs(val).map(Some),
            (None, None) => Ok(None),
        }
    };
    let starts = list(r, 1, "starts")?.ok_or("its starts are missing")?;
    let ends = list(r, 2, "ends")?.ok_or("its ends are missing")?;
    let axes = r.axes(n, 3, d.len())?.unwrap_or_else(|| (0..starts.len()).collect());
    let steps = match n.optional(4) {
        Some(val) => r.numbers(val)?,
        None => vec![1; starts.len()],
    };
    if starts.len() != ends.len() || axes.len() != starts.len() || steps.len() != starts.len() {
        return Err("starts, ends, axes and steps are not equally many".into());
    }
    let mut ranges = Vec::new();
    for (i, &axis) in axes.iter().enumerate() {
        let size = d.get(axis).ok_or_else(|| format!("there is no axis {axis}"))?;
        let (start, length) = stretch(&Expr::from(size), &starts[i], &ends[i], steps[i]).ok_or(TOO_MANY)?;
        let range = AxisRange { axis, start: dim(&start)?, length: dim(&length)?, step: steps[i] };
        let is_whole = range.start == Dim::Fixed(0) && range.length == *size && range.step == 1;
        if !is_whole {
            ranges.push(range);
        }
    }
    if ranges.is_empty() {
        return Ok(x.clone());
    }
    r.apply(n.path, Op::Slice { ranges }, &[x])
}

/// First position and number of positions, as numpy counts and clamps them.
fn stretch(size: &Expr, start: &Expr, end: &Expr, step: i64) -> Option<(Expr, Expr)> {
    let number = Expr::number;
    // Where a bound lies: counted from the end if it is negative, beyond any size if it is huge.
    let place = |e: &Expr, low: &Expr, high: &Expr| -> Option<Expr> {
        if let Some(n) = e.as_number() {
            if n >= i64::from(i32::MAX) {
                return Some(high.clone());
            }
            if n <= i64::from(i32::MIN) {
                return Some(low.clone());
            }
        }
        let is_negative = e.mul(&number(-1))?.least().is_some_and(|n| n > 0);
        let e = if is_negative { size.add(e)? } else { e.clone() };
        e.minimum(high)?.maximum(low)
    };
    if step > 0 {
        let (start, end) = (place(start, &number(0), size)?, place(end, &number(0), size)?);
        let length = end.sub(&start)?.add(&number(step - 1))?.floor_div(&number(step))?;
        return Some((start, length.maximum(&number(0))?));
    }
    let step = step.checked_neg().filter(|&s| s > 0)?;
    let last = size.sub(&number(1))?;
    let (start, end) = (place(start, &number(0), &last)?, place(end, &number(-1), &last)?);
    let length = start.sub(&end)?.add(&number(step - 1))?.floor_div(&number(step))?;
    Some((start, length.maximum(&number(0))?))
}

pub(super) fn expand(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let shape = exprs(n.input(1)?)?.iter().map(dim).collect::<Result<Vec<_>, _>>()?;
    let have = r.dims(x);
    let skip = have.len().checked_sub(shape.len());
    let is_same =
        skip.is_some_and(|s| have[s..].iter().zip(&shape).all(|(h, w)| h == w || *w == Dim::Fixed(1)));
    if is_same {
        return Ok(x.clone());
    }
    r.apply(n.path, Op::Expand { shape }, &[x])
}

/// Repeats the whole along each axis: `[n, ..]` as `[1, n, ..]`, expanded, and joined.
pub(super) fn tile(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let d = r.dims(x);
    let repeats = exprs(n.input(1)?)?.iter().map(dim).collect::<Result<Vec<_>, _>>()?;
    if repeats.len() != d.len() {
        return Err(format!("there are {} repeats for {} axes", repeats.len(), d.len()));
    }
    if repeats.iter().all(|d| *d == Dim::Fixed(1)) {
        return Ok(x.clone());
    }
    let pairs = |first: &dyn Fn(usize) -> Dim| -> Vec<Dim> {
        (0..d.len()).flat_map(|i| [first(i), d[i].clone()]).collect()
    };
    let apart = r.apply(&n.part("apart"), Op::Reshape { shape: pairs(&|_| Dim::Fixed(1)) }, &[x])?;
    let many = r.apply(&n.part("many"), Op::Expand { shape: pairs(&|i| repeats[i].clone()) }, &[&apart])?;
    let joined = (0..d.len()).map(|i| dim(&product(&[repeats[i].clone(), d[i].clone()])?));
    r.apply(n.path, Op::Reshape { shape: joined.collect::<Result<_, _>>()? }, &[&many])
}

pub(super) fn pad(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let rank = r.rank(x);
    let pads = match (n.ints("pads").or(n.ints("paddings")), n.optional(1)) {
        (Some(ints), _) => ints.to_vec(),
        (None, Some(val)) => r.numbers(val)?,
        (None, None) => return Err("its pads are missing".into()),
    };
    let axes = match n.optional(3) {
        Some(val) => r.numbers(val)?.into_iter().map(|a| front(a, rank)).collect::<Result<Vec<_>, _>>()?,
        None => (0..rank).collect(),
    };
    if pads.len() != 2 * axes.len() {
        return Err(format!("there are {} pads for {} axes", pads.len(), axes.len()));
    }
    let value = match n.optional(2) {
        Some(val) => r.floats(val)?.first().copied().unwrap_or(0.0),
        None => n.float("value", 0.0),
    };
    let mode = match n.string("mode").unwrap_or("constant") {
        "constant" => PadMode::Constant(value),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Edge,
        "wrap" => PadMode::Wrap,
        other => return Err(format!("`mode` is {other}")),
    };
    let d = r.dims(x);
    let mut all = vec![[0usize; 2]; rank];
    let mut cuts = Vec::new();
    for (i, &axis) in axes.iter().enumerate() {
        let (before, after) = (pads[i], pads[axes.len() + i]);
        all[axis] = [before.max(0) as usize, after.max(0) as usize];
        if before < 0 || after < 0 {
            let cut = |pad: i64| pad.min(0).checked_neg().ok_or(TOO_MANY);
            let (start, end) = (cut(before)?, cut(after)?);
            let left = Expr::from(&d[axis]).sub(&Expr::number(start.checked_add(end).ok_or(TOO_MANY)?));
            let length = dim(&left.ok_or(TOO_MANY)?)?;
            cuts.push(AxisRange { axis, start: dim(&Expr::number(start))?, length, step: 1 });
        }
    }
    let mut y = x.clone();
    if !cuts.is_empty() {
        y = r.apply(&n.part("cut"), Op::Slice { ranges: cuts }, &[&y])?;
    }
    if all.iter().all(|p| *p == [0, 0]) {
        return Ok(y);
    }
    r.apply(n.path, Op::Pad { pads: all, mode }, &[&y])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(size: i64, start: i64, end: i64, step: i64) -> (i64, i64) {
        let e = Expr::number;
        let (start, length) = stretch(&e(size), &e(start), &e(end), step).expect("numbers");
        (start.as_number().expect("a number"), length.as_number().expect("a number"))
    }

    #[test]
    fn stretches_are_counted_as_numpy_does() {
        assert_eq!(numbers(10, 2, 7, 1), (2, 5));
        assert_eq!(numbers(10, -3, i64::MAX, 1), (7, 3));
        assert_eq!(numbers(10, 0, -1, 3), (0, 3));
        assert_eq!(numbers(10, 8, 3, 1), (8, 0));
        assert_eq!(numbers(10, -1, i64::MIN, -1), (9, 10));
        assert_eq!(numbers(10, 7, 2, -2), (7, 3));
        assert_eq!(numbers(10, 20, 30, 1), (10, 0));
    }

    #[test]
    fn a_stretch_of_a_symbolic_axis_keeps_its_symbol() {
        let s = Expr::from(&Dim::sequence());
        let e = Expr::number;
        let (start, length) = stretch(&s, &e(1), &e(i64::MAX), 1).expect("small");
        assert_eq!((start, length.to_string()), (e(1), "sequence - 1".to_string()));
        let (_, length) = stretch(&e(512), &e(0), &s, 1).expect("small");
        assert_eq!(length.evaluate(&|_| Some(9)), Some(9));
    }
}
