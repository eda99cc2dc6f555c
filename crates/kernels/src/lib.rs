//! CPU kernels that the tensor library lacks or is slow at.  They take slices and know no graph, no tensor and no
//! autodiff.  One algorithm a file, tested against a naive reference.
//!
//! Work is divided among threads so that each number is computed by one thread in one order: results are the same to
//! the bit whatever the number of threads.

mod clip;
mod depthwise;

pub use clip::clip_backward;
pub use depthwise::{Depthwise, backward_data, backward_weight};
