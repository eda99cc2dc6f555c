//! Pieces that whoever composes a loss of several terms puts together.

use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;
use headstart_core::Array;

use crate::tensor::{T, dims, from_array, from_f32, reshape, scale, to_array, untracked};
use crate::{Device, EngineError};

/// `a + by·b` of two scalars.
pub fn add_scaled(a: T, b: T, by: f64) -> T {
    B::float_add(reshape(a, &[1]), reshape(scale(b, by), &[1]))
}

/// Mean of the squares: a loss for a network without a head.
pub fn mean_square(values: T) -> T {
    let n = dims(&values).iter().product::<usize>().max(1);
    scale(B::float_sum(B::float_mul(values.clone(), values)), 1.0 / n as f64)
}

/// Mean square of the difference from given values of the same shape.
pub fn mean_square_from(x: T, from: &Array, device: &Device) -> T {
    let n = from.shape.iter().product::<usize>().max(1);
    let away = B::float_sub(x, from_array(from, device.plain()));
    scale(B::float_sum(B::float_mul(away.clone(), away)), 1.0 / n as f64)
}

/// `‖U·X‖²` of `X [n, width]` and given `U [k, n]`.
pub fn projected_square(x: T, u: &Array, device: &Device) -> T {
    let projected = B::float_matmul(from_array(u, device.plain()), x);
    B::float_sum(B::float_mul(projected.clone(), projected))
}

/// A tensor's values, read back; gradients do not follow.
pub fn host(x: &T) -> Result<Array, EngineError> {
    to_array(untracked(x.clone()))
}

/// Mean of `(cos(aᵢ, bᵢ) − yᵢ)²` over pairs of the rows of `features [2n, width]`: all `a`, then all `b`.
pub fn pair_loss(features: T, y: &[f32], device: &Device) -> T {
    let [rows, width] = dims(&features)[..] else { unreachable!("features are [rows, width]") };
    let n = rows / 2;
    assert_eq!((rows, y.len()), (2 * n, n), "two rows of features a pair");
    let unit = crate::interpret::l2_normalize(features);
    let half = |from: usize| {
        let slices = [burn_backend::Slice::from(from..from + n), burn_backend::Slice::full()];
        B::float_slice(unit.clone(), &slices)
    };
    let cosines = B::float_sum_dim(B::float_mul(half(0), half(n)), 1);
    let away = B::float_sub(cosines, from_f32(&[n, 1], y.to_vec(), device.plain()));
    debug_assert_eq!(width, dims(&unit)[1]);
    scale(B::float_sum(B::float_mul(away.clone(), away)), 1.0 / n.max(1) as f64)
}
