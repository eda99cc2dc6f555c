//! Convolutions.

use burn_backend::ops::ConvOptions;
use headstart_graph::Padding;

use crate::custom;
use crate::tensor::{T, dims};

/// Convolution of `x [n, c, h, w]` with `weight [out, c/groups, kh, kw]`.
pub(super) fn conv2d(
    x: T,
    weight: T,
    bias: Option<T>,
    stride: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    groups: usize,
) -> T {
    let (size, w) = (dims(&x), dims(&weight));
    let [top, left, bottom, right] = padding.resolve([size[2], size[3]], [w[2], w[3]], stride, dilation);
    let options = ConvOptions { stride, padding: [(top, bottom), (left, right)], dilation, groups };
    custom::conv2d(x, weight, bias, options)
}
