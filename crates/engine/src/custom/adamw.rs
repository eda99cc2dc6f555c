//! One step of AdamW, in place where nobody else holds the tensors.

use burn_backend::TensorMetadata;
use headstart_kernels::adamw::{self as kernel, Step};

use super::operator::{plain, slice, untracked, zeros};
use crate::tensor::T;

/// The new parameter and moments, which start at 0.  For tensors that are [`super::on_processor`].
pub(crate) fn adamw(step: &Step, param: T, gradient: T, moments: Option<(T, T)>) -> (T, (T, T)) {
    let [mut param, gradient] = [param, gradient].map(untracked);
    let (mut m, mut v) = match moments {
        Some((m, v)) => (untracked(m), untracked(v)),
        None => (zeros(param.shape()), zeros(param.shape())),
    };
    kernel::update(step, slice(&gradient), param.storage_mut(), m.storage_mut(), v.storage_mut());
    (plain(param), (plain(m), plain(v)))
}
