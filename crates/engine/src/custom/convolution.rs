//! Convolution, with what follows it.  Ours where it is dense or depthwise.

use std::borrow::Cow;

use burn_backend::ops::{ConvOptions, ModuleOps};
use burn_backend::{Shape, TensorMetadata};
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::batch_norm::{Folded, Statistics};
use headstart_kernels::channels_last::training as kernel;
use headstart_kernels::gemm::Operands;
use headstart_kernels::{Window, columns};

use super::batch_norm::{GivenNorm, Then, as_f32, floats};
use super::memory::keep;
use super::operator::{Operator, is_ours, made, made_to_last, run, slice, slice_mut, tensor};
use crate::tensor::T;

/// `x [n, c, h, w]`, `weight [out, c/groups, kh, kw]`, `bias? [out]`.  Depthwise convolutions are not rounded.
pub(crate) fn conv2d(
    x: T,
    weight: T,
    bias: Option<T>,
    options: ConvOptions<2>,
    operands: Operands,
    then: Then,
) -> T {
    let [out, per_group, ..] = weight.shape().dims::<4>();
    let is_depthwise = options.groups == out && per_group == 1;
    let can = options.groups == 1 || is_depthwise && then.residual.is_none();
    let are_ours = is_ours([&x, &weight]) && bias.as_ref().is_none_or(|b| is_ours([b])) && then.is_ours();
    if !can || !are_ours {
        return then.apply(B::conv2d(x, weight, bias, options));
    }
    let (clip, has_bias, has_residual) = (then.range(), bias.is_some(), then.residual.is_some());
    let (is_gated, gate) = (then.is_gated, then.gate.map(as_f32));
    let mut inputs = vec![x, weight];
    let norm = then.norm.map(|GivenNorm { params: [gamma, beta, mean, variance], eps }| {
        inputs.extend([gamma, beta]);
        (Statistics { mean: floats(mean), variance: floats(variance) }, eps)
    });
    inputs.extend(bias);
    inputs.extend(then.residual);
    let conv = Conv { options, operands, norm, has_bias, has_residual, clip, is_gated, gate };
    match inputs.len() {
        2 => conv.run::<2>(inputs),
        3 => conv.run::<3>(inputs),
        4 => conv.run::<4>(inputs),
        _ => conv.run::<5>(inputs),
    }
}

/// Inputs are `x`, the weight, γ and β of the batch norm if there is one, the bias, the residual.
#[derive(Debug)]
struct Conv {
    options: ConvOptions<2>,
    operands: Operands,
    norm: Option<(Statistics, f64)>,
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
    folded: Option<Folded>,
    /// The result, if it was clipped and nobody else asks it what may pass.
    y: Option<FlexTensor>,
}

impl<const N: usize> Operator<N> for Conv {
    type Saved = Saved;

    fn forward(&self, inputs: [FlexTensor; N]) -> (FlexTensor, Self::Saved) {
        let mut inputs = inputs.into_iter();
        let mut next = || inputs.next().expect("as many as run was given");
        let (x, weight) = (next(), next());
        let folded = self.norm.as_ref().map(|(statistics, eps)| {
            let (gamma, beta) = (next(), next());
            Folded::new(statistics.clone(), *eps, [slice(&gamma), slice(&beta)])
        });
        let bias = self.has_bias.then(&mut next);
        let residual = self.has_residual.then(&mut next);
        let then = kernel::Then {
            bias: folded.as_ref().map(Folded::bias).or(bias.as_ref().map(slice)),
            residual: residual.as_ref().map(slice),
            clip: self.clip,
            ..kernel::Then::default()
        };
        let y = self.product(&x, weight.shape(), &filters(folded.as_ref(), &weight), &then);
        let saved = (self.is_clipped() && !self.is_gated).then(|| y.clone());
        (y, Saved { x, weight, folded, y: saved })
    }

    fn backward(self, saved: Saved, mut grad: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N] {
        let Saved { x, weight, folded, y } = saved;
        let [.., out] = grad.shape().dims::<4>();
        // For a bias, and for γ, of which the weight's gradient alone does not know the mean's part.
        let asked = wanted[2..N - usize::from(self.has_residual)].contains(&true) || folded.is_some();
        let sums = match y {
            Some(y) => {
                let sums = columns::sums_of_passed(slice_mut(&mut grad), slice(&y), self.clip, out);
                keep(y);
                sums
            }
            None if asked => columns::sums(slice(&grad), out),
            None => Vec::new(),
        };
        let d = self.window(&x, &weight.shape());
        let mut gradients = [const { None }; N];
        if wanted[1] || folded.is_some() && wanted[2] {
            let mut dweight =
                made_to_last(weight.shape(), |dw| self.backward_weight(&d, slice(&x), slice(&grad), dw));
            if let Some(folded) = &folded {
                let dgamma = folded.gradients(slice(&weight), slice_mut(&mut dweight), &sums);
                gradients[2] = Some(tensor(dgamma, Shape::new([out])));
            }
            gradients[1] = Some(dweight);
        }
        if wanted[0] {
            let (filters, grad) = (filters(folded.as_ref(), &weight), slice(&grad));
            let mut dx = x;
            if self.gate.is_none() {
                let shape = dx.shape();
                // Nobody reads it any more: its memory may serve for its gradient.
                keep(dx);
                dx = made(shape, |_| ());
            }
            self.backward_data(&d, &filters, grad, slice_mut(&mut dx));
            gradients[0] = Some(dx);
        } else {
            keep(x);
        }
        if !sums.is_empty() && (self.has_bias || folded.is_some()) {
            gradients[2 + usize::from(folded.is_some())] = Some(tensor(sums, Shape::new([out])));
        }
        match self.has_residual {
            true => gradients[N - 1] = Some(grad),
            false => keep(grad),
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

/// The weight, scaled if a batch norm is folded into it.
fn filters<'a>(folded: Option<&Folded>, weight: &'a FlexTensor) -> Cow<'a, [f32]> {
    match folded {
        Some(folded) => Cow::Owned(folded.weight(slice(weight))),
        None => Cow::Borrowed(slice(weight)),
    }
}

impl Conv {
    fn run<const N: usize>(self, inputs: Vec<T>) -> T {
        run(self, <[T; N]>::try_from(inputs).expect("so many were counted"))
    }

    fn is_clipped(&self) -> bool {
        self.clip != [f32::NEG_INFINITY, f32::INFINITY]
    }

    fn is_depthwise(&self) -> bool {
        self.options.groups > 1
    }

    fn product(&self, x: &FlexTensor, shape: Shape, weight: &[f32], then: &kernel::Then<'_>) -> FlexTensor {
        let d = self.window(x, &shape);
        let [oh, ow] = d.out();
        let [out, ..] = shape.dims::<4>();
        made(Shape::new([d.n, oh, ow, out]), |y| match self.is_depthwise() {
            true => kernel::depthwise(&d, slice(x), weight, then, y),
            false => kernel::forward(&d, self.operands, slice(x), weight, then, y),
        })
    }

    fn backward_weight(&self, d: &Window, x: &[f32], grad: &[f32], dw: &mut [f32]) {
        match self.is_depthwise() {
            true => kernel::depthwise_backward_weight(d, x, grad, dw),
            false => kernel::backward_weight(d, self.operands, x, grad, dw),
        }
    }

    fn backward_data(&self, d: &Window, weight: &[f32], grad: &[f32], dx: &mut [f32]) {
        match self.is_depthwise() {
            true => kernel::depthwise_backward_data(d, weight, grad, self.gate, dx),
            false => kernel::backward_data(d, self.operands, weight, grad, self.gate, dx),
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
