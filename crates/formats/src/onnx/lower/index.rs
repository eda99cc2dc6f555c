//! Operators that pick, count, and make values out of nothing.

use headstart_graph::{Binary, Dim, ElementKind, Expr, Literal, Op, Reduction};

use super::super::known::{Elem, Known};
use super::super::node::Node;
use super::super::reader::{Reader, Use, Val};

pub(super) fn gather(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (x, indices) = (n.input(0)?, n.input(1)?);
    let d = r.dims(x);
    let axis = n.axis("axis", 0, d.len())?;
    if let Val::Known(known, _) = indices
        && known.shape.is_empty()
        && let Some(i) = known.single_number()
    {
        let at = match (i < 0, d[axis].fixed()) {
            (false, _) => usize::try_from(i).ok(),
            (true, Some(size)) => usize::try_from(i + size as i64).ok(),
            // From the end of an axis that only a run measures.
            (true, None) => None,
        };
        if let Some(index) = at {
            return r.apply(n.path, Op::Select { axis, index }, &[x]);
        }
    }
    let is_lookup = matches!(x, Val::Weight(_)) && axis == 0 && d.len() == 2 && r.rank(indices) == 2;
    let op = if is_lookup { Op::Embedding } else { Op::Gather { axis } };
    if matches!(x, Val::Weight(_)) {
        let table = Val::Value(r.value_for(x, Use::Other)?);
        return r.apply(n.path, op, &[&table, indices]);
    }
    r.apply(n.path, op, &[x, indices])
}

pub(super) fn gather_other(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (x, indices) = (n.input(0)?, n.input(1)?);
    if n.op == "GatherND" {
        if n.int("batch_dims", 0) != 0 {
            return Err("`batch_dims` is not 0".into());
        }
        return r.apply(n.path, Op::GatherNd, &[x, indices]);
    }
    let axis = n.axis("axis", 0, r.rank(x))?;
    r.apply(n.path, Op::GatherElements { axis }, &[x, indices])
}

pub(super) fn arg_max(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let axis = n.axis("axis", 0, r.rank(x))?;
    let op = Op::ArgMax { axis, keep_dims: n.flag("keepdims", true), smallest: n.op == "ArgMin" };
    if !n.flag("select_last_index", false) {
        return r.apply(n.path, op, &[x]);
    }
    // The last of equals is the first from behind.
    let length = r.dims(x)[axis].clone();
    let last = Expr::from(&length).sub(&Expr::number(1)).ok_or("its axis is too long")?;
    let start = last.to_dim().ok_or("there is no last of no elements")?;
    let turned = r.stretch(&n.part("turned"), x, axis, [start, length], -1)?;
    let at = r.apply(&n.part("from_behind"), op, &[&turned])?;
    let last = Val::Known(Known::int(last), None);
    r.apply(n.path, Op::Binary { function: Binary::Sub }, &[&last, &at])
}

/// The first of an order along the axis: values, and where they were.
pub(super) fn top_k(r: &mut Reader, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.input(0)?;
    let axis = n.axis("axis", -1, r.rank(x))?;
    let count = match n.optional(1) {
        Some(Val::Known(known, _)) => known.exprs().and_then(|e| e.first().and_then(Expr::to_dim)),
        Some(_) => None,
        None => usize::try_from(n.int("k", 0)).ok().map(Dim::Fixed),
    };
    let length = count.ok_or("how many are wanted is known only to a run")?;
    let order = Op::ArgSort { axis, descending: n.flag("largest", true) };
    let order = r.apply(&n.part("order"), order, &[x])?;
    let first = r.stretch(&n.part("indices"), &order, axis, [Dim::Fixed(0), length], 1)?;
    let values = r.apply(n.path, Op::GatherElements { axis }, &[x, &first])?;
    Ok(vec![values, first])
}

/// 1 where the first of the largest lies, 0 elsewhere.  Until opset 13, everything from the axis on was one axis.
pub(super) fn hard_max(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let shape = r.dims(x);
    let is_joint = r.opset < 13;
    let axis = n.axis("axis", if is_joint { 1 } else { -1 }, shape.len())?;
    let (x, axis) =
        if is_joint { (super::shape::joined(r, &n.part("rows"), x, axis)?, 1) } else { (x.clone(), axis) };
    let dims = r.dims(&x);
    let at = Op::ArgMax { axis, keep_dims: true, smallest: false };
    let at = r.apply(&n.part("at"), at, &[&x])?;
    let line = r.counted(&n.part("positions"), [&Dim::Fixed(0), &dims[axis]], 1, axis, dims.len())?;
    let hit = r.apply(&n.part("hit"), Op::Binary { function: Binary::Equal }, &[&at, &line])?;
    let y = r.apply(&n.part("hard"), Op::Cast { to: ElementKind::Float }, &[&hit])?;
    r.apply(n.path, Op::Reshape { shape }, &[&y])
}

