//! Convolution, with what follows it.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use burn_backend::ops::{ConvOptions, ModuleOps};
use burn_backend::{Shape, TensorMetadata};
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::batch_norm::{BatchNorm, Folded, Statistics, statistics};
use headstart_kernels::channels_last::training as kernel;
use headstart_kernels::gemm::Operands;
use headstart_kernels::{Bf16, Number, Window, columns};

use super::batch_norm::{Measured, Norm, Then, as_f32, floats, measured};
use super::memory::made;
use super::operator::{Operator, is_ours, run, slice, slice_mut, tensor};
use crate::tensor::T;

/// `x [n, c, h, w]`, `weight [out, c/groups, kh, kw]`, `bias? [out]`; with what a batch norm behind it measured, if it goes by the
/// batch.  Depthwise convolutions are not rounded.
pub(crate) fn conv2d(
    x: T,
    weight: T,
    bias: Option<T>,
    options: ConvOptions<2>,
    operands: Operands,
    then: Then,
) -> (T, Option<Measured>) {
    let [out, per_group, ..] = weight.shape().dims::<4>();
    let is_depthwise = is_depthwise(options.groups, [out, per_group]);
    let can = !is_depthwise || then.residual.is_none();
    let are_ours = is_ours([&x, &weight]) && bias.as_ref().is_none_or(|b| is_ours([b])) && then.is_ours();
    if !can || !are_ours {
        return then.apply(B::conv2d(x, weight, bias, options));
    }
    let (clip, has_bias, has_residual) = (then.range(), bias.is_some(), then.residual.is_some());
    let (is_gated, gate) = (then.is_gated, then.gate.map(as_f32));
    let mut inputs = vec![x, weight];
    let found = Arc::new(OnceLock::new());
    let norm = then.norm.map(|Norm { params: [gamma, beta, mean, variance], eps, by_batch }| {
        inputs.extend([gamma, beta]);
        match by_batch {
            true => (By::Batch(found.clone()), eps),
            false => (By::Given(Statistics { mean: floats(mean), variance: floats(variance) }), eps),
        }
    });
    inputs.extend(bias);
    inputs.extend(then.residual);
    let conv = Conv { options, operands, is_depthwise, norm, has_bias, has_residual, clip, is_gated, gate };
    let y = match inputs.len() {
        2 => conv.run::<2>(inputs),
        3 => conv.run::<3>(inputs),
        4 => conv.run::<4>(inputs),
        _ => conv.run::<5>(inputs),
    };
    (y, found.get().map(measured))
}

/// Whether a convolution whose weight is `[out, per_group, …]` has one filter a channel: it adds no residual.
pub(crate) fn is_depthwise(groups: usize, [out, per_group]: [usize; 2]) -> bool {
    groups > 1 && groups == out && per_group == 1
}

/// The statistics of the batch norm behind a convolution.
#[derive(Debug)]
enum By {
    Given(Statistics),
    /// Measured in the forward pass.
    Batch(Arc<OnceLock<Statistics>>),
}

/// Inputs are `x`, the weight, γ and β of the batch norm if there is one, the bias, the residual.
#[derive(Debug)]
struct Conv {
    options: ConvOptions<2>,
    operands: Operands,
    is_depthwise: bool,
    norm: Option<(By, f64)>,
    has_bias: bool,
    has_residual: bool,
    clip: [f32; 2],
    is_gated: bool,
    gate: Option<[f32; 2]>,
}

/// What a convolution's backward pass needs.
#[derive(Debug, Clone)]
struct Saved {
    x: FlexTensor,
    weight: FlexTensor,
    norm: Option<SavedNorm>,
    /// The result, if it was clipped and neither somebody else asks it what may pass, nor does `norm` know.
    y: Option<FlexTensor>,
}

/// What that of a batch norm needs.
#[derive(Debug, Clone)]
enum SavedNorm {
    Folded(Folded),
    /// By the batch: what the convolution made, γ and β.
    Behind(Box<(BatchNorm, [FlexTensor; 3])>),
}

/// An expression of what a convolution made for its batch norm, `len` numbers: where factors of products are bf16, so are they.
macro_rules! with_numbers {
    ($conv:ident, $t:expr, $len:expr, |$x:ident| $made:expr) => {
        match kernel::makes_halves($conv.operands) {
            true => {
                let $x = Bf16::in_words(slice($t), $len);
                $made
            }
            false => {
                let $x = slice($t);
                $made
            }
        }
    };
}

impl<const N: usize> Operator<N> for Conv {
    type Saved = Saved;

