//! Winograd's F(4×4, 3×3) of [`super::super::Winograd`] for a step of training: filters are transformed anew every time, for
//! the gradient of the image turned by half a turn, and what lies outside of an image is read as zeros.

use std::ops::Range;

use rayon::prelude::*;

use super::super::tile::ROWS_MAX;
use super::super::vector::lanes;
use super::super::winograd::{
    OUT, POSITIONS, SIDE, Target as TileTarget, block as block_of, finish, finish_in_halves, multiply,
    transform,
};
use super::super::with_buffer;
use super::rows::{Images, Target};
use super::transformed::{Filters, Packed};
use super::{Then, deep};
use crate::{Floats, Isa};

/// Writes results of a `size` at `to`, of images that begin `pad` rows and columns after what the first filter reads.
///
/// # Safety
/// The target can be written at every pixel by nobody else, as many numbers as there are filters; a residual has its size.
pub(super) unsafe fn convolve(
    images: Images<'_>,
    n: usize,
    pad: [usize; 2],
    filters: &Filters<'_>,
    then: &Then<'_>,
    size: [usize; 2],
    target: Target,
) {
    let width = lanes(Isa::best());
    let bias = Floats::padded(then.bias.unwrap_or_default(), filters.size[0].next_multiple_of(width));
    let zeros = Floats::zeros(images.channels);
    let tiles = Tiles { images, pad, size, then, bias: &bias, zeros: &zeros };
    let n_tiles = n_tiles(n, size);
    if deep::pays(n_tiles, filters.size) {
        // SAFETY: by the caller.
        return unsafe { deep::convolve(&tiles, n_tiles, filters, target) };
    }
    let filters = &Packed::new(filters);
    let tasks = 3 * rayon::current_num_threads();
    let len = n_tiles
        .div_ceil(tasks)
        .next_multiple_of(ROWS_MAX)
        .clamp(2 * ROWS_MAX, block_of([images.channels, filters.size[0]]));
    let down = n_tiles.div_ceil(len);
    let panels = filters.starts.len() - 1;
    let across = tasks.div_ceil(down).min(panels);
    (0..down * across).into_par_iter().with_max_len(1).for_each(|task| {
        let (i, j) = (task / across, task % across);
        let panels = j * panels / across..(j + 1) * panels / across;
        // SAFETY: by the caller; no two tasks share a pixel's filters.
        unsafe { block(&tiles, filters, target, i * len..((i + 1) * len).min(n_tiles), panels) };
    });
}

/// # Safety
/// Results of these tiles and panels can be written at the target by this thread alone.
unsafe fn block(
    tiles: &Tiles<'_>,
    filters: &Packed,
    target: Target,
    block: Range<usize>,
    panels: Range<usize>,
) {
    let isa = Isa::best();
    let (c, len) = (tiles.images.channels, block.len());
    let pitch = c.next_multiple_of(lanes(isa));
    let [first, end] = [filters.starts[panels.start], filters.starts[panels.end]];
    let width = end - first;
    with_buffer(POSITIONS * len * (pitch + width), |buffer| {
        let (inner, products) = buffer.split_at_mut(POSITIONS * len * pitch);
        for (i, tile) in block.clone().enumerate() {
            // SAFETY: pixels of an image, or zeros.
            unsafe { transform(isa, &tiles.pixels(tile), c, &mut inner[i * pitch..], len * pitch) };
        }
        for position in 0..POSITIONS {
            let a = &inner[position * len * pitch..][..len * pitch];
            let made = &mut products[position * len * width..][..len * width];
            for panel in panels.clone() {
                let (b, range) = (filters.panel(panel, position), filters.range(panel));
                let to = (&mut made[range.start - first..], width);
                multiply(isa, (a, pitch), b, to, [len, c, range.len()], false);
            }
        }
        let count = filters.range(panels.end - 1).end - first;
        for (i, tile) in block.enumerate() {
            // SAFETY: by the caller.
            unsafe { tiles.write(tile, &products[i * width..], len * width, first..first + count, target) };
        }
    });
}

/// Rows and columns of tiles of an image of results.
fn grid(size: [usize; 2]) -> [usize; 2] {
    size.map(|n| n.div_ceil(OUT))
}

/// Tiles of all images of results.
pub(super) fn n_tiles(n: usize, size: [usize; 2]) -> usize {
    n * grid(size).iter().product::<usize>()
}

/// The tiles of some images.
pub(super) struct Tiles<'a> {
    pub(super) images: Images<'a>,
    /// Rows and columns that are read before the first.
    pub(super) pad: [usize; 2],
    /// Of the results.
    pub(super) size: [usize; 2],
    pub(super) then: &'a Then<'a>,
    /// Padded to whole vectors.
    pub(super) bias: &'a [f32],
    /// A pixel.
    pub(super) zeros: &'a [f32],
}

impl Tiles<'_> {
    /// Rows and columns of tiles of an image.
    pub(super) fn grid(&self) -> [usize; 2] {
        grid(self.size)
    }

    /// Image, row and column of a tile.
    pub(super) fn at(&self, tile: usize) -> [usize; 3] {
        let [rows, cols] = self.grid();
        [tile / (rows * cols), tile / cols % rows, tile % cols]
    }

    /// Writes some filters for a tile, of products that lie `stride` apart by position.
    ///
    /// # Safety
    /// The target can be written at every pixel of the tile, for these filters by nobody else.
    pub(super) unsafe fn write(
        &self,
        tile: usize,
        products: &[f32],
        stride: usize,
        some: Range<usize>,
        target: Target,
    ) {
        let ([h, w], [image, y, x]) = (self.size, self.at(tile));
        let (y, x) = (y * OUT, x * OUT);
        let size = [OUT.min(h - y), OUT.min(w - x)];
        let Target { to, row, pixel, .. } = target;
        let (at, strides) = (target.index([image, y, x]) + some.start, [row, pixel]);
        let residual = self.then.residual.map(|residual| (residual[at..].as_ptr(), strides));
        // SAFETY: `size` pixels of the result, and of what is added to it, from here on, by the caller.
        unsafe {
            let (clamp, gate) = (self.then.clip, self.then.gate);
            let target = TileTarget { to: to.at(at), size, strides, residual, clamp, gate };
            let (isa, bias) = (Isa::best(), &self.bias[some.start..]);
            match to.in_halves {
                true => finish_in_halves(isa, products, stride, bias, some.len(), &target),
                false => finish(isa, products, stride, bias, some.len(), &target),
            }
        }
    }

    /// Where the pixels of a tile lie.
    pub(super) fn pixels(&self, tile: usize) -> [*const f32; POSITIONS] {
        let [image, row, col] = self.at(tile);
        let [h, w] = self.images.size;
        std::array::from_fn(|i| {
            let y = (row * OUT + i / SIDE).wrapping_sub(self.pad[0]);
            let x = (col * OUT + i % SIDE).wrapping_sub(self.pad[1]);
            let inside = y < h && x < w;
            if inside { self.images.at(image, y, x).as_ptr() } else { self.zeros.as_ptr() }
        })
    }
}
