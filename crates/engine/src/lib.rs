//! Runs a graph on a device, forward and backward.
//!
//! An interpreter over Burn's run-time-dispatched tensors: one `match` over the operators (`interpret.rs`), gradients
//! by Burn's autodiff.  It knows no architecture, file, recipe or task.

mod checkpointing;
mod compiled;
mod custom;
mod device;
mod error;
mod gradients;
mod init;
mod interpret;
mod leaves;
mod loss;
mod network;
mod optimiser;
mod packed;
mod tensor;

pub use compiled::Frozen;
pub use device::{Device, kernel_precision};
pub use error::EngineError;
pub use gradients::{Anchor, Gradient, Gradients};
pub use init::{fill_missing, random_weights};
pub use interpret::BatchNormPolicy;
pub use loss::{
    Loss, add_scaled, cross_entropy, ctc_loss, host, last_axis_as_rows, mean_square, mean_square_from,
    pair_loss, projected_square, span_loss,
};
pub use network::{LossInput, Network, TrainMode};
pub use optimiser::{AdamW, Optimiser, Rate, Rates, Sgd};

/// A tensor of any rank and element type on any device, as losses are made of.
pub type EngineTensor = burn_dispatch::DispatchTensor;
