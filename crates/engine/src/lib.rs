//! Runs a graph on a device, forward and backward.
//!
//! An interpreter over Burn's run-time-dispatched tensors: one `match` over the operators (`interpret.rs`), gradients
//! by Burn's autodiff.  It knows no architecture, file, recipe or task.

mod checkpointing;
mod custom;
mod device;
mod error;
mod init;
mod interpret;
mod loss;
mod network;
mod optimiser;
mod tensor;

pub use device::Device;
pub use error::EngineError;
pub use init::{fill_missing, random_weights};
pub use interpret::BatchNormPolicy;
pub use loss::{Loss, cross_entropy, last_axis_as_rows, span_loss};
pub use network::{Anchor, Gradients, LossInput, Network, TrainMode};
pub use optimiser::{AdamW, Optimiser, Rate, Rates, Sgd};
