//! The operators of a graph, close to ONNX in meaning.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::{
    AxisRange, Binary, Cell, Dim, Direction, ElementKind, Expr, Literal, PadMode, Reduction, Resampling,
    Unary,
};

/// Zeros put around an image before a window slides over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// `[top, left, bottom, right]` rows and columns of zeros.
    Explicit([usize; 4]),
    /// TensorFlow's "SAME": output = ceil(input / stride), surplus at the bottom and right (ONNX `SAME_UPPER`).
    /// How much that is depends on the input's size.
    SameUpper,
}

impl Padding {
    /// The same number of zeros on all four sides.
    pub const fn all(n: usize) -> Self {
        Padding::Explicit([n, n, n, n])
    }

    /// `rows` zeros above and below, `cols` left and right.
    pub const fn symmetric(rows: usize, cols: usize) -> Self {
        Padding::Explicit([rows, cols, rows, cols])
    }

    /// `[top, left, bottom, right]` for an input of `size` under a window of `kernel`, `stride` and `dilation`.
    pub fn resolve(
        self,
        size: [usize; 2],
        kernel: [usize; 2],
        stride: [usize; 2],
        dilation: [usize; 2],
    ) -> [usize; 4] {
        match self {
            Padding::Explicit(p) => p,
            Padding::SameUpper => {
                let along = |i: usize| {
                    let out = size[i].div_ceil(stride[i]);
                    let total = ((out.saturating_sub(1)) * stride[i] + (kernel[i] - 1) * dilation[i] + 1)
                        .saturating_sub(size[i]);
                    (total / 2, total - total / 2)
                };
                let ((top, bottom), (left, right)) = (along(0), along(1));
                [top, left, bottom, right]
            }
        }
    }
}

