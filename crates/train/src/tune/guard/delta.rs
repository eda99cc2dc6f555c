//! DELTA: feature maps stay near the source's on the same examples (Li et al., 2019, *DELTA: Deep Learning Transfer using
//! Feature Map with Attention*).
//!
//! ```text
//! loss + β·Σ_layers mean ‖FM(x; w) − FM(x; w₀)‖²
//! ```
//!
//! **Deviation:** the paper weighs channels by how much the loss rises when each is switched off, which takes one evaluation
//! a channel.  Here all channels weigh the same: its variant without attention.  `guards_cost_nothing_at_the_source` pins it.

use headstart_core::Array;
use headstart_engine::{Device, EngineTensor, add_scaled, mean_square_from};

/// Adds the term of one layer.
pub(super) fn add(
    loss: EngineTensor,
    map: EngineTensor,
    source: &Array,
    strength: f64,
    device: &Device,
) -> EngineTensor {
    add_scaled(loss, mean_square_from(map, source, device), strength)
}
