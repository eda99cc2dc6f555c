//! Normalisations.

use headstart_graph::{Binary, Dim, Op, Reduction, Unary};

use super::super::node::Node;
use super::super::reader::{Reader, Use, Val};
use super::elementwise::scalar;

pub(super) fn batch_norm(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    if n.flag("training_mode", false) {
        return by_batch(r, n);
    }
    if n.has("spatial") && !n.flag("spatial", true) {
        return Err("it normalises each position by itself (spatial = 0)".into());
    }
    let inputs = [
        r.value(n.input(0)?)?,
        r.value_for(n.input(1)?, Use::Scale)?,
        r.value_for(n.input(2)?, Use::Shift)?,
        r.value_for(n.input(3)?, Use::Buffer { start: 0.0 })?,
        r.value_for(n.input(4)?, Use::Buffer { start: 1.0 })?,
    ];
    // ONNX weighs the old statistics, PyTorch and we the new ones.
    let op = Op::BatchNorm { eps: n.float("epsilon", 1e-5), momentum: round(1.0 - n.float("momentum", 0.9)) };
    r.node(n.path, op, &inputs).map(Val::Value)
}

/// With `training_mode` it normalises by what it reads, also in inference: how weights are standardised.
fn by_batch(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let rank = r.rank(x);
    if rank < 2 {
        return Err("its input has no channels".into());
    }
    let axes: Vec<usize> = (0..rank).filter(|&i| i != 1).collect();
    let y = normalised(r, n, x, &axes, n.float("epsilon", 1e-5))?;
    let column = |r: &mut Reader, i: usize, usage: Use, name: &str| -> Result<Val, String> {
        let v = Val::Value(r.value_for(n.input(i)?, usage)?);
        let shape = [vec![Dim::Fixed(1)], r.dims(&v), vec![Dim::Fixed(1); rank - 2]].concat();
        r.apply(&n.part(name), Op::Reshape { shape }, &[&v])
    };
    let scale = column(r, 1, Use::Scale, "scale")?;
    let bias = column(r, 2, Use::Shift, "bias")?;
    affine(r, n, &y, Some(&scale), Some(&bias))
}

/// `1 − 0.9f` is 0.1 but for the rounding of f32.
fn round(v: f64) -> f64 {
    (v * 1e6).round() / 1e6
}

/// Over the last axes, with the mean and the inverse deviation where somebody reads them.
pub(super) fn layer_norm(r: &mut Reader, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let mut outputs = vec![layer_norm_of(r, n, n.float("epsilon", 1e-5))?];
    if n.op == "LayerNormalization" && (n.wants(1) || n.wants(2)) {
        let x = n.input(0)?;
        let rank = r.rank(x);
        let axes: Vec<usize> = (n.axis("axis", -1, rank)?..rank).collect();
        outputs.extend(statistics(r, n, x, &axes, n.float("epsilon", 1e-5))?);
    }
    Ok(outputs)
}

/// The mean along axes, and one over the deviation.
pub(super) fn statistics(
    r: &mut Reader,
    n: &Node<'_>,
    x: &Val,
    axes: &[usize],
    eps: f64,
) -> Result<[Val; 2], String> {
    let (mean, centred) = centred(r, n, x, axes)?;
    let deviation = deviation(r, n, &centred, axes, eps)?;
    let inverse = Op::Unary { function: Unary::Reciprocal };
    Ok([mean, r.apply(&n.part("inverse"), inverse, &[&deviation])?])
}

/// Ours where it is the last axis alone.
pub(super) fn layer_norm_of(r: &mut Reader, n: &Node<'_>, eps: f64) -> Result<Val, String> {
    let (x, scale, bias) = (n.input(0)?, n.input(1)?, n.optional(2));
    let rank = r.rank(x);
    let axis = n.axis("axis", -1, rank)?;
    let is_rms = n.op != "LayerNormalization";
    if !is_rms
        && axis + 1 == rank
        && r.rank(scale) == 1
        && let Some(bias) = bias
    {
        let inputs = [r.value(x)?, r.value_for(scale, Use::Scale)?, r.value_for(bias, Use::Shift)?];
        return r.node(n.path, Op::LayerNorm { eps }, &inputs).map(Val::Value);
    }
    let axes: Vec<usize> = (axis..rank).collect();
    let y = if is_rms { by_deviation(r, n, x, &axes, eps)? } else { normalised(r, n, x, &axes, eps)? };
    affine(r, n, &y, Some(scale), bias)
}

/// `(x − mean)/√(variance + eps)` along axes.
fn normalised(r: &mut Reader, n: &Node<'_>, x: &Val, axes: &[usize], eps: f64) -> Result<Val, String> {
    let (_, centred) = centred(r, n, x, axes)?;
    by_deviation(r, n, &centred, axes, eps)
}

/// The mean along axes, and `x − mean`.
fn centred(r: &mut Reader, n: &Node<'_>, x: &Val, axes: &[usize]) -> Result<(Val, Val), String> {
    let mean = Op::Reduce { function: Reduction::Mean, axes: axes.to_vec(), keep_dims: true };
    let mean = r.apply(&n.part("mean"), mean, &[x])?;
    let centred = r.apply(&n.part("centred"), Op::Binary { function: Binary::Sub }, &[x, &mean])?;
    Ok((mean, centred))
}

