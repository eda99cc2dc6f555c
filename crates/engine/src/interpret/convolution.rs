//! Convolutions.

use burn_backend::ops::{ConvOptions, ConvTransposeOptions, FloatTensorOps, ModuleOps};
use burn_dispatch::{Dispatch as B, DispatchDevice};
use headstart_graph::{PadMode, Padding};
use headstart_kernels::gemm::Operands;

use super::structure::pad;
use crate::custom::{self, Measured, Then};
use crate::tensor::{T, dims, reshape, slice};

/// Convolution of `x [n, c, h, w]` with `weight [out, c/groups, kh, kw]`, and what follows it; with what a batch norm measured.
pub(super) fn conv2d(
    [x, weight]: [T; 2],
    bias: Option<T>,
    [stride, dilation]: [[usize; 2]; 2],
    padding: Padding,
    groups: usize,
    operands: Operands,
    then: Then,
) -> (T, Option<Measured>) {
    let (size, w) = (dims(&x), dims(&weight));
    let [top, left, bottom, right] = padding.resolve([size[2], size[3]], [w[2], w[3]], stride, dilation);
    let options = ConvOptions { stride, padding: [(top, bottom), (left, right)], dilation, groups };
    custom::conv2d(x, weight, bias, options, operands, then)
}

/// Settings of a convolution over any number of axes.
pub(super) struct Window<'a> {
    pub(super) stride: &'a [usize],
    pub(super) padding: &'a [[usize; 2]],
    pub(super) dilation: &'a [usize],
    pub(super) groups: usize,
}

/// Convolution over one axis, as one over two of which the first has one position, or over three.
pub(super) fn conv_nd(
    x: T,
    weight: T,
    bias: Option<T>,
    w: &Window<'_>,
    operands: Operands,
    device: &DispatchDevice,
) -> Result<T, String> {
    if let [stride] = *w.stride {
        let [before, after] = w.padding[0];
        let options = ConvOptions {
            stride: [1, stride],
            padding: [(0, 0), (before, after)],
            dilation: [1, w.dilation[0]],
            groups: w.groups,
        };
        let (x, weight) = (as_rows(x), as_rows(weight));
        let (result, _) = custom::conv2d(x, weight, bias, options, operands, Then::default());
        return Ok(without_rows(result));
    }
    let pads: Vec<[usize; 2]> = [[0, 0], [0, 0]].iter().chain(w.padding).copied().collect();
    let x = pad(x, &pads, PadMode::Constant(0.0), device)?;
    let three = |v: &[usize]| [v[0], v[1], v[2]];
    let options = ConvOptions {
        stride: three(w.stride),
        padding: [(0, 0); 3],
        dilation: three(w.dilation),
        groups: w.groups,
    };
    Ok(B::conv3d(x, weight, bias, options))
}

/// `[n, c, length]` as `[n, c, 1, length]`.
fn as_rows(x: T) -> T {
    let s = dims(&x);
    reshape(x, &[s[0], s[1], 1, s[2]])
}

fn without_rows(x: T) -> T {
    let s = dims(&x);
    reshape(x, &[s[0], s[1], s[3]])
}

/// Transposed convolution over one to three axes.
pub(super) fn conv_transpose(
    x: T,
    weight: T,
    bias: Option<T>,
    w: &Window<'_>,
    output_padding: &[usize],
) -> T {
    if w.stride.len() == 1 {
        let (stride, dilation) = ([1, w.stride[0]], [1, w.dilation[0]]);
        let padding = [[0, 0], w.padding[0]];
        let two = Window { stride: &stride, padding: &padding, dilation: &dilation, groups: w.groups };
        return without_rows(conv_transpose(
            as_rows(x),
            as_rows(weight),
            bias,
            &two,
            &[0, output_padding[0]],
        ));
    }
    // What the padding takes away is cut off, so that its sides may differ.
    let whole = if w.stride.len() == 2 {
        B::conv_transpose2d(x, weight, None, transposed::<2>(w, output_padding))
    } else {
        B::conv_transpose3d(x, weight, None, transposed::<3>(w, output_padding))
    };
    let s = dims(&whole);
    let kept = |i: usize| {
        let [before, after] = if i < 2 { [0, 0] } else { w.padding[i - 2] };
        (before..s[i] - after).into()
    };
    let result = slice(whole, &(0..s.len()).map(kept).collect::<Vec<_>>());
    match bias {
        Some(bias) => {
            let mut shape = vec![1; s.len()];
            shape[1] = dims(&bias)[0];
            B::float_add(result, reshape(bias, &shape))
        }
        None => result,
    }
}

fn transposed<const N: usize>(w: &Window<'_>, output_padding: &[usize]) -> ConvTransposeOptions<N> {
    let along = |v: &[usize]| std::array::from_fn(|i| v[i]);
    ConvTransposeOptions {
        stride: along(w.stride),
        padding: [0; N],
        padding_out: along(output_padding),
        dilation: along(w.dilation),
        groups: w.groups,
    }
}
