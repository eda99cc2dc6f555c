//! Evaluates operators on arrays that are known while a file is read; `None` leaves them to the run.

use headstart_graph::{Binary, Dim, ElementKind, Expr, Op, Reduction, Unary};

use super::known::{Elem, Known};

/// The result of an operator, if every element of it can be told now.
pub(super) fn fold(op: &Op, inputs: &[&Known]) -> Option<Known> {
    let x = *inputs.first()?;
    match op {
        Op::Unary { function } => each(x, |e| unary(e, *function)),
        // What has no elements would stay integers.
        Op::Cast { to } if x.elems.is_empty() && *to != ElementKind::Int => None,
        Op::Cast { to } => each(x, |e| cast(e, *to)),
        Op::Clip { min, max } => each(x, |e| match e {
            Elem::Float(v) => float(v.max(*min).min(*max)),
            _ => None,
        }),
        Op::Add => pairs(x, inputs[1], |a, b| arithmetic(a, b, Expr::add, |a, b| a + b)),
        Op::Mul => pairs(x, inputs[1], |a, b| arithmetic(a, b, Expr::mul, |a, b| a * b)),
        Op::Binary { function } => pairs(x, inputs[1], |a, b| binary(a, b, *function)),
        Op::Where => {
            let shape = broadcast(&broadcast(&x.shape, &inputs[1].shape)?, &inputs[2].shape)?;
            let [c, a, b] = [x.expanded(&shape)?, inputs[1].expanded(&shape)?, inputs[2].expanded(&shape)?];
            let chosen = c.bools()?.into_iter().zip(a.elems.into_iter().zip(b.elems));
            Some(Known { shape, elems: chosen.map(|(c, (a, b))| if c { a } else { b }).collect() })
        }
        Op::Reshape { shape } => {
            let shape = fixed(shape)?;
            let n = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d))?;
            (n == x.elems.len()).then(|| Known { shape, elems: x.elems.clone() })
        }
        Op::Expand { shape } => x.expanded(&broadcast(&x.shape, &fixed(shape)?)?),
        Op::Transpose { perm } => {
            let shape: Vec<usize> = perm.iter().map(|&i| x.shape[i]).collect();
            x.picked(&shape, |at| {
                let mut from = vec![0; at.len()];
                perm.iter().zip(at).for_each(|(&p, &i)| from[p] = i);
                from
            })
        }
        Op::Select { axis, index } => {
            let mut shape = x.shape.clone();
            shape.remove(*axis);
            x.picked(&shape, |at| [&at[..*axis], &[*index], &at[*axis..]].concat())
        }
        Op::Gather { axis } => gather(x, inputs[1], *axis),
        Op::Concat { axis } => concat(inputs, *axis),
        Op::Slice { ranges } => {
            let mut x = x.clone();
            for r in ranges {
                let (start, length) = (r.start.fixed()? as i64, r.length.fixed()?);
                let mut shape = x.shape.clone();
                shape[r.axis] = length;
                x = x.picked(&shape, |at| {
                    let mut from = at.to_vec();
                    from[r.axis] = (start + at[r.axis] as i64 * r.step) as usize;
                    from
                })?;
            }
            Some(x)
        }
        Op::Reduce { function, axes, keep_dims } => reduce(x, *function, axes, *keep_dims),
        _ => None,
    }
}

fn fixed(dims: &[Dim]) -> Option<Vec<usize>> {
    dims.iter().map(Dim::fixed).collect()
}

fn broadcast(a: &[usize], b: &[usize]) -> Option<Vec<usize>> {
    let n = a.len().max(b.len());
    let at = |s: &[usize], i: usize| (i + s.len()).checked_sub(n).map_or(1, |i| s[i]);
    (0..n)
        .map(|i| match (at(a, i), at(b, i)) {
            (x, y) if x == y => Some(x),
            (1, y) => Some(y),
            (x, 1) => Some(x),
            _ => None,
        })
        .collect()
}

fn each(x: &Known, f: impl Fn(&Elem) -> Option<Elem>) -> Option<Known> {
    Some(Known { shape: x.shape.clone(), elems: x.elems.iter().map(f).collect::<Option<_>>()? })
}

fn pairs(a: &Known, b: &Known, f: impl Fn(&Elem, &Elem) -> Option<Elem>) -> Option<Known> {
    let shape = broadcast(&a.shape, &b.shape)?;
    let (a, b) = (a.expanded(&shape)?, b.expanded(&shape)?);
    let elems = a.elems.iter().zip(&b.elems).map(|(a, b)| f(a, b)).collect::<Option<_>>()?;
    Some(Known { shape, elems })
}

fn float(v: f64) -> Option<Elem> {
    Some(Elem::Float(f64::from(v as f32)))
}

