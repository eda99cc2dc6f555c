//! What each operator means, over tensors of any device, with or without gradients.  The `match` is here; operators are in
//! files by kind.

mod adapter;
mod arithmetic;
mod convolution;
mod index;
mod norm;
mod pool;
mod random;
mod reduce;
mod structure;

use burn_backend::ops::{ActivationOps, FloatTensorOps, ModuleOps};
use burn_dispatch::{Dispatch as B, DispatchDevice};
use headstart_core::Rng;
use headstart_graph::{Node, Op};

pub(crate) use norm::l2_normalize;

use crate::custom;
use crate::tensor::{T, permute, scale};

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

/// Applies one node.  Shapes were checked when the graph was built.
pub(crate) fn apply(
    node_idx: usize,
    node: &Node,
    inputs: Vec<T>,
    mode: &mut Mode<'_>,
    device: &DispatchDevice,
) -> T {
    let mut x = Inputs(inputs.into_iter());
    match &node.op {
        Op::Conv2d { stride, padding, dilation, groups } => {
            convolution::conv2d(x.take(), x.take(), x.optional(), *stride, *padding, *dilation, *groups)
        }
        Op::Linear => {
            let (input, weight) = (x.take(), x.take());
            custom::linear(input, weight, x.optional())
        }
        Op::BatchNorm { eps, momentum } => {
            let (input, parameters) = (x.take(), [x.take(), x.take(), x.take(), x.take()]);
            norm::batch_norm(node_idx, input, parameters, *eps, *momentum, mode)
        }
        Op::LayerNorm { eps } => custom::layer_norm(x.take(), x.take(), x.take(), *eps),
        Op::Relu => custom::relu(x.take()),
        Op::Clip { min, max } => custom::clip(x.take(), *min, *max),
        Op::Silu => custom::silu(x.take()),
        Op::Gelu { tanh } => custom::gelu(x.take(), *tanh),
        Op::Sigmoid => B::sigmoid(x.take()),
        Op::Tanh => B::float_tanh(x.take()),
        Op::Softmax { axis } => custom::softmax(x.take(), *axis),
        Op::MaxPool2d { kernel, stride, padding, ceil_mode } => {
            B::max_pool2d(x.take(), *kernel, *stride, *padding, [1, 1], *ceil_mode)
        }
        Op::AvgPool2d { kernel, stride, padding, ceil_mode, count_include_pad } => {
            B::avg_pool2d(x.take(), *kernel, *stride, *padding, *count_include_pad, *ceil_mode)
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
        Op::Concat { axis } => structure::concat(x.all(), *axis),
        Op::Select { axis, index } => index::select(x.take(), *axis, *index),
        Op::Dropout { p } => random::dropout(x.take(), *p, mode, device),
        Op::DropPath { p } => random::drop_path(x.take(), *p, mode, device),
        Op::Embedding => custom::embedding(x.take(), x.take()),
        Op::PositionIds { offset } => index::position_ids(&x.take(), *offset, device),
        Op::Attention { heads } => custom::attention(x.take(), x.take(), x.take(), x.optional(), *heads),
        Op::MaskedMean => reduce::masked_mean(x.take(), x.take()),
        Op::L2Normalize => norm::l2_normalize(x.take()),
    }
}
