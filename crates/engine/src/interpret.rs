//! What each operator means: one `match`, over tensors of any device, with or without gradients.

use burn_backend::ops::{ActivationOps, ConvOptions, FloatTensorOps, IntTensorOps, ModuleOps};
use burn_backend::{FloatDType, IntDType, Scalar, Slice};
use burn_dispatch::{Dispatch as B, DispatchDevice};
use headstart_core::Rng;
use headstart_graph::{Node, Op};

use crate::custom;
use crate::tensor::{T, dims, from_f32, reshape, scale};

/// Inference, or training with its source of random masks.
pub(crate) enum Mode<'a> {
    /// Running statistics, no dropout.
    Inference,
    /// Batch statistics, dropout; running statistics that changed are collected.
    Training {
        /// Draws the masks of dropout.
        rng: &'a mut Rng,
        /// `(node path, batch mean, unbiased batch variance, momentum)` of every batch norm.
        statistics: &'a mut Vec<BatchStatistics>,
    },
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

/// Applies one node.  Shapes were checked when the graph was built.
pub(crate) fn apply(
    node_idx: usize,
    node: &Node,
    mut inputs: Vec<T>,
    mode: &mut Mode<'_>,
    device: &DispatchDevice,
) -> T {
    let mut rest = inputs.split_off(1).into_iter();
    let x = inputs.remove(0);
    let mut next = || rest.next().expect("the graph checked the number of inputs");
    match &node.op {
        Op::Conv2d { stride, padding, dilation, groups } => {
            let weight = next();
            let bias = rest.next();
            let (size, w) = (dims(&x), dims(&weight));
            let [top, left, bottom, right] =
                padding.resolve([size[2], size[3]], [w[2], w[3]], *stride, *dilation);
            let options = ConvOptions {
                stride: *stride,
                padding: [(top, bottom), (left, right)],
                dilation: *dilation,
                groups: *groups,
            };
            custom::conv2d(x, weight, bias, options)
        }
        Op::Linear => {
            let weight = next();
            custom::linear(x, weight, rest.next())
        }
        Op::BatchNorm { eps, momentum } => {
            let (weight, bias, mean, variance) = (next(), next(), next(), next());
            match mode {
                Mode::Inference => batch_norm(x, [weight, bias, mean, variance], *eps),
                Mode::Training { statistics, .. } => {
                    let shape = dims(&x);
                    let n = (shape.iter().product::<usize>() / shape[1]) as f64;
                    let [output, mean, variance] = custom::batch_norm_train(x, weight, bias, *eps);
                    statistics.push(BatchStatistics {
                        node_idx,
                        mean,
                        variance: scale(variance, n / (n - 1.0).max(1.0)),
                        momentum: *momentum,
                    });
                    output
                }
            }
        }
        Op::LayerNorm { eps } => {
            let (weight, bias) = (next(), next());
            custom::layer_norm(x, weight, bias, *eps)
        }
        Op::Relu => custom::relu(x),
        Op::Clip { min, max } => custom::clip(x, *min, *max),
        Op::Silu => custom::silu(x),
        Op::Gelu { tanh } => custom::gelu(x, *tanh),
        Op::Sigmoid => B::sigmoid(x),
        Op::Tanh => B::float_tanh(x),
        Op::Softmax { axis } => custom::softmax(x, *axis),
        Op::MaxPool2d { kernel, stride, padding, ceil_mode } => {
            B::max_pool2d(x, *kernel, *stride, *padding, [1, 1], *ceil_mode)
        }
        Op::AvgPool2d { kernel, stride, padding, ceil_mode, count_include_pad } => {
            B::avg_pool2d(x, *kernel, *stride, *padding, *count_include_pad, *ceil_mode)
        }
        Op::AdaptiveAvgPool2d { size: [1, 1] } => {
            let s = dims(&x);
            let mean = B::float_mean_dim(reshape(x, &[s[0], s[1], s[2] * s[3]]), 2);
            reshape(mean, &[s[0], s[1], 1, 1])
        }
        Op::AdaptiveAvgPool2d { size } => B::adaptive_avg_pool2d(x, *size),
        Op::Flatten { start } => {
            let mut shape = dims(&x);
            let joined = shape[*start..].iter().product();
            shape.truncate(*start);
            shape.push(joined);
            reshape(x, &shape)
        }
        Op::Transpose { perm } => B::float_permute(x, perm),
        Op::MatMul => B::float_matmul(x, next()),
        Op::Add => B::float_add(x, next()),
        Op::Mul => B::float_mul(x, next()),
        Op::Concat { axis } => {
            let mut all = vec![x];
            all.extend(rest);
            B::float_cat(all, *axis)
        }
        Op::Select { axis, index } => {
            let mut shape = dims(&x);
            let slices: Vec<Slice> = (0..shape.len())
                .map(|i| if i == *axis { Slice::from(*index..index + 1) } else { Slice::full() })
                .collect();
            let taken = B::float_slice(x, &slices);
            shape.remove(*axis);
            reshape(taken, &shape)
        }
        Op::Dropout { p } => match mode {
            Mode::Training { rng, .. } if *p > 0.0 => {
                let shape = dims(&x);
                drop_some(x, &shape, *p, rng, device)
            }
            _ => x,
        },
        Op::DropPath { p } => match mode {
            Mode::Training { rng, .. } if *p > 0.0 => {
                let mut shape = dims(&x);
                shape[1..].fill(1);
                drop_some(x, &shape, *p, rng, device)
            }
            _ => x,
        },
        Op::Embedding => custom::embedding(x, next()),
        Op::PositionIds { offset } => {
            let [n, s] = dims(&x)[..] else { unreachable!("ids are [batch, sequence]") };
            let row = B::int_arange(*offset as i64..(offset + s) as i64, device, IntDType::I64);
            B::int_expand(B::int_reshape(row, [1, s].into()), [n, s].into())
        }
        Op::Attention { heads } => {
            let (key, value) = (next(), next());
            custom::attention(x, key, value, rest.next(), *heads)
        }
        Op::MaskedMean => masked_mean(x, next()),
        Op::L2Normalize => {
            let last = dims(&x).len() - 1;
            let norm = B::float_sqrt(B::float_sum_dim(B::float_mul(x.clone(), x.clone()), last));
            B::float_div(x, B::float_clamp_min(norm, Scalar::Float(1e-12)))
        }
    }
}

