//! What each operator means, over tensors of any device, with or without gradients.  The `match` is here; operators are in
//! files by kind.

mod adapter;
mod arithmetic;
mod attention;
pub(crate) mod constant;
mod convolution;
mod elementwise;
pub(crate) mod fusion;
mod index;
mod norm;
mod pool;
mod random;
mod recurrent;
mod reduce;
mod resize;
mod structure;

use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_dispatch::{Dispatch as B, DispatchDevice};
use headstart_core::Rng;
use headstart_graph::Op;
use headstart_kernels::gemm::Operands;

pub(crate) use norm::{l2_normalize, note};

use crate::custom::{self, Measured, Norm, Then};
use crate::tensor::{T, dims, permute, scale};

/// Inference, or training with its source of random masks.
pub(crate) enum Mode<'a> {
    /// Running statistics, no dropout.
    Inference,
    /// Dropout; batch norm by its policy.
    Training {
        /// Draws the masks of dropout.
        rng: &'a mut Rng,
        /// Statistics of the batch that batch norms measured, to update the running ones with; none where batch norm
        /// goes by the running ones.
        statistics: Option<&'a mut Vec<BatchStatistics>>,
    },
}

impl Mode<'_> {
    /// Whether batch norm goes by the batch's statistics.
    pub(crate) fn measures(&self) -> bool {
        matches!(self, Mode::Training { statistics: Some(_), .. })
    }
}

/// What batch norm does in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchNormPolicy {
    /// Normalises by the batch's statistics and updates the running ones.
    Batch,
    /// Normalises by the source's running statistics, which stay: right for small data, where a batch says little.
    Frozen,
}

/// What a batch norm measured in training.
pub(crate) struct BatchStatistics {
    /// Position of its node.
    pub(crate) node_idx: usize,
    /// Mean by channel.
    pub(crate) mean: T,
    /// Unbiased variance by channel.
    pub(crate) variance: T,
    /// Weight of the new statistics.
    pub(crate) momentum: f64,
}

/// A node's inputs, taken in order.
pub(crate) struct Inputs(std::vec::IntoIter<T>);

impl Inputs {
    /// The next input, which the operator must have.
    fn take(&mut self) -> T {
        self.0.next().expect("the graph checked the number of inputs")
    }

    /// The next input, if there is one.
    fn optional(&mut self) -> Option<T> {
        self.0.next()
    }

    /// All inputs that are left.
    fn all(self) -> Vec<T> {
        self.0.collect()
    }
}

