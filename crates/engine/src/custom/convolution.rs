//! Convolution.  Ours where it is dense or depthwise.

use burn_backend::ops::{ConvOptions, FloatTensorOps, ModuleOps};
use burn_backend::{Shape, TensorMetadata};
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::{Window, convolution, depthwise};

use super::operator::{Operator, is_ours, made, on_processor, run, slice};
use crate::tensor::{T, reshape};

/// `x [n, c, h, w]`, `weight [out, c/groups, kh, kw]`, `bias? [out]`.
pub(crate) fn conv2d(x: T, weight: T, bias: Option<T>, options: ConvOptions<2>) -> T {
    let [out, per_group, ..] = weight.shape().dims::<4>();
    let is_depthwise = options.groups == out && per_group == 1;
    let is_inference = on_processor(&x) && on_processor(&weight);
    if is_inference || !is_ours([&x, &weight]) || !(options.groups == 1 || is_depthwise) {
        return B::conv2d(x, weight, bias, options);
    }
    let result = run(Conv { options }, [x, weight]);
    match bias {
        Some(bias) => B::float_add(result, reshape(bias, &[1, out, 1, 1])),
        None => result,
    }
}

#[derive(Debug)]
struct Conv {
    options: ConvOptions<2>,
}

impl Operator<2> for Conv {
    type Saved = [FlexTensor; 2];

    fn forward(&self, [x, weight]: [FlexTensor; 2]) -> (FlexTensor, Self::Saved) {
        let d = self.window(&x, &weight);
        let [oh, ow] = d.out();
        let [out, ..] = weight.shape().dims::<4>();
        let forward = if self.options.groups > 1 { depthwise::forward } else { convolution::forward };
        let y = made(Shape::new([d.n, out, oh, ow]), |y| forward(&d, slice(&x), slice(&weight), y));
        (y, [x, weight])
    }

    fn backward(
        self,
        [x, weight]: Self::Saved,
        grad: FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let d = self.window(&x, &weight);
        let is_depthwise = self.options.groups > 1;
        let dx = wanted[0].then(|| {
            let backward = if is_depthwise { depthwise::backward_data } else { convolution::backward_data };
            made(x.shape(), |dx| backward(&d, slice(&weight), slice(&grad), dx))
        });
        let dweight = wanted[1].then(|| {
            let backward =
                if is_depthwise { depthwise::backward_weight } else { convolution::backward_weight };
            made(weight.shape(), |dw| backward(&d, slice(&x), slice(&grad), dw))
        });
        [dx, dweight]
    }
}

impl Conv {
    fn window(&self, x: &FlexTensor, weight: &FlexTensor) -> Window {
        let [n, c, h, w] = x.shape().dims();
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
