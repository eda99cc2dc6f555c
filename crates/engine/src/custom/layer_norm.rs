//! Layer norm over the last axis.

use burn_backend::TensorMetadata;
use burn_backend::ops::ModuleOps;
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::layer_norm::{self as kernel, Statistics};

use super::memory::made;
use super::operator::{Operator, is_ours, run, slice, tensor};
use crate::tensor::T;

/// `x [.., width]`, `weight [width]`, `bias [width]`.
pub(crate) fn layer_norm(x: T, weight: T, bias: T, eps: f64) -> T {
    if is_ours([&x, &weight, &bias]) {
        return run(LayerNorm { eps }, [x, weight, bias]);
    }
    B::layer_norm(x, weight, Some(bias), eps)
}

#[derive(Debug)]
struct LayerNorm {
    eps: f64,
}

impl Operator<3> for LayerNorm {
    type Saved = (FlexTensor, FlexTensor, Statistics);

    fn forward(&self, [x, weight, bias]: [FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let mut statistics = Statistics { by_row: Vec::new() };
        let affine = [slice(&weight), slice(&bias)];
        let y = made(x.shape(), |y| statistics = kernel::forward(slice(&x), affine, self.eps, y));
        (y, (x, weight, statistics))
    }

    fn backward(
        self,
        (x, weight, statistics): Self::Saved,
        grad: FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let mut affine = [Vec::new(), Vec::new()];
        let dx = made(x.shape(), |dx| {
            affine = kernel::backward(slice(&x), slice(&grad), slice(&weight), &statistics, dx);
        });
        let [dweight, dbias] = affine.map(|values| tensor(values, weight.shape()));
        [Some(dx), Some(dweight), Some(dbias)]
    }
}