#[allow(missing_docs, reason = "the variants name their fields")]
/// One operator.  Inputs are listed in the order in which a [`crate::Node`] holds them; `?` marks what may be left out.
///
/// Images are `[batch, channels, height, width]`, texts `[batch, sequence, width]`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Op {
    /// Convolution of `x [n, c, h, w]` with `weight [out, c/groups, kh, kw]` and `bias? [out]`.
    Conv2d { stride: [usize; 2], padding: Padding, dilation: [usize; 2], groups: usize },
    /// `x [.., in]`, `weight [out, in]`, `bias? [out]` → `x·weightᵀ + bias`.
    Linear,
    /// Batch normalisation over all axes but the second (Ioffe and Szegedy, 2015): `x, weight, bias, running_mean,
    /// running_var`.  Inference uses the running statistics; training the batch's, and updates the running ones as
    /// `r ← (1 − momentum)·r + momentum·batch` with the unbiased variance.
    BatchNorm { eps: f64, momentum: f64 },
    /// Layer normalisation over the last axis (Ba, Kiros and Hinton, 2016): `x, weight, bias`.
    LayerNorm { eps: f64 },
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, min), max)`; ReLU6 is `Clip { 0, 6 }`.
    Clip { min: f64, max: f64 },
    /// `x·sigmoid(x)`.
    Silu,
    /// `x·Φ(x)` (Hendrycks and Gimpel, 2016), exact by the error function or with its tanh approximation.
    Gelu { tanh: bool },
    /// `1 / (1 + e⁻ˣ)`.
    Sigmoid,
    /// Hyperbolic tangent.
    Tanh,
    /// Softmax along `axis`.
    Softmax { axis: usize },
    /// Largest value under a sliding window; padding counts as −∞.
    MaxPool2d { kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2], ceil_mode: bool },
    /// Mean under a sliding window.
    AvgPool2d {
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        ceil_mode: bool,
        count_include_pad: bool,
    },
    /// Mean over windows that divide the image into `size` rows and columns.
    AdaptiveAvgPool2d { size: [usize; 2] },
    /// Joins all axes from `start` on into one.
    Flatten { start: usize },
    /// Permutes axes.
    Transpose { perm: Vec<usize> },
    /// Matrix product over the last two axes.
    MatMul,
    /// Elementwise sum with broadcasting.
    Add,
    /// Elementwise product with broadcasting.
    Mul,
    /// Product with a fixed number.
    Scale { by: f64 },
    /// `x · scale + bias` along one axis: `x`, `scale [c]`, `bias? [c]`, with `c` the length of `axis`.
    ChannelScale { axis: usize },
    /// What DoRA multiplies a layer's result by, one number an output (Liu et al., 2024): `m / ‖W + scaling·B·A‖` of
    /// `m [out]`, `W [out, …]`, `A [rank, …]` and `B [out, rank, …]`, the norm over all but the first axis.  No gradient
    /// flows through the norm (section 4.3 of the paper).
    DoraGain { scaling: f64 },
    /// Joins values along `axis`.  On the other axes a length of 1 is repeated: a class token `[1, 1, width]` joins every
    /// example of a batch.
    Concat { axis: usize },
    /// Takes position `index` of `axis` and drops the axis (BERT's `[CLS]` is `Select { 1, 0 }`).
    Select { axis: usize, index: usize },
    /// In training, zeros elements with probability `p` and scales the rest by `1/(1−p)` (Srivastava et al., 2014).
    Dropout { p: f64 },
    /// In training, zeros whole examples of a residual branch with probability `p`, scaling the rest
    /// (stochastic depth, Huang et al., 2016).
    DropPath { p: f64 },
    /// Rows of `weight [vocabulary, width]` at integer `ids [batch, sequence]`.
    Embedding,
    /// `0, 1, …` along the sequence of `ids [batch, sequence]`, plus `offset`; integer.  With `padding_id`, as RoBERTa
    /// counts: tokens of that id are not counted and have position `offset − 1`.
    PositionIds {
        offset: usize,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        padding_id: Option<i64>,
    },
    /// Multi-head dot-product attention (Vaswani et al., 2017) of `q, k, v [batch, sequence, width]`,
    /// `mask? [batch, keys]` (1 = attend, 0 = padding) and, if `bias`, last a `bias [batch or 1, heads, queries, keys]`:
    /// softmax(scale·q·kᵀ + bias)·v, heads joined again.
    Attention(Attention),
    /// What attention adds to its scores by distance (Raffel et al., 2020; Song et al., 2020): rows of
    /// `weight [buckets, heads]` by the bucket of `key − query` position, for `q [batch, queries, _]` and
    /// `k [batch, keys, _]` → `[1, heads, queries, keys]`.  The first half of the buckets is one a distance, the rest
    /// are logarithmic up to `distance_max`; `bidirectional` gives keys behind the query half of all, else they share
    /// bucket 0.
    RelativePositionBias { buckets: usize, distance_max: usize, bidirectional: bool },
    /// One disentangled term of attention's scores (He et al., 2021): of `x [batch, sequence, width]` and
    /// `positions [2·span, width]` → `[batch, heads, sequence, sequence]`, where (i, j) is
    /// `scale·x_i·positions[span + b(i − j)]`, or `x_j` instead of `x_i` if `by_key`; b keeps distances up to `span/2` and
    /// is logarithmic up to `distance_max` beyond (`log_buckets`), or keeps all; its sum with `span` is clipped to
    /// 0…2·span−1.
    DisentangledScores {
        heads: usize,
        span: usize,
        distance_max: usize,
        log_buckets: bool,
        by_key: bool,
        scale: f64,
    },
    /// Mean over the sequence of `x [batch, sequence, width]` where `mask? [batch, sequence]` is 1.
    MaskedMean,
    /// Largest value over the sequence of `x [batch, sequence, width]` where `mask [batch, sequence]` is 1; −10⁹ if it
    /// nowhere is.
    MaskedMax,
    /// `x [batch, sequence, width]` with zeros where `mask [batch, sequence]` is 0.
    MaskTokens,
    /// Root-mean-square normalisation over the last axis (Zhang and Sennrich, 2019): `x, weight` →
    /// `x/√(mean(x²) + eps)·weight`.
    RmsNorm { eps: f64 },
    /// Normalisation over positions and the channels of each group (Wu and He, 2018): `x [batch, channels, …], weight,
    /// bias [channels]`.
    GroupNorm { groups: usize, eps: f64 },
    /// A weight as length and direction (Salimans and Kingma, 2016): `g, v` → `g·v/‖v‖`, the norm over all axes but
    /// `axis`, along which `g` has its lengths.
    WeightNorm { axis: usize },
    /// Divides by the Euclidean norm along the last axis (norms below 1e-12 count as 1e-12).
    L2Normalize,
    /// A value that is part of the structure: no inputs.
    Constant { value: Literal },
    /// Integers that depend on the sizes of a run, as a vector or (one of them) as a scalar: no inputs.
    Sizes { dims: Vec<Dim>, is_scalar: bool },
    /// `start, start + step, …`, integers: no inputs.
    Range { start: Dim, length: Dim, step: i64 },
    /// A function of each element.
    Unary { function: Unary },
    /// A function of two values, broadcasting.
    Binary { function: Binary },
    /// `condition, a, b`: `a` where the condition holds, `b` else; broadcasting.
    Where,
    /// Elements as another kind: floats lose their fraction, truth is 1, what is not 0 is true.
    Cast { to: ElementKind },
    /// The same elements under another shape.
    Reshape { shape: Vec<Dim> },
    /// Broadcast against a shape.
    Expand { shape: Vec<Dim> },
    /// A part of a value.
    Slice { ranges: Vec<AxisRange> },
    /// More elements around a value: `[before, after]` by axis.
    Pad { pads: Vec<[usize; 2]>, mode: PadMode },
    /// Parts of `x` along `axis` at integer `indices` of any shape, which takes the axis' place; negative ones count from
    /// the end.
    Gather { axis: usize },
    /// Single elements along `axis`; the result has the shape of `indices`.
    GatherElements { axis: usize },
    /// Parts of `x` at integer tuples, the last axis of `indices`.
    GatherNd,
    /// `x, indices, updates`: parts of `x` at integer tuples replaced (the last of equal tuples counts), or added to.
    ScatterNd { add: bool },
    /// A function of all elements along axes; all axes if none is named.
    Reduce { function: Reduction, axes: Vec<usize>, keep_dims: bool },
    /// Position of the largest (or smallest) element along `axis`, the first of equals.
    ArgMax { axis: usize, keep_dims: bool, smallest: bool },
    /// Positions along `axis` in the order of their elements, the first of equals first; what is no number counts as largest.
    ArgSort { axis: usize, descending: bool },
    /// Running sum along `axis`.
    CumSum { axis: usize, exclusive: bool, reverse: bool },
    /// Keeps what lies on and above diagonal `k` of the last two axes (`upper`), or on and below it; zeros the rest.
    Triangle { upper: bool, k: i64 },
    /// Logarithm of the softmax along `axis`.
    LogSoftmax { axis: usize },
    /// Convolution of `x [n, c, ..]` with `weight [out, c/groups, ..]` and `bias? [out]` over one or three axes.
    ConvNd { stride: Vec<usize>, padding: Vec<[usize; 2]>, dilation: Vec<usize>, groups: usize },
    /// Transposed convolution of `x [n, c, ..]` with `weight [c, out/groups, ..]` and `bias? [out]` over one to
    /// three axes.
    ConvTranspose {
        stride: Vec<usize>,
        padding: Vec<[usize; 2]>,
        output_padding: Vec<usize>,
        dilation: Vec<usize>,
        groups: usize,
    },
    /// Interpolates axes to other sizes.
    Resize(Resampling),
    /// Recurrent network over `x [sequence, batch, in]` with `w [directions, gates·hidden, in]`,
    /// `r [directions, gates·hidden, hidden]`, `b [directions, 2·gates·hidden]`, then the initial states
    /// `[directions, batch, hidden]`, one by kind of state.  Makes `[sequence, directions, batch, states·hidden]`.
    Recurrent { cell: Cell, direction: Direction },
}

