//! Functions of two values, element by element with numpy's broadcasting, and the matrix product.

use burn_backend::ops::{FloatTensorOps, IntTensorOps};
use burn_dispatch::Dispatch as B;

use crate::custom;
use crate::tensor::{Kind, T, aligned, dims, expand, kind, permute, reshape};

/// Elementwise sum, of floats or integers.
pub(super) fn add(a: T, b: T) -> T {
    let [a, b] = aligned([a, b]);
    if kind(&a) != Kind::Float {
        return B::int_add(a, b);
    }
    if custom::adds(&a, &b) {
        return custom::add(a, b);
    }
    by_pixel([a, b], |[a, b]| B::float_add(a, b))
}

/// Elementwise product, of floats or integers.
pub(super) fn mul(a: T, b: T) -> T {
    let [a, b] = aligned([a, b]);
    match kind(&a) {
        Kind::Float => by_pixel([a, b], |[a, b]| B::float_mul(a, b)),
        _ => B::int_mul(a, b),
    }
}

/// Applies `f`, which looks at single elements, to images `[n, h, w, c]` if one of them lies so; the others lie as they will.
pub(super) fn by_pixel<const N: usize>(all: [T; N], f: impl FnOnce([T; N]) -> T) -> T {
    if !all.iter().any(|t| dims(t).len() == 4 && custom::is_image(t)) {
        return f(all);
    }
    permute(f(all.map(|t| permute(t, &[0, 2, 3, 1]))), &[0, 3, 1, 2])
}

/// Matrix product over the last two axes; the axes before them broadcast, and a vector counts as a matrix of one row (on
/// the left) or one column (on the right), which the result then lacks.
pub(super) fn matmul(a: T, b: T) -> T {
    let (mut left, mut right) = (dims(&a), dims(&b));
    let (is_row, is_column) = (left.len() == 1, right.len() == 1);
    if is_row {
        left.insert(0, 1);
    }
    if is_column {
        right.push(1);
    }
    let n = left.len().max(right.len());
    let pad = |s: &[usize]| [vec![1; n - s.len()], s.to_vec()].concat();
    let (left, right) = (pad(&left), pad(&right));
    let (mut a, mut b) = (reshape(a, &left), reshape(b, &right));
    // The device multiplies equal batches; what differs is repeated.
    let batch: Vec<usize> = (0..n - 2).map(|i| if left[i] == 1 { right[i] } else { left[i] }).collect();
    if left[..n - 2] != right[..n - 2] {
        a = expand(a, &[&batch, &left[n - 2..]].concat());
        b = expand(b, &[&batch, &right[n - 2..]].concat());
    }
    let product = match kind(&a) {
        Kind::Float => B::float_matmul(a, b),
        _ => B::int_matmul(a, b),
    };
    if !is_row && !is_column {
        return product;
    }
    let mut shape = dims(&product);
    if is_column {
        shape.pop();
    }
    if is_row {
        shape.remove(shape.len() - usize::from(!is_column) - 1);
    }
    reshape(product, &shape)
}
