//! Convolution by 3×3 filters of stride 1 with a fourth of the multiplications: Winograd's minimal filtering F(4×4, 3×3)
//! (Lavin and Gray, 2016).
//!
//! ```text
//! Y = Aᵀ·[Σ_c (G·g_c·Gᵀ) ⊙ (Bᵀ·d_c·B)]·A     for tiles d 6×6 of the image, which make 4×4 of the result
//! ```
//!
//! At each of the 36 positions the sum over channels is a product of matrices, `[tiles, c]·[c, o]`.  Both transforms work on
//! vectors of channels.  Polynomials are evaluated at 0, ±3/4, ±3/2 and ∞: at the usual 0, ±1, ±2 and ∞ the largest error
//! is four times as large (Barabasz, Anderson, Soodhalter and Gregg, 2020, on choosing points).  It is some 10⁻⁵ of the
//! results' root mean square at most, ten times that of the direct sum; filters are transformed in f64.

mod tiles;

use std::ops::Range;

use rayon::prelude::*;

use super::filters::Filters;
use super::tile::{Finish, ROWS_MAX};
use super::vector::lanes;
use super::view::View;
use super::with_buffer;
use crate::gemm::Shared;
use crate::{Activation, Floats, Isa, Precision, Window};
pub(super) use tiles::{
    OUT, POSITIONS, SIDE, TILES, Target, block, finish, finish_in_halves, multiply, points, spread,
    spread_second, transform, transform_second,
};

/// A convolution by 3×3 filters that knows where it reads and writes.
#[derive(Debug)]
pub struct Winograd {
    isa: Isa,
    /// By position.
    filters: Vec<Filters>,
    /// Padded to whole vectors.
    bias: Floats,
    /// What lies beyond the margin.
    zeros: Floats,
    window: Window,
    from: View,
    to: View,
    residual: Option<View>,
    finish: Finish,
}

impl Winograd {
    /// Whether this way is open to a window, and likely the faster one: channels enough to pay for the transforms, and tiles
    /// that are not mostly empty.
    ///
    /// ```
    /// use headstart_kernels::{Window, channels_last::Winograd};
    /// let d = Window { n: 1, c: 64, size: [56, 56], kernel: [3, 3], stride: [1, 1], dilation: [1, 1], padding: [1; 4] };
    /// assert!(Winograd::pays(&d, 64));
    /// assert!(!Winograd::pays(&Window { stride: [2, 2], ..d }, 64) && !Winograd::pays(&Window { c: 3, ..d }, 64));
    /// ```
    pub fn pays(d: &Window, filters: usize) -> bool {
        let [h, w] = d.out();
        let used = (h * w) as f64 / (h.next_multiple_of(OUT) * w.next_multiple_of(OUT)) as f64;
        (d.kernel, d.stride, d.dilation) == ([3, 3], [1, 1], [1, 1])
            && d.c.min(filters) >= 32
            && d.c.max(filters) <= 1024
            && used >= 0.6
    }

    /// Transforms and packs `weight [o, c, 3, 3]` and `bias? [o]` for images at `from`; `window.n` does not matter.
    ///
    /// # Panics
    /// As [`super::Convolution::new`], and if the filters are not 3×3 of stride 1.
    pub fn new(
        weight: &[f32],
        bias: Option<&[f32]>,
        window: Window,
        views: [View; 2],
        residual: Option<View>,
        finish: Finish,
    ) -> Self {
        Self::on(Isa::best(), weight, bias, window, views, residual, finish)
    }

    pub(super) fn on(
        isa: Isa,
        weight: &[f32],
        bias: Option<&[f32]>,
        window: Window,
        [from, to]: [View; 2],
        residual: Option<View>,
        finish: Finish,
    ) -> Self {
        assert!(isa.is_available(), "{isa:?} on this machine");
        let shape = (window.kernel, window.stride, window.dilation);
        assert_eq!(shape, ([3, 3], [1, 1], [1, 1]), "filters of 3×3, each pixel");
        from.check_window(&window, &to, residual.as_ref());
        let (c, o) = (from.channels, to.channels);
        assert_eq!(weight.len(), o * c * 9, "filters [{o}, {c}, 3, 3]");
        let transformed = transformed(weight);
        let filters = transformed
            .iter()
            .map(|weight| Filters::pack(Precision::F32, weight, None, c, 1, lanes(isa)))
            .collect();
        assert!(bias.is_none_or(|bias| bias.len() == o), "a bias for every filter");
        let bias = Floats::padded(bias.unwrap_or_default(), o.next_multiple_of(lanes(isa)));
        let zeros = Floats::zeros(c);
        Winograd { isa, filters, bias, zeros, window, from, to, residual, finish }
    }

    /// Convolves `n` examples, on all threads or on this one.
    pub fn run(&self, arena: &mut [f32], n: usize, in_parallel: bool) {
        for view in [Some(&self.from), Some(&self.to), self.residual.as_ref()].into_iter().flatten() {
            view.check(arena.len(), n);
        }
        let tiles = n * self.grid()[0] * self.grid()[1];
        let mut size = block(self.widths());
        if in_parallel {
            size = tiles.div_ceil(rayon::current_num_threads()).next_multiple_of(ROWS_MAX).min(size);
        }
        let arena = Shared::new(arena);
        let block = |i: usize| {
            // SAFETY: the views lie in the arena, nothing that is read is written, and no two blocks share a result.
            unsafe { self.tiles(arena, n, i * size..((i + 1) * size).min(tiles)) };
        };
        if in_parallel {
            (0..tiles.div_ceil(size)).into_par_iter().with_max_len(1).for_each(block);
        } else {
            (0..tiles.div_ceil(size)).for_each(block);
        }
    }