    fn forward(&self, inputs: [FlexTensor; N]) -> (FlexTensor, Self::Saved) {
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next().expect("as many as run was given");
        let (x, weight) = (next(), next());
        let affine = self.norm.is_some().then(|| [next(), next()]);
        let bias = self.has_bias.then(&mut next);
        let residual = self.has_residual.then(&mut next);
        let residual = residual.as_ref().map(slice);
        let (y, norm) = match self.norm.as_ref().zip(affine) {
            Some(((By::Batch(found), eps), [gamma, beta])) => {
                let (product, shape) = self.product_alone(&x, &weight);
                let len = shape.num_elements();
                let channels = gamma.shape().num_elements();
                let measure = || with_numbers!(self, &product, len, |x| statistics(x, channels));
                let (statistics, eps, clip) = (found.get_or_init(measure).clone(), *eps, self.clip);
                let norm = BatchNorm { statistics, are_given: false, eps, clip };
                let affine = [slice(&gamma), slice(&beta)];
                let y = made(shape, |y| {
                    with_numbers!(self, &product, len, |x| norm.forward(x, affine, residual, y));
                });
                (y, Some(SavedNorm::Behind(Box::new((norm, [product, gamma, beta])))))
            }
            Some(((By::Given(statistics), eps), [gamma, beta])) => {
                let folded = Folded::new(statistics.clone(), *eps, [slice(&gamma), slice(&beta)]);
                let then = self.then(Some(folded.bias()), residual);
                let y = self.product(&x, weight.shape(), &folded.weight(slice(&weight)), &then);
                (y, Some(SavedNorm::Folded(folded)))
            }
            None => {
                let then = self.then(bias.as_ref().map(slice), residual);
                (self.product(&x, weight.shape(), slice(&weight), &then), None)
            }
        };
        let knows = matches!(norm, Some(SavedNorm::Behind(..))) && !self.has_residual;
        let saved = (self.is_clipped() && !self.is_gated && !knows).then(|| y.clone());
        (y, Saved { x, weight, norm, y: saved })
    }

    fn backward(self, saved: Saved, mut grad: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N] {
        let Saved { x, weight, norm, y } = saved;
        let mut gradients = [const { None }; N];
        let folded = match norm {
            Some(SavedNorm::Behind(saved)) => {
                let (norm, saved) = *saved;
                let (residual, affine);
                (grad, residual, affine) = self.backward_norm(&norm, saved, y, grad);
                let [dx, dweight] =
                    self.backward_product(x, weight.shape(), slice(&weight), &grad, [wanted[0], wanted[1]]);
                let made = [dx, dweight].into_iter().chain(affine.map(Some)).chain(residual.map(Some));
                gradients.iter_mut().zip(made).for_each(|(to, made)| *to = made);
                return gradients;
            }
            Some(SavedNorm::Folded(folded)) => Some(folded),
            None => None,
        };
        let [.., out] = grad.shape().dims::<4>();
        // For a bias, and for γ, of which the weight's gradient alone does not know the mean's part.
        let asked = wanted[2..N - usize::from(self.has_residual)].contains(&true) || folded.is_some();
        let sums = match y {
            Some(y) => columns::sums_of_passed(slice_mut(&mut grad), slice(&y), self.clip, out),
            None if asked => columns::sums(slice(&grad), out),
            None => Vec::new(),
        };
        let filters = match &folded {
            Some(folded) => Cow::Owned(folded.weight(slice(&weight))),
            None => Cow::Borrowed(slice(&weight)),
        };
        let wants_weight = wanted[1] || folded.is_some() && wanted[2];
        let [dx, mut dweight] =
            self.backward_product(x, weight.shape(), &filters, &grad, [wanted[0], wants_weight]);
        if let (Some(folded), Some(dweight)) = (&folded, &mut dweight) {
            let dgamma = folded.gradients(slice(&weight), slice_mut(dweight), &sums);
            gradients[2] = Some(tensor(dgamma, Shape::new([out])));
        }
        (gradients[0], gradients[1]) = (dx, dweight);
        if !sums.is_empty() && (self.has_bias || folded.is_some()) {
            gradients[2 + usize::from(folded.is_some())] = Some(tensor(sums, Shape::new([out])));
        }
        if self.has_residual {
            gradients[N - 1] = Some(grad);
        }
        gradients
    }

    fn images(&self) -> [bool; N] {
        std::array::from_fn(|i| i == 0 || self.has_residual && i == N - 1)
    }

    fn makes_image(&self) -> bool {
        true
    }
}

impl Conv {
    fn run<const N: usize>(self, inputs: Vec<T>) -> T {
        run(self, <[T; N]>::try_from(inputs).expect("so many were counted"))
    }

    fn is_clipped(&self) -> bool {
        self.clip != [f32::NEG_INFINITY, f32::INFINITY]
    }

    fn then<'a>(&self, bias: Option<&'a [f32]>, residual: Option<&'a [f32]>) -> kernel::Then<'a> {
        kernel::Then { bias, residual, clip: self.clip, ..kernel::Then::default() }
    }

