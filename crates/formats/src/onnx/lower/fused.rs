//! What onnxruntime makes of transformers when it optimises a file (`com.microsoft`): several operators in one.

use headstart_graph::{Binary, Dim, ElementKind, Expr, Op, Reduction};

use super::super::node::Node;
use super::super::reader::{Reader, Use, Val};
use super::elementwise::scalar;
use super::{attention, dense, norm};

/// `gelu(x + bias)`: `BiasGelu` exactly, `FastGelu` by its tanh; and `x·sigmoid(alpha·x)`, `QuickGelu`.
pub(super) fn gelu(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let mut x = n.input(0)?.clone();
    if n.op == "QuickGelu" {
        let inner = r.times(&n.part("alpha"), &x, n.float("alpha", 1.702))?;
        let gate = r.apply(&n.part("sigmoid"), Op::Sigmoid, &[&inner])?;
        return r.apply(n.path, Op::Mul, &[&x, &gate]);
    }
    if let Some(bias) = n.optional(1) {
        x = r.biased(&n.part("biased"), &x, bias)?;
    }
    r.apply(n.path, Op::Gelu { tanh: n.op == "FastGelu" }, &[&x])
}

/// `MatMul` with factors turned, and a number before it.
pub(super) fn matmul(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    if n.flag("transBatchA", false) || n.flag("transBatchB", false) {
        return Err("its batches are turned".into());
    }
    let turned = |r: &mut Reader, i: usize, by: &str, name: &str| {
        let x = n.input(i)?;
        let rank = r.rank(x);
        if !n.flag(by, false) || rank < 2 {
            return Ok(x.clone());
        }
        let perm = (0..rank - 2).chain([rank - 1, rank - 2]).collect();
        r.apply(&n.part(name), Op::Transpose { perm }, &[x])
    };
    let (a, b) = (turned(r, 0, "transA", "a")?, turned(r, 1, "transB", "b")?);
    let alpha = n.float("alpha", 1.0);
    let path = if alpha == 1.0 { n.path.to_string() } else { n.part("product") };
    let y = dense::matmul(r, &n.with(&path, "MatMul", vec![Some(a), Some(b)]), None)?;
    if alpha == 1.0 { Ok(y) } else { r.times(n.path, &y, alpha) }
}

/// Layer norm of a sum, the statistics that training saves, and the sum: `x, skip, scale, shift, bias?`, of the simplified
/// norm `x, skip, scale, bias?`.
pub(super) fn skip_norm(r: &mut Reader, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let is_rms = n.op != "SkipLayerNormalization";
    let (shift, bias) = if is_rms { (None, n.optional(3)) } else { (n.optional(3), n.optional(4)) };
    let mut sum = r.apply(&n.part("sum"), Op::Add, &[n.input(0)?, n.input(1)?])?;
    if let Some(bias) = bias {
        sum = r.biased(&n.part("sum.biased"), &sum, bias)?;
    }
    let y = normalised(r, n, &sum, n.input(2)?, shift, is_rms)?;
    let [mean, inverse] = if n.wants(1) || n.wants(2) {
        let last = r.rank(&sum).saturating_sub(1);
        norm::statistics(r, n, &sum, &[last], n.float("epsilon", 1e-12))?
    } else {
        [y.clone(), y.clone()]
    };
    Ok(vec![y, mean, inverse, sum])
}

fn normalised(
    r: &mut Reader,
    n: &Node<'_>,
    x: &Val,
    scale: &Val,
    shift: Option<&Val>,
    is_rms: bool,
) -> Result<Val, String> {
    let op = if is_rms { "SimplifiedLayerNormalization" } else { "LayerNormalization" };
    let inputs = vec![Some(x.clone()), Some(scale.clone()), shift.cloned()];
    norm::layer_norm_of(r, &n.with(n.path, op, inputs), n.float("epsilon", 1e-12))
}

