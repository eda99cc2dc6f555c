//! Mean squared error.

use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;
use headstart_core::TargetRows;

use super::{constant, mean};
use crate::Device;
use crate::tensor::T;

/// Mean over all cells of `(ŷ − y)²`; PyTorch's `mse_loss`.
pub(super) fn of_rows(output: T, rows: &TargetRows, device: &Device) -> T {
    let error = B::float_sub(output, constant(rows, device, |_, t| t));
    mean(B::float_mul(error.clone(), error), rows.values.len())
}
