//! Whole gradients: how long they are, and making them shorter, without a copy.

use headstart_core::Values;
use headstart_kernels::scale as kernel;

use super::operator::{on_processor, plain, slice, slice_mut, untracked};
use crate::EngineError;
use crate::tensor::{T, scale, to_array};

/// `Σ x²`.
pub(crate) fn square_sum(x: &T) -> Result<f64, EngineError> {
    if on_processor(x) {
        return Ok(kernel::square_sum(slice(&untracked(x.clone()))));
    }
    match to_array(x.clone())?.values {
        Values::F32(values) => Ok(kernel::square_sum(&values)),
        Values::I64(_) => unreachable!("gradients are f32"),
    }
}

/// `x·by`, over `x` if nobody else holds it.
pub(crate) fn scaled(x: T, by: f64) -> T {
    if !on_processor(&x) {
        return scale(x, by);
    }
    let mut x = untracked(x);
    kernel::scale(by as f32, slice_mut(&mut x));
    plain(x)
}