/// Words, positions and segments looked up, added and normalised; how many words of each text the mask keeps; the sum.
pub(super) fn embed_norm(r: &mut Reader, n: &Node<'_>) -> Result<Vec<Val>, String> {
    let ids = n.input(0)?;
    let shape = r.dims(ids);
    let [batch, length] = shape.as_slice() else { return Err("its words are not [batch, sequence]".into()) };
    let mut look_up = |table: &Val, at: &Val, name: &str| {
        let table = Val::Value(r.value_for(table, Use::Other)?);
        r.apply(&n.part(name), Op::Embedding, &[&table, at])
    };
    let mut sum = look_up(n.input(2)?, ids, "words")?;
    let segments = n.optional(1).zip(n.optional(4));
    let segments = segments.map(|(at, table)| look_up(table, at, "segments")).transpose()?;
    let positions = match n.optional(8) {
        Some(at) => look_up(n.input(3)?, at, "positions")?,
        None => {
            let line = r.counted(&n.part("positions.line"), [&Dim::Fixed(0), length], 1, 1, 2)?;
            let table = Val::Value(r.value_for(n.input(3)?, Use::Other)?);
            r.apply(&n.part("positions"), Op::Embedding, &[&table, &line])?
        }
    };
    for (part, name) in [(Some(positions), "sum.positions"), (segments, "sum.segments")] {
        if let Some(part) = part {
            sum = r.apply(&n.part(name), Op::Add, &[&sum, &part])?;
        }
    }
    let y = normalised(r, n, &sum, n.input(5)?, n.optional(6), false)?;
    let count = match n.optional(7) {
        Some(mask) if n.wants(1) => {
            let op = Op::Reduce { function: Reduction::Sum, axes: vec![1], keep_dims: false };
            r.apply(&n.part("count"), op, &[mask])?
        }
        // Without a mask nothing is padded.
        _ if n.wants(1) => {
            let whole = Val::Value(r.signed_sizes(&[Expr::from(length)], true)?);
            r.apply(&n.part("count"), Op::Expand { shape: vec![batch.clone()] }, &[&whole])?
        }
        _ => y.clone(),
    };
    Ok(vec![y, count, sum])
}

/// Queries, keys and values of one product with a weight, then attention: `x, weight, bias?, mask?, past?, added?`.
pub(super) fn self_attention(r: &mut Reader, n: &Node<'_>) -> Result<Vec<Val>, String> {
    if n.optional(4).is_some() || n.wants(1) {
        return Err("keys and values of earlier steps are not read".into());
    }
    if n.flag("do_rotary", false) {
        return Err("its positions turn queries and keys".into());
    }
    let weight = match n.input(1)? {
        // It is read here alone.
        Val::Weight(w) => r.made(w.name.clone(), w.tensor.clone(), true),
        other => other.clone(),
    };
    let path = n.part("qkv");
    let inputs = vec![Some(n.input(0)?.clone()), Some(weight)];
    let all = dense::matmul(r, &n.with(&path, "MatMul", inputs), n.optional(2))?;
    let width = r.dims(&all).last().and_then(Dim::fixed).ok_or("its width must be known")?;
    let widths = match n.ints("qkv_hidden_sizes") {
        Some(sizes) => sizes.iter().map(|&s| usize::try_from(s).ok()).collect::<Option<Vec<usize>>>(),
        None => width.is_multiple_of(3).then(|| vec![width / 3; 3]),
    };
    let sum = |w: &[usize]| w.iter().try_fold(0, |sum: usize, w| sum.checked_add(*w));
    let widths = widths.filter(|w| w.len() == 3 && sum(w) == Some(width));
    let widths = widths.ok_or("its width is not queries', keys' and values'")?;
    let axis = r.rank(&all) - 1;
    let mut start = 0;
    let mut parts = Vec::new();
    for (name, length) in ["q", "k", "v"].into_iter().zip(widths) {
        let part = n.part(&format!("{name}.part"));
        parts.push(r.stretch(&part, &all, axis, [start, length].map(Dim::Fixed), 1)?);
        start += length;
    }
    of_heads(r, n, &parts, n.optional(3), n.optional(5)).map(|y| vec![y])
}

