//! Shapes with symbolic dimensions, what each operator makes of them, and what it costs.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Graph, Op, ValueKind};

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

/// Rows or columns that come out of a sliding window; `None` where the window does not fit.
pub(crate) fn window(
    size: usize,
    kernel: usize,
    stride: usize,
    (before, after): (usize, usize),
    dilation: usize,
    ceil_mode: bool,
) -> Option<usize> {
    let reach = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    let room = size.checked_add(before)?.checked_add(after)?.checked_sub(reach)?;
    if stride == 0 {
        return None;
    }
    if !ceil_mode {
        return Some(room / stride + 1);
    }
    let mut out = room.div_ceil(stride) + 1;
    // PyTorch drops a last window that would start in the padding.
    if (out - 1) * stride >= size + before {
        out -= 1;
    }
    Some(out)
}

/// The shape that `op` makes of `inputs`, or why it cannot.
pub(crate) fn infer(op: &Op, inputs: &[&Shape]) -> Result<Shape, String> {
    let x = inputs[0];
    let rank = |want: usize| {
        if x.rank() == want { Ok(()) } else { Err(format!("the first input must have {want} dimensions")) }
    };
    let number =
        |s: &Shape, i: usize, what: &str| s.known(i).ok_or_else(|| format!("{what} must be a known number"));
    let last = |s: &Shape| s.width().ok_or_else(|| "the last dimension must be a known number".to_string());
    let weight_vector = |want: usize, s: &Shape, what: &str| {
        if *s == Shape::fixed(&[want]) { Ok(()) } else { Err(format!("{what} must have shape [{want}]")) }
    };
    match op {
        Op::Conv2d { stride, padding, dilation, groups } => {
            rank(4)?;
            let (c, h, w) = (number(x, 1, "channels")?, number(x, 2, "height")?, number(x, 3, "width")?);
            let weight = inputs[1];
            if weight.rank() != 4 {
                return Err("the weight must have 4 dimensions".into());
            }
            let dim = |i| number(weight, i, "a weight dimension");
            let (out, per_group, kh, kw) = (dim(0)?, dim(1)?, dim(2)?, dim(3)?);
            if *groups == 0
                || out % groups != 0
                || per_group.checked_mul(*groups) != Some(c)
                || kh == 0
                || kw == 0
            {
                return Err(format!("{c} channels in {groups} groups do not fit the weight"));
            }
            if let Some(bias) = inputs.get(2) {
                weight_vector(out, bias, "the bias")?;
            }
            if stride.contains(&0) || dilation.contains(&0) {
                return Err("stride and dilation must be positive".into());
            }
            let [top, left, bottom, right] = padding.resolve([h, w], [kh, kw], *stride, *dilation);
            let fit = "the window is larger than the padded image";
            let oh = window(h, kh, stride[0], (top, bottom), dilation[0], false).ok_or(fit)?;
            let ow = window(w, kw, stride[1], (left, right), dilation[1], false).ok_or(fit)?;
            Ok(Shape(vec![x.0[0].clone(), Dim::Fixed(out), Dim::Fixed(oh), Dim::Fixed(ow)]))
        }
        Op::Linear => {
            let weight = inputs[1];
            if weight.rank() != 2 || weight.known(1) != Some(last(x)?) {
                return Err("the weight must be [out, in] with in the input's last dimension".into());
            }
            let out = number(weight, 0, "out")?;
            if let Some(bias) = inputs.get(2) {
                weight_vector(out, bias, "the bias")?;
            }
            let mut dims = x.0.clone();
            if let Some(d) = dims.last_mut() {
                *d = Dim::Fixed(out);
            }
            Ok(Shape(dims))
        }
        Op::BatchNorm { .. } => {
            if x.rank() < 2 {
                return Err("the first input must have a channel dimension".into());
            }
            let c = number(x, 1, "channels")?;
            for (s, what) in inputs[1..].iter().zip(["weight", "bias", "running mean", "running variance"]) {
                weight_vector(c, s, what)?;
            }
            Ok(x.clone())
        }
        Op::LayerNorm { .. } => {
            let c = last(x)?;
            weight_vector(c, inputs[1], "weight")?;
            weight_vector(c, inputs[2], "bias")?;
            Ok(x.clone())
        }
        Op::Relu
        | Op::Clip { .. }
        | Op::Silu
        | Op::Gelu { .. }
        | Op::Sigmoid
        | Op::Tanh
        | Op::Dropout { .. }
        | Op::DropPath { .. }
        | Op::L2Normalize
        | Op::Scale { .. }
        | Op::PositionIds { .. } => Ok(x.clone()),
        Op::Softmax { axis } => {
            if *axis < x.rank() {
                Ok(x.clone())
            } else {
                Err(format!("there is no axis {axis}"))
            }
        }
        Op::MaxPool2d { kernel, stride, padding, ceil_mode }
        | Op::AvgPool2d { kernel, stride, padding, ceil_mode, .. } => {
            rank(4)?;
            let mut dims = x.0.clone();
            for i in 0..2 {
                let size = number(x, 2 + i, "height and width")?;
                let out = window(size, kernel[i], stride[i], (padding[i], padding[i]), 1, *ceil_mode);
                dims[2 + i] = Dim::Fixed(out.ok_or("the window is larger than the padded image")?);
            }
            Ok(Shape(dims))
        }
        Op::AdaptiveAvgPool2d { size } => {
            rank(4)?;
            Ok(Shape(vec![x.0[0].clone(), x.0[1].clone(), Dim::Fixed(size[0]), Dim::Fixed(size[1])]))
        }
        Op::Flatten { start } => {
            if *start >= x.rank() {
                return Err(format!("there is no axis {start}"));
            }
            let mut joined = 1usize;
            for i in *start..x.rank() {
                joined = joined
                    .checked_mul(number(x, i, "a flattened dimension")?)
                    .ok_or("the flattened dimension is too large")?;
            }
            let mut dims = x.0[..*start].to_vec();
            dims.push(Dim::Fixed(joined));
            Ok(Shape(dims))
        }
        Op::Transpose { perm } => {
            let mut seen = perm.clone();
            seen.sort_unstable();
            if seen != (0..x.rank()).collect::<Vec<_>>() {
                return Err(format!("{perm:?} is not a permutation of the axes"));
            }
            Ok(Shape(perm.iter().map(|&i| x.0[i].clone()).collect()))
        }
        Op::MatMul => {
            let y = inputs[1];
            if x.rank() < 2 || x.rank() != y.rank() || x.0[x.rank() - 1] != y.0[y.rank() - 2] {
                return Err("the inner dimensions must agree".into());
            }
            let mut dims = x.0.clone();
            let n = dims.len();
            dims[n - 1] = y.0[n - 1].clone();
            Ok(Shape(dims))
        }
        Op::Add | Op::Mul => broadcast(x, inputs[1]),
        Op::ChannelScale { axis } => {
            let c = x.known(*axis).ok_or_else(|| format!("axis {axis} must be a known number"))?;
            for (s, what) in inputs[1..].iter().zip(["the scale", "the bias"]) {
                weight_vector(c, s, what)?;
            }
            Ok(x.clone())
        }
        Op::DoraGain { .. } => {
            let (w, a, b) = (inputs[1], inputs[2], inputs[3]);
            let fits = w.rank() >= 2 && a.0.get(1..) == w.0.get(1..) && b.0.first() == w.0.first();
            if !fits || b.0.get(1) != a.0.first() {
                return Err("A and B must multiply to the shape of W".into());
            }
            weight_vector(number(w, 0, "out")?, x, "the magnitude")?;
            Ok(x.clone())
        }
        Op::Concat { axis } => {
            if *axis >= x.rank() {
                return Err(format!("there is no axis {axis}"));
            }
            let mut total = 0usize;
            for s in inputs {
                let same = s.rank() == x.rank() && (0..x.rank()).all(|i| i == *axis || s.0[i] == x.0[i]);
                if !same {
                    return Err(format!("all dimensions but axis {axis} must agree"));
                }
                total = total
                    .checked_add(number(s, *axis, "the joined dimension")?)
                    .ok_or("the sum is too large")?;
            }
            let mut dims = x.0.clone();
            dims[*axis] = Dim::Fixed(total);
            Ok(Shape(dims))
        }
        Op::Select { axis, index } => {
            if *axis >= x.rank() || x.known(*axis).is_some_and(|n| *index >= n) {
                return Err(format!("there is no position {index} on axis {axis}"));
            }
            let mut dims = x.0.clone();
            dims.remove(*axis);
            Ok(Shape(dims))
        }
        Op::Embedding => {
            if x.rank() != 2 || inputs[1].rank() != 2 {
                return Err("weight must be [vocabulary, width] and ids [batch, sequence]".into());
            }
            let mut dims = inputs[1].0.clone();
            dims.push(x.0[1].clone());
            Ok(Shape(dims))
        }
        Op::Attention { heads } => {
            rank(3)?;
            if inputs[1] != inputs[2]
                || *heads == 0
                || last(x)? % heads != 0
                || x.width() != inputs[1].width()
            {
                return Err(format!("q, k and v must agree and divide into {heads} heads"));
            }
            Ok(x.clone())
        }
        Op::MaskedMean => {
            rank(3)?;
            Ok(Shape(vec![x.0[0].clone(), x.0[2].clone()]))
        }
    }
}

