//! Operators that change where elements stand, not what they are.

use crate::tensor::{T, cat, dims, reshape};

/// Joins all axes from `start` on into one.
pub(super) fn flatten(x: T, start: usize) -> T {
    let mut shape = dims(&x);
    let joined = shape[start..].iter().product();
    shape.truncate(start);
    shape.push(joined);
    reshape(x, &shape)
}

/// Joins values along `axis`.
pub(super) fn concat(all: Vec<T>, axis: usize) -> T {
    cat(all, axis)
}
