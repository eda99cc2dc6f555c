//! Matrix products.

use headstart_graph::{Dim, Expr, Op};

use super::super::node::Node;
use super::super::reader::{Reader, Use, Val};

/// `MatMul`: a linear layer where the right factor is a weight, with the bias that is added next.
pub(in super::super) fn matmul(r: &mut Reader, n: &Node<'_>, bias: Option<&Val>) -> Result<Val, String> {
    let (a, b) = (n.input(0)?, n.input(1)?);
    let weight = match b {
        Val::Weight(w) if w.is_right_factor && w.tensor.shape().len() == 2 => Some(r.transposed_param(w)?),
        Val::Value(id) => r.transposed.get(id).copied(),
        _ => None,
    };
    let Some(weight) = weight.filter(|_| r.rank(a) >= 1) else {
        return r.apply(n.path, Op::MatMul, &[a, b]);
    };
    let x = r.value(a)?;
    let mut inputs = vec![x, weight];
    if let Some(bias) = bias {
        inputs.push(r.value_for(bias, Use::Shift)?);
    }
    r.node(n.path, Op::Linear, &inputs).map(Val::Value)
}

/// Whether [`matmul`] makes a linear layer of it, whose bias must be a vector of the returned length.
pub(in super::super) fn linear_width(r: &Reader, b: &Val) -> Option<usize> {
    match b {
        Val::Weight(w) if w.is_right_factor && w.tensor.shape().len() == 2 => Some(w.tensor.shape()[1]),
        Val::Value(id) => {
            let param = r.transposed.get(id)?;
            r.builder.shape(*param).known(0)
        }
        _ => None,
    }
}

/// `alpha·A'·B' + beta·C`.
pub(super) fn gemm(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (mut a, b, c) = (n.input(0)?.clone(), n.input(1)?.clone(), n.optional(2).cloned());
    let (alpha, beta) = (n.float("alpha", 1.0), n.float("beta", 1.0));
    let (turn_a, turn_b) = (n.flag("transA", false), n.flag("transB", false));
    if r.rank(&a) != 2 || r.rank(&b) != 2 {
        return Err("a general product takes matrices".into());
    }
    let turned = Op::Transpose { perm: vec![1, 0] };
    if turn_a {
        a = r.apply(&n.part("a"), turned.clone(), &[&a])?;
    }
    let out = r.dims(&b)[if turn_b { 0 } else { 1 }].fixed();
    let bias_fits = c.as_ref().is_none_or(|c| out.is_some_and(|n| r.dims(c) == [Dim::Fixed(n)]));
    let weight = match &b {
        Val::Weight(w) if turn_b => {
            let fan_in = w.tensor.shape()[1];
            Some(r.value_for(&b, Use::Matrix { fan_in })?)
        }
        Val::Weight(w) if w.is_right_factor => Some(r.transposed_param(&w.clone())?),
        _ => None,
    };
    if alpha == 1.0
        && beta == 1.0
        && bias_fits
        && let Some(weight) = weight
    {
        let mut inputs = vec![r.value(&a)?, weight];
        if let Some(c) = &c {
            inputs.push(r.value_for(c, Use::Shift)?);
        }
        return r.node(n.path, Op::Linear, &inputs).map(Val::Value);
    }
    let mut y = match weight {
        Some(weight) => {
            let a = r.value(&a)?;
            Val::Value(r.node(&n.part("product"), Op::Linear, &[a, weight])?)
        }
        None => {
            let b = if turn_b { r.apply(&n.part("b"), turned, &[&b])? } else { b };
            r.apply(&n.part("product"), Op::MatMul, &[&a, &b])?
        }
    };
    if alpha != 1.0 {
        y = r.times(&n.part("alpha"), &y, alpha)?;
    }
    match c {
        Some(c) if beta != 0.0 => {
            let c = if beta == 1.0 { c } else { r.times(&n.part("beta"), &c, beta)? };
            r.apply(n.path, Op::Add, &[&y, &c])
        }
        _ => Ok(y),
    }
}

