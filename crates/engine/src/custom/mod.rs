//! Operators that are ours on the processor, with kernels of `headstart-kernels`, one a file; on every other device they
//! are Burn's.
//!
//! Burn composes most backward passes of general operators: one small convolution a group for a grouped weight (1,152 of
//! them in a layer of EfficientNet), a dozen passes over memory for batch norm, copies of every head for attention.

mod activation;
mod adamw;
mod add;
mod attention;
mod batch_norm;
#[cfg(test)]
mod burn_tests;
mod concat;
mod convolution;
mod dropout;
mod embedding;
mod layer_norm;
mod linear;
mod memory;
mod operator;
mod pool;
mod scale;
mod sgd;
mod softmax;
#[cfg(test)]
mod tests;

pub(crate) use activation::{activation_of, clip, gelu, relu, silu};
pub(crate) use adamw::{Moments, adamw};
pub(crate) use add::{add, adds};
pub(crate) use attention::{attention, ours as attends};
pub(crate) use batch_norm::{Measured, Norm, Then, batch_norm};
pub(crate) use concat::{concat, concats};
pub(crate) use convolution::{conv2d, is_depthwise};
pub(crate) use dropout::{dropout, drops};
pub(crate) use embedding::embedding;
pub(crate) use layer_norm::layer_norm;
pub(crate) use linear::{linear, packed_linear};
pub(crate) use operator::{begin_backward, is_image, on_processor, untracked as on_host};
pub(crate) use pool::{avg_pool2d, global_mean, max_pool2d, takes_mean};
pub(crate) use scale::{scaled, square_sum};
pub(crate) use sgd::sgd;
pub(crate) use softmax::{cross_entropy, softmax};