    /// Rows and columns of tiles of an image.
    fn grid(&self) -> [usize; 2] {
        self.to.size.map(|n| n.div_ceil(OUT))
    }

    /// Elements of a row of transformed pixels, and of their products.
    fn widths(&self) -> [usize; 2] {
        [self.from.channels, self.to.channels].map(|c| c.next_multiple_of(lanes(self.isa)))
    }

    /// # Safety
    /// The views lie in the arena, and nobody else writes what is read or written here.
    unsafe fn tiles(&self, arena: Shared, n: usize, block: Range<usize>) {
        let (widths, len) = (self.widths(), block.len());
        with_buffer(POSITIONS * len * (widths[0] + widths[1]), |buffer| {
            let (inner, products) = buffer.split_at_mut(POSITIONS * len * widths[0]);
            for (i, tile) in block.clone().enumerate() {
                let from = self.pixels(arena, n, tile);
                // SAFETY: the tile's pixels lie in the arena or are zeros; the buffer has a row for each position.
                unsafe {
                    transform(
                        self.isa,
                        &from,
                        self.from.channels,
                        &mut inner[i * widths[0]..],
                        len * widths[0],
                    );
                }
            }
            for (position, filters) in self.filters.iter().enumerate() {
                let a = &inner[position * len * widths[0]..][..len * widths[0]];
                let c = &mut products[position * len * widths[1]..][..len * widths[1]];
                for panel in 0..filters.n_panels() {
                    let (b, range) = (filters.panel(panel, 0), filters.range(panel));
                    let sizes = [len, self.from.channels, range.len()];
                    multiply(self.isa, (a, widths[0]), b, (&mut c[range.start..], widths[1]), sizes, false);
                }
            }
            for (i, tile) in block.enumerate() {
                // SAFETY: by the caller.
                unsafe { self.write(arena, n, tile, &products[i * widths[1]..], len * widths[1]) };
            }
        });
    }

    /// Example, row and column of a tile.
    fn at(&self, tile: usize) -> [usize; 3] {
        let [rows, cols] = self.grid();
        [tile / (rows * cols), tile / cols % rows, tile % cols]
    }

    /// Where the pixels of a tile lie.
    fn pixels(&self, arena: Shared, n: usize, tile: usize) -> [*const f32; POSITIONS] {
        let [image, row, col] = self.at(tile);
        let v = &self.from;
        let ([top, left, ..], [m_top, m_left, m_bottom, m_right]) = (self.window.padding, v.margin);
        let corner = v.at(n, image, 0, 0) - m_top * v.row - m_left * v.pixel;
        // Rows and columns from the corner of the margin on; the window's padding may be narrower than the margin.
        let (y, x) = (row * OUT + m_top - top, col * OUT + m_left - left);
        let (h, w) = (m_top + v.size[0] + m_bottom, m_left + v.size[1] + m_right);
        std::array::from_fn(|i| {
            let (y, x) = (y + i / SIDE, x + i % SIDE);
            if y < h && x < w {
                // SAFETY: a pixel of the view or its margin, which lie in the arena.
                unsafe { arena.at(corner + y * v.row + x * v.pixel).cast_const() }
            } else {
                self.zeros.as_ptr()
            }
        })
    }

    /// # Safety
    /// As [`Winograd::tiles`]; `products` holds a row for each position, `stride` apart.
    unsafe fn write(&self, arena: Shared, n: usize, tile: usize, products: &[f32], stride: usize) {
        let [image, row, col] = self.at(tile);
        let [h, w] = self.to.size;
        let (y, x) = (row * OUT, col * OUT);
        let size = [OUT.min(h - y), OUT.min(w - x)];
        let pointer = |view: &View| {
            // SAFETY: a pixel of the view, which lies in the arena.
            unsafe { arena.at(view.at(n, image, y, x)) }
        };
        let to = pointer(&self.to);
        let residual = self.residual.as_ref().map(|r| (pointer(r).cast_const(), [r.row, r.pixel]));
        // SAFETY: by the caller: `size` pixels can be read and written from here on.
        unsafe {
            let (strides, clamp) = ([self.to.row, self.to.pixel], self.finish.clamp);
            let target = Target { to, size, strides, residual, clamp, gate: None };
            finish(self.isa, products, stride, &self.bias, self.to.channels, &target);
            if self.finish.activation != Activation::Identity {
                for i in 0..size[0] * size[1] {
                    let at = i / size[1] * self.to.row + i % size[1] * self.to.pixel;
                    let pixel = std::slice::from_raw_parts_mut(to.add(at), self.to.channels);
                    self.finish.activation.apply(pixel);
                }
            }
        }
    }
}

/// `G·g·Gᵀ` of every filter, as weights `[o, c]` for every position.
fn transformed(weight: &[f32]) -> Vec<Vec<f32>> {
    let points = points();
    let mut by_position = vec![Vec::new(); POSITIONS];
    for g in weight.as_chunks::<9>().0 {
        for (i, values) in by_position.iter_mut().enumerate() {
            let (row, col) = (points[i / SIDE], points[i % SIDE]);
            let at = |a: usize, b: usize| row[a] * f64::from(g[3 * a + b]) * col[b];
            let sum: f64 = (0..9).map(|tap| at(tap / 3, tap % 3)).sum();
            values.push(sum as f32);
        }
    }
    by_position
}
