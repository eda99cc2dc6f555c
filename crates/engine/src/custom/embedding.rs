//! Rows of a table by their numbers.

use burn_backend::ops::ModuleOps;
use burn_backend::{Shape, TensorMetadata};
use burn_dispatch::Dispatch as B;
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::embedding as kernel;

use super::memory::made;
use super::operator::{Operator, integers, is_ours, run, slice};
use crate::tensor::{T, dims};

/// Rows of `weight [vocabulary, width]` at `ids [batch, sequence]`.
pub(crate) fn embedding(weight: T, ids: T) -> T {
    match integers(&ids) {
        Some(values) if is_ours([&weight]) => {
            let operator = Embedding { shape: dims(&ids), ids: values };
            run(operator, [weight])
        }
        _ => B::embedding(weight, ids),
    }
}

#[derive(Debug)]
struct Embedding {
    /// `[batch, sequence]`.
    shape: Vec<usize>,
    ids: Vec<i64>,
}

impl Operator<1> for Embedding {
    /// The table's shape.
    type Saved = Shape;

    fn forward(&self, [weight]: [FlexTensor; 1]) -> (FlexTensor, Shape) {
        let [_, width] = weight.shape().dims::<2>();
        let mut shape = self.shape.clone();
        shape.push(width);
        let y = made(Shape::from(shape), |y| kernel::forward(slice(&weight), width, &self.ids, y));
        (y, weight.shape())
    }

    fn backward(self, table: Shape, grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        let [_, width] = table.dims::<2>();
        let dweight = made(table, |dw| kernel::backward(width, &self.ids, slice(&grad), dw));
        [Some(dweight)]
    }
}
