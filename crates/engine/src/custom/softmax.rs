//! Softmax over the last axis, and the mean cross-entropy of rows.

use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_backend::{Shape, TensorMetadata};
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::softmax as kernel;

use super::memory::made;
use super::operator::{Operator, is_ours, run, slice, tensor};
use crate::Device;
use crate::tensor::{T, dims, from_f32, scale};

/// Softmax along `axis`.
pub(crate) fn softmax(x: T, axis: usize) -> T {
    let is_last = axis + 1 == dims(&x).len();
    if is_last && is_ours([&x]) { run(Softmax, [x]) } else { B::softmax(x, axis) }
}

/// Mean of `−log softmax(logits)[label]` over the rows of `logits [n, n_classes]`: `[1]`.
pub(crate) fn cross_entropy(logits: T, labels: &[usize], device: &Device) -> T {
    if is_ours([&logits]) {
        return run(CrossEntropy { labels: labels.to_vec() }, [logits]);
    }
    let shape = dims(&logits);
    let mut one_hot = vec![0.0f32; shape[0] * shape[1]];
    labels.iter().enumerate().for_each(|(i, &l)| one_hot[i * shape[1] + l] = 1.0);
    let picked = B::float_mul(B::log_softmax(logits, 1), from_f32(&shape, one_hot, device.plain()));
    scale(B::float_sum(picked), -1.0 / labels.len().max(1) as f64)
}

#[derive(Debug)]
struct Softmax;

impl Operator<1> for Softmax {
    type Saved = FlexTensor;

    fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, FlexTensor) {
        let y = made(x.shape(), |y| kernel::forward(slice(&x), width(&x), y));
        (y.clone(), y)
    }

    fn backward(self, y: FlexTensor, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        [Some(made(y.shape(), |dx| kernel::backward(slice(&y), slice(&grad), width(&y), dx)))]
    }
}

fn width(t: &FlexTensor) -> usize {
    t.shape().last().copied().unwrap_or(1).max(1)
}

#[derive(Debug)]
struct CrossEntropy {
    labels: Vec<usize>,
}

impl Operator<1> for CrossEntropy {
    /// Probabilities.
    type Saved = FlexTensor;

    fn forward(&self, [x]: [FlexTensor; 1]) -> (FlexTensor, FlexTensor) {
        let mut loss = 0.0;
        let p = made(x.shape(), |p| loss = kernel::cross_entropy(slice(&x), &self.labels, p));
        (tensor(vec![loss], Shape::new([1])), p)
    }

    fn backward(self, p: FlexTensor, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let grad = slice(&grad)[0];
        [Some(made(p.shape(), |dx| kernel::cross_entropy_backward(slice(&p), &self.labels, grad, dx)))]
    }
}
