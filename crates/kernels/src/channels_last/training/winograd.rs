//! Winograd's F(4×4, 3×3) of [`super::super::Winograd`] for a step of training: filters are transformed anew every time, for
//! the gradient of the image turned by half a turn, and what lies outside of an image is read as zeros.

use std::ops::Range;

use rayon::prelude::*;

use super::super::tile::ROWS_MAX;
use super::super::vector::lanes;
use super::super::winograd::{
    OUT, POSITIONS, SIDE, Target, block as block_of, finish, finish_in_halves, multiply, transform,
};
use super::super::with_buffer;
use super::rows::{Images, To};
use super::transformed::{Filters, Packed};
use super::{Then, deep};
use crate::{Floats, Isa};

/// Writes `[n, h, w, o]` at `to` of images that begin `pad` rows and columns after what the first filter reads.
pub(super) fn convolve(
    images: Images<'_>,
    n: usize,
    pad: [usize; 2],
    filters: &Filters<'_>,
    then: &Then<'_>,
    size: [usize; 2],
    to: To,
) {
    let o = filters.size[0];
    assert_eq!(to.len, n * size[0] * size[1] * o, "elements of the result");
    let width = lanes(Isa::best());
    let bias = Floats::padded(then.bias.unwrap_or_default(), o.next_multiple_of(width));
    let zeros = Floats::zeros(images.channels);
    let tiles = Tiles { images, pad, size, then, bias: &bias, zeros: &zeros };
    let n_tiles = n_tiles(n, size);
    if deep::pays(n_tiles, filters.size) {
        return deep::convolve(&tiles, n_tiles, filters, to);
    }
    let filters = &Packed::new(filters);
    let tasks = 3 * rayon::current_num_threads();
    let len = n_tiles
        .div_ceil(tasks)
        .next_multiple_of(ROWS_MAX)
        .clamp(2 * ROWS_MAX, block_of([images.channels, o]));
    let down = n_tiles.div_ceil(len);
    let panels = filters.starts.len() - 1;
    let across = tasks.div_ceil(down).min(panels);
    (0..down * across).into_par_iter().with_max_len(1).for_each(|task| {
        let (i, j) = (task / across, task % across);
        let panels = j * panels / across..(j + 1) * panels / across;
        // SAFETY: `to` has every pixel of every image, and no two tasks share one's filters.
        unsafe { block(&tiles, filters, to, i * len..((i + 1) * len).min(n_tiles), panels) };
    });
}

/// # Safety
/// Results of these tiles and panels can be written at `to` by this thread alone.
unsafe fn block(tiles: &Tiles<'_>, filters: &Packed, to: To, block: Range<usize>, panels: Range<usize>) {
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
        let (o, count) = (filters.size[0], filters.range(panels.end - 1).end - first);
        for (i, tile) in block.enumerate() {
            // SAFETY: by the caller.
            unsafe { tiles.write(tile, &products[i * width..], len * width, first..first + count, o, to) };
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

    /// Writes some filters of `o` for a tile, of products that lie `stride` apart by position.
    ///
    /// # Safety
    /// The result `to` has every pixel of every image, and nobody else writes these.
    pub(super) unsafe fn write(
        &self,
        tile: usize,
        products: &[f32],
        stride: usize,
        some: Range<usize>,
        o: usize,
        to: To,
    ) {
        let ([h, w], [image, row, col]) = (self.size, self.at(tile));
        let (y, x) = (row * OUT, col * OUT);
        let size = [OUT.min(h - y), OUT.min(w - x)];
        let (at, strides) = (((image * h + y) * w + x) * o + some.start, [w * o, o]);
        let residual = self.then.residual.map(|residual| (residual[at..].as_ptr(), strides));
        // SAFETY: `size` pixels of the result, and of what is added to it, from here on, by the caller.
        unsafe {
            let (clamp, gate) = (self.then.clip, self.then.gate);
            let target = Target { to: to.at(at), size, strides, residual, clamp, gate };
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
        let Images { data, size: [h, w], channels } = self.images;
        std::array::from_fn(|i| {
            let y = (row * OUT + i / SIDE).wrapping_sub(self.pad[0]);
            let x = (col * OUT + i % SIDE).wrapping_sub(self.pad[1]);
            let inside = y < h && x < w;
            if inside { data[((image * h + y) * w + x) * channels..].as_ptr() } else { self.zeros.as_ptr() }
        })
    }
}
