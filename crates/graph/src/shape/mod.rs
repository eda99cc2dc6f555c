//! Shapes with symbolic dimensions, what each operator makes of them, and what it costs.

mod cost;
mod dense;
mod index;
mod recurrent;
mod sequence;
mod structure;
mod window;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use cost::multiply_adds;
pub use window::window_count;

use crate::{Expr, Op, ValueKind};

/// One dimension: a number, or a symbol such as the batch that only a run fixes.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Dim {
    /// Known when the graph is built.
    Fixed(usize),
    /// Known when the graph runs: `batch`, `sequence`.
    Symbol(String),
}

impl Dim {
    /// The batch dimension.
    pub fn batch() -> Self {
        Dim::Symbol("batch".into())
    }

    /// The sequence (token) dimension.
    pub fn sequence() -> Self {
        Dim::Symbol("sequence".into())
    }

    /// The number, if it is one.
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Dim::Fixed(n) => Some(*n),
            Dim::Symbol(_) => None,
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(n) => write!(f, "{n}"),
            Dim::Symbol(s) => f.write_str(s),
        }
    }
}

/// The dimensions of a value, outermost first.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shape(pub Vec<Dim>);

impl Shape {
    /// A shape without symbols.
    pub fn fixed(dims: &[usize]) -> Self {
        Shape(dims.iter().map(|&n| Dim::Fixed(n)).collect())
    }

    /// `[batch, channels, height, width]`.
    pub fn image(channels: usize, height: usize, width: usize) -> Self {
        Shape(vec![Dim::batch(), Dim::Fixed(channels), Dim::Fixed(height), Dim::Fixed(width)])
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.0.len()
    }

    /// Dimension `i` as a number.
    pub fn known(&self, i: usize) -> Option<usize> {
        self.0.get(i).and_then(Dim::fixed)
    }

    /// The last dimension as a number: the width of a feature.
    pub fn width(&self) -> Option<usize> {
        self.0.last().and_then(Dim::fixed)
    }

    /// Whether it has so many dimensions.
    pub(crate) fn of_rank(&self, want: usize) -> Result<(), String> {
        if self.rank() == want { Ok(()) } else { Err(format!("the first input must have {want} dimensions")) }
    }

    /// The dimension along an axis, or that there is no such axis.
    pub(crate) fn axis(&self, axis: usize) -> Result<&Dim, String> {
        self.0.get(axis).ok_or_else(|| format!("there is no axis {axis}"))
    }

    /// Dimension `i`, which must be a number.
    pub(crate) fn number(&self, i: usize, what: &str) -> Result<usize, String> {
        self.known(i).ok_or_else(|| format!("{what} must be a known number"))
    }

    /// The last dimension, which must be a number.
    pub(crate) fn last(&self) -> Result<usize, String> {
        self.width().ok_or_else(|| "the last dimension must be a known number".to_string())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (i, d) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{d}")?;
        }
        f.write_str("]")
    }
}

/// Elements of one value; more than any machine holds.
const ELEMENTS_MAX: usize = 1 << 40;

/// The shape that `op` makes of inputs of these shapes, as many as [`Op::arity`] says, or why it cannot.
///
/// ```
/// use headstart_graph::{Dim, Op, Shape, output_shape};
/// let x = Shape(vec![Dim::batch(), Dim::Fixed(8), Dim::Fixed(8)]);
/// let joined = output_shape(&Op::Flatten { start: 1 }, &[&x])?;
/// assert_eq!(joined.to_string(), "[batch, 64]");
/// assert!(output_shape(&Op::Flatten { start: 3 }, &[&x]).is_err());
/// # Ok::<(), String>(())
/// ```
pub fn output_shape(op: &Op, inputs: &[&Shape]) -> Result<Shape, String> {
    let shape = infer(op, inputs)?;
    let known = shape.0.iter().filter_map(Dim::fixed).filter(|&n| n > 0);
    match known.into_iter().try_fold(1usize, usize::checked_mul) {
        Some(n) if n <= ELEMENTS_MAX => Ok(shape),
        _ => Err(format!("the result would be {shape}, which no machine holds")),
    }
}