/// Attention of queries, keys and values: `q, k, v, bias?, mask?, added?`.
pub(super) fn cross_attention(r: &mut Reader, n: &Node<'_>) -> Result<Vec<Val>, String> {
    if (6..8).any(|i| n.optional(i).is_some()) || n.wants(1) {
        return Err("keys and values of earlier steps are not read".into());
    }
    let mut parts = vec![n.input(0)?.clone(), n.input(1)?.clone(), n.input(2)?.clone()];
    if parts.iter().any(|x| r.rank(x) != 3) {
        return Err("queries, keys and values are packed".into());
    }
    if let Some(bias) = n.optional(3) {
        let bias = Val::Value(r.value_for(bias, Use::Shift)?);
        let mut start = 0;
        for (x, name) in parts.iter_mut().zip(["q", "k", "v"]) {
            let length = r.dims(x).last().and_then(Dim::fixed).ok_or("its width must be known")?;
            let part = n.part(&format!("{name}.bias"));
            let part = r.stretch(&part, &bias, 0, [start, length].map(Dim::Fixed), 1)?;
            *x = r.apply(&n.part(&format!("{name}.biased")), Op::Add, &[x, &part])?;
            start += length;
        }
    }
    of_heads(r, n, &parts, n.optional(4), n.optional(5)).map(|y| vec![y])
}

fn of_heads(
    r: &mut Reader,
    n: &Node<'_>,
    parts: &[Val],
    mask: Option<&Val>,
    added: Option<&Val>,
) -> Result<Val, String> {
    let heads = n.int("num_heads", 0);
    let [q, k, v] = parts else { return Err("it has not queries, keys and values".into()) };
    let keys = r.dims(k).get(1).cloned().ok_or("its keys are no sequence")?;
    let mask = mask.map(|mask| seen(r, n, mask, &keys)).transpose()?;
    let bias = match (mask, added) {
        (Some(mask), Some(added)) => Some(r.apply(&n.part("bias"), Op::Add, &[&mask, added])?),
        (mask, added) => mask.or(added.cloned()),
    };
    let inputs = vec![Some(q.clone()), Some(k.clone()), Some(v.clone()), bias];
    let scale = n.float("scale", 0.0);
    let how = attention::How {
        heads: [heads, heads],
        scale: (scale != 0.0).then_some(scale),
        softcap: 0.0,
        window: [None, n.flag("unidirectional", false).then_some(0)],
    };
    attention::scored(r, &n.with(n.path, n.op, inputs), &how).map(|made| made.y)
}

/// What is added to scores: 0 where a key is seen, a number far below where it is not.  A mask is 1 a key that is seen, or how many
/// keys of each text are.
fn seen(r: &mut Reader, n: &Node<'_>, mask: &Val, keys: &Dim) -> Result<Val, String> {
    let d = r.dims(mask);
    let is_seen = match d.as_slice() {
        [batch] => {
            let range = r.counted(&n.part("mask.positions"), [&Dim::Fixed(0), keys], 1, 1, 2)?;
            let shape = vec![batch.clone(), Dim::Fixed(1)];
            let count = r.apply(&n.part("mask.count"), Op::Reshape { shape }, &[mask])?;
            r.apply(&n.part("mask.seen"), Op::Binary { function: Binary::Less }, &[&range, &count])?
        }
        [_, _] => r.apply(&n.part("mask.seen"), Op::Cast { to: ElementKind::Bool }, &[mask])?,
        _ => return Err(format!("its mask has {} axes", d.len())),
    };
    let s = r.dims(&is_seen);
    let shape = vec![s[0].clone(), Dim::Fixed(1), Dim::Fixed(1), s[1].clone()];
    let is_seen = r.apply(&n.part("mask.keys"), Op::Reshape { shape }, &[&is_seen])?;
    let never = scalar(n.float("mask_filter_value", -10_000.0));
    r.apply(&n.part("mask.added"), Op::Where, &[&is_seen, &scalar(0.0), &never])
}
