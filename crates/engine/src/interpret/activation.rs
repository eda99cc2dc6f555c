//! Functions of one number, applied to each element.

use burn_backend::Scalar;
use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_dispatch::Dispatch as B;

use crate::tensor::{T, scale};

/// `x·sigmoid(x)`.
pub(super) fn silu(x: T) -> T {
    B::float_mul(x.clone(), B::sigmoid(x))
}

/// `0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`.
pub(super) fn gelu_tanh(x: T) -> T {
    let cube = B::float_mul(B::float_mul(x.clone(), x.clone()), x.clone());
    let inner = B::float_add(x.clone(), scale(cube, 0.044_715));
    let tanh = B::float_tanh(scale(inner, (2.0 / std::f64::consts::PI).sqrt()));
    scale(B::float_mul(x, B::float_add_scalar(tanh, Scalar::Float(1.0))), 0.5)
}