fn infer(op: &Op, inputs: &[&Shape]) -> Result<Shape, String> {
    let scalar = Shape::default();
    let x = inputs.first().copied().unwrap_or(&scalar);
    match op {
        Op::Conv2d { stride, padding, dilation, groups } => {
            window::conv2d(inputs, *stride, *padding, *dilation, *groups)
        }
        Op::Linear => dense::linear(inputs),
        Op::BatchNorm { .. } => dense::batch_norm(inputs),
        Op::LayerNorm { .. } => dense::layer_norm(inputs),
        Op::Relu
        | Op::Clip { .. }
        | Op::Silu
        | Op::Gelu { .. }
        | Op::Sigmoid
        | Op::Tanh
        | Op::Dropout { .. }
        | Op::Scale { .. } => Ok(x.clone()),
        Op::DropPath { .. } | Op::L2Normalize => x.axis(0).map(|_| x.clone()),
        Op::PositionIds { offset, padding_id } => sequence::position_ids(x, *offset, *padding_id),
        Op::Softmax { axis } | Op::LogSoftmax { axis } => match x.axis(*axis)? {
            Dim::Fixed(0) => Err(format!("there is nothing along axis {axis}")),
            _ => Ok(x.clone()),
        },
        Op::MaxPool2d { kernel, stride, padding, ceil_mode }
        | Op::AvgPool2d { kernel, stride, padding, ceil_mode, .. } => {
            window::pool2d(x, *kernel, *stride, *padding, *ceil_mode)
        }
        Op::AdaptiveAvgPool2d { size } => window::adaptive_pool2d(x, *size),
        Op::Flatten { start } => structure::flatten(x, *start),
        Op::Transpose { perm } => structure::transpose(x, perm),
        Op::MatMul => dense::matmul(x, inputs[1]),
        Op::Add | Op::Mul => broadcast(x, inputs[1]),
        Op::ChannelScale { axis } => dense::channel_scale(inputs, *axis),
        Op::DoraGain { .. } => dense::dora_gain(inputs),
        Op::Concat { axis } => structure::concat(inputs, *axis),
        Op::Select { axis, index } => structure::select(x, *axis, *index),
        Op::Embedding => dense::embedding(x, inputs[1]),
        Op::Attention(a) => sequence::attention(a, inputs),
        Op::RelativePositionBias { buckets, distance_max, bidirectional } => {
            sequence::relative_position_bias(*buckets, *distance_max, *bidirectional, inputs)
        }
        Op::DisentangledScores { heads, span, distance_max, log_buckets, .. } => {
            sequence::disentangled_scores(*heads, *span, *distance_max, *log_buckets, inputs)
        }
        Op::MaskedMean | Op::MaskedMax => sequence::pooled(inputs),
        Op::MaskTokens => sequence::mask_tokens(inputs),
        Op::RmsNorm { .. } => dense::vector(x.last()?, inputs[1], "weight").map(|()| x.clone()),
        Op::GroupNorm { groups, .. } => sequence::group_norm(*groups, inputs),
        Op::WeightNorm { axis } => sequence::weight_norm(*axis, inputs),
        Op::Constant { value } => Ok(Shape::fixed(value.shape())),
        Op::Sizes { dims, is_scalar } => structure::sizes(dims, *is_scalar),
        Op::Range { length, .. } => Ok(Shape(vec![length.clone()])),
        Op::Unary { .. } | Op::Cast { .. } => Ok(x.clone()),
        Op::Binary { .. } => broadcast(x, inputs[1]),
        Op::Where => broadcast(&broadcast(x, inputs[1])?, inputs[2]),
        Op::Reshape { shape } => structure::reshape(x, shape),
        Op::Expand { shape } => broadcast(x, &Shape(shape.clone())),
        Op::Slice { ranges } => structure::slice(x, ranges),
        Op::Pad { pads, mode } => structure::pad(x, pads, *mode),
        Op::Gather { axis } => index::gather(x, inputs[1], *axis),
        Op::GatherElements { axis } => index::gather_elements(x, inputs[1], *axis),
        Op::GatherNd => index::gather_nd(x, inputs[1]),
        Op::ScatterNd { .. } => index::scatter_nd(x, inputs[1], inputs[2]),
        Op::Reduce { axes, keep_dims, .. } => index::reduce(x, axes, *keep_dims),
        Op::ArgMax { axis, keep_dims, .. } => index::reduce(x, &[*axis], *keep_dims),
        Op::CumSum { axis, .. } | Op::ArgSort { axis, .. } => x.axis(*axis).map(|_| x.clone()),
        Op::Triangle { .. } if x.rank() < 2 => Err("there are no two axes".into()),
        Op::Triangle { .. } => Ok(x.clone()),
        Op::ConvNd { stride, padding, dilation, groups } => {
            window::conv_nd(inputs, stride, padding, dilation, *groups)
        }
        Op::ConvTranspose { stride, padding, output_padding, dilation, groups } => {
            window::conv_transpose(inputs, stride, padding, output_padding, dilation, *groups)
        }
        Op::Resize(r) => structure::resize(x, r),
        Op::Recurrent { cell, direction } => recurrent::recurrent(inputs, *cell, *direction),
    }
}

/// The shape of an elementwise operator's result, as numpy broadcasts.  Two symbols may turn out to be equal when the graph
/// runs, which checks it.
pub(crate) fn broadcast(a: &Shape, b: &Shape) -> Result<Shape, String> {
    let n = a.rank().max(b.rank());
    let at = |s: &Shape, i: usize| (i + s.rank()).checked_sub(n).map_or(Dim::Fixed(1), |i| s.0[i].clone());
    let mut dims = Vec::with_capacity(n);
    for i in 0..n {
        let (x, y) = (at(a, i), at(b, i));
        dims.push(match (x, y) {
            (x, y) if x == y => x,
            (Dim::Fixed(1), y) => y,
            (x, Dim::Fixed(1)) => x,
            (x @ Dim::Fixed(_), y @ Dim::Fixed(_)) => return Err(format!("{x} and {y} do not broadcast")),
            // A symbol against a number other than 1 can only be that number, or 1.
            (n @ Dim::Fixed(_), _) | (_, n @ Dim::Fixed(_)) => n,
            (x, y) => {
                Expr::from(&x).maximum(&Expr::from(&y)).and_then(|e| e.to_dim()).ok_or("too many symbols")?
            }
        });
    }
    Ok(Shape(dims))
}

/// The shape a graph's value has when the graph was built, by kind; used to check deserialised graphs.
pub(crate) fn declared(kind: &ValueKind) -> Option<Shape> {
    match kind {
        ValueKind::Input(spec) => Some(spec.shape.clone()),
        ValueKind::Param(p) => Some(Shape::fixed(&p.shape)),
        ValueKind::Node => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn broadcasting_follows_numpy() {
        let a = Shape(vec![Dim::batch(), Dim::Fixed(8), Dim::Fixed(7), Dim::Fixed(7)]);
        let b = Shape(vec![Dim::batch(), Dim::Fixed(8), Dim::Fixed(1), Dim::Fixed(1)]);
        assert_eq!(broadcast(&a, &b).as_ref(), Ok(&a));
        assert!(broadcast(&a, &Shape::fixed(&[3])).is_err());
    }
}
