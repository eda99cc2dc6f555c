//! The sum of two images, as a residual is added.

use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::channels_last::training as kernel;

use super::operator::{Operator, is_image, is_ours, run, slice, slice_mut};
use crate::tensor::{T, dims};

/// The sum of images of one shape, if one of them lies with channels last; otherwise what was given.
pub(crate) fn add(a: T, b: T) -> Result<T, [T; 2]> {
    let is_ours = is_ours([&a, &b]) && dims(&a) == dims(&b) && (is_image(&a) || is_image(&b));
    if is_ours { Ok(run(Add, [a, b])) } else { Err([a, b]) }
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
