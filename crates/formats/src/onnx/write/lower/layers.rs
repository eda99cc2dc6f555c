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
    if a.causal {
        return Err("causal attention has no ONNX form here".into());
    }
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
    if let (true, Some(bias)) = (a.bias, n.names.last()) {
        scores = e.one("Add", &n.part("biased"), &[&scores, bias], Vec::new());
    }
    let weights = e.one("Softmax", &n.part("softmax"), &[&scores], vec![int("axis", 3)]);
    let mixed = e.one("MatMul", &n.part("mixed"), &[&weights, &v], Vec::new());
    let turned = e.one("Transpose", &n.part("joined"), &[&mixed], vec![ints("perm", &[0, 2, 1, 3])]);
    e.reshape(n.path, &turned, &n.dims[0])
}

pub(super) fn masked_mean(e: &mut Emitter, n: &Written<'_>) -> String {
    if n.names.len() == 1 {
        return reduce(e, n.path, n.x(), Reduction::Mean, &[1], false);
    }
    let keep = e.cast(&n.part("keep"), &n.names[1], ElementKind::Float);
    let axis = e.ints(&[2]);
    let column = e.one("Unsqueeze", &n.part("column"), &[&keep, &axis], Vec::new());
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
