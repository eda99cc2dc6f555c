//! Batch norm, with a residual and the clipping that follow it.  Behind a convolution it is part of that.

use burn_backend::ops::{FloatTensorOps, ModuleOps};
use burn_backend::{AutodiffBackend, Scalar, Shape, TensorMetadata};
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::Activation;
use headstart_kernels::batch_norm::{self as kernel, Statistics};

use super::activation::{clip, relu};
use super::memory::made;
use super::operator::{
    Operator, as_it_lies, is_ours, on_processor, pixels, plain, run, slice, slice_mut, tensor,
};
use crate::tensor::{T, dims, reshape};

/// What a node does beyond its own.  What follows a convolution or a batch norm: behind the former a batch norm, a sum with an image of
/// the same shape, and clipping to a range.  What comes before a linear layer.
#[derive(Debug, Default)]
pub(crate) struct Then {
    pub(crate) norm: Option<Norm>,
    pub(crate) residual: Option<T>,
    pub(crate) clip: Option<[f64; 2]>,
    /// Whether the convolution that reads the result lets only those gradients pass that clipping let pass.
    pub(crate) is_gated: bool,
    /// The range of values that a convolution reads, if it is the one that does so.
    pub(crate) gate: Option<[f64; 2]>,
    /// The activation of what a linear layer reads.
    pub(crate) before: Activation,
}

/// A batch norm.
#[derive(Debug)]
pub(crate) struct Norm {
    /// Weight, bias, running mean and variance.
    pub(crate) params: [T; 4],
    pub(crate) eps: f64,
    /// Whether it goes by the batch's statistics instead of the running ones.
    pub(crate) by_batch: bool,
}

/// Mean and biased variance of a batch, without gradients where the operator is ours.
pub(crate) type Measured = [T; 2];

impl Norm {
    pub(super) fn is_ours(&self) -> bool {
        let [weight, bias, mean, variance] = &self.params;
        is_ours([weight, bias]) && on_processor(mean) && on_processor(variance)
    }
}

impl Then {
    pub(super) fn is_ours(&self) -> bool {
        self.norm.as_ref().is_none_or(Norm::is_ours) && self.residual.as_ref().is_none_or(|r| is_ours([r]))
    }

    /// By operators of their own; what a batch norm measured, too.
    pub(super) fn apply(mut self, x: T) -> (T, Option<Measured>) {
        match self.norm.take() {
            Some(norm) => batch_norm(x, norm, self),
            None => (self.apply_rest(x), None),
        }
    }

    fn apply_rest(self, x: T) -> T {
        let x = match self.residual {
            Some(residual) => B::float_add(x, residual),
            None => x,
        };
        match self.clip {
            Some([0.0, f64::INFINITY]) => relu(x),
            Some([lo, hi]) => clip(x, lo, hi),
            None => x,
        }
    }

    pub(super) fn range(&self) -> [f32; 2] {
        self.clip.map_or([f32::NEG_INFINITY, f32::INFINITY], as_f32)
    }
}

pub(super) fn as_f32(range: [f64; 2]) -> [f32; 2] {
    range.map(|v| v as f32)
}

/// The result, and what it measured if it goes by the batch.
pub(crate) fn batch_norm(x: T, norm: Norm, then: Then) -> (T, Option<Measured>) {
    if !norm.by_batch {
        return (by_given(x, norm, then), None);
    }
    let Norm { params: [weight, bias, ..], eps, .. } = norm;
    if !is_ours([&x, &weight, &bias]) || !then.is_ours() {
        let out = B::batch_norm_train(x, weight, bias, eps);
        return (then.apply_rest(out.output), Some([out.mean, out.variance]));
    }
    let statistics = kernel::statistics(slice(&pixels(untracked(x.clone()))), dims(&x)[1]);
    let measured = measured(&statistics);
    let norm = kernel::BatchNorm { statistics, are_given: false, eps, clip: then.range() };
    (norm_of(norm, [x, weight, bias], then.residual), Some(measured))
}

/// Statistics as tensors.
pub(super) fn measured(statistics: &Statistics) -> Measured {
    let of = |values: &Vec<f32>| plain(tensor(values.clone(), Shape::new([values.len()])));
    [of(&statistics.mean), of(&statistics.variance)]
}