/// Batch norm by running statistics as one product and one sum, `x·α + (β − μ·α)` with `α = γ/√(σ² + ε)`: half the passes
/// over the image, and how PyTorch rounds it.
fn batch_norm(x: T, [weight, bias, mean, variance]: [T; 4], eps: f64) -> T {
    let mut by_channel = vec![1; dims(&x).len()];
    by_channel[1] = dims(&weight)[0];
    let inverse = B::float_recip(B::float_sqrt(B::float_add_scalar(variance, Scalar::Float(eps))));
    let scale = B::float_mul(inverse, weight);
    let shift = B::float_sub(bias, B::float_mul(mean, scale.clone()));
    B::float_add(B::float_mul(x, reshape(scale, &by_channel)), reshape(shift, &by_channel))
}

/// Zeros with probability `p`, scales the rest by `1/(1−p)`; `shape` is that of the mask, which broadcasts.
fn drop_some(x: T, shape: &[usize], p: f64, rng: &mut Rng, device: &DispatchDevice) -> T {
    let keep = (1.0 / (1.0 - p)) as f32;
    let n = shape.iter().product();
    let mask = (0..n).map(|_| if rng.uniform() < p { 0.0 } else { keep }).collect();
    B::float_mul(x, from_f32(shape, mask, device))
}

fn masked_mean(x: T, mask: T) -> T {
    let [n, s, width] = dims(&x)[..] else { unreachable!("tokens are [batch, sequence, width]") };
    let keep = reshape(B::int_into_float(mask, FloatDType::F32), &[n, s, 1]);
    let sum = B::float_sum_dim(B::float_mul(x, keep.clone()), 1);
    let count = B::float_clamp_min(B::float_sum_dim(keep, 1), Scalar::Float(1e-9));
    reshape(B::float_div(sum, count), &[n, width])
}