/// Products and sums in Einstein's notation, of one or two values: axes are summed, brought into order, and multiplied as
/// matrices.
pub(super) fn einsum(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let equation: String = n.string("equation").unwrap_or_default().split_whitespace().collect();
    let (left, right) = equation.split_once("->").ok_or("the equation names no result")?;
    let terms: Vec<Vec<char>> = left.split(',').map(|t| t.chars().collect()).collect();
    let result: Vec<char> = right.chars().collect();
    if equation.contains('.') || terms.len() != n.inputs.len() || !matches!(terms.len(), 1 | 2) {
        return Err(format!("the equation `{equation}` is not one or two plain terms"));
    }
    for (i, term) in terms.iter().enumerate() {
        let repeats = term.iter().enumerate().any(|(i, c)| term[..i].contains(c));
        if repeats || term.len() != r.rank(n.input(i)?) {
            return Err(format!("the equation `{equation}` does not fit its inputs"));
        }
    }
    if result.iter().any(|c| !terms.iter().any(|t| t.contains(c))) {
        return Err(format!("the equation `{equation}` makes axes out of nothing"));
    }
    let (a, ta) = summed(r, n, 0, &terms, &result)?;
    if terms.len() == 1 {
        return ordered(r, n.path, &a, &ta, &result);
    }
    let (b, tb) = summed(r, n, 1, &terms, &result)?;
    let group =
        |keep: &dyn Fn(&char) -> bool, of: &[char]| of.iter().copied().filter(keep).collect::<Vec<char>>();
    let batch = group(&|c| tb.contains(c) && result.contains(c), &ta);
    let inner = group(&|c| tb.contains(c) && !result.contains(c), &ta);
    let (rows, cols) = (group(&|c| !tb.contains(c), &ta), group(&|c| !ta.contains(c), &tb));
    let sizes = |r: &Reader, v: &Val, t: &[char], of: &[char]| -> Vec<Dim> {
        let dims = r.dims(v);
        of.iter().filter_map(|c| t.iter().position(|x| x == c).map(|i| dims[i].clone())).collect()
    };
    let (nb, nr, nc) = (sizes(r, &a, &ta, &batch), sizes(r, &a, &ta, &rows), sizes(r, &b, &tb, &cols));
    let inner_dims = sizes(r, &a, &ta, &inner);
    let product = |dims: &[Dim]| -> Result<Dim, String> {
        let e = dims.iter().try_fold(Expr::number(1), |n, d| n.mul(&Expr::from(d)));
        e.and_then(|e| e.to_dim()).ok_or_else(|| "the sizes are too large".into())
    };
    let (br, bi, bc) = (product(&nr)?, product(&inner_dims)?, product(&nc)?);
    let a = ordered(r, &n.part("left"), &a, &ta, &[&batch[..], &rows, &inner].concat())?;
    let b = ordered(r, &n.part("right"), &b, &tb, &[&batch[..], &inner, &cols].concat())?;
    let shape_a = [nb.clone(), vec![br, bi.clone()]].concat();
    let shape_b = [nb.clone(), vec![bi, bc]].concat();
    let a = r.apply(&n.part("left.matrix"), Op::Reshape { shape: shape_a }, &[&a])?;
    let b = r.apply(&n.part("right.matrix"), Op::Reshape { shape: shape_b }, &[&b])?;
    let y = r.apply(&n.part("product"), Op::MatMul, &[&a, &b])?;
    let y = r.apply(&n.part("axes"), Op::Reshape { shape: [nb, nr, nc].concat() }, &[&y])?;
    ordered(r, n.path, &y, &[&batch[..], &rows, &cols].concat(), &result)
}

/// A term without the axes that only it has and the result lacks.
fn summed(
    r: &mut Reader,
    n: &Node<'_>,
    i: usize,
    terms: &[Vec<char>],
    result: &[char],
) -> Result<(Val, Vec<char>), String> {
    let term = &terms[i];
    let elsewhere =
        |c: &char| result.contains(c) || terms.iter().enumerate().any(|(j, t)| j != i && t.contains(c));
    let axes: Vec<usize> = (0..term.len()).filter(|&k| !elsewhere(&term[k])).collect();
    let x = n.input(i)?.clone();
    if axes.is_empty() {
        return Ok((x, term.clone()));
    }
    let op = Op::Reduce { function: headstart_graph::Reduction::Sum, axes, keep_dims: false };
    let y = r.apply(&n.part("sum"), op, &[&x])?;
    Ok((y, term.iter().copied().filter(|c| elsewhere(c)).collect()))
}

fn ordered(r: &mut Reader, path: &str, x: &Val, have: &[char], want: &[char]) -> Result<Val, String> {
    if have == want {
        return Ok(x.clone());
    }
    let perm: Option<Vec<usize>> = want.iter().map(|c| have.iter().position(|h| h == c)).collect();
    let perm = perm.filter(|p| p.len() == have.len()).ok_or("the equation loses an axis")?;
    r.apply(path, Op::Transpose { perm }, &[x])
}

impl Reader {
    /// A value times a number.
    pub(in super::super) fn times(&mut self, path: &str, x: &Val, by: f64) -> Result<Val, String> {
        let by = Val::Known(super::super::known::Known::float(by), None);
        self.apply(path, Op::Mul, &[x, &by])
    }

    /// A value plus a number.
    pub(in super::super) fn plus(&mut self, path: &str, x: &Val, by: f64) -> Result<Val, String> {
        let by = Val::Known(super::super::known::Known::float(by), None);
        self.apply(path, Op::Add, &[x, &by])
    }
}
