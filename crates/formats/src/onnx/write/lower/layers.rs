//! Layers that ONNX has no operator for at every opset: norms, attention, what adapters need.

use headstart_graph::{Attention, Dim, ElementKind, Reduction};

use super::super::emit::{Emitter, float, int, ints};
use super::{Written, reduce};

pub(super) fn layer_norm(e: &mut Emitter, n: &Written<'_>, eps: f64) -> String {
    if e.opset >= 17 {
        return e.one("LayerNormalization", n.path, &n.all(), vec![int("axis", -1), float("epsilon", eps)]);
    }
    let axes = [n.rank() - 1];
    let mean = reduce(e, &n.part("mean"), n.x(), Reduction::Mean, &axes, true);
    let centred = e.one("Sub", &n.part("centred"), &[n.x(), &mean], Vec::new());
    let square = e.one("Mul", &n.part("square"), &[&centred, &centred], Vec::new());
    let variance = reduce(e, &n.part("variance"), &square, Reduction::Mean, &axes, true);
    let eps = e.float(eps);
    let sum = e.one("Add", &n.part("eps"), &[&variance, &eps], Vec::new());
    let deviation = e.one("Sqrt", &n.part("deviation"), &[&sum], Vec::new());
    let normal = e.one("Div", &n.part("normal"), &[&centred, &deviation], Vec::new());
    let scaled = e.one("Mul", &n.part("scaled"), &[&normal, &n.names[1]], Vec::new());
    e.one("Add", n.path, &[&scaled, &n.names[2]], Vec::new())
}

pub(super) fn attention(e: &mut Emitter, n: &Written<'_>, a: &Attention) -> Result<String, String> {
    let heads = a.heads;
    let width = n.dims[0][2].fixed().ok_or("its width must be known")?;
    let mut split = |i: usize, name: &str| -> Result<String, String> {
        let shape = [&n.dims[i][..2], &[Dim::Fixed(heads), Dim::Fixed(width / heads)]].concat();
        let x = e.reshape(&n.part(&format!("{name}.heads")), &n.names[i], &shape)?;
        let perm: &[usize] = if name == "k" { &[0, 2, 3, 1] } else { &[0, 2, 1, 3] };
        Ok(e.one("Transpose", &n.part(name), &[&x], vec![ints("perm", perm)]))
    };
    let (q, k, v) = (split(0, "q")?, split(1, "k")?, split(2, "v")?);
    let scale = e.float(a.scale.unwrap_or(1.0 / ((width / heads) as f64).sqrt()));
    let q = e.one("Mul", &n.part("q.scaled"), &[&q, &scale], Vec::new());
    let mut scores = e.one("MatMul", &n.part("scores"), &[&q, &k], Vec::new());
    let n_plain = n.names.len() - usize::from(a.bias);
    if let Some(mask) = n.names[..n_plain].get(3) {
        let keep = e.cast(&n.part("keep"), mask, ElementKind::Float);
        let (one, low, axes) = (e.float(1.0), e.float(1e9), e.ints(&[1, 2]));
        let off = e.one("Sub", &n.part("off"), &[&keep, &one], Vec::new());
        let bias = e.one("Mul", &n.part("bias"), &[&off, &low], Vec::new());
        let bias = e.one("Unsqueeze", &n.part("bias.axes"), &[&bias, &axes], Vec::new());
        scores = e.one("Add", &n.part("masked"), &[&scores, &bias], Vec::new());
    }
    if a.causal {
        let never = causal(e, n)?;
        scores = e.one("Add", &n.part("causal"), &[&scores, &never], Vec::new());
    }
    if let (true, Some(bias)) = (a.bias, n.names.last()) {
        scores = e.one("Add", &n.part("biased"), &[&scores, bias], Vec::new());
    }
    let weights = e.one("Softmax", &n.part("softmax"), &[&scores], vec![int("axis", 3)]);
    let mixed = e.one("MatMul", &n.part("mixed"), &[&weights, &v], Vec::new());
    let turned = e.one("Transpose", &n.part("joined"), &[&mixed], vec![ints("perm", &[0, 2, 1, 3])]);
    e.reshape(n.path, &turned, &n.dims[0])
}

/// `[queries, keys]`: −10⁹ where a key stands behind its query, else 0.
fn causal(e: &mut Emitter, n: &Written<'_>) -> Result<String, String> {
    let distance = super::tokens::distance(e, n, [&n.dims[0][1], &n.dims[1][1]])?;
    let (zero, one) = (e.int(0), e.int(1));
    let ahead = e.one("Max", &n.part("ahead"), &[&distance, &zero], Vec::new());
    let ahead = e.one("Min", &n.part("is_ahead"), &[&ahead, &one], Vec::new());
    let ahead = e.cast(&n.part("is_ahead.float"), &ahead, ElementKind::Float);
    let never = e.float(-1e9);
    Ok(e.one("Mul", &n.part("never"), &[&ahead, &never], Vec::new()))
}

pub(super) fn masked_mean(e: &mut Emitter, n: &Written<'_>) -> String {
    if n.names.len() == 1 {
        return reduce(e, n.path, n.x(), Reduction::Mean, &[1], false);
    }
    let column = super::tokens::column(e, n);
    let kept = e.one("Mul", &n.part("kept"), &[n.x(), &column], Vec::new());
    let sum = reduce(e, &n.part("sum"), &kept, Reduction::Sum, &[1], false);
    let count = reduce(e, &n.part("count"), &column, Reduction::Sum, &[1], false);
    let least = e.float(1e-9);
    let count = e.one("Max", &n.part("least"), &[&count, &least], Vec::new());
    e.one("Div", n.path, &[&sum, &count], Vec::new())
}

