//! One step of SGD, in place where nobody else holds the tensors.

use burn_backend::TensorMetadata;
use headstart_kernels::sgd::{self as kernel, Step};

use super::operator::{plain, slice, untracked, zeros};
use crate::tensor::T;

/// The new parameter and velocity, which starts at 0.  For tensors that are [`super::on_processor`].
pub(crate) fn sgd(step: &Step, param: T, gradient: T, velocity: Option<T>) -> (T, T) {
    let [mut param, gradient] = [param, gradient].map(untracked);
    let mut velocity = velocity.map_or_else(|| zeros(param.shape()), untracked);
    kernel::update(step, slice(&gradient), param.storage_mut(), velocity.storage_mut());
    (plain(param), plain(velocity))
}
