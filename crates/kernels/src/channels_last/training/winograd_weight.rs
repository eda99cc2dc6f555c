//! The gradient of 3×3 filters of stride 1, by Winograd's way: a fourth of the multiplications.
//!
//! ```text
//! dw = Gᵀ·[Σ_tiles (A·g·Aᵀ) ⊙ (Bᵀ·d·B)]·G     for tiles d 6×6 of the image and g 4×4 of the result's gradient
//! ```
//!
//! which is the derivative of `Y = Aᵀ·[(G·w·Gᵀ) ⊙ (Bᵀ·d·B)]·A`.  At each of the 36 positions the sum over tiles is a product of
//! matrices, `[o, tiles]·[tiles, c]`.  A task takes some filters and channels, and keeps their sums of all positions in the second
//! cache; or, where filters are few, some tiles, whose sums are added in the end.  How many depends on the shape alone.
//!
//! In bf16 both factors are rounded when they are transformed, and rows hold two tiles side by side.  A gradient is off by about a hundredth of its
//! size then, four times as far as where pixels themselves are rounded; nothing is computed from it but the step.

use std::ops::Range;

use rayon::prelude::*;

use super::super::outer::multiply;
use super::super::tile::VECTORS_MAX;
use super::super::vector::lanes;
use super::super::winograd::{OUT, POSITIONS, SIDE, spread, spread_second, transform, transform_second};
use super::super::with_buffer;
use super::Then;
use super::rows::Images;
use super::scratch::Scratch;
use super::transformed::points;
use super::winograd::{Tiles, n_tiles};
use crate::gemm::{Operands, Shared};
use crate::simd::widest_fn;
use crate::{Floats, Isa, Window, columns};

/// Filters times channels of which all sums fit into the second cache.
const FEW: usize = 64 * 64;
/// Parts in which their tiles are summed, and rows of a block.
const PARTS: usize = 16;
const BLOCK: usize = 16;
/// Filters of a task otherwise.
const FILTERS: usize = 64;

/// Gradient with respect to the weight, `[o, c, 3, 3]`.
pub(super) fn backward_weight(
    d: &Window,
    operands: Operands,
    images: Images<'_>,
    grad: Images<'_>,
    dw: &mut [f32],
) {
    let o = grad.channels;
    let zeros = Floats::zeros(d.c.max(o));
    let ([top, left, ..], size) = (d.padding, d.out());
    let tiles = Tiles { images, pad: [top, left], size, then: &Then::default(), bias: &[], zeros: &zeros };
    let n_tiles = n_tiles(d.n, size);
    let sums = Sums { tiles, grad, pitches: [d.c, o].map(pitch), in_pairs: operands.in_pairs() };
    if d.c * o <= FEW {
        sums.by_tiles(n_tiles, dw);
    } else {
        sums.by_filters(n_tiles, dw);
    }
}

/// Whole vectors, an odd number of lines of cache: rows far apart would share few of its sets.
fn pitch(channels: usize) -> usize {
    let lines = channels.div_ceil(16);
    16 * (lines + usize::from(lines.is_multiple_of(2)))
}

struct Sums<'a> {
    tiles: Tiles<'a>,
    grad: Images<'a>,
    /// Elements of a row of transformed pixels, and of gradients.
    pitches: [usize; 2],
    /// Whether a row holds two tiles.
    in_pairs: bool,
}

