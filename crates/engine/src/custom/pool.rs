//! Pooling of images with channels last.

use burn_backend::ops::ModuleOps;
use burn_backend::{Shape, TensorMetadata};
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::Window;
use headstart_kernels::channels_last::training as kernel;

use super::memory::made;
use super::operator::{Operator, is_ours, run, slice};
use crate::tensor::{T, dims};

/// The largest value under a window of `x [n, c, h, w]`.
pub(crate) fn max_pool2d(
    x: T,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    ceil_mode: bool,
) -> T {
    match Windows::of(&x, kernel, stride, padding, ceil_mode) {
        Some(windows) if kernel[0] * kernel[1] <= 255 => run(MaxPool(windows), [x]),
        _ => B::max_pool2d(x, kernel, stride, padding, [1, 1], ceil_mode),
    }
}

/// The mean of what lies under a window of `x [n, c, h, w]`.
pub(crate) fn avg_pool2d(
    x: T,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    count_include_pad: bool,
    ceil_mode: bool,
) -> T {
    match Windows::of(&x, kernel, stride, padding, ceil_mode) {
        Some(windows) => run(AveragePool { windows, count_include_pad }, [x]),
        None => B::avg_pool2d(x, kernel, stride, padding, count_include_pad, ceil_mode),
    }
}

/// A window and how many of it there are, on an image.
#[derive(Debug)]
struct Windows {
    window: Window,
    out: [usize; 2],
}

impl Windows {
    /// If the image is ours, and every window reads something of it.
    fn of(
        x: &T,
        kernel: [usize; 2],
        stride: [usize; 2],
        padding: [usize; 2],
        ceil_mode: bool,
    ) -> Option<Self> {
        let (shape, [top, left]) = (dims(x), padding);
        let fits = (0..2).all(|i| shape[2 + i] + 2 * padding[i] >= kernel[i] && padding[i] < kernel[i]);
        if !fits || !is_ours([x]) || shape.contains(&0) {
            return None;
        }
        let window = Window {
            n: shape[0],
            c: shape[1],
            size: [shape[2], shape[3]],
            kernel,
            stride,
            dilation: [1, 1],
            padding: [top, left, top, left],
        };
        let mut out = window.out();
        if ceil_mode {
            for (i, out) in out.iter_mut().enumerate() {
                // One more window where it begins on the image or on the padding before it.
                let begins = *out * stride[i] < shape[2 + i] + padding[i];
                let is_whole = (*out - 1) * stride[i] + kernel[i] >= shape[2 + i] + 2 * padding[i];
                *out += usize::from(begins && !is_whole);
            }
        }
        Some(Windows { window, out })
    }

    /// Of the result.
    fn shape(&self) -> Shape {
        let (Window { n, c, .. }, [h, w]) = (self.window, self.out);
        Shape::new([n, h, w, c])
    }

    /// Of the image.
    fn image(&self) -> Shape {
        let Window { n, c, size: [h, w], .. } = self.window;
        Shape::new([n, h, w, c])
    }
}

#[derive(Debug)]
struct MaxPool(Windows);

impl Operator<1> for MaxPool {
    /// The taps that were taken.
    type Saved = Vec<u8>;

    fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, Vec<u8>) {
        let Windows { window, out } = &self.0;
        let mut taps = vec![0; self.0.shape().num_elements()];
        let y = made(self.0.shape(), |y| kernel::max_pool(window, *out, slice(&x), y, &mut taps));
        (y, taps)
    }

    fn backward(self, taps: Vec<u8>, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let Windows { window, out } = &self.0;
        let dx = |dx: &mut [f32]| kernel::max_pool_backward(window, *out, &taps, slice(&grad), dx);
        [Some(made(self.0.image(), dx))]
    }

    fn images(&self) -> [bool; 1] {
        [true]
    }

    fn makes_image(&self) -> bool {
        true
    }
}

#[derive(Debug)]
struct AveragePool {
    windows: Windows,
    count_include_pad: bool,
}

impl Operator<1> for AveragePool {
    type Saved = ();

    fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, ()) {
        let Windows { window, out } = &self.windows;
        let mean = |y: &mut [f32]| kernel::average_pool(window, *out, self.count_include_pad, slice(&x), y);
        (made(self.windows.shape(), mean), ())
    }

    fn backward(self, (): (), grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let Windows { window, out } = &self.windows;
        let dx = |dx: &mut [f32]| {
            kernel::average_pool_backward(window, *out, self.count_include_pad, slice(&grad), dx);
        };
        [Some(made(self.windows.image(), dx))]
    }

    fn images(&self) -> [bool; 1] {
        [true]
    }

    fn makes_image(&self) -> bool {
        true
    }
}

/// Whether [`global_mean`] takes a tensor.
pub(crate) fn takes_mean(x: &T) -> bool {
    is_ours([x]) && !dims(x).contains(&0)
}

/// The mean of each channel of `x [n, c, h, w]`, `[n, c, 1, 1]`.
pub(crate) fn global_mean(x: T) -> T {
    run(GlobalMean, [x])
}

#[derive(Debug)]
struct GlobalMean;

impl Operator<1> for GlobalMean {
    /// Of the image.
    type Saved = [usize; 4];

    fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, [usize; 4]) {
        let shape @ [n, _, _, c] = x.shape().dims();
        (made(Shape::new([n, 1, 1, c]), |y| kernel::global_mean(slice(&x), c, y)), shape)
    }

    fn backward(self, shape: [usize; 4], grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(made(Shape::new(shape), |dx| kernel::global_mean_backward(slice(&grad), shape[3], dx)))]
    }

    fn images(&self) -> [bool; 1] {
        [true]
    }

    fn makes_image(&self) -> bool {
        true
    }
}
