//! Networks of 8-bit integers.  A quantised value is held as floats that are whole numbers, so that products of them are exact up
//! to 2²⁴ and gradients pass the rounding (straight through); a quantised weight becomes the floats that it stands for.

use headstart_graph::{Binary, DType, Dim, ElementKind, Elements, Op, Reduction, Tensor, Unary};

use super::super::known::{Elem, Known};
use super::super::node::Node;
use super::super::proto::elem;
use super::super::reader::{Reader, Val};
use super::elementwise::scalar;

/// Whole numbers of an element type, which a zero point has; without one it is `u8`.
fn range(n: &Node<'_>, zero_at: usize) -> Result<[f64; 2], String> {
    let kind = match n.types.get(zero_at).copied().flatten() {
        Some(kind) => kind,
        None => match n.int("output_dtype", 0) as i32 {
            0 => elem::UINT8,
            kind => kind,
        },
    };
    Ok(match kind {
        elem::UINT8 => [0.0, 255.0],
        elem::INT8 => [-128.0, 127.0],
        elem::UINT16 => [0.0, 65_535.0],
        elem::INT16 => [-32_768.0, 32_767.0],
        other => return Err(format!("quantised values of type {} are not read", elem::name(other))),
    })
}

/// A whole number's floats; a weight's own where the file holds it.
fn floats(r: &mut Reader, path: &str, x: &Val) -> Result<Val, String> {
    if let Some((name, tensor)) = stored(x)? {
        return Ok(r.made(name, tensor, false));
    }
    if r.kind(x) == ElementKind::Float {
        return Ok(x.clone());
    }
    r.apply(path, Op::Cast { to: ElementKind::Float }, &[x])
}

