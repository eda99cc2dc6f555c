//! Shapes of the operators over sequences: attention, its biases, pooling under a mask, and their norms.

use super::dense::may_equal;
use crate::op::Attention;
use crate::{Dim, Shape};

/// Tokens `[batch, sequence, width]`.
fn tokens(s: &Shape, what: &str) -> Result<(), String> {
    if s.rank() == 3 { Ok(()) } else { Err(format!("{what} must be [batch, sequence, width]")) }
}

/// Whether dimensions may be the same, one by one.
fn agree(a: &[Dim], b: &[Dim]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| may_equal(a, b))
}

/// A mask `[batch, sequence]` of tokens.
fn mask(mask: &Shape, of: &Shape) -> Result<(), String> {
    if mask.rank() == 2 && agree(&mask.0, &of.0[..2]) {
        Ok(())
    } else {
        Err(format!("the mask must be [{}, {}]", of.0[0], of.0[1]))
    }
}

pub(super) fn attention(a: &Attention, inputs: &[&Shape]) -> Result<Shape, String> {
    let (q, k, v) = (inputs[0], inputs[1], inputs[2]);
    tokens(q, "the queries")?;
    tokens(k, "the keys")?;
    let width = q.width().ok_or("the width must be a known number")?;
    let fits = agree(&k.0, &v.0) && k.width() == Some(width) && may_equal(&q.0[0], &k.0[0]);
    if !fits || a.heads == 0 || width % a.heads != 0 {
        return Err(format!("q, k and v must agree and divide into {} heads", a.heads));
    }
    let mut rest = &inputs[3..];
    if a.bias
        && let [before @ .., bias] = rest
    {
        rest = before;
        let want = [Dim::Fixed(a.heads), q.0[1].clone(), k.0[1].clone()];
        let batch_fits = bias.0.first().is_some_and(|d| *d == Dim::Fixed(1) || may_equal(d, &q.0[0]));
        if bias.rank() != 4 || !agree(&bias.0[1..], &want) || !batch_fits {
            return Err(format!("the bias must be [1 or batch, {}, {}, {}]", want[0], want[1], want[2]));
        }
    }
    if let [m, ..] = rest {
        mask(m, k)?;
    }
    Ok(q.clone())
}

pub(super) fn relative_position_bias(
    buckets: usize,
    distance_max: usize,
    bidirectional: bool,
    inputs: &[&Shape],
) -> Result<Shape, String> {
    let (weight, q, k) = (inputs[0], inputs[1], inputs[2]);
    tokens(q, "the queries")?;
    tokens(k, "the keys")?;
    let one_way = if bidirectional { buckets / 2 } else { buckets };
    if one_way < 2 || distance_max <= one_way / 2 {
        return Err(
            "there must be 2 buckets a direction, and a distance beyond the exact half of them".into()
        );
    }
    match (weight.rank(), weight.known(0), weight.known(1)) {
        (2, Some(n), Some(heads)) if n == buckets => {
            Ok(Shape(vec![Dim::Fixed(1), Dim::Fixed(heads), q.0[1].clone(), k.0[1].clone()]))
        }
        _ => Err(format!("the weight must be [{buckets}, heads]")),
    }
}

pub(super) fn disentangled_scores(
    heads: usize,
    span: usize,
    distance_max: usize,
    log_buckets: bool,
    inputs: &[&Shape],
) -> Result<Shape, String> {
    let (x, positions) = (inputs[0], inputs[1]);
    tokens(x, "the first input")?;
    let width = x.width().ok_or("the width must be a known number")?;
    if heads == 0 || width % heads != 0 {
        return Err(format!("the width must divide into {heads} heads"));
    }
    if span == 0 || (log_buckets && (span < 4 || distance_max <= span / 2 + 1)) {
        return Err("the span must be at least 4 and reach less than twice the largest distance".into());
    }
    if span.checked_mul(2).is_none_or(|rows| *positions != Shape::fixed(&[rows, width])) {
        return Err(format!("the positions must be [2·{span}, {width}]"));
    }
    let s = x.0[1].clone();
    Ok(Shape(vec![x.0[0].clone(), Dim::Fixed(heads), s.clone(), s]))
}

/// One vector an example from the tokens.
pub(super) fn pooled(inputs: &[&Shape]) -> Result<Shape, String> {
    let x = inputs[0];
    tokens(x, "the first input")?;
    inputs.get(1).map_or(Ok(()), |m| mask(m, x))?;
    Ok(Shape(vec![x.0[0].clone(), x.0[2].clone()]))
}

pub(super) fn mask_tokens(inputs: &[&Shape]) -> Result<Shape, String> {
    tokens(inputs[0], "the first input")?;
    mask(inputs[1], inputs[0])?;
    Ok(inputs[0].clone())
}

pub(super) fn group_norm(groups: usize, inputs: &[&Shape]) -> Result<Shape, String> {
    let x = inputs[0];
    let Some(c) = x.known(1) else { return Err("channels must be a known number".into()) };
    if groups == 0 || c % groups != 0 || x.rank() < 3 {
        return Err(format!("{c} channels must divide into {groups} groups of positions"));
    }
    super::dense::vector(c, inputs[1], "weight")?;
    super::dense::vector(c, inputs[2], "bias")?;
    Ok(x.clone())
}

pub(super) fn weight_norm(axis: usize, inputs: &[&Shape]) -> Result<Shape, String> {
    let (g, v) = (inputs[0], inputs[1]);
    let only_axis =
        (0..v.rank()).map(|i| if i == axis { v.0[i].clone() } else { Dim::Fixed(1) }).collect::<Vec<_>>();
    if axis >= v.rank() || !agree(&g.0, &only_axis) {
        return Err(format!("the lengths must be {}", Shape(only_axis)));
    }
    Ok(v.clone())
}

/// Positions along `ids [batch, sequence]`.
pub(super) fn position_ids(ids: &Shape, offset: usize, padding_id: Option<i64>) -> Result<Shape, String> {
    ids.of_rank(2)?;
    if padding_id.is_some() && offset == 0 {
        return Err("with a padding id the offset must be positive".into());
    }
    Ok(ids.clone())
}
