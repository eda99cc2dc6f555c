//! Batch norm by the statistics of the batch.

use burn_backend::ops::ModuleOps;
use burn_backend::{AutodiffBackend, Shape, TensorMetadata};
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::batch_norm::{self as kernel, Statistics};

use super::operator::{
    Operator, is_ours, made, on_processor, plain, run, slice, slice_mut, tensor, untracked,
};
use crate::tensor::{T, dims};

/// `[result, mean, biased variance]`, the last two without gradients where the operator is ours.
pub(crate) fn batch_norm_train(x: T, weight: T, bias: T, eps: f64) -> [T; 3] {
    if !is_ours([&x, &weight, &bias]) {
        let out = B::batch_norm_train(x, weight, bias, eps);
        return [out.output, out.mean, out.variance];
    }
    let (channels, plane) = (dims(&x)[1], dims(&x)[2..].iter().product::<usize>());
    let inner = if on_processor(&x) { x.clone() } else { <B as AutodiffBackend>::inner(x.clone()) };
    let statistics = kernel::statistics(slice(&untracked(inner)), channels, plane);
    let [mean, variance] =
        [&statistics.mean, &statistics.variance].map(|v| plain(tensor(v.clone(), Shape::new([channels]))));
    [run(BatchNorm { statistics, eps, plane }, [x, weight, bias]), mean, variance]
}

#[derive(Debug)]
struct BatchNorm {
    statistics: Statistics,
    eps: f64,
    plane: usize,
}

impl Operator<3> for BatchNorm {
    type Saved = [FlexTensor; 2];

    fn forward(&self, [x, weight, bias]: [FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let affine = [slice(&weight), slice(&bias)];
        let y = made(x.shape(), |y| {
            kernel::forward(slice(&x), affine, &self.statistics, self.eps, self.plane, y);
        });
        (y, [x, weight])
    }

    fn backward(
        self,
        [x, weight]: Self::Saved,
        mut grad: FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let (s, grad_in) = (&self.statistics, slice_mut(&mut grad));
        let affine = kernel::backward(slice(&x), slice(&weight), s, self.eps, self.plane, grad_in);
        let [dweight, dbias] = affine.map(|values| tensor(values, weight.shape()));
        [Some(grad), Some(dweight), Some(dbias)]
    }
}