/// By given statistics, of which no gradient is taken: one product and one sum, `x·α + (β − μ·α)` with `α = γ/√(σ² + ε)`, which is
/// how PyTorch rounds it.
fn by_given(x: T, norm: Norm, then: Then) -> T {
    let all_ours = is_ours([&x]) && norm.is_ours() && then.is_ours();
    let Norm { params: [weight, bias, mean, variance], eps, .. } = norm;
    if all_ours {
        let statistics = Statistics { mean: floats(mean), variance: floats(variance) };
        let norm = kernel::BatchNorm { statistics, are_given: true, eps, clip: then.range() };
        return norm_of(norm, [x, weight, bias], then.residual);
    }
    let mut by_channel = vec![1; dims(&x).len()];
    by_channel[1] = dims(&weight)[0];
    let inverse = B::float_recip(B::float_sqrt(B::float_add_scalar(variance, Scalar::Float(eps))));
    let scale = B::float_mul(inverse, weight);
    let shift = B::float_sub(bias, B::float_mul(mean, scale.clone()));
    then.apply_rest(B::float_add(B::float_mul(x, reshape(scale, &by_channel)), reshape(shift, &by_channel)))
}

/// The numbers of a tensor on the processor.
pub(super) fn floats(t: T) -> Vec<f32> {
    slice(&as_it_lies(t).to_contiguous()).to_vec()
}

fn norm_of(norm: kernel::BatchNorm, [x, weight, bias]: [T; 3], residual: Option<T>) -> T {
    match residual {
        None => run(BatchNorm(norm), [x, weight, bias]),
        Some(residual) => run(BatchNorm(norm), [x, weight, bias, residual]),
    }
}

fn untracked(x: T) -> FlexTensor {
    as_it_lies(if on_processor(&x) { x } else { <B as AutodiffBackend>::inner(x) })
}

#[derive(Debug)]
struct BatchNorm(kernel::BatchNorm);

impl Operator<3> for BatchNorm {
    type Saved = [FlexTensor; 3];

    fn forward(&self, [x, weight, bias]: [FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let affine = [slice(&weight), slice(&bias)];
        let y = made(x.shape(), |y| self.0.forward(slice(&x), affine, None, y));
        (y, [x, weight, bias])
    }

    fn backward(
        self,
        [x, weight, bias]: Self::Saved,
        mut grad: FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let affine = self.0.backward(slice(&x), [slice(&weight), slice(&bias)], slice_mut(&mut grad));
        let [dweight, dbias] = affine.map(|values| tensor(values, weight.shape()));
        [Some(grad), Some(dweight), Some(dbias)]
    }

    fn images(&self) -> [bool; 3] {
        [true, false, false]
    }

    fn makes_image(&self) -> bool {
        true
    }
}

impl Operator<4> for BatchNorm {
    /// `x`, `weight` and the result, which says what clipping let pass.
    type Saved = [FlexTensor; 3];

    fn forward(&self, [x, weight, bias, residual]: [FlexTensor; 4]) -> (FlexTensor, Self::Saved) {
        let affine = [slice(&weight), slice(&bias)];
        let y = made(x.shape(), |y| self.0.forward(slice(&x), affine, Some(slice(&residual)), y));
        (y.clone(), [x, weight, y])
    }

    fn backward(
        self,
        [x, weight, y]: Self::Saved,
        mut grad: FlexTensor,
        _: [bool; 4],
    ) -> [Option<FlexTensor>; 4] {
        let mut affine = [Vec::new(), Vec::new()];
        let dx = made(x.shape(), |dx| {
            let (x, y, grad) = (slice(&x), Some(slice(&y)), slice_mut(&mut grad));
            affine = self.0.backward_residual(x, y, slice(&weight), grad, dx);
        });
        let [dweight, dbias] = affine.map(|values| tensor(values, weight.shape()));
        [Some(dx), Some(dweight), Some(dbias), Some(grad)]
    }

    fn images(&self) -> [bool; 4] {
        [true, false, false, true]
    }

    fn makes_image(&self) -> bool {
        true
    }
}
