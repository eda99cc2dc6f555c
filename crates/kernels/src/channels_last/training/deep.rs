//! Winograd's convolution of few tiles with many filters, as in the last layers of a network: transformed, the filters would be read
//! from memory once for a handful of products.  So every task takes some filters, transforms those of some channels at a time
//! into the second cache, and multiplies all tiles with them.

use rayon::prelude::*;

use super::super::vector::lanes;
use super::super::winograd::{POSITIONS, TILES, multiply, transform};
use super::super::with_buffer;
use super::panels::starts;
use super::rows::Target;
use super::scratch::Scratch;
use super::transformed::Filters;
use super::winograd::Tiles;
use crate::Isa;
use crate::gemm::Shared;

/// Channels whose filters are transformed at a time.
const CHANNELS: usize = 32;

/// Whether all tiles fit a block, and the filters no cache.
pub(super) fn pays(n_tiles: usize, [n, channels]: [usize; 2]) -> bool {
    n_tiles <= TILES && n * channels >= 1 << 16
}

/// Writes the convolution of all tiles at the target.
///
/// # Safety
/// As [`super::winograd::convolve`].
pub(super) unsafe fn convolve(tiles: &Tiles<'_>, n_tiles: usize, filters: &Filters<'_>, target: Target) {
    let isa = Isa::best();
    let [o, c] = filters.size;
    let pitch = c.next_multiple_of(lanes(isa));
    let mut inner = Scratch::new(POSITIONS * n_tiles * pitch);
    let rows = Shared::new(&mut inner);
    (0..n_tiles).into_par_iter().for_each(|tile| {
        // SAFETY: pixels of an image, or zeros; from a tile's row on lie those of all positions, of which this task writes its own.
        unsafe {
            let len = ((POSITIONS - 1) * n_tiles + 1) * pitch;
            let to = std::slice::from_raw_parts_mut(rows.at(tile * pitch), len);
            transform(isa, &tiles.pixels(tile), c, to, n_tiles * pitch);
        }
    });
    let starts = starts(o);
    (0..starts.len() - 1).into_par_iter().with_max_len(1).for_each(|panel| {
        let (range, cols) = (starts[panel]..starts[panel + 1], starts[panel + 1] - starts[panel]);
        let count = cols.min(o - range.start);
        with_buffer(POSITIONS * cols * (CHANNELS + n_tiles), |buffer| {
            let (packed, products) = buffer.split_at_mut(POSITIONS * CHANNELS * cols);
            for first in (0..c).step_by(CHANNELS) {
                let some = first..(first + CHANNELS).min(c);
                let n = some.len();
                // SAFETY: the buffer has a row for each of these channels at every position.
                unsafe { filters.transform(range.clone(), some, first, CHANNELS, Shared::new(packed)) };
                for position in 0..POSITIONS {
                    let a = &inner[position * n_tiles * pitch + first..];
                    let b = &packed[position * CHANNELS * cols..];
                    let made = &mut products[position * n_tiles * cols..][..n_tiles * cols];
                    multiply(isa, (a, pitch), b, (made, cols), [n_tiles, n, count], first > 0);
                }
            }
            for tile in 0..n_tiles {
                let made = &products[tile * cols..];
                // SAFETY: by the caller; this task alone writes the panel's filters.
                unsafe { tiles.write(tile, made, n_tiles * cols, range.start..range.start + count, target) };
            }
        });
    });
}