impl Sums<'_> {
    fn tiles_a_row(&self) -> usize {
        1 + usize::from(self.in_pairs)
    }

    fn by_tiles(&self, n_tiles: usize, dw: &mut [f32]) {
        let (c, o) = (self.tiles.images.channels, self.grad.channels);
        let [_, width] = [o, c].map(|n| n.next_multiple_of(16));
        let parts = n_tiles.div_ceil(2 * BLOCK).clamp(1, PARTS);
        let len = POSITIONS * o * width;
        let mut made = Scratch::new(parts * len);
        made.par_chunks_exact_mut(len).enumerate().with_max_len(1).for_each(|(part, sums)| {
            let range = part * n_tiles / parts..(part + 1) * n_tiles / parts;
            with_buffer(POSITIONS * BLOCK * (self.pitches[0] + self.pitches[1]), |buffer| {
                let tiles_a_row = self.tiles_a_row();
                for start in range.clone().step_by(BLOCK * tiles_a_row) {
                    let block = start..(start + BLOCK * tiles_a_row).min(range.end);
                    let n = block.len().div_ceil(tiles_a_row);
                    let (inner, outer) = buffer.split_at_mut(POSITIONS * BLOCK * self.pitches[0]);
                    for (i, first) in block.clone().step_by(tiles_a_row).enumerate() {
                        let to = [&mut inner[i * self.pitches[0]..], &mut outer[i * self.pitches[1]..]];
                        self.transform(first..block.end, to, self.pitches.map(|pitch| pitch * BLOCK));
                    }
                    for position in 0..POSITIONS {
                        let b = &inner[position * BLOCK * self.pitches[0]..];
                        let a = &outer[position * BLOCK * self.pitches[1]..];
                        let to = &mut sums[position * o * width..][..o * width];
                        multiply(
                            [a, b],
                            [self.pitches[1], self.pitches[0]],
                            n,
                            [o, c],
                            to,
                            width,
                            start > range.start,
                            self.in_pairs,
                        );
                    }
                }
            });
        });
        let (made, to) = (&made, Shared::new(dw));
        (0..o).into_par_iter().for_each(|filter| {
            let mut total = vec![0.0f32; POSITIONS * width];
            for (position, total) in total.chunks_exact_mut(width).enumerate() {
                for part in 0..parts {
                    let from = &made[part * len + (position * o + filter) * width..][..width];
                    columns::add_rows(total, from);
                }
            }
            // SAFETY: the filters of this task alone.
            unsafe { write(&total, width, 0..c, to.at(filter * c * 9)) };
        });
    }

    fn by_filters(&self, n_tiles: usize, dw: &mut [f32]) {
        let (c, o) = (self.tiles.images.channels, self.grad.channels);
        let n_rows = n_tiles.div_ceil(self.tiles_a_row());
        let lens = self.pitches.map(|pitch| POSITIONS * n_rows * pitch);
        let mut buffer = Scratch::new(lens[0] + lens[1]);
        let (inner, outer) = buffer.split_at_mut(lens[0]);
        let to = [Shared::new(inner), Shared::new(outer)];
        (0..n_rows).into_par_iter().with_min_len(4).for_each(|row| {
            let rows: [&mut [f32]; 2] = std::array::from_fn(|i| {
                let len = ((POSITIONS - 1) * n_rows + 1) * self.pitches[i];
                // SAFETY: from a row on lie those of all positions, of which this task writes its own.
                unsafe { std::slice::from_raw_parts_mut(to[i].at(row * self.pitches[i]), len) }
            });
            self.transform(row * self.tiles_a_row()..n_tiles, rows, self.pitches.map(|pitch| pitch * n_rows));
        });
        let (inner, outer): (&[f32], &[f32]) = (inner, outer);
        let width = VECTORS_MAX * lanes(Isa::best());
        let (down, across, to) = (o.div_ceil(FILTERS), c.div_ceil(width), Shared::new(dw));
        (0..down * across).into_par_iter().with_max_len(1).for_each(|task| {
            let (first_o, first_c) = (task / across * FILTERS, task % across * width);
            let size = [FILTERS.min(o - first_o), width.min(c - first_c)];
            with_buffer(POSITIONS * FILTERS * width, |sums| {
                for position in 0..POSITIONS {
                    let a = &outer[position * n_rows * self.pitches[1] + first_o..];
                    let b = &inner[position * n_rows * self.pitches[0] + first_c..];
                    let to = &mut sums[position * FILTERS * width..][..FILTERS * width];
                    multiply(
                        [a, b],
                        [self.pitches[1], self.pitches[0]],
                        n_rows,
                        size,
                        to,
                        width,
                        false,
                        self.in_pairs,
                    );
                }
                for filter in 0..size[0] {
                    // SAFETY: the filters and channels of this task alone.
                    unsafe {
                        let to = to.at(((first_o + filter) * c + first_c) * 9);
                        let stride = FILTERS * width;
                        write(&sums[filter * width..], stride, 0..size[1], to);
                    }
                }
            });
        });
    }

    /// `Bᵀ·d·B` and `A·g·Aᵀ` of the first tiles of some, as many as a row holds, a row of each at 36 places, `strides` apart.
    fn transform(&self, some: Range<usize>, [inner, outer]: [&mut [f32]; 2], strides: [usize; 2]) {
        let (isa, zeros) = (Isa::best(), self.tiles.zeros.as_ptr());
        let (c, o) = (self.tiles.images.channels, self.grad.channels);
        let (x, g) = (self.tiles.pixels(some.start), self.gradients(some.start));
        // SAFETY: pixels of images, or zeros for as many channels; the machine has the best instructions it has, and those for bf16
        // where rows hold pairs.
        unsafe {
            transform(isa, &x, c, inner, strides[0]);
            spread(isa, &g, o, outer, strides[1]);
            if self.in_pairs {
                let second = Some(some.start + 1).filter(|tile| some.contains(tile));
                let x = second.map_or([zeros; POSITIONS], |tile| self.tiles.pixels(tile));
                let g = second.map_or([zeros; OUT * OUT], |tile| self.gradients(tile));
                transform_second(isa, &x, c, inner, strides[0]);
                spread_second(isa, &g, o, outer, strides[1]);
            }
        }
    }

    /// Where the gradients of a tile's results lie.
    fn gradients(&self, tile: usize) -> [*const f32; OUT * OUT] {
        let [h, w] = self.grad.size;
        let [image, row, col] = self.tiles.at(tile);
        std::array::from_fn(|i| {
            let (y, x) = (row * OUT + i / OUT, col * OUT + i % OUT);
            let inside = y < h && x < w;
            if inside { self.grad.at(image, y, x).as_ptr() } else { self.tiles.zeros.as_ptr() }
        })
    }
}

