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
    let (shape, [top, left]) = (dims(&x), padding);
    let fits = (0..2).all(|i| shape[2 + i] + 2 * padding[i] >= kernel[i] && padding[i] < kernel[i]);
    if kernel[0] * kernel[1] > 255 || !fits || !is_ours([&x]) || shape.contains(&0) {
        return B::max_pool2d(x, kernel, stride, padding, [1, 1], ceil_mode);
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
    run(MaxPool { window, out }, [x])
}

#[derive(Debug)]
struct MaxPool {
    window: Window,
    out: [usize; 2],
}

impl Operator<1> for MaxPool {
    /// The taps that were taken.
    type Saved = Vec<u8>;

    fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, Vec<u8>) {
        let (Window { n, c, .. }, [h, w]) = (self.window, self.out);
        let mut taps = vec![0; n * h * w * c];
        let y = made(Shape::new([n, h, w, c]), |y| {
            kernel::max_pool(&self.window, self.out, slice(&x), y, &mut taps);
        });
        (y, taps)
    }

    fn backward(self, taps: Vec<u8>, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let Window { n, c, size: [h, w], .. } = self.window;
        let dx = made(Shape::new([n, h, w, c]), |dx| {
            kernel::max_pool_backward(&self.window, self.out, &taps, slice(&grad), dx);
        });
        [Some(dx)]
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