pub(super) fn cum_sum(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let axis = r.numbers(n.input(1)?)?.first().copied().unwrap_or(0);
    let axis = super::super::node::front(axis, r.rank(x))?;
    let op = Op::CumSum { axis, exclusive: n.flag("exclusive", false), reverse: n.flag("reverse", false) };
    r.apply(n.path, op, &[x])
}

pub(super) fn trilu(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let k = match n.optional(1) {
        Some(val) => r.numbers(val)?.first().copied().unwrap_or(0),
        None => 0,
    };
    r.apply(n.path, Op::Triangle { upper: n.flag("upper", true), k }, &[n.input(0)?])
}

/// Compares with every position, then chooses.
pub(super) fn one_hot(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (indices, values) = (n.input(0)?, n.input(2)?);
    let depth = r.floats(n.input(1)?)?.first().copied().unwrap_or(0.0) as i64;
    let rank = r.rank(indices) + 1;
    let axis = n.axis("axis", -1, rank)?;
    if !(1..=1 << 24).contains(&depth) {
        return Err(format!("its depth is {depth}"));
    }
    let mut apart = r.dims(indices);
    apart.insert(axis, Dim::Fixed(1));
    let at = r.apply(&n.part("apart"), Op::Reshape { shape: apart }, &[indices])?;
    let at = r.apply(&n.part("integers"), Op::Cast { to: ElementKind::Int }, &[&at])?;
    let depth_dim = Dim::Fixed(depth as usize);
    let all = if depth <= super::super::known::ELEMENTS_MAX as i64 {
        // What is known while the file is read may become a shape.
        Val::Known(Known::numbers(&(0..depth).collect::<Vec<_>>()), None)
    } else {
        let range = Op::Range { start: Dim::Fixed(0), length: depth_dim.clone(), step: 1 };
        Val::Value(r.node(&n.part("positions"), range, &[])?)
    };
    let mut line = vec![Dim::Fixed(1); rank];
    line[axis] = depth_dim;
    let all = r.apply(&n.part("line"), Op::Reshape { shape: line }, &[&all])?;
    let equal = Op::Binary { function: Binary::Equal };
    let hit = r.apply(&n.part("hit.front"), equal.clone(), &[&at, &all])?;
    // Negative ones count from the end.
    let less = Val::Known(Known::int(Expr::number(-depth)), None);
    let all = r.apply(&n.part("line.back"), Op::Add, &[&all, &less])?;
    let back = r.apply(&n.part("hit.back"), equal, &[&at, &all])?;
    let hit = r.apply(&n.part("hit"), Op::Binary { function: Binary::Or }, &[&hit, &back])?;
    let side = |r: &mut Reader, i: usize, name: &str| {
        r.apply(&n.part(name), Op::Select { axis: 0, index: i }, &[values])
    };
    let (off, on) = (side(r, 0, "off")?, side(r, 1, "on")?);
    r.apply(n.path, Op::Where, &[&hit, &on, &off])
}

pub(super) fn range(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let part = |i: usize| match n.input(i)? {
        Val::Known(known, _) if known.elems.len() == 1 => Ok(known.elems[0].clone()),
        _ => Err("a range is computed from values that only a run gives".to_string()),
    };
    match (part(0)?, part(1)?, part(2)?) {
        (Elem::Int(start), Elem::Int(limit), Elem::Int(step)) => {
            let step = step.as_number().filter(|&s| s != 0).ok_or("its step must be known, and not 0")?;
            let too_many = "a size is too large or depends on too many symbols";
            let reach = if step > 0 { limit.sub(&start) } else { start.sub(&limit) }.ok_or(too_many)?;
            let by = Expr::number(step.checked_abs().ok_or(too_many)?);
            let length = reach
                .add(&by)
                .and_then(|e| e.sub(&Expr::number(1)))
                .and_then(|e| e.floor_div(&by))
                .and_then(|e| e.maximum(&Expr::number(0)))
                .ok_or(too_many)?;
            if let (Some(start), Some(length)) = (start.as_number(), length.as_number())
                && length <= super::super::known::ELEMENTS_MAX as i64
            {
                let all: Vec<i64> = (0..length).map(|i| start + i * step).collect();
                return Ok(Val::Known(Known::numbers(&all), None));
            }
            let dim = |e: &Expr| e.to_dim().ok_or_else(|| format!("the size {e} is negative or too long"));
            let length = dim(&length)?;
            if start.least().is_some_and(|n| n >= 0) {
                let op = Op::Range { start: dim(&start)?, length, step };
                return r.node(n.path, op, &[]).map(Val::Value);
            }
            // What begins below zero is counted from zero and moved.
            let from_zero =
                r.node(&n.part("from_zero"), Op::Range { start: Dim::Fixed(0), length, step }, &[])?;
            let start = r.signed_sizes(&[start], true)?;
            r.node(n.path, Op::Add, &[from_zero, start]).map(Val::Value)
        }
        (Elem::Float(start), Elem::Float(limit), Elem::Float(step)) => {
            let length = ((limit - start) / step).ceil().max(0.0);
            let fits = length <= super::super::known::ELEMENTS_MAX as f64;
            if !fits {
                return Err(format!("it has {length} elements"));
            }
            let elems =
                (0..length as usize).map(|i| Elem::Float(f64::from((start + i as f64 * step) as f32)));
            let elems: Vec<Elem> = elems.collect();
            Ok(Val::Known(Known { shape: vec![elems.len()], elems }, None))
        }
        _ => Err("its bounds are of different kinds".into()),
    }
}