/// `x/√(mean of squares + eps)`.
fn by_deviation(r: &mut Reader, n: &Node<'_>, x: &Val, axes: &[usize], eps: f64) -> Result<Val, String> {
    let deviation = deviation(r, n, x, axes, eps)?;
    r.apply(&n.part("normalised"), Op::Binary { function: Binary::Div }, &[x, &deviation])
}

/// `√(mean of squares + eps)`.
fn deviation(r: &mut Reader, n: &Node<'_>, x: &Val, axes: &[usize], eps: f64) -> Result<Val, String> {
    let square = r.apply(&n.part("square"), Op::Mul, &[x, x])?;
    let mean = Op::Reduce { function: Reduction::Mean, axes: axes.to_vec(), keep_dims: true };
    let variance = r.apply(&n.part("variance"), mean, &[&square])?;
    let variance = r.plus(&n.part("eps"), &variance, eps)?;
    r.apply(&n.part("deviation"), Op::Unary { function: Unary::Sqrt }, &[&variance])
}

fn affine(
    r: &mut Reader,
    n: &Node<'_>,
    x: &Val,
    scale: Option<&Val>,
    bias: Option<&Val>,
) -> Result<Val, String> {
    let mut y = x.clone();
    if let Some(scale) = scale {
        let scale = Val::Value(r.value_for(scale, Use::Scale)?);
        let path = if bias.is_some() { n.part("scaled") } else { n.path.to_string() };
        y = r.apply(&path, Op::Mul, &[&y, &scale])?;
    }
    if let Some(bias) = bias {
        let bias = Val::Value(r.value_for(bias, Use::Shift)?);
        y = r.apply(n.path, Op::Add, &[&y, &bias])?;
    }
    Ok(y)
}

/// Instance norm is group norm with as many groups as channels.
pub(super) fn group_norm(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (x, scale, bias) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let dims = r.dims(x);
    let c = dims.get(1).and_then(Dim::fixed).ok_or("the number of channels must be known")?;
    let groups = match n.op {
        "InstanceNormalization" => c,
        _ => usize::try_from(n.int("num_groups", 0)).unwrap_or(0),
    };
    if groups == 0 || !c.is_multiple_of(groups) {
        return Err(format!("{c} channels do not divide into {groups} groups"));
    }
    let grouped = [&[dims[0].clone(), Dim::Fixed(groups), Dim::Fixed(c / groups)], &dims[2..]].concat();
    let axes: Vec<usize> = (2..grouped.len()).collect();
    let y = r.apply(&n.part("groups"), Op::Reshape { shape: grouped }, &[x])?;
    let y = normalised(r, n, &y, &axes, n.float("epsilon", 1e-5))?;
    let y = r.apply(&n.part("channels"), Op::Reshape { shape: dims.clone() }, &[&y])?;
    // Until opset 21 scale and bias of group norm were one a group.
    let by_channel = |r: &mut Reader, v: &Val, usage: Use, name: &str| -> Result<Val, String> {
        let v = Val::Value(r.value_for(v, usage)?);
        let have = r.dims(&v);
        let v = if have == [Dim::Fixed(groups)] && groups != c {
            let shape = vec![Dim::Fixed(groups), Dim::Fixed(1)];
            let v = r.apply(&n.part(&format!("{name}.column")), Op::Reshape { shape }, &[&v])?;
            let shape = vec![Dim::Fixed(groups), Dim::Fixed(c / groups)];
            r.apply(&n.part(&format!("{name}.repeated")), Op::Expand { shape }, &[&v])?
        } else {
            v
        };
        let shape = [vec![Dim::Fixed(c)], vec![Dim::Fixed(1); dims.len() - 2]].concat();
        r.apply(&n.part(name), Op::Reshape { shape }, &[&v])
    };
    let scale = by_channel(r, scale, Use::Scale, "scale")?;
    let bias = by_channel(r, bias, Use::Shift, "bias")?;
    affine(r, n, &y, Some(&scale), Some(&bias))
}

pub(super) fn mean_variance(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let rank = r.rank(x);
    let axes = n.ints("axes").unwrap_or(&[0, 2, 3]);
    let axes = axes.iter().map(|&a| super::super::node::front(a, rank)).collect::<Result<Vec<_>, _>>()?;
    normalised(r, n, x, &axes, 1e-9)
}

/// Divides by the norm along an axis.
pub(super) fn lp(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let axis = n.axis("axis", -1, r.rank(x))?;
    let function = if n.int("p", 2) == 1 { Reduction::L1 } else { Reduction::L2 };
    let norm = r.apply(&n.part("norm"), Op::Reduce { function, axes: vec![axis], keep_dims: true }, &[x])?;
    // What is 0 throughout stays so.
    let is_zero =
        r.apply(&n.part("is_zero"), Op::Binary { function: Binary::Equal }, &[&norm, &scalar(0.0)])?;
    let norm = r.apply(&n.part("divisor"), Op::Where, &[&is_zero, &scalar(1.0), &norm])?;
    r.apply(n.path, Op::Binary { function: Binary::Div }, &[x, &norm])
}