/// Name and floats of integers that the file holds; not of single numbers.
fn stored(x: &Val) -> Result<Option<(String, Tensor)>, String> {
    let (literal, name) = match x {
        Val::Literal(literal, name) => ((**literal).clone(), name),
        Val::Known(known, Some(name)) if known.elems.len() > 1 => match known.literal() {
            Some(literal) => (literal, name),
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    if literal.dtype() != DType::I64 {
        return Ok(None);
    }
    let Elements::I64(values) = literal.elements() else { return Ok(None) };
    let values: Vec<f32> = values.into_iter().map(|v| v as f32).collect();
    let tensor = Tensor::from_f32(literal.shape(), &values).map_err(|e| e.to_string())?;
    Ok(Some((name.to_string(), tensor)))
}

/// A scale or zero point as it broadcasts: one for all, or one a position of an axis.
fn along(
    r: &mut Reader,
    n: &Node<'_>,
    i: usize,
    name: &str,
    rank: usize,
    axis: usize,
) -> Result<Option<Val>, String> {
    let Some(v) = n.optional(i) else { return Ok(None) };
    let v = match v {
        Val::Known(known, _) => match known.floats() {
            Some(floats) => {
                let elems = floats.into_iter().map(Elem::Float).collect();
                Val::Known(Known { shape: known.shape.clone(), elems }, None)
            }
            None => v.clone(),
        },
        other => other.clone(),
    };
    let v =
        if r.kind(&v) == ElementKind::Float { v } else { floats(r, &n.part(&format!("{name}.float")), &v)? };
    let d = r.dims(&v);
    match d.as_slice() {
        [] => Ok(Some(v)),
        [Dim::Fixed(1)] if rank == 0 => {
            r.apply(&n.part(name), Op::Reshape { shape: Vec::new() }, &[&v]).map(Some)
        }
        [size] => {
            let mut shape = vec![Dim::Fixed(1); rank];
            *shape.get_mut(axis).ok_or("its axis is not there")? = size.clone();
            r.apply(&n.part(name), Op::Reshape { shape }, &[&v]).map(Some)
        }
        _ => Err("its scales are of blocks".into()),
    }
}

/// A zero point as it broadcasts; none where it is 0.
fn zero_point(
    r: &mut Reader,
    n: &Node<'_>,
    i: usize,
    rank: usize,
    axis: usize,
) -> Result<Option<Val>, String> {
    let is_zero = matches!(n.optional(i), Some(Val::Known(known, _))
        if known.floats().is_some_and(|floats| floats.iter().all(|f| *f == 0.0)));
    if is_zero { Ok(None) } else { along(r, n, i, "zero", rank, axis) }
}

/// `round(x/scale) + zero`, within the type's numbers.
pub(super) fn quantize(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let rank = r.rank(x);
    let axis = if rank == 0 { 0 } else { n.axis("axis", 1.min(rank as i64 - 1), rank)? };
    let scale = along(r, n, 1, "scale", rank, axis)?.ok_or("its scale is missing")?;
    let zero = zero_point(r, n, 2, rank, axis)?;
    let range = range(n, 2)?;
    rounded(r, n, x, &scale, zero.as_ref(), range)
}

fn rounded(
    r: &mut Reader,
    n: &Node<'_>,
    x: &Val,
    scale: &Val,
    zero: Option<&Val>,
    [min, max]: [f64; 2],
) -> Result<Val, String> {
    let x = floats(r, &n.part("float"), x)?;
    let share = r.apply(&n.part("share"), Op::Binary { function: Binary::Div }, &[&x, scale])?;
    let mut y = r.apply(&n.part("rounded"), Op::Unary { function: Unary::RoundThrough }, &[&share])?;
    if let Some(zero) = zero {
        y = r.apply(&n.part("moved"), Op::Add, &[&y, zero])?;
    }
    r.apply(n.path, Op::Clip { min, max }, &[&y])
}

/// `(x − zero)·scale`.
pub(super) fn dequantize(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let rank = r.rank(n.input(0)?);
    let axis = if rank == 0 { 0 } else { n.axis("axis", 1.min(rank as i64 - 1), rank)? };
    if n.int("block_size", 0) != 0 {
        return Err("its scales are of blocks".into());
    }
    real(r, n, axis)
}

/// What the first input stands for, by a scale and a zero point that follow it.
fn real(r: &mut Reader, n: &Node<'_>, axis: usize) -> Result<Val, String> {
    let x = n.input(0)?;
    if let Some(weight) = constant(r, n, x, axis)? {
        return Ok(weight);
    }
    let rank = r.rank(x);
    let scale = along(r, n, 1, "scale", rank, axis)?.ok_or("its scale is missing")?;
    let zero = zero_point(r, n, 2, rank, axis)?;
    let mut y = floats(r, &n.part("float"), x)?;
    if let Some(zero) = zero {
        y = r.apply(&n.part("moved"), Op::Binary { function: Binary::Sub }, &[&y, &zero])?;
    }
    r.apply(n.path, Op::Mul, &[&y, &scale])
}

/// What a weight that the file holds stands for, if scale and zero point are known too.
fn constant(r: &mut Reader, n: &Node<'_>, x: &Val, axis: usize) -> Result<Option<Val>, String> {
    let Some((name, tensor)) = stored(x)? else { return Ok(None) };
    let numbers = |i: usize| match n.optional(i) {
        Some(Val::Known(known, _)) => known.floats(),
        Some(Val::Weight(w)) => w.tensor.to_f32().ok().map(|v| v.iter().map(|&v| v.into()).collect()),
        Some(Val::Literal(literal, _)) => match literal.elements() {
            Elements::I64(v) => Some(v.into_iter().map(|v| v as f64).collect()),
            Elements::F32(v) => Some(v.into_iter().map(f64::from).collect()),
            Elements::Bool(_) => None,
        },
        Some(Val::Value(_)) => None,
        None => Some(vec![0.0]),
    };
    let (Some(scales), Some(zeros)) = (numbers(1), numbers(2)) else { return Ok(None) };
    let shape = tensor.shape().to_vec();
    let fits = |v: &[f64]| v.len() == 1 || shape.get(axis) == Some(&v.len());
    if !fits(&scales) || !fits(&zeros) || r.rank(n.input(1)?) > 1 {
        return Err("its scales are not one for all or one a position of its axis".into());
    }
    let inner: usize = shape[axis.min(shape.len())..].iter().skip(1).product();
    let at = |v: &[f64], i: usize| if v.len() == 1 { v[0] } else { v[i / inner.max(1) % v.len()] };
    let values = tensor.to_f32().map_err(|e| e.to_string())?;
    let values: Vec<f32> =
        values.iter().enumerate().map(|(i, &v)| (v - at(&zeros, i) as f32) * at(&scales, i) as f32).collect();
    let tensor = Tensor::from_f32(&shape, &values).map_err(|e| e.to_string())?;
    Ok(Some(r.made(name, tensor, n.makes_right_factor)))
}

/// Whole numbers of 0 to 255, their scale and zero point, as the smallest and largest of a run say.
pub(super) fn quantize_by_run(r: &mut Reader, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let x = n.input(0)?;
    let extreme = |r: &mut Reader, name: &str, function, zero| {
        let all = Op::Reduce { function, axes: Vec::new(), keep_dims: false };
        let edge = r.apply(&n.part(name), all, &[x])?;
        r.apply(&n.part(&format!("{name}.with_zero")), Op::Binary { function: zero }, &[&edge, &scalar(0.0)])
    };
    let low = extreme(r, "low", Reduction::Min, Binary::Min)?;
    let high = extreme(r, "high", Reduction::Max, Binary::Max)?;
    let width = r.apply(&n.part("width"), Op::Binary { function: Binary::Sub }, &[&high, &low])?;
    let scale = r.apply(&n.part("scale"), Op::Binary { function: Binary::Div }, &[&width, &scalar(255.0)])?;
    // Where all is 0 any scale is right.
    let is_flat =
        r.apply(&n.part("is_flat"), Op::Binary { function: Binary::Equal }, &[&scale, &scalar(0.0)])?;
    let scale = r.apply(&n.part("scale.safe"), Op::Where, &[&is_flat, &scalar(1.0), &scale])?;
    let zero = r.apply(&n.part("zero.share"), Op::Binary { function: Binary::Div }, &[&low, &scale])?;
    let zero = r.times(&n.part("zero.negative"), &zero, -1.0)?;
    let zero = r.apply(&n.part("zero.rounded"), Op::Unary { function: Unary::RoundThrough }, &[&zero])?;
    let zero = r.apply(&n.part("zero"), Op::Clip { min: 0.0, max: 255.0 }, &[&zero])?;
    let y = rounded(r, n, x, &scale, Some(&zero), [0.0, 255.0])?;
    Ok(vec![y, scale, zero])
}

/// `MatMulInteger` and `ConvInteger`: a product of what lies above the zero points.
pub(super) fn integer_product(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (x, w) = (above_zero(r, n, 0, 2, "x")?, above_zero(r, n, 1, 3, "w")?);
    plain_product(r, n, n.path, x, w)
}

fn above_zero(r: &mut Reader, n: &Node<'_>, at: usize, zero_at: usize, name: &str) -> Result<Val, String> {
    let x = n.input(at)?;
    let rank = r.rank(x);
    // Zero points of a matrix are of its columns, of its left factor's rows, of a filter's outputs.
    let axis = match (n.op, at) {
        ("MatMulInteger", 0) => rank.saturating_sub(2),
        ("MatMulInteger", _) => rank.saturating_sub(1),
        _ => 0,
    };
    let x = floats(r, &n.part(&format!("{name}.float")), x)?;
    match zero_point(r, n, zero_at, rank, axis)? {
        Some(zero) => {
            r.apply(&n.part(&format!("{name}.moved")), Op::Binary { function: Binary::Sub }, &[&x, &zero])
        }
        None => Ok(x),
    }
}

fn plain_product(r: &mut Reader, n: &Node<'_>, path: &str, x: Val, w: Val) -> Result<Val, String> {
    if !n.op.contains("MatMul") {
        return super::window::conv(r, &n.with(path, "Conv", vec![Some(x), Some(w)]));
    }
    // It is stored as linear layers have it: nobody else reads these floats.
    let w = match w {
        Val::Weight(w) => r.made(w.name.clone(), w.tensor.clone(), true),
        w => w,
    };
    super::dense::matmul(r, &n.with(path, "MatMul", vec![Some(x), Some(w)]), None)
}

/// A quantised input, its scale and its zero point from position `at` on, as floats.
fn factor(r: &mut Reader, n: &Node<'_>, at: usize, axis: i64, name: &str) -> Result<Val, String> {
    let path = n.part(name);
    let part = n.with(&path, "DequantizeLinear", (at..at + 3).map(|i| n.optional(i).cloned()).collect());
    let rank = r.rank(part.input(0)?);
    let axis = if rank == 0 { 0 } else { super::super::node::front(axis, rank)? };
    real(r, &part, axis)
}

/// Floats as whole numbers again, by the scale at a position and the zero point behind it.
fn requantised(r: &mut Reader, n: &Node<'_>, y: &Val, scale_at: usize) -> Result<Val, String> {
    let rank = r.rank(y);
    let scale = along(r, n, scale_at, "y.scale", rank, 0)?.ok_or("its scale is missing")?;
    let zero = zero_point(r, n, scale_at + 1, rank, 0)?;
    rounded(r, n, y, &scale, zero.as_ref(), range(n, scale_at + 1)?)
}

/// `QLinearMatMul` and `QLinearConv`: `x, scale, zero, w, scale, zero, y's scale, y's zero, bias?`.
pub(super) fn quantised_product(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let is_matrix = n.op == "QLinearMatMul";
    let x = factor(r, n, 0, if is_matrix { -2 } else { 0 }, "x")?;
    let w = factor(r, n, 3, if is_matrix { -1 } else { 0 }, "w")?;
    let path = n.part("product");
    let mut y = plain_product(r, n, &path, x, w)?;
    if let Some(bias) = n.optional(8) {
        let mut shape = vec![Dim::Fixed(1); r.rank(&y)];
        *shape.get_mut(1).ok_or("its result has no channels")? =
            r.dims(bias).first().cloned().ok_or("its bias is one number")?;
        let bias = in_units(r, n, bias)?;
        let bias = r.apply(&n.part("bias.line"), Op::Reshape { shape }, &[&bias])?;
        y = r.apply(&n.part("biased"), Op::Add, &[&y, &bias])?;
    }
    requantised(r, n, &y, 6)
}

/// A bias of whole numbers, in units of both factors' scales.
fn in_units(r: &mut Reader, n: &Node<'_>, bias: &Val) -> Result<Val, String> {
    let bias = floats(r, &n.part("bias.float"), bias)?;
    let unit = r.apply(&n.part("unit"), Op::Mul, &[n.input(1)?, n.input(4)?])?;
    r.apply(&n.part("bias"), Op::Mul, &[&bias, &unit])
}

/// onnxruntime's operators of quantised values: the same of floats between.
pub(super) fn quantised_other(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let path = n.part("floats");
    let y = match n.op {
        "QLinearAdd" | "QLinearMul" => {
            let (a, b) = (factor(r, n, 0, 0, "a")?, factor(r, n, 3, 0, "b")?);
            let op = if n.op == "QLinearAdd" { Op::Add } else { Op::Mul };
            let y = r.apply(&path, op, &[&a, &b])?;
            return requantised(r, n, &y, 6);
        }
        "QGemm" => {
            let turned = n.flag("transB", false);
            let (a, b) = (factor(r, n, 0, 0, "a")?, factor(r, n, 3, if turned { 0 } else { 1 }, "b")?);
            let mut y = super::dense::gemm(r, &n.with(&path, "Gemm", vec![Some(a), Some(b)]))?;
            if let Some(bias) = n.optional(6) {
                let bias = in_units(r, n, bias)?;
                let bias = r.times(&n.part("bias.alpha"), &bias, n.float("alpha", 1.0))?;
                y = r.apply(&n.part("biased"), Op::Add, &[&y, &bias])?;
            }
            return if n.optional(7).is_some() { requantised(r, n, &y, 7) } else { Ok(y) };
        }
        "QLinearConcat" => {
            let parts = (2..n.inputs.len()).step_by(3);
            let parts = parts.map(|at| factor(r, n, at, 0, &format!("part{at}")).map(Some));
            let parts = parts.collect::<Result<Vec<_>, _>>()?;
            let y = super::shape::concat(r, &n.with(&path, "Concat", parts))?;
            return requantised(r, n, &y, 0);
        }
        "QLinearGlobalAveragePool" | "QLinearAveragePool" if n.flag("channels_last", false) => {
            return Err("its channels are last".into());
        }
        "QLinearGlobalAveragePool" => {
            let x = factor(r, n, 0, 0, "x")?;
            super::window::global_pool(r, &n.with(&path, "GlobalAveragePool", vec![Some(x)]))?
        }
        "QLinearAveragePool" => {
            let x = factor(r, n, 0, 0, "x")?;
            super::pool::average_pool(r, &n.with(&path, "AveragePool", vec![Some(x)]))?
        }
        "QLinearSigmoid" | "QLinearLeakyRelu" => {
            let x = factor(r, n, 0, 0, "x")?;
            let op = n.op.strip_prefix("QLinear").unwrap_or(n.op);
            super::elementwise::lower(r, &n.with(&path, op, vec![Some(x)]))?
        }
        other => return Err(format!("`{other}` is not read")),
    };
    requantised(r, n, &y, 3)
}
