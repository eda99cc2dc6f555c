//! The sum of two images, as a residual is added.

use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::channels_last::training as kernel;

use super::operator::{Operator, is_image, is_ours, run, slice, slice_mut};
use crate::tensor::{T, dims};

/// Whether [`add`] takes two tensors: images of one shape, of which one lies with channels last.
pub(crate) fn adds(a: &T, b: &T) -> bool {
    is_ours([a, b]) && dims(a) == dims(b) && (is_image(a) || is_image(b))
}

/// The sum of images.
pub(crate) fn add(a: T, b: T) -> T {
    run(Add, [a, b])
}

#[derive(Debug)]
struct Add;

impl Operator<2> for Add {
    type Saved = ();

    fn forward(&self, [a, b]: [FlexTensor; 2]) -> (FlexTensor, ()) {
        // Over the one that nobody else holds.
        let (mut to, from) = if a.is_unique() { (a, b) } else { (b, a) };
        kernel::add(slice_mut(&mut to), slice(&from));
        (to, ())
    }

    fn backward(self, (): (), grad: FlexTensor, _: [bool; 2]) -> [Option<FlexTensor>; 2] {
        [Some(grad.clone()), Some(grad)]
    }

    fn images(&self) -> [bool; 2] {
        [true; 2]
    }

    fn makes_image(&self) -> bool {
        true
    }
}
