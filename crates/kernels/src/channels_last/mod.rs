//! Operators of convolutional networks on images whose channels lie next to each other, for inference.
//!
//! All values of a network lie in one slice, the *arena*; a [`View`] says where an image lies in it.  An image has a margin
//! of zeros as wide as its readers' padding, so that no kernel looks at edges.  With channels last, what a filter reads of
//! one row is a run of memory: a convolution multiplies those runs with its packed filters where they lie, without copying
//! them into panels first (the indirect convolution of Dukhan, 2019).
//!
//! Operators are objects: they are made once, with their weights packed, and run many times on any number of examples
//! without taking memory.  A number depends on its own example alone, and is computed in one order: neither the other
//! examples of a batch nor the number of threads change a bit.

mod convolution;
mod copy;
mod depthwise;
mod filters;
mod linear;
mod outer;
mod pointwise;
mod pool;
mod product;
mod rounding;
#[cfg(test)]
mod tests;
mod tile;
pub mod training;
mod vector;
mod view;
mod winograd;

pub use convolution::Convolution;
pub use copy::{clear_margin, export, import, transfer};
pub use depthwise::Depthwise;
pub use linear::Linear;
pub use outer::transposed_product;
pub use pointwise::Pointwise;
pub use pool::{GlobalMean, Pool, PoolKind};
pub use tile::Finish;
pub use view::View;
pub use winograd::Winograd;

use std::cell::Cell;

use rayon::prelude::*;

use crate::Floats;

/// `f` of every number below `n`, on all threads or on this one.
fn each(n: usize, in_parallel: bool, f: impl Fn(usize) + Sync + Send) {
    if in_parallel {
        (0..n).into_par_iter().for_each(f);
    } else {
        (0..n).for_each(f);
    }
}

/// Calls `f` with a buffer of this thread, which may hold anything.
fn with_buffer<R>(len: usize, f: impl FnOnce(&mut [f32]) -> R) -> R {
    thread_local! {
        static BUFFER: Cell<Floats> = const { Cell::new(Floats::none()) };
    }
    let mut buffer = BUFFER.take();
    if buffer.len() < len {
        buffer = Floats::zeros(len);
    }
    let made = f(&mut buffer[..len]);
    BUFFER.set(buffer);
    made
}