/// `Gᵀ·m·G` of a filter's sums, which lie `stride` apart by position, as its taps, `[c, 3, 3]` at `to`.
///
/// # Safety
/// Nine numbers for each channel can be written at `to` by this thread alone.
unsafe fn write(sums: &[f32], stride: usize, channels: Range<usize>, to: *mut f32) {
    for first in channels.clone().step_by(LANES) {
        let n = LANES.min(channels.end - first);
        let taps = taps(sums, stride, first, n);
        for (tap, by_lane) in taps.iter().enumerate() {
            for (lane, v) in by_lane.iter().enumerate().take(n) {
                // SAFETY: by the caller.
                unsafe { *to.add((first + lane) * 9 + tap) = *v };
            }
        }
    }
}

/// Channels that are transformed side by side.
const LANES: usize = 16;

widest_fn! {
    /// The nine taps of `n` channels.
    fn taps(sums: &[f32], stride: usize, first: usize, n: usize) -> [[f32; LANES]; 9] {
        let g = points();
        let mut half = [[[0.0f32; LANES]; SIDE]; 3];
        for j in 0..SIDE {
            let mut column = [[0.0f32; LANES]; SIDE];
            for (i, row) in column.iter_mut().enumerate() {
                let from = &sums[(i * SIDE + j) * stride + first..][..n];
                match from.first_chunk::<LANES>() {
                    Some(from) => *row = *from,
                    None => row[..n].copy_from_slice(from),
                }
            }
            for (a, half) in half.iter_mut().enumerate() {
                for (lane, v) in half[j].iter_mut().enumerate() {
                    for i in 0..SIDE {
                        *v += g[i][a] * column[i][lane];
                    }
                }
            }
        }
        let mut taps = [[0.0f32; LANES]; 9];
        for (a, half) in half.iter().enumerate() {
            for b in 0..3 {
                for (row, of_row) in g.iter().zip(half) {
                    for (tap, v) in taps[3 * a + b].iter_mut().zip(of_row) {
                        *tap += row[b] * v;
                    }
                }
            }
        }
        taps
    }
}
