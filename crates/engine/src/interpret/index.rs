//! Operators that pick elements, and those that count them.

use burn_backend::ops::IntTensorOps;
use burn_backend::{IntDType, Slice};
use burn_dispatch::{Dispatch as B, DispatchDevice};

use crate::tensor::{T, dims, reshape, slice};

/// Position `index` of `axis`, which the result lacks.
pub(super) fn select(x: T, axis: usize, index: usize) -> T {
    let mut shape = dims(&x);
    let slices: Vec<Slice> = (0..shape.len())
        .map(|i| if i == axis { Slice::from(index..index + 1) } else { Slice::full() })
        .collect();
    let taken = slice(x, &slices);
    shape.remove(axis);
    reshape(taken, &shape)
}

/// `offset, offset + 1, …` along the sequence of `ids [batch, sequence]`.
pub(super) fn position_ids(ids: &T, offset: usize, device: &DispatchDevice) -> T {
    let [n, s] = dims(ids)[..] else { unreachable!("ids are [batch, sequence]") };
    let row = B::int_arange(offset as i64..(offset + s) as i64, device, IntDType::I64);
    B::int_expand(B::int_reshape(row, [1, s].into()), [n, s].into())
}
