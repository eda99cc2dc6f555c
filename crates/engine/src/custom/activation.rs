//! Activations: what is applied to every element.

use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_backend::{Scalar, TensorMetadata};
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_graph::Op;
use headstart_kernels::{Activation, clip as clipping};

use super::memory::made;
use super::operator::{Operator, is_image, is_ours, run, slice, slice_mut};
use crate::tensor::{T, scale};

/// `max(x, 0)`.
pub(crate) fn relu(x: T) -> T {
    if is_ours([&x]) {
        run(Clip { range: [0.0, f32::INFINITY], is_image: is_image(&x) }, [x])
    } else {
        B::relu(x)
    }
}

/// `min(max(x, min), max)`.
pub(crate) fn clip(x: T, min: f64, max: f64) -> T {
    if is_ours([&x]) {
        return run(Clip { range: [min as f32, max as f32], is_image: is_image(&x) }, [x]);
    }
    B::float_clamp(x, Scalar::Float(min), Scalar::Float(max))
}

/// `x·Φ(x)`, with the error function or its approximation `0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`.
pub(crate) fn gelu(x: T, tanh: bool) -> T {
    if is_ours([&x]) {
        return pointwise(if tanh { Activation::GeluTanh } else { Activation::Gelu }, x);
    }
    if !tanh {
        return B::gelu(x);
    }
    let cube = B::float_mul(B::float_mul(x.clone(), x.clone()), x.clone());
    let inner = B::float_add(x.clone(), scale(cube, 0.044_715));
    let tanh = B::float_tanh(scale(inner, (2.0 / std::f64::consts::PI).sqrt()));
    scale(B::float_mul(x, B::float_add_scalar(tanh, Scalar::Float(1.0))), 0.5)
}

/// `x·σ(x)`.
pub(crate) fn silu(x: T) -> T {
    if is_ours([&x]) { pointwise(Activation::Silu, x) } else { B::float_mul(x.clone(), B::sigmoid(x)) }
}

/// One of them.
pub(super) fn activated(activation: Activation, x: T) -> T {
    match activation {
        Activation::Identity => x,
        Activation::Relu => relu(x),
        Activation::Relu6 => clip(x, 0.0, 6.0),
        Activation::Gelu => gelu(x, false),
        Activation::GeluTanh => gelu(x, true),
        Activation::Silu => silu(x),
        Activation::Sigmoid => B::sigmoid(x),
    }
}

/// The activation that an operator is.
pub(crate) fn activation_of(op: &Op) -> Option<Activation> {
    match op {
        Op::Relu => Some(Activation::Relu),
        Op::Gelu { tanh: false } => Some(Activation::Gelu),
        Op::Gelu { tanh: true } => Some(Activation::GeluTanh),
        Op::Silu => Some(Activation::Silu),
        Op::Sigmoid => Some(Activation::Sigmoid),
        _ => None,
    }
}

fn pointwise(activation: Activation, x: T) -> T {
    run(Pointwise { activation, is_image: is_image(&x) }, [x])
}

#[derive(Debug)]
struct Clip {
    range: [f32; 2],
    is_image: bool,
}

impl Operator<1> for Clip {
    type Saved = FlexTensor;

    fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, FlexTensor) {
        let mut y = x;
        clipping::forward(self.range, slice_mut(&mut y));
        (y.clone(), y)
    }

    fn backward(self, y: FlexTensor, mut grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        clipping::backward(slice(&y), self.range, slice_mut(&mut grad));
        [Some(grad)]
    }

    fn images(&self) -> [bool; 1] {
        [self.is_image]
    }

    fn makes_image(&self) -> bool {
        self.is_image
    }
}

#[derive(Debug)]
struct Pointwise {
    activation: Activation,
    is_image: bool,
}

impl Operator<1> for Pointwise {
    type Saved = FlexTensor;

    fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, FlexTensor) {
        (made(x.shape(), |y| self.activation.forward(slice(&x), y)), x)
    }

    fn backward(self, x: FlexTensor, mut grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        self.activation.backward(slice(&x), slice_mut(&mut grad));
        [Some(grad)]
    }

    fn images(&self) -> [bool; 1] {
        [self.is_image]
    }

    fn makes_image(&self) -> bool {
        self.is_image
    }
}