/// Applies one operator with the factors of its products as `operands`, whose settings are numbers by now and whose inputs have
/// shapes that it takes; and with it what `then` says.  With the result comes what a batch norm measured;
/// the error is a reason without a place.
pub(crate) fn apply(
    op: &Op,
    inputs: Vec<T>,
    mode: &mut Mode<'_>,
    operands: Operands,
    then: Then,
    device: &DispatchDevice,
) -> Result<(T, Option<Measured>), String> {
    let mut x = Inputs(inputs.into_iter());
    let made = match op {
        Op::Conv2d { stride, padding, dilation, groups } => {
            let (factors, steps) = ([x.take(), x.take()], [*stride, *dilation]);
            return Ok(convolution::conv2d(factors, x.optional(), steps, *padding, *groups, operands, then));
        }
        Op::Linear => {
            let (input, weight) = (x.take(), x.take());
            custom::linear(then.before, input, weight, x.optional(), operands)
        }
        Op::BatchNorm { eps, .. } => {
            let (input, params) = (x.take(), [x.take(), x.take(), x.take(), x.take()]);
            let norm = Norm { params, eps: *eps, by_batch: mode.measures() };
            return Ok(custom::batch_norm(input, norm, then));
        }
        Op::LayerNorm { eps } => custom::layer_norm(x.take(), x.take(), x.take(), *eps),
        Op::Relu => custom::relu(x.take()),
        Op::Clip { min, max } => custom::clip(x.take(), *min, *max),
        Op::Silu => custom::silu(x.take()),
        Op::Gelu { tanh } => custom::gelu(x.take(), *tanh),
        Op::Sigmoid => arithmetic::by_pixel([x.take()], |[x]| B::sigmoid(x)),
        Op::Tanh => B::float_tanh(x.take()),
        Op::Softmax { axis } => custom::softmax(x.take(), *axis),
        Op::MaxPool2d { kernel, stride, padding, ceil_mode } => {
            custom::max_pool2d(x.take(), *kernel, *stride, *padding, *ceil_mode)
        }
        Op::AvgPool2d { kernel, stride, padding, ceil_mode, count_include_pad } => {
            custom::avg_pool2d(x.take(), *kernel, *stride, *padding, *count_include_pad, *ceil_mode)
        }
        Op::AdaptiveAvgPool2d { size } => pool::adaptive_avg_pool2d(x.take(), *size),
        Op::Flatten { start } => structure::flatten(x.take(), *start),
        Op::Transpose { perm } => permute(x.take(), perm),
        Op::MatMul => arithmetic::matmul(x.take(), x.take()),
        Op::Add => arithmetic::add(x.take(), x.take()),
        Op::Mul => arithmetic::mul(x.take(), x.take()),
        Op::Scale { by } => scale(x.take(), *by),
        Op::ChannelScale { axis } => adapter::channel_scale(x.take(), x.take(), x.optional(), *axis),
        Op::DoraGain { scaling } => adapter::dora_gain(x.take(), [x.take(), x.take(), x.take()], *scaling),
        Op::Concat { axis } => structure::concat(x.all(), *axis)?,
        Op::Select { axis, index } => index::select(x.take(), *axis, *index),
        Op::Dropout { p } => random::dropout(x.take(), *p, mode, device),
        Op::DropPath { p } => random::drop_path(x.take(), *p, mode, device),
        Op::Embedding => index::embedding(x.take(), x.take(), device)?,
        Op::PositionIds { offset, padding_id } => index::position_ids(x.take(), *offset, *padding_id, device),
        Op::Attention(a) => {
            let qkv = [x.take(), x.take(), x.take()];
            attention::attention(a, qkv, x.all(), operands, mode, device)
        }
        Op::RelativePositionBias { distance_max, bidirectional, .. } => {
            let (weight, lengths) = (x.take(), [&x.take(), &x.take()].map(|t| dims(t)[1]));
            attention::relative_position_bias(weight, lengths, *distance_max, *bidirectional, device)
        }
        Op::DisentangledScores { heads, distance_max, log_buckets, by_key, scale, .. } => {
            let (pair, heads, distance_max) = ((x.take(), x.take()), *heads, *distance_max);
            attention::disentangled_scores(pair, heads, distance_max, *log_buckets, *by_key, *scale, device)
        }
        Op::MaskedMean => reduce::masked_mean(x.take(), x.optional()),
        Op::MaskedMax => reduce::masked_max(x.take(), x.take()),
        Op::MaskTokens => reduce::mask_tokens(x.take(), x.take()),
        Op::RmsNorm { eps } => norm::rms_norm(x.take(), x.take(), *eps),
        Op::GroupNorm { groups, eps } => norm::group_norm(x.take(), x.take(), x.take(), *groups, *eps),
        Op::WeightNorm { axis } => norm::weight_norm(x.take(), x.take(), *axis),
        Op::L2Normalize => norm::l2_normalize(x.take()),
        Op::Constant { value } => constant::constant(value, device),
        Op::Sizes { dims, is_scalar } => constant::sizes(dims, *is_scalar, device),
        Op::Range { start, length, step } => constant::range(start, length, *step, device),
        Op::Unary { function } => elementwise::unary(x.take(), *function)?,
        Op::Binary { function } => elementwise::binary(x.take(), x.take(), *function)?,
        Op::Where => elementwise::choose(x.take(), x.take(), x.take())?,
        Op::Cast { to } => elementwise::cast(x.take(), *to),
        Op::Reshape { shape } => structure::reshape_to(x.take(), shape),
        Op::Expand { shape } => structure::expand_to(x.take(), shape),
        Op::Slice { ranges } => index::part(x.take(), ranges, device),
        Op::Pad { pads, mode } => structure::pad(x.take(), pads, *mode, device)?,
        Op::Gather { axis } => index::gather(x.take(), x.take(), *axis, device)?,
        Op::GatherElements { axis } => index::gather_elements(x.take(), x.take(), *axis, device)?,
        Op::GatherNd => index::gather_nd(x.take(), x.take(), device)?,
        Op::ScatterNd { add } => index::scatter_nd(x.take(), x.take(), x.take(), *add, device)?,
        Op::Reduce { function, axes, keep_dims } => reduce::reduce(x.take(), *function, axes, *keep_dims)?,
        Op::ArgMax { axis, keep_dims, smallest } => index::arg_max(x.take(), *axis, *keep_dims, *smallest)?,
        Op::ArgSort { axis, descending } => index::arg_sort(x.take(), *axis, *descending, device)?,
        Op::CumSum { axis, exclusive, reverse } => reduce::cum_sum(x.take(), *axis, *exclusive, *reverse)?,
        Op::Triangle { upper, k } => structure::triangle(x.take(), *upper, *k, device),
        Op::LogSoftmax { axis } => B::log_softmax(x.take(), *axis),
        Op::ConvNd { stride, padding, dilation, groups } => {
            let window = convolution::Window { stride, padding, dilation, groups: *groups };
            convolution::conv_nd(x.take(), x.take(), x.optional(), &window, operands, device)?
        }
        Op::ConvTranspose { stride, padding, output_padding, dilation, groups } => {
            let window = convolution::Window { stride, padding, dilation, groups: *groups };
            convolution::conv_transpose(x.take(), x.take(), x.optional(), &window, output_padding)
        }
        Op::Resize(to) => resize::resize(x.take(), to, device),
        Op::Recurrent { cell, direction } => recurrent::recurrent(x.all(), *cell, *direction),
    };
    Ok((made, None))
}
