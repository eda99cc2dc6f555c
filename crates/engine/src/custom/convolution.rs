//! Convolution.  Ours where it is dense or depthwise.

use burn_backend::ops::{ConvOptions, ModuleOps};
use burn_backend::{Shape, TensorMetadata};
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::channels_last::training as kernel;
use headstart_kernels::gemm::Operands;
use headstart_kernels::{Window, columns};

use super::memory::keep;
use super::operator::{Operator, is_ours, made, run, slice, tensor};
use crate::tensor::T;

/// `x [n, c, h, w]`, `weight [out, c/groups, kh, kw]`, `bias? [out]`.  Depthwise convolutions are not rounded.
pub(crate) fn conv2d(x: T, weight: T, bias: Option<T>, options: ConvOptions<2>, operands: Operands) -> T {
    let [out, per_group, ..] = weight.shape().dims::<4>();
    let is_depthwise = options.groups == out && per_group == 1;
    if options.groups > 1 && !is_depthwise {
        return B::conv2d(x, weight, bias, options);
    }
    match bias {
        Some(bias) if is_ours([&x, &weight, &bias]) => run(Conv { options, operands }, [x, weight, bias]),
        None if is_ours([&x, &weight]) => run(Conv { options, operands }, [x, weight]),
        bias => B::conv2d(x, weight, bias, options),
    }
}

#[derive(Debug)]
struct Conv {
    options: ConvOptions<2>,
    operands: Operands,
}

impl Operator<2> for Conv {
    type Saved = [FlexTensor; 2];

    fn forward(&self, [x, weight]: [FlexTensor; 2]) -> (FlexTensor, Self::Saved) {
        (self.product(&x, &weight, None), [x, weight])
    }

    fn backward(self, saved: Self::Saved, grad: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        let gradients = self.gradients(saved, &grad, wanted);
        keep(grad);
        gradients
    }

    fn images(&self) -> [bool; 2] {
        [true, false]
    }

    fn makes_image(&self) -> bool {
        true
    }
}

impl Operator<3> for Conv {
    type Saved = [FlexTensor; 2];

    fn forward(&self, [x, weight, bias]: [FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        (self.product(&x, &weight, Some(slice(&bias))), [x, weight])
    }

    fn backward(self, saved: Self::Saved, grad: FlexTensor, wanted: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let [dx, dweight] = self.gradients(saved, &grad, [wanted[0], wanted[1]]);
        let [.., out] = grad.shape().dims::<4>();
        let dbias = wanted[2].then(|| tensor(columns::sums(slice(&grad), out), Shape::new([out])));
        keep(grad);
        [dx, dweight, dbias]
    }

    fn images(&self) -> [bool; 3] {
        [true, false, false]
    }

    fn makes_image(&self) -> bool {
        true
    }
}

impl Conv {
    fn product(&self, x: &FlexTensor, weight: &FlexTensor, bias: Option<&[f32]>) -> FlexTensor {
        let d = self.window(x, weight);
        let [oh, ow] = d.out();
        let [out, ..] = weight.shape().dims::<4>();
        let (x, weight) = (slice(x), slice(weight));
        made(Shape::new([d.n, oh, ow, out]), |y| match self.options.groups {
            1 => kernel::forward(&d, self.operands, x, weight, bias, y),
            _ => kernel::depthwise(&d, x, weight, bias, y),
        })
    }

    fn gradients(
        &self,
        [x, weight]: [FlexTensor; 2],
        grad: &FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let d = self.window(&x, &weight);
        let is_depthwise = self.options.groups > 1;
        let dweight = wanted[1].then(|| {
            made(weight.shape(), |dw| match is_depthwise {
                true => kernel::depthwise_backward_weight(&d, slice(&x), slice(grad), dw),
                false => kernel::backward_weight(&d, self.operands, slice(&x), slice(grad), dw),
            })
        });
        let shape = x.shape();
        // Nobody reads it any more: its memory may serve for its gradient.
        keep(x);
        let dx = wanted[0].then(|| {
            made(shape, |dx| match is_depthwise {
                true => kernel::depthwise_backward_data(&d, slice(&weight), slice(grad), dx),
                false => kernel::backward_data(&d, self.operands, slice(&weight), slice(grad), dx),
            })
        });
        [dx, dweight]
    }

    /// Of `x [n, h, w, c]`.
    fn window(&self, x: &FlexTensor, weight: &FlexTensor) -> Window {
        let [n, h, w, c] = x.shape().dims();
        let [_, _, kh, kw] = weight.shape().dims();
        let [(top, bottom), (left, right)] = self.options.padding;
        Window {
            n,
            c,
            size: [h, w],
            kernel: [kh, kw],
            stride: self.options.stride,
            dilation: self.options.dilation,
            padding: [top, left, bottom, right],
        }
    }
}