pub(super) fn channel_scale(e: &mut Emitter, n: &Written<'_>, axis: usize) -> Result<String, String> {
    let column = |e: &mut Emitter, i: usize, name: &str| {
        let mut shape = vec![Dim::Fixed(1); n.rank()];
        shape[axis] = n.dims[i][0].clone();
        e.reshape(&n.part(name), &n.names[i], &shape)
    };
    let by = column(e, 1, "column")?;
    if n.names.len() == 2 {
        return Ok(e.one("Mul", n.path, &[n.x(), &by], Vec::new()));
    }
    let scaled = e.one("Mul", &n.part("scaled"), &[n.x(), &by], Vec::new());
    let bias = column(e, 2, "bias")?;
    Ok(e.one("Add", n.path, &[&scaled, &bias], Vec::new()))
}

/// `m / ‖W + s·B·A‖`, all as matrices of one row an output.
pub(super) fn dora_gain(e: &mut Emitter, n: &Written<'_>, scaling: f64) -> Result<String, String> {
    let rows = |e: &mut Emitter, i: usize, name: &str| {
        let sizes: Option<Vec<usize>> = n.dims[i].iter().map(Dim::fixed).collect();
        let sizes = sizes.ok_or("its weights must have known sizes")?;
        let shape = [Dim::Fixed(sizes[0]), Dim::Fixed(sizes[1..].iter().product())];
        e.reshape(&n.part(name), &n.names[i], &shape)
    };
    let (w, a, b) = (rows(e, 1, "w")?, rows(e, 2, "a")?, rows(e, 3, "b")?);
    let update = e.one("MatMul", &n.part("update"), &[&b, &a], Vec::new());
    let by = e.float(scaling);
    let update = e.one("Mul", &n.part("scaled"), &[&update, &by], Vec::new());
    let sum = e.one("Add", &n.part("sum"), &[&w, &update], Vec::new());
    let norm = reduce(e, &n.part("norm"), &sum, Reduction::L2, &[1], false);
    let least = e.float(1e-12);
    let norm = e.one("Max", &n.part("least"), &[&norm, &least], Vec::new());
    Ok(e.one("Div", n.path, &[n.x(), &norm], Vec::new()))
}

/// `x/√(mean(x²) + eps)·weight` along the last axis.
pub(super) fn rms_norm(e: &mut Emitter, n: &Written<'_>, eps: f64) -> String {
    let square = e.one("Mul", &n.part("square"), &[n.x(), n.x()], Vec::new());
    let mean = reduce(e, &n.part("mean"), &square, Reduction::Mean, &[n.rank() - 1], true);
    let normal = by_deviation(e, n, n.x(), &mean, eps);
    e.one("Mul", n.path, &[&normal, &n.names[1]], Vec::new())
}

fn by_deviation(e: &mut Emitter, n: &Written<'_>, x: &str, variance: &str, eps: f64) -> String {
    let eps = e.float(eps);
    let sum = e.one("Add", &n.part("eps"), &[variance, &eps], Vec::new());
    let deviation = e.one("Sqrt", &n.part("deviation"), &[&sum], Vec::new());
    e.one("Div", &n.part("normal"), &[x, &deviation], Vec::new())
}

pub(super) fn group_norm(
    e: &mut Emitter,
    n: &Written<'_>,
    groups: usize,
    eps: f64,
) -> Result<String, String> {
    let c = n.dims[0][1].fixed().ok_or("its channels must be known")?;
    let grouped =
        [&[n.dims[0][0].clone(), Dim::Fixed(groups), Dim::Fixed(c / groups)], &n.dims[0][2..]].concat();
    let axes: Vec<usize> = (2..grouped.len()).collect();
    let x = e.reshape(&n.part("groups"), n.x(), &grouped)?;
    let mean = reduce(e, &n.part("mean"), &x, Reduction::Mean, &axes, true);
    let centred = e.one("Sub", &n.part("centred"), &[&x, &mean], Vec::new());
    let square = e.one("Mul", &n.part("square"), &[&centred, &centred], Vec::new());
    let variance = reduce(e, &n.part("variance"), &square, Reduction::Mean, &axes, true);
    let normal = by_deviation(e, n, &centred, &variance, eps);
    let normal = e.reshape(&n.part("channels"), &normal, &n.dims[0])?;
    let mut by_channel = vec![Dim::Fixed(1); n.rank()];
    by_channel[1] = Dim::Fixed(c);
    let weight = e.reshape(&n.part("weight"), &n.names[1], &by_channel)?;
    let bias = e.reshape(&n.part("bias"), &n.names[2], &by_channel)?;
    let scaled = e.one("Mul", &n.part("scaled"), &[&normal, &weight], Vec::new());
    Ok(e.one("Add", n.path, &[&scaled, &bias], Vec::new()))
}

/// `g·v/‖v‖`, the norm over all axes but one.
pub(super) fn weight_norm(e: &mut Emitter, n: &Written<'_>, axis: usize) -> String {
    let axes: Vec<usize> = (0..n.dims[1].len()).filter(|&i| i != axis).collect();
    let norm = reduce(e, &n.part("norm"), &n.names[1], Reduction::L2, &axes, true);
    let gain = e.one("Div", &n.part("gain"), &[n.x(), &norm], Vec::new());
    e.one("Mul", n.path, &[&n.names[1], &gain], Vec::new())
}
