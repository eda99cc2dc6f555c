//! Operators that drop values in training.

use burn_backend::ops::FloatTensorOps;
use burn_dispatch::{Dispatch as B, DispatchDevice};
use headstart_core::Rng;
use headstart_kernels::dropout::Dropout;

use super::Mode;
use super::arithmetic::by_pixel;
use crate::custom;
use crate::tensor::{T, dims, from_f32};

/// Zeros single elements.
pub(super) fn dropout(x: T, p: f64, mode: &mut Mode<'_>, device: &DispatchDevice) -> T {
    let Mode::Training { rng, .. } = mode else { return x };
    if p <= 0.0 {
        return x;
    }
    if p < 1.0 && custom::drops(&x) {
        return custom::dropout(x, Dropout { p: p as f32, seed: rng.next_u64() });
    }
    let shape = dims(&x);
    drop_some(x, &shape, p, mode, device)
}

/// Zeros whole examples.
pub(super) fn drop_path(x: T, p: f64, mode: &mut Mode<'_>, device: &DispatchDevice) -> T {
    let mut shape = dims(&x);
    shape[1..].fill(1);
    drop_some(x, &shape, p, mode, device)
}

/// In training, zeros with probability `p` and scales the rest by `1/(1−p)`; `shape` is that of the mask, which broadcasts.
fn drop_some(x: T, shape: &[usize], p: f64, mode: &mut Mode<'_>, device: &DispatchDevice) -> T {
    let Mode::Training { rng, .. } = mode else { return x };
    if p <= 0.0 {
        return x;
    }
    let mask = mask(shape.iter().product(), p, rng);
    by_pixel([x, from_f32(shape, mask, device)], |[x, mask]| B::float_mul(x, mask))
}

fn mask(n: usize, p: f64, rng: &mut Rng) -> Vec<f32> {
    let keep = (1.0 / (1.0 - p)) as f32;
    (0..n).map(|_| if rng.uniform() < p { 0.0 } else { keep }).collect()
}