pub(super) fn eye(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let sizes: Option<Vec<usize>> = r.dims(n.input(0)?).iter().map(Dim::fixed).collect();
    let Some([rows, cols]) = sizes.and_then(|s| <[usize; 2]>::try_from(s).ok()) else {
        return Err("its size must be known".into());
    };
    if rows.checked_mul(cols).is_none_or(|n| n > 1 << 24) {
        return Err(format!("it has {rows} rows and {cols} columns"));
    }
    let k = n.int("k", 0);
    let hit = |i: usize| (i % cols) as i64 - (i / cols) as i64 == k;
    let count = rows * cols;
    let literal = match super::elementwise::kind(n.int("dtype", 1) as i32)? {
        ElementKind::Float => {
            Literal::f32(&[rows, cols], &(0..count).map(|i| f32::from(u8::from(hit(i)))).collect::<Vec<_>>())
        }
        ElementKind::Int => {
            Literal::i64(&[rows, cols], &(0..count).map(|i| i64::from(hit(i))).collect::<Vec<_>>())
        }
        ElementKind::Bool => Literal::bool(&[rows, cols], &(0..count).map(hit).collect::<Vec<_>>()),
    };
    r.node(n.path, Op::Constant { value: literal.map_err(|e| e.to_string())? }, &[]).map(Val::Value)
}

/// One number, repeated.
pub(super) fn constant_of_shape(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let shape = match n.input(0)? {
        Val::Known(known, _) => known.exprs(),
        _ => None,
    };
    let shape = shape.ok_or("a shape is computed from values that only a run gives")?;
    let value = match n.tensor("value") {
        Some(t) => super::super::constant(t)?,
        None => Known::float(0.0),
    };
    let value = value.elems.first().cloned().ok_or("its value is empty")?;
    let single = Val::Known(Known { shape: Vec::new(), elems: vec![value] }, None);
    if shape.is_empty() {
        return Ok(single);
    }
    let dims = shape.iter().map(|e| e.to_dim().ok_or_else(|| format!("the size {e} is negative")));
    r.apply(n.path, Op::Expand { shape: dims.collect::<Result<_, _>>()? }, &[&single])
}

pub(super) fn reduce(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let function = match n.op {
        "ReduceSum" => Reduction::Sum,
        "ReduceMean" => Reduction::Mean,
        "ReduceMax" => Reduction::Max,
        "ReduceMin" => Reduction::Min,
        "ReduceProd" => Reduction::Prod,
        "ReduceL1" => Reduction::L1,
        "ReduceL2" => Reduction::L2,
        "ReduceSumSquare" => Reduction::SumSquare,
        "ReduceLogSum" => Reduction::LogSum,
        "ReduceLogSumExp" => Reduction::LogSumExp,
        other => return Err(format!("`{other}` is not read")),
    };
    let x = n.input(0)?;
    let rank = r.rank(x);
    let keep_dims = n.flag("keepdims", true);
    let mut axes = match r.axes(n, 1, rank)? {
        Some(axes) if !axes.is_empty() => axes,
        _ if n.flag("noop_with_empty_axes", false) => return Ok(x.clone()),
        _ => (0..rank).collect(),
    };
    axes.sort_unstable();
    axes.dedup();
    if rank == 0 {
        return Ok(x.clone());
    }
    let is_extreme = matches!(function, Reduction::Max | Reduction::Min);
    if is_extreme && r.kind(x) == ElementKind::Bool {
        // Whether any is true, or all are.
        let x = r.apply(&n.part("int"), Op::Cast { to: ElementKind::Int }, &[x])?;
        let y = r.apply(&n.part("any"), Op::Reduce { function, axes, keep_dims }, &[&x])?;
        return r.apply(n.path, Op::Cast { to: ElementKind::Bool }, &[&y]);
    }
    // The mean of an image is a pool, which features are tapped at.
    if function == Reduction::Mean && rank == 4 && axes == [2, 3] && matches!(x, Val::Value(_)) {
        let path = if keep_dims { n.path.to_string() } else { n.part("pool") };
        let y = r.apply(&path, Op::AdaptiveAvgPool2d { size: [1, 1] }, &[x])?;
        let is_known = r.dims(&y)[1].fixed().is_some();
        return match (keep_dims, is_known) {
            (true, _) => Ok(y),
            (false, true) => r.apply(n.path, Op::Flatten { start: 1 }, &[&y]),
            (false, false) => {
                let shape = r.dims(&y)[..2].to_vec();
                r.apply(n.path, Op::Reshape { shape }, &[&y])
            }
        };
    }
    r.apply(n.path, Op::Reduce { function, axes, keep_dims }, &[x])
}
