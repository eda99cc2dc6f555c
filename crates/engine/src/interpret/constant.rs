//! Values that no input gives: constants, sizes of the run, ranges.

use burn_dispatch::DispatchDevice;
use headstart_graph::{Dim, Elements, Literal};

use crate::tensor::{T, from_bool, from_f32, from_i64};

/// A constant on a device.
pub(crate) fn constant(value: &Literal, device: &DispatchDevice) -> T {
    match value.elements() {
        Elements::F32(v) => from_f32(value.shape(), v, device),
        Elements::I64(v) => from_i64(value.shape(), v, device),
        Elements::Bool(v) => from_bool(value.shape(), v, device),
    }
}

/// Sizes, which are numbers by now.
pub(super) fn sizes(dims: &[Dim], is_scalar: bool, device: &DispatchDevice) -> T {
    let values: Vec<i64> = dims.iter().map(|d| bound(d) as i64).collect();
    if is_scalar { from_i64(&[], values, device) } else { from_i64(&[values.len()], values, device) }
}

/// `start, start + step, …`.
pub(super) fn range(start: &Dim, length: &Dim, step: i64, device: &DispatchDevice) -> T {
    let (start, n) = (bound(start) as i64, bound(length));
    let values = (0..n as i64).map(|i| start.wrapping_add(i.wrapping_mul(step))).collect();
    from_i64(&[n], values, device)
}

/// A size that [`headstart_graph::Op::bound`] has made a number.
pub(super) fn bound(dim: &Dim) -> usize {
    dim.fixed().expect("operators are bound before they run")
}
