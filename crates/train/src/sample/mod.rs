//! Which examples a step sees, and how much each counts.

mod balanced;
mod class_weights;
mod length_grouped;

pub use balanced::BalancedSampler;
pub(crate) use balanced::members;
pub use class_weights::ClassWeights;
pub use length_grouped::{length_grouped, padding_share};
