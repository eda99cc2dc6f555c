//! Dropout without a mask.

use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::dropout::Dropout;

use super::operator::{Operator, is_ours, run, slice_mut};
use crate::tensor::T;

/// Whether [`dropout`] takes a tensor.
pub(crate) fn drops(x: &T) -> bool {
    is_ours([x])
}

/// Drops some of the elements.
pub(crate) fn dropout(x: T, drop: Dropout) -> T {
    run(Drop(drop), [x])
}

#[derive(Debug)]
struct Drop(Dropout);

impl Operator<1> for Drop {
    type Saved = ();

    fn forward(&self, [mut x]: [FlexTensor; 1]) -> (FlexTensor, ()) {
        self.0.apply(slice_mut(&mut x));
        (x, ())
    }

    fn backward(self, (): (), mut grad: FlexTensor, _: [bool; 1]) -> [Option<FlexTensor>; 1] {
        self.0.apply(slice_mut(&mut grad));
        [Some(grad)]
    }
}
