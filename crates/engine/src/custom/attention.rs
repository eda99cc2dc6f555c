//! Multi-head attention, whole heads at a time.

use burn_backend::ops::{ActivationOps, FloatTensorOps, IntTensorOps};
use burn_backend::{FloatDType, Scalar, TensorMetadata};
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::attention::{self as kernel, Normalisers, Shape};
use headstart_kernels::dropout::Dropout;
use headstart_kernels::gemm::Operands;

use super::memory::made;
use super::operator::{Operator, integers, is_ours, run, slice, slice_mut};
use crate::tensor::{T, dims, reshape, scale};

/// What a score is lowered by where a key is not attended: its exponential is exactly 0.
const MASKED: f64 = -1e9;

/// `query [n, s_q, width]`, `key, value [n, s_k, width]`, and where `mask? [n, s_k]` is 0 a key is not attended; scores
/// are multiplied by `factor`, and factors of products rounded to `operands`.  `drop` is for tensors that are [`ours`].
pub(crate) fn attention(
    [query, key, value]: [T; 3],
    mask: Option<T>,
    heads: usize,
    factor: f64,
    operands: Operands,
    drop: Option<Dropout>,
) -> T {
    let (q, k) = (dims(&query), dims(&key));
    let (n, s_q, width, s_k) = (q[0], q[1], q[2], k[1]);
    if ours([&query, &key, &value], mask.as_ref()) {
        let bias = mask.as_ref().and_then(integers).map(|keep| {
            keep.into_iter().map(|k| if k == 0 { MASKED as f32 } else { 0.0 }).collect::<Vec<f32>>()
        });
        let size = width / heads;
        let shape = Shape { n, s_q, s_k, heads, size, scale: factor as f32, operands };
        return run(Attention { shape, bias, drop }, [query, key, value]);
    }
    debug_assert!(drop.is_none(), "whoever drops asks whether the tensors are ours");
    let split = |t: T, s: usize| B::float_permute(reshape(t, &[n, s, heads, width / heads]), &[0, 2, 1, 3]);
    let query = scale(split(query, s_q), factor);
    let scores = B::float_matmul(query, B::float_transpose(split(key, s_k)));
    let scores = match mask {
        Some(mask) => {
            let keep = B::int_into_float(mask, FloatDType::F32);
            let bias = scale(B::float_add_scalar(keep, Scalar::Float(-1.0)), -MASKED);
            B::float_add(scores, reshape(bias, &[n, 1, 1, s_k]))
        }
        None => scores,
    };
    let mixed = B::float_matmul(B::softmax(scores, 3), split(value, s_k));
    reshape(B::float_permute(mixed, &[0, 2, 1, 3]), &[n, s_q, width])
}

#[derive(Debug)]
struct Attention {
    shape: Shape,
    bias: Option<Vec<f32>>,
    drop: Option<Dropout>,
}

/// Whether our kernel takes these tensors.
pub(crate) fn ours(qkv: [&T; 3], mask: Option<&T>) -> bool {
    let [q, k, _] = qkv.map(dims);
    q[0] * q[1] * k[1] > 0 && is_ours(qkv) && mask.is_none_or(|m| integers(m).is_some())
}

impl Operator<3> for Attention {
    type Saved = ([FlexTensor; 3], Normalisers);

    fn forward(&self, inputs: [FlexTensor; 3]) -> (FlexTensor, Self::Saved) {
        let mut normalisers = Normalisers::new();
        let y = made(inputs[0].shape(), |y| {
            normalisers = kernel::forward(
                &self.shape,
                inputs.each_ref().map(slice),
                self.bias.as_deref(),
                self.drop,
                y,
            );
        });
        (y, (inputs, normalisers))
    }

    fn backward(
        self,
        (inputs, normalisers): Self::Saved,
        grad: FlexTensor,
        _: [bool; 3],
    ) -> [Option<FlexTensor>; 3] {
        let mut gradients = inputs.each_ref().map(|t| made(t.shape(), |to| to.fill(0.0)));
        kernel::backward(
            &self.shape,
            inputs.each_ref().map(slice),
            self.bias.as_deref(),
            self.drop,
            &normalisers,
            slice(&grad),
            gradients.each_mut().map(slice_mut),
        );
        gradients.map(Some)
    }
}