fn broadcast(a: &Shape, b: &Shape) -> Result<Shape, String> {
    let n = a.rank().max(b.rank());
    let at = |s: &Shape, i: usize| (i + s.rank()).checked_sub(n).map_or(Dim::Fixed(1), |i| s.0[i].clone());
    let mut dims = Vec::with_capacity(n);
    for i in 0..n {
        let (x, y) = (at(a, i), at(b, i));
        dims.push(match (x, y) {
            (x, y) if x == y => x,
            (Dim::Fixed(1), y) => y,
            (x, Dim::Fixed(1)) => x,
            (x, y) => return Err(format!("{x} and {y} do not broadcast")),
        });
    }
    Ok(Shape(dims))
}

/// Multiply-adds of one forward pass for one example; `sequence` stands for every symbolic length.
///
/// Counts convolutions, linear layers, matrix products and attention: what the time of a pass is made of.
///
/// ```
/// use headstart_graph::{Conv, GraphBuilder, Shape, multiply_adds};
/// let mut b = GraphBuilder::new("one-convolution");
/// let x = b.image("image", [3, 8, 8]);
/// let y = b.conv("conv", x, Conv::new(4, 3).padding(1))?;
/// let graph = b.finish([("y", y)])?;
/// assert_eq!(multiply_adds(&graph, 1), 8 * 8 * 4 * 3 * 9);
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn multiply_adds(graph: &Graph, sequence: usize) -> u64 {
    let size = |d: &Dim| match d {
        Dim::Fixed(n) => *n as u64,
        Dim::Symbol(s) if s == "batch" => 1,
        Dim::Symbol(_) => sequence as u64,
    };
    let count = |s: &Shape| s.0.iter().map(size).product::<u64>();
    graph
        .nodes()
        .iter()
        .map(|node| {
            let shape = |i: usize| &graph.value(node.inputs[i]).shape;
            let out = count(&graph.value(node.output).shape);
            match &node.op {
                Op::Conv2d { .. } => out * shape(1).0[1..].iter().map(size).product::<u64>(),
                Op::Linear => out * size(&shape(1).0[1]),
                Op::MatMul => out * shape(0).0.last().map_or(1, size),
                Op::Attention { .. } => 2 * out * size(&shape(1).0[1]),
                _ => 0,
            }
        })
        .sum()
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
    fn ceil_mode_drops_a_window_that_starts_in_the_padding() {
        // SqueezeNet's 3×3 stride-2 pool: 111 → 55 either way; 4 wide, kernel 2, stride 2, padding 1: torch says 3.
        assert_eq!(window(111, 3, 2, (0, 0), 1, true), Some(55));
        assert_eq!(window(4, 2, 2, (1, 1), 1, true), Some(3));
        assert_eq!(window(5, 2, 2, (0, 0), 1, true), Some(3));
        assert_eq!(window(2, 5, 1, (0, 0), 1, false), None);
    }

    #[test]
    fn broadcasting_follows_numpy() {
        let a = Shape(vec![Dim::batch(), Dim::Fixed(8), Dim::Fixed(7), Dim::Fixed(7)]);
        let b = Shape(vec![Dim::batch(), Dim::Fixed(8), Dim::Fixed(1), Dim::Fixed(1)]);
        assert_eq!(broadcast(&a, &b).as_ref(), Ok(&a));
        assert!(broadcast(&a, &Shape::fixed(&[3])).is_err());
    }
}
