//! Feature distillation: the feature vector stays near the source's on the same examples (after Li and Hoiem, 2016,
//! *Learning without Forgetting*; Romero et al., 2015, *FitNets*).
//!
//! ```text
//! loss + λ·mean ‖f(x; w) − f(x; w₀)‖²
//! ```
//!
//! **Deviation:** Learning without Forgetting keeps the old head's answers; most sources here have none that matter, so the
//! features themselves are kept.

use headstart_core::Array;
use headstart_engine::{Device, EngineTensor, add_scaled, mean_square_from};

/// Adds the term.
pub(super) fn add(
    loss: EngineTensor,
    features: EngineTensor,
    source: &Array,
    strength: f64,
    device: &Device,
) -> EngineTensor {
    add_scaled(loss, mean_square_from(features, source, device), strength)
}