/// How an [`Op::Attention`] scores.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Attention {
    /// Heads, which divide the width.
    pub heads: usize,
    /// Multiplies the scores; `1/√(width/heads)` where it is `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<f64>,
    /// Queries see no key behind their own position.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub causal: bool,
    /// The last input is a bias.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub bias: bool,
    /// In training, zeros probabilities with this one and scales the rest, as [`Op::Dropout`] does.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropout: f64,
}

fn is_zero(p: &f64) -> bool {
    *p == 0.0
}

impl Attention {
    /// Scaled dot-product attention, nothing else.
    pub const fn new(heads: usize) -> Self {
        Attention { heads, scale: None, causal: false, bias: false, dropout: 0.0 }
    }

    /// Dropout of the attention probabilities in training.
    pub const fn dropout(mut self, p: f64) -> Self {
        self.dropout = p;
        self
    }

    /// Another factor of the scores.
    pub const fn scale(mut self, scale: f64) -> Self {
        self.scale = Some(scale);
        self
    }

    /// The last input is a bias.
    pub const fn biased(mut self) -> Self {
        self.bias = true;
        self
    }

    /// Queries see no key behind their own position.
    pub const fn causal(mut self) -> Self {
        self.causal = true;
        self
    }
}

impl Op {
    /// The operator's name, as the text rendering and errors show it.
    pub fn name(&self) -> &'static str {
        match self {
            Op::Conv2d { .. } => "Conv2d",
            Op::Linear => "Linear",
            Op::BatchNorm { .. } => "BatchNorm",
            Op::LayerNorm { .. } => "LayerNorm",
            Op::Relu => "Relu",
            Op::Clip { .. } => "Clip",
            Op::Silu => "Silu",
            Op::Gelu { .. } => "Gelu",
            Op::Sigmoid => "Sigmoid",
            Op::Tanh => "Tanh",
            Op::Softmax { .. } => "Softmax",
            Op::MaxPool2d { .. } => "MaxPool2d",
            Op::AvgPool2d { .. } => "AvgPool2d",
            Op::AdaptiveAvgPool2d { .. } => "AdaptiveAvgPool2d",
            Op::Flatten { .. } => "Flatten",
            Op::Transpose { .. } => "Transpose",
            Op::MatMul => "MatMul",
            Op::Add => "Add",
            Op::Mul => "Mul",
            Op::Scale { .. } => "Scale",
            Op::ChannelScale { .. } => "ChannelScale",
            Op::DoraGain { .. } => "DoraGain",
            Op::Concat { .. } => "Concat",
            Op::Select { .. } => "Select",
            Op::Dropout { .. } => "Dropout",
            Op::DropPath { .. } => "DropPath",
            Op::Embedding => "Embedding",
            Op::PositionIds { .. } => "PositionIds",
            Op::Attention(_) => "Attention",
            Op::RelativePositionBias { .. } => "RelativePositionBias",
            Op::DisentangledScores { .. } => "DisentangledScores",
            Op::MaskedMean => "MaskedMean",
            Op::MaskedMax => "MaskedMax",
            Op::MaskTokens => "MaskTokens",
            Op::RmsNorm { .. } => "RmsNorm",
            Op::GroupNorm { .. } => "GroupNorm",
            Op::WeightNorm { .. } => "WeightNorm",
            Op::L2Normalize => "L2Normalize",
            Op::Constant { .. } => "Constant",
            Op::Sizes { .. } => "Sizes",
            Op::Range { .. } => "Range",
            Op::Unary { .. } => "Unary",
            Op::Binary { .. } => "Binary",
            Op::Where => "Where",
            Op::Cast { .. } => "Cast",
            Op::Reshape { .. } => "Reshape",
            Op::Expand { .. } => "Expand",
            Op::Slice { .. } => "Slice",
            Op::Pad { .. } => "Pad",
            Op::Gather { .. } => "Gather",
            Op::GatherElements { .. } => "GatherElements",
            Op::GatherNd => "GatherNd",
            Op::ScatterNd { .. } => "ScatterNd",
            Op::Reduce { .. } => "Reduce",
            Op::ArgMax { .. } => "ArgMax",
            Op::ArgSort { .. } => "ArgSort",
            Op::CumSum { .. } => "CumSum",
            Op::Triangle { .. } => "Triangle",
            Op::LogSoftmax { .. } => "LogSoftmax",
            Op::ConvNd { .. } => "ConvNd",
            Op::ConvTranspose { .. } => "ConvTranspose",
            Op::Resize(_) => "Resize",
            Op::Recurrent { .. } => "Recurrent",
        }
    }

    /// How many inputs the operator takes: `(least, most)`.
    pub fn arity(&self) -> (usize, usize) {
        match self {
            Op::Conv2d { .. } | Op::Linear => (2, 3),
            Op::BatchNorm { .. } => (5, 5),
            Op::ChannelScale { .. } => (2, 3),
            Op::DoraGain { .. } => (4, 4),
            Op::LayerNorm { .. } | Op::GroupNorm { .. } | Op::RelativePositionBias { .. } => (3, 3),
            Op::MatMul | Op::Add | Op::Mul | Op::Embedding => (2, 2),
            Op::MaskedMax | Op::MaskTokens | Op::DisentangledScores { .. } => (2, 2),
            Op::RmsNorm { .. } | Op::WeightNorm { .. } => (2, 2),
            Op::MaskedMean => (1, 2),
            Op::Concat { .. } => (1, usize::MAX),
            Op::Attention(a) => (3 + usize::from(a.bias), 4 + usize::from(a.bias)),
            Op::Constant { .. } | Op::Sizes { .. } | Op::Range { .. } => (0, 0),
            Op::Binary { .. } | Op::Gather { .. } | Op::GatherElements { .. } | Op::GatherNd => (2, 2),
            Op::ConvNd { .. } | Op::ConvTranspose { .. } => (2, 3),
            Op::Where | Op::ScatterNd { .. } => (3, 3),
            Op::Recurrent { cell, .. } => (4 + cell.states(), 4 + cell.states()),
            _ => (1, 1),
        }
    }

    /// The same operator with numbers for the symbols of its settings, as `symbol` knows them.
    ///
    /// # Errors
    /// The text of a size that `symbol` does not give, or that is negative.
    pub fn bound(&self, symbol: &dyn Fn(&str) -> Option<i64>) -> Result<Cow<'_, Op>, String> {
        let bind = |dim: &Dim| match dim {
            Dim::Fixed(_) => Ok(dim.clone()),
            Dim::Symbol(text) => Expr::from(dim)
                .evaluate(symbol)
                .and_then(|n| usize::try_from(n).ok())
                .map(Dim::Fixed)
                .ok_or_else(|| text.clone()),
        };
        let all = |dims: &[Dim]| dims.iter().map(bind).collect::<Result<Vec<_>, _>>();
        let is_bound = |dims: &[Dim]| dims.iter().all(|d| d.fixed().is_some());
        Ok(Cow::Owned(match self {
            Op::Sizes { dims, is_scalar } if !is_bound(dims) => {
                Op::Sizes { dims: all(dims)?, is_scalar: *is_scalar }
            }
            Op::Range { start, length, step } => {
                Op::Range { start: bind(start)?, length: bind(length)?, step: *step }
            }
            Op::Reshape { shape } if !is_bound(shape) => Op::Reshape { shape: all(shape)? },
            Op::Expand { shape } if !is_bound(shape) => Op::Expand { shape: all(shape)? },
            Op::Slice { ranges } => {
                let one = |r: &AxisRange| {
                    Ok(AxisRange { start: bind(&r.start)?, length: bind(&r.length)?, ..r.clone() })
                };
                Op::Slice { ranges: ranges.iter().map(one).collect::<Result<_, String>>()? }
            }
            Op::Resize(r) if !is_bound(&r.sizes) => {
                Op::Resize(Resampling { sizes: all(&r.sizes)?, ..r.clone() })
            }
            _ => return Ok(Cow::Borrowed(self)),
        }))
    }

    /// True for operators that do nothing in inference.
    pub fn is_identity_in_inference(&self) -> bool {
        matches!(self, Op::Dropout { .. } | Op::DropPath { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// TensorFlow pads 224 under a 3×3 window of stride 2 by one row below and one column right only.
    #[test]
    fn same_upper_puts_the_surplus_below_and_right() {
        let p = Padding::SameUpper.resolve([224, 225], [3, 3], [2, 2], [1, 1]);
        assert_eq!(p, [0, 1, 1, 1]);
    }
}