    /// Through a batch norm by the batch and what follows it: the gradient of what the convolution made, that of the residual, and those
    /// of γ and β.
    fn backward_norm(
        &self,
        norm: &BatchNorm,
        [x, gamma, beta]: [FlexTensor; 3],
        y: Option<FlexTensor>,
        mut grad: FlexTensor,
    ) -> (FlexTensor, Option<FlexTensor>, [FlexTensor; 2]) {
        let len = grad.shape().num_elements();
        let (dx, residual, affine) = if self.has_residual {
            let mut affine = [const { Vec::new() }; 2];
            let dx = made(grad.shape(), |dx| {
                let (y, gamma, grad) = (y.as_ref().map(slice), slice(&gamma), slice_mut(&mut grad));
                affine = with_numbers!(self, &x, len, |x| norm.backward_residual(x, y, gamma, grad, dx));
            });
            (dx, Some(grad), affine)
        } else {
            let (affine, dx) = ([slice(&gamma), slice(&beta)], slice_mut(&mut grad));
            let affine = with_numbers!(self, &x, len, |x| norm.backward(x, affine, dx));
            (grad, None, affine)
        };
        (dx, residual, affine.map(|values| tensor(values, gamma.shape())))
    }

    /// Gradients of `x`, whose memory it may take, and of the filters from that of their product.
    fn backward_product(
        &self,
        x: FlexTensor,
        shape: Shape,
        filters: &[f32],
        grad: &FlexTensor,
        wanted: [bool; 2],
    ) -> [Option<FlexTensor>; 2] {
        let (d, grad) = (self.window(&x, &shape), slice(grad));
        let dweight = wanted[1].then(|| made(shape, |dw| self.backward_weight(&d, slice(&x), grad, dw)));
        if !wanted[0] {
            return [None, dweight];
        }
        let mut dx = x;
        if self.gate.is_none() {
            let shape = dx.shape();
            // Nobody reads it any more: its memory may serve for its gradient.
            drop(dx);
            dx = made(shape, |_| ());
        }
        self.backward_data(&d, filters, grad, slice_mut(&mut dx));
        [Some(dx), dweight]
    }

    fn product(&self, x: &FlexTensor, shape: Shape, weight: &[f32], then: &kernel::Then<'_>) -> FlexTensor {
        let (d, made_of) = self.sizes(x, &shape);
        made(made_of, |y| self.multiply(&d, slice(x), weight, then, y))
    }

    /// For a batch norm by the batch, which reads it as [`with_numbers`] has it; and the shape of the result.
    fn product_alone(&self, x: &FlexTensor, weight: &FlexTensor) -> (FlexTensor, Shape) {
        let (d, shape) = self.sizes(x, &weight.shape());
        let (len, x, weight) = (shape.num_elements(), slice(x), slice(weight));
        let then = kernel::Then::default();
        let product = match kernel::makes_halves(self.operands) {
            true => made(Shape::new([len.div_ceil(2)]), |words| {
                self.multiply(&d, x, weight, &then, Bf16::in_words_mut(words, len));
            }),
            false => made(Shape::new([len]), |y| self.multiply(&d, x, weight, &then, y)),
        };
        (product, shape)
    }

    fn multiply<N: Number>(
        &self,
        d: &Window,
        x: &[f32],
        weight: &[f32],
        then: &kernel::Then<'_>,
        y: &mut [N],
    ) {
        match self.is_depthwise {
            true => kernel::depthwise(d, x, weight, then, y),
            false => kernel::forward(d, self.options.groups, self.operands, x, weight, then, y),
        }
    }

    /// The window over `x [n, h, w, c]` and the shape of the result, `[n, oh, ow, out]`.
    fn sizes(&self, x: &FlexTensor, weight: &Shape) -> (Window, Shape) {
        let d = self.window(x, weight);
        let ([oh, ow], [out, ..]) = (d.out(), weight.dims::<4>());
        (d, Shape::new([d.n, oh, ow, out]))
    }

    fn backward_weight(&self, d: &Window, x: &[f32], grad: &[f32], dw: &mut [f32]) {
        match self.is_depthwise {
            true => kernel::depthwise_backward_weight(d, x, grad, dw),
            false => kernel::backward_weight(d, self.options.groups, self.operands, x, grad, dw),
        }
    }

    fn backward_data(&self, d: &Window, weight: &[f32], grad: &[f32], dx: &mut [f32]) {
        match self.is_depthwise {
            true => kernel::depthwise_backward_data(d, weight, grad, self.gate, dx),
            false => {
                kernel::backward_data(d, self.options.groups, self.operands, weight, grad, self.gate, dx)
            }
        }
    }

    /// Of `x [n, h, w, c]` and a weight's shape.
    fn window(&self, x: &FlexTensor, weight: &Shape) -> Window {
        let [n, h, w, c] = x.shape().dims();
        let [_, _, kh, kw] = weight.dims();
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