fn unary(e: &Elem, function: Unary) -> Option<Elem> {
    match (e, function) {
        (Elem::Bool(b), Unary::Not) => Some(Elem::Bool(!b)),
        (Elem::Int(e), Unary::Neg) => e.mul(&Expr::number(-1)).map(Elem::Int),
        (Elem::Int(e), Unary::Abs) if e.least().is_some_and(|n| n >= 0) => Some(Elem::Int(e.clone())),
        (Elem::Int(e), Unary::Abs) => e.as_number()?.checked_abs().map(|n| Elem::Int(Expr::number(n))),
        (Elem::Float(v), _) => float(match function {
            Unary::Neg => -v,
            Unary::Abs => v.abs(),
            Unary::Exp => v.exp(),
            Unary::Log => v.ln(),
            Unary::Sqrt => v.sqrt(),
            Unary::Reciprocal => 1.0 / v,
            Unary::Pow(p) => v.powf(p),
            Unary::Floor => v.floor(),
            Unary::Ceil => v.ceil(),
            Unary::Round | Unary::RoundThrough => v.round_ties_even(),
            _ => return None,
        }),
        _ => None,
    }
}

fn cast(e: &Elem, to: ElementKind) -> Option<Elem> {
    match (e, to) {
        (Elem::Int(e), ElementKind::Float) => float(e.as_number()? as f64),
        (Elem::Bool(b), ElementKind::Float) => float(f64::from(u8::from(*b))),
        (Elem::Float(v), ElementKind::Int) => Some(Elem::Int(Expr::number(*v as i64))),
        (Elem::Bool(b), ElementKind::Int) => Some(Elem::Int(Expr::number((*b).into()))),
        (Elem::Float(v), ElementKind::Bool) => Some(Elem::Bool(*v != 0.0)),
        (Elem::Int(e), ElementKind::Bool) if e.least().is_some_and(|n| n > 0) => Some(Elem::Bool(true)),
        (Elem::Int(e), ElementKind::Bool) => e.as_number().map(|n| Elem::Bool(n != 0)),
        _ => Some(e.clone()),
    }
}

fn arithmetic(
    a: &Elem,
    b: &Elem,
    ints: impl Fn(&Expr, &Expr) -> Option<Expr>,
    floats: impl Fn(f64, f64) -> f64,
) -> Option<Elem> {
    match (a, b) {
        (Elem::Int(a), Elem::Int(b)) => ints(a, b).map(Elem::Int),
        (Elem::Float(a), Elem::Float(b)) => float(floats(*a, *b)),
        _ => None,
    }
}

fn binary(a: &Elem, b: &Elem, function: Binary) -> Option<Elem> {
    if let (Elem::Bool(a), Elem::Bool(b)) = (a, b) {
        return Some(Elem::Bool(match function {
            Binary::And => *a && *b,
            Binary::Or => *a || *b,
            Binary::Xor => a != b,
            Binary::Equal => a == b,
            _ => return None,
        }));
    }
    if function.makes_bool() {
        return compare(a, b, function).map(Elem::Bool);
    }
    match function {
        Binary::Sub => arithmetic(a, b, Expr::sub, |a, b| a - b),
        Binary::Div => arithmetic(a, b, divide, |a, b| a / b),
        Binary::Mod => arithmetic(a, b, Expr::modulo, |a, b| a - (a / b).floor() * b),
        Binary::Min => arithmetic(a, b, Expr::minimum, f64::min),
        Binary::Max => arithmetic(a, b, Expr::maximum, f64::max),
        Binary::Pow => arithmetic(a, b, power, f64::powf),
        _ => None,
    }
}

/// Integer division rounds towards 0, which is down where nothing is negative.  A numerator made of sizes is not, in a run
/// whose shapes are valid, though its bound may be: exporters write Python's `//` of sizes as this operator.
fn divide(a: &Expr, b: &Expr) -> Option<Expr> {
    match (a.as_number(), b.as_number()) {
        (Some(a), Some(b)) => a.checked_div(b).map(Expr::number),
        _ => a.floor_div(b),
    }
}

fn power(a: &Expr, b: &Expr) -> Option<Expr> {
    let n = b.as_number().filter(|n| (0..8).contains(n))?;
    (0..n).try_fold(Expr::number(1), |product, _| product.mul(a))
}

fn compare(a: &Elem, b: &Elem, function: Binary) -> Option<bool> {
    let answer = |less: bool, equal: bool| {
        Some(match function {
            Binary::Equal => equal,
            Binary::Less => less,
            Binary::LessOrEqual => less || equal,
            Binary::Greater => !less && !equal,
            Binary::GreaterOrEqual => !less,
            _ => return None,
        })
    };
    match (a, b) {
        (Elem::Float(a), Elem::Float(b)) => answer(a < b, a == b),
        (Elem::Int(a), Elem::Int(b)) => {
            // What holds for every run: the difference has a known sign.
            let difference = a.sub(b)?;
            let negated = difference.mul(&Expr::number(-1))?;
            match (difference.as_number(), difference.least(), negated.least()) {
                (Some(n), ..) => answer(n < 0, n == 0),
                (_, Some(n), _) if n > 0 => answer(false, false),
                (_, _, Some(n)) if n > 0 => answer(true, false),
                (_, Some(0), _) if matches!(function, Binary::GreaterOrEqual | Binary::Less) => {
                    answer(false, true)
                }
                _ => None,
            }
        }
        _ => None,
    }
}

