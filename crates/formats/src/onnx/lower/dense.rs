//! Matrix products.

use headstart_graph::{Dim, Expr, Op};

use super::super::node::Node;
use super::super::reader::{Reader, Use, Val};

/// `MatMul`, and the bias that is added next: a linear layer where the right factor is a weight.
pub(in super::super) fn matmul(r: &mut Reader, n: &Node<'_>, bias: Option<&Val>) -> Result<Val, String> {
    let (a, b) = (n.input(0)?, n.input(1)?);
    let weight = match b {
        Val::Weight(w) if w.is_right_factor && w.tensor.shape().len() == 2 => Some(r.transposed_param(w)?),
        Val::Value(id) => r.transposed.get(id).copied(),
        _ => None,
    };
    let Some(weight) = weight.filter(|_| r.rank(a) >= 1) else {
        let Some(bias) = bias else { return r.apply(n.path, Op::MatMul, &[a, b]) };
        let product = r.apply(&n.part("product"), Op::MatMul, &[a, b])?;
        return r.biased(n.path, &product, bias);
    };
    let mut inputs = vec![r.value(a)?, weight];
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

/// Products and sums in Einstein's notation: of two values at a time axes are summed, brought into order, and multiplied as
/// matrices.
pub(super) fn einsum(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let equation: String = n.string("equation").unwrap_or_default().split_whitespace().collect();
    let refused = |why: &str| format!("the equation `{equation}` {why}");
    let (terms, result) = terms(r, n, &equation).map_err(|why| refused(&why))?;
    let mut left = Factor { value: n.input(0)?.clone(), axes: terms[0].clone() };
    for (i, term) in terms.iter().enumerate().skip(1) {
        let right = Factor { value: n.input(i)?.clone(), axes: term.clone() };
        // What later factors or the result need stays.
        let is_kept = |c: &char| result.contains(c) || terms[i + 1..].iter().any(|t| t.contains(c));
        left = product(r, n, left, right, &is_kept)?;
    }
    let left = left.summed(r, n, &|c| result.contains(c))?;
    ordered(r, n.path, &left.value, &left.axes, &result)
}

/// The letters of each factor's axes and of the result's.
type Terms = (Vec<Vec<char>>, Vec<char>);

/// With letters of their own for the axes that `...` stands for.
fn terms(r: &Reader, n: &Node<'_>, equation: &str) -> Result<Terms, String> {
    let (left, right) = equation.split_once("->").ok_or("names no result")?;
    let left: Vec<&str> = left.split(',').collect();
    if left.len() != n.inputs.len() {
        return Err("has not a term for each input".into());
    }
    // Control characters are no letters of an equation; the last axis has the same one in every term.
    let more = |count: usize| (0..count as u32).rev().filter_map(char::from_u32).collect::<Vec<char>>();
    let (mut terms, mut most) = (Vec::new(), 0);
    for (i, term) in left.iter().enumerate() {
        let rank = r.rank(n.input(i)?);
        let axes: Vec<char> = match term.split_once("...") {
            None => term.chars().collect(),
            Some((before, after)) => {
                let count = rank.checked_sub(before.len() + after.len()).ok_or("does not fit its inputs")?;
                most = most.max(count);
                before.chars().chain(more(count)).chain(after.chars()).collect()
            }
        };
        let repeats = axes.iter().enumerate().any(|(i, c)| axes[..i].contains(c));
        if repeats || axes.len() != rank {
            return Err("does not fit its inputs, or takes a diagonal".into());
        }
        terms.push(axes);
    }
    let result: Vec<char> = match right.split_once("...") {
        None => right.chars().collect(),
        Some((before, after)) => before.chars().chain(more(most)).chain(after.chars()).collect(),
    };
    let repeats = result.iter().enumerate().any(|(i, c)| result[..i].contains(c));
    if repeats || result.iter().any(|c| !terms.iter().any(|t| t.contains(c))) {
        return Err("makes axes out of nothing".into());
    }
    Ok((terms, result))
}

/// A value and the letters of its axes.
struct Factor {
    value: Val,
    axes: Vec<char>,
}

impl Factor {
    /// Without the axes that nobody needs.
    fn summed(self, r: &mut Reader, n: &Node<'_>, is_kept: &dyn Fn(&char) -> bool) -> Result<Self, String> {
        let axes: Vec<usize> = (0..self.axes.len()).filter(|&k| !is_kept(&self.axes[k])).collect();
        if axes.is_empty() {
            return Ok(self);
        }
        let op = Op::Reduce { function: headstart_graph::Reduction::Sum, axes, keep_dims: false };
        let value = r.apply(&n.part("sum"), op, &[&self.value])?;
        Ok(Factor { value, axes: self.axes.into_iter().filter(|c| is_kept(c)).collect() })
    }

    /// The sizes of some of its axes.
    fn sizes(&self, r: &Reader, of: &[char]) -> Vec<Dim> {
        let dims = r.dims(&self.value);
        of.iter().filter_map(|c| self.axes.iter().position(|x| x == c).map(|i| dims[i].clone())).collect()
    }
}

/// Two factors as matrices: the axes of both that are kept are a batch, those that are not the inner axis.
fn product(
    r: &mut Reader,
    n: &Node<'_>,
    a: Factor,
    b: Factor,
    is_kept: &dyn Fn(&char) -> bool,
) -> Result<Factor, String> {
    let (of_a, of_b) = (a.axes.clone(), b.axes.clone());
    let a = a.summed(r, n, &|c| is_kept(c) || of_b.contains(c))?;
    let b = b.summed(r, n, &|c| is_kept(c) || of_a.contains(c))?;
    let group =
        |keep: &dyn Fn(&char) -> bool, of: &[char]| of.iter().copied().filter(keep).collect::<Vec<char>>();
    let batch = group(&|c| b.axes.contains(c) && is_kept(c), &a.axes);
    let inner = group(&|c| b.axes.contains(c) && !is_kept(c), &a.axes);
    let rows = group(&|c| !b.axes.contains(c), &a.axes);
    let cols = group(&|c| !a.axes.contains(c), &b.axes);
    let (nb, nr, nc) = (a.sizes(r, &batch), a.sizes(r, &rows), b.sizes(r, &cols));
    let ni = a.sizes(r, &inner);
    let product = |dims: &[Dim]| -> Result<Dim, String> {
        let e = dims.iter().try_fold(Expr::number(1), |n, d| n.mul(&Expr::from(d)));
        e.and_then(|e| e.to_dim()).ok_or_else(|| "the sizes are too large".into())
    };
    let (br, bi, bc) = (product(&nr)?, product(&ni)?, product(&nc)?);
    let left = ordered(r, &n.part("left"), &a.value, &a.axes, &[&batch[..], &rows, &inner].concat())?;
    let right = ordered(r, &n.part("right"), &b.value, &b.axes, &[&batch[..], &inner, &cols].concat())?;
    let shape = [nb.clone(), vec![br, bi.clone()]].concat();
    let left = r.apply(&n.part("left.matrix"), Op::Reshape { shape }, &[&left])?;
    let shape = [nb.clone(), vec![bi, bc]].concat();
    let right = r.apply(&n.part("right.matrix"), Op::Reshape { shape }, &[&right])?;
    let y = r.apply(&n.part("product"), Op::MatMul, &[&left, &right])?;
    let value = r.apply(&n.part("axes"), Op::Reshape { shape: [nb, nr, nc].concat() }, &[&y])?;
    Ok(Factor { value, axes: [batch, rows, cols].concat() })
}

fn ordered(r: &mut Reader, path: &str, x: &Val, have: &[char], want: &[char]) -> Result<Val, String> {
    if have == want {
        return Ok(x.clone());
    }
    let perm: Option<Vec<usize>> = want.iter().map(|c| have.iter().position(|h| h == c)).collect();
    let perm = perm.filter(|p| p.len() == have.len()).ok_or("the equation loses an axis")?;
    r.apply(path, Op::Transpose { perm }, &[x])
}
