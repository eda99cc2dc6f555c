//! Images side by side, by channels.

use burn_backend::{Shape, TensorMetadata};
use burn_dispatch::backends::flex::FlexTensor;
use headstart_kernels::channels_last::training as kernel;

use super::memory::made;
use super::operator::{Operator, is_image, is_ours, run, slice};
use crate::tensor::{T, dims};

/// Images that are joined at once.
const MOST: usize = 8;

/// Whether [`concat`] takes tensors: images of one size, of which one lies with channels last.
pub(crate) fn concats(all: &[T]) -> bool {
    let size = |t: &T| match dims(t)[..] {
        [n, c, h, w] if n * c * h * w > 0 => Some([n, h, w]),
        _ => None,
    };
    let first = all.first().and_then(size);
    first.is_some() && all.iter().all(|t| is_ours([t]) && size(t) == first) && all.iter().any(is_image)
}

/// Images `[n, c, h, w]` as one of all their channels.
pub(crate) fn concat(mut all: Vec<T>) -> T {
    if all.len() > MOST {
        let mut rest = all.into_iter();
        all = Vec::new();
        while rest.len() > 0 {
            all.push(concat(rest.by_ref().take(MOST).collect()));
        }
        return concat(all);
    }
    match all.len() {
        1 => all.swap_remove(0),
        2 => join::<2>(all),
        3 => join::<3>(all),
        4 => join::<4>(all),
        5 => join::<5>(all),
        6 => join::<6>(all),
        7 => join::<7>(all),
        _ => join::<MOST>(all),
    }
}

fn join<const N: usize>(all: Vec<T>) -> T {
    let widths = all.iter().map(|t| dims(t)[1]).collect();
    run(Concat { widths }, <[T; N]>::try_from(all).expect("so many were counted"))
}

#[derive(Debug)]
struct Concat {
    /// Channels of each image.
    widths: Vec<usize>,
}

impl<const N: usize> Operator<N> for Concat {
    type Saved = ();

    fn forward(&self, images: [FlexTensor; N]) -> (FlexTensor, ()) {
        let [n, h, w, _] = images[0].shape().dims();
        let parts = images.each_ref().map(slice);
        let shape = Shape::new([n, h, w, self.widths.iter().sum()]);
        (made(shape, |y| kernel::concat(&parts, n * h * w, y)), ())
    }

    fn backward(self, (): (), grad: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N] {
        let [n, h, w, _] = grad.shape().dims();
        let mut first = 0;
        let mut part = |i: usize| {
            let from = first;
            first += self.widths[i];
            let shape = Shape::new([n, h, w, self.widths[i]]);
            wanted[i].then(|| made(shape, |to| kernel::part_of(slice(&grad), n * h * w, from, to)))
        };
        std::array::from_fn(&mut part)
    }

    fn images(&self) -> [bool; N] {
        [true; N]
    }

    fn makes_image(&self) -> bool {
        true
    }
}
