//! Shapes of matrix products, look-ups, and of what holds a vector of parameters.

use super::broadcast;
use crate::{Dim, Shape};

/// Whether `s` is a vector of `want` numbers.
pub(super) fn vector(want: usize, s: &Shape, what: &str) -> Result<(), String> {
    if *s == Shape::fixed(&[want]) { Ok(()) } else { Err(format!("{what} must have shape [{want}]")) }
}

/// `x [.., in]`, `weight [out, in]`, `bias? [out]`.
pub(super) fn linear(inputs: &[&Shape]) -> Result<Shape, String> {
    let (x, weight) = (inputs[0], inputs[1]);
    if weight.rank() != 2 || weight.known(1) != Some(x.last()?) {
        return Err("the weight must be [out, in] with in the input's last dimension".into());
    }
    let out = weight.number(0, "out")?;
    if let Some(bias) = inputs.get(2) {
        vector(out, bias, "the bias")?;
    }
    let mut dims = x.0.clone();
    if let Some(d) = dims.last_mut() {
        *d = Dim::Fixed(out);
    }
    Ok(Shape(dims))
}

/// `x [n, c, ..]`, then four vectors `[c]`.
pub(super) fn batch_norm(inputs: &[&Shape]) -> Result<Shape, String> {
    let x = inputs[0];
    if x.rank() < 2 {
        return Err("the first input must have a channel dimension".into());
    }
    let c = x.number(1, "channels")?;
    for (s, what) in inputs[1..].iter().zip(["weight", "bias", "running mean", "running variance"]) {
        vector(c, s, what)?;
    }
    Ok(x.clone())
}

/// `x [.., c]`, then two vectors `[c]`.
pub(super) fn layer_norm(inputs: &[&Shape]) -> Result<Shape, String> {
    let c = inputs[0].last()?;
    if c == 0 {
        return Err("there is nothing to normalise".into());
    }
    vector(c, inputs[1], "weight")?;
    vector(c, inputs[2], "bias")?;
    Ok(inputs[0].clone())
}

/// `x`, then a scale and perhaps a bias as long as one axis.
pub(super) fn channel_scale(inputs: &[&Shape], axis: usize) -> Result<Shape, String> {
    let c = inputs[0].number(axis, "the scaled axis")?;
    for (s, what) in inputs[1..].iter().zip(["the scale", "the bias"]) {
        vector(c, s, what)?;
    }
    Ok(inputs[0].clone())
}

/// `m [out]`, `W [out, ..]`, `A [rank, ..]`, `B [out, rank, ..]`.
pub(super) fn dora_gain(inputs: &[&Shape]) -> Result<Shape, String> {
    let (m, w, a, b) = (inputs[0], inputs[1], inputs[2], inputs[3]);
    let fits = w.rank() >= 2 && a.0.get(1..) == w.0.get(1..) && b.0.first() == w.0.first();
    if !fits || b.0.get(1) != a.0.first() {
        return Err("A and B must multiply to the shape of W".into());
    }
    vector(w.number(0, "out")?, m, "the magnitude")?;
    Ok(m.clone())
}

/// Matrices along the last two axes; the axes before them broadcast.  A vector is a row on the left, a column on the right.
pub(super) fn matmul(a: &Shape, b: &Shape) -> Result<Shape, String> {
    if a.rank() == 0 || b.rank() == 0 {
        return Err("a matrix product takes no scalars".into());
    }
    let (mut left, mut right) = (a.0.clone(), b.0.clone());
    if a.rank() == 1 {
        left.insert(0, Dim::Fixed(1));
    }
    if b.rank() == 1 {
        right.push(Dim::Fixed(1));
    }
    let (n, m) = (left.len(), right.len());
    if !may_equal(&left[n - 1], &right[m - 2]) {
        return Err("the inner dimensions must agree".into());
    }
    let mut dims = broadcast(&Shape(left[..n - 2].to_vec()), &Shape(right[..m - 2].to_vec()))?.0;
    if a.rank() > 1 {
        dims.push(left[n - 2].clone());
    }
    if b.rank() > 1 {
        dims.push(right[m - 1].clone());
    }
    Ok(Shape(dims))
}

/// Rows of `weight [vocabulary, width]` at `ids [batch, sequence]`.
pub(super) fn embedding(weight: &Shape, ids: &Shape) -> Result<Shape, String> {
    if weight.rank() != 2 || ids.rank() != 2 {
        return Err("weight must be [vocabulary, width] and ids [batch, sequence]".into());
    }
    let mut dims = ids.0.clone();
    dims.push(weight.0[1].clone());
    Ok(Shape(dims))
}

/// False only for two different numbers: symbols may turn out to be equal.
pub(super) fn may_equal(a: &Dim, b: &Dim) -> bool {
    !matches!((a, b), (Dim::Fixed(a), Dim::Fixed(b)) if a != b)
}