fn gather(x: &Known, indices: &Known, axis: usize) -> Option<Known> {
    let n = x.shape[axis] as i64;
    let at: Option<Vec<usize>> = indices
        .as_numbers()?
        .into_iter()
        .map(|i| usize::try_from(if i < 0 { i + n } else { i }).ok().filter(|&i| (i as i64) < n))
        .collect();
    let at = at?;
    let by = strides_of(&indices.shape);
    let rank = indices.shape.len();
    let shape = [&x.shape[..axis], &indices.shape, &x.shape[axis + 1..]].concat();
    x.picked(&shape, |p| {
        let index: usize = p[axis..axis + rank].iter().zip(&by).map(|(i, s)| i * s).sum();
        [&p[..axis], &[at[index]], &p[axis + rank..]].concat()
    })
}

fn strides_of(shape: &[usize]) -> Vec<usize> {
    super::known::strides(shape)
}

fn concat(inputs: &[&Known], axis: usize) -> Option<Known> {
    let mut shape = inputs.first()?.shape.clone();
    let outer: usize = shape[..axis].iter().product();
    shape[axis] = inputs.iter().map(|k| k.shape[axis]).sum();
    let mut elems = Vec::new();
    for i in 0..outer {
        for k in inputs {
            let n: usize = k.shape[axis..].iter().product();
            elems.extend_from_slice(&k.elems[i * n..(i + 1) * n]);
        }
    }
    Some(Known { shape, elems })
}

/// All elements of a vector; what more axes need is left to the run.
fn reduce(x: &Known, function: Reduction, axes: &[usize], keep_dims: bool) -> Option<Known> {
    if x.shape.len() > 1 || axes.iter().any(|&a| a > 0) {
        return None;
    }
    let (first, rest) = x.elems.split_first()?;
    let result = rest.iter().try_fold(first.clone(), |a, b| match function {
        Reduction::Sum => arithmetic(&a, b, Expr::add, |a, b| a + b),
        Reduction::Prod => arithmetic(&a, b, Expr::mul, |a, b| a * b),
        Reduction::Max => arithmetic(&a, b, Expr::maximum, f64::max),
        Reduction::Min => arithmetic(&a, b, Expr::minimum, f64::min),
        _ => None,
    })?;
    let shape = if keep_dims { vec![1; x.shape.len()] } else { Vec::new() };
    Some(Known { shape, elems: vec![result] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expr(name: &str) -> Expr {
        Expr::from(&Dim::Symbol(name.into()))
    }

    /// Exporters write `x.expand(shape)` as a choice that replaces −1, which no size can be.
    #[test]
    fn a_size_is_never_minus_one() {
        let shape = Known::ints(vec![expr("batch"), Expr::number(8)]);
        let minus = Known::numbers(&[-1, -1]);
        let is = fold(&Op::Binary { function: Binary::Equal }, &[&shape, &minus]).expect("known");
        assert_eq!(is.bools(), Some(vec![false, false]));
        let ones = Known::numbers(&[1, 1]);
        assert_eq!(fold(&Op::Where, &[&is, &ones, &shape]), Some(shape));
    }

    #[test]
    fn what_depends_on_the_run_is_left_to_it() {
        let a = Known::int(expr("batch"));
        let one = Known::numbers(&[1]);
        assert_eq!(fold(&Op::Binary { function: Binary::Equal }, &[&a, &one]), None);
        assert_eq!(fold(&Op::Cast { to: ElementKind::Float }, &[&a]), None);
    }

    #[test]
    fn what_has_no_elements_does_not_pass_for_floats() {
        let none = Known::numbers(&[]);
        assert_eq!(fold(&Op::Cast { to: ElementKind::Int }, &[&none]), Some(none.clone()));
        assert_eq!(fold(&Op::Cast { to: ElementKind::Float }, &[&none]), None);
    }

    #[test]
    fn parts_of_shapes_are_picked_and_joined() {
        let shape = Known::ints(vec![expr("batch"), expr("sequence"), Expr::number(768)]);
        let index = Known::numbers(&[-2]);
        let taken = fold(&Op::Gather { axis: 0 }, &[&shape, &index]).expect("known");
        let joined = fold(&Op::Concat { axis: 0 }, &[&taken, &Known::numbers(&[12, 64])]).expect("known");
        assert_eq!(joined.exprs().expect("integers")[0], expr("sequence"));
        let product = Op::Reduce { function: Reduction::Prod, axes: vec![0], keep_dims: false };
        let n = fold(&product, &[&joined]).expect("known").exprs().expect("integers").remove(0);
        assert_eq!(n.to_string(), "768*sequence");
    }
}
