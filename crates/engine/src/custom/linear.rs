//! `x·weightᵀ + bias`, without a transposed copy of anything.

use burn_backend::ops::{FloatTensorOps, ModuleOps};
use burn_backend::{Shape, TensorMetadata};
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::gemm::{Bias, Epilogue, Matrix, Operands, gemm_of};
use headstart_kernels::{Activation, columns};

use super::activation::activated;
use super::memory::made;
use super::operator::{Operator, is_ours, plain, run, slice, tensor, untracked};
use crate::packed::Layers;
use crate::tensor::T;

/// `before` of `x [.., in]`, `weight [out, in]`, `bias? [out]` → `[.., out]`.
pub(crate) fn linear(before: Activation, x: T, weight: T, bias: Option<T>, operands: Operands) -> T {
    match bias {
        Some(bias) if is_ours([&x, &weight, &bias]) => run(Linear { before, operands }, [x, weight, bias]),
        None if is_ours([&x, &weight]) => run(Linear { before, operands }, [x, weight]),
        bias => B::linear(activated(before, x), B::float_transpose(weight), bias),
    }
}

/// `x [.., in]` → `[.., out]` by layers whose weights are packed, on the processor and without gradients.
pub(crate) fn packed_linear(layers: &Layers, x: T, residual: Option<T>) -> T {
    let (x, residual) = (untracked(x), residual.map(untracked));
    let Layers { first, second, .. } = layers;
    let mut shape = x.shape();
    let last = shape.num_dims() - 1;
    shape[last] = second.as_ref().unwrap_or(first).out();
    plain(made(shape, |y| {
        let (x, residual) = (slice(&x), residual.as_ref().map(slice));
        match second {
            Some(second) => first.run_before(second, x, residual, y),
            None => first.run_adding(x, residual, y),
        }
    }))
}

#[derive(Debug)]
struct Linear {
    /// Of what is kept for the backward pass, which makes it again.
    before: Activation,
    operands: Operands,
}

impl Operator<3> for Linear {
    type Saved = [FlexTensor; 2];

    fn forward(&self, [x, weight, bias]: [FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        (self.product(&x, &weight, Bias::Column(slice(&bias))), [x, weight])
    }

    fn backward(self, saved: Self::Saved, grad: FlexTensor, wanted: [bool; 3]) -> [Option<FlexTensor>; 3] {
        let [dx, dweight] = self.gradients(saved, &grad, [wanted[0], wanted[1]]);
        let out = *grad.shape().last().expect("a result has axes");
        let dbias = wanted[2].then(|| tensor(columns::sums(slice(&grad), out), Shape::new([out])));
        [dx, dweight, dbias]
    }
}

impl Operator<2> for Linear {
    type Saved = [FlexTensor; 2];

    fn forward(&self, [x, weight]: [FlexTensor; 2]) -> (FlexTensor, Self::Saved) {
        (self.product(&x, &weight, Bias::None), [x, weight])
    }

    fn backward(self, saved: Self::Saved, grad: FlexTensor, wanted: [bool; 2]) -> [Option<FlexTensor>; 2] {
        self.gradients(saved, &grad, wanted)
    }
}

impl Linear {
    fn product(&self, x: &FlexTensor, weight: &FlexTensor, bias: Bias<'_>) -> FlexTensor {
        let [out, width] = weight.shape().dims::<2>();
        let mut shape = x.shape();
        let last = shape.num_dims() - 1;
        shape[last] = out;
        let rows = shape.num_elements() / out.max(1);
        let activated = self.activated(x);
        made(shape, |y| {
            let x = Matrix::new(slice(activated.as_ref().unwrap_or(x)), [rows, width], width);
            let weight = Matrix::new(slice(weight), [out, width], width);
            gemm_of(
                self.operands,
                x,
                weight.transpose(),
                y,
                out,
                false,
                &Epilogue { bias, ..Epilogue::default() },
            );
        })
    }

    /// The factor of the product, where that is not `x` itself.
    fn activated(&self, x: &FlexTensor) -> Option<FlexTensor> {
        let make = || made(x.shape(), |y| self.before.forward(slice(x), y));
        (self.before != Activation::Identity).then(make)
    }

    /// `dx = g·weight` and `dweight = gᵀ·x`.
    fn gradients(
        &self,
        [x, weight]: [FlexTensor; 2],
        grad: &FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let [out, width] = weight.shape().dims::<2>();
        let rows = grad.shape().num_elements() / out.max(1);
        let g = Matrix::new(slice(grad), [rows, out], out);
        let dweight = wanted[1].then(|| {
            let activated = self.activated(&x);
            let x = Matrix::new(slice(activated.as_ref().unwrap_or(&x)), [rows, width], width);
            made(weight.shape(), |dw| {
                gemm_of(self.operands, g.transpose(), x, dw, width, false, &Epilogue::default())
            })
        });
        let shape = x.shape();
        // Where nobody reads it any more, its memory may serve for its gradient.
        let read = (self.before != Activation::Identity).then_some(x);
        let dx = wanted[0].then(|| {
            let weight = Matrix::new(slice(&weight), [out, width], width);
            made(shape, |dx| {
                gemm_of(self.operands, g, weight, dx, width, false, &Epilogue::default());
                read.iter().for_each(|x| self.before.backward(slice(x), dx));
            })
        });
        [dx, dweight]
    }
}
