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

use std::ops::Range;

use rayon::prelude::*;

use super::filters::Filters;
use super::tile::{Finish, ROWS_MAX, Segment, Tile, compute, rows};
use super::vector::{Vector, by_isa, lanes};
use super::view::View;
use super::with_buffer;
use crate::gemm::Shared;
use crate::{Activation, Floats, Isa, Precision, Window};

/// Side of a tile of the image, and of what is made of it.
pub(super) const SIDE: usize = 6;
pub(super) const OUT: usize = 4;
/// Positions of a transformed tile.
pub(super) const POSITIONS: usize = SIDE * SIDE;
/// Polynomials are evaluated at 0, ±`P`, ±`Q` and ∞.  Powers of both, and their products, are exact in f32.
pub(super) const P: f32 = 0.75;
pub(super) const Q: f32 = 1.5;

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
        let mut size = self.block();
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

    /// Tiles of a block: what is made of them stays in the second cache while the filters fit there too, or the filters are
    /// read for many tiles at once.
    fn block(&self) -> usize {
        let [c, o] = self.widths();
        if c * o <= 8192 { (3500 / (c + o)).next_multiple_of(ROWS_MAX).clamp(16, 64) } else { 64 }
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
                multiply(self.isa, a, self.from.channels, filters, c, widths);
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
            finish(self.isa, self, products, stride, to, size, residual);
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
    let (p, q) = (f64::from(P), f64::from(Q));
    // The filter's polynomial at a point, over the product of the point's distances from the others.
    let at = |x: f64, distances: f64| [1.0, x, x * x].map(|power| power / distances);
    let (of_p, of_q) = (2.0 * p * p * (p * p - q * q), 2.0 * q * q * (q * q - p * p));
    let points =
        [at(0.0, p * p * q * q), at(p, of_p), at(-p, of_p), at(q, of_q), at(-q, of_q), [0.0, 0.0, 1.0]];
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

/// `to [tiles, o] = a [tiles, c]·filters` on this thread; rows are `widths` apart.
fn multiply(isa: Isa, a: &[f32], c: usize, filters: &Filters, to: &mut [f32], widths: [usize; 2]) {
    let tiles = a.len() / widths[0];
    assert_eq!(to.len(), tiles * widths[1], "a row for every tile");
    let segments = [Segment { offset: 0, len: c }];
    for panel in 0..filters.n_panels() {
        for i in (0..tiles).step_by(rows(isa)) {
            let n = rows(isa).min(tiles - i);
            let (mut from, mut places) = ([std::ptr::null(); ROWS_MAX], [std::ptr::null_mut(); ROWS_MAX]);
            for r in 0..n {
                from[r] = a[(i + r) * widths[0]..].as_ptr();
                places[r] = to[(i + r) * widths[1]..].as_mut_ptr();
            }
            let range = filters.range(panel);
            let tile = Tile {
                a: &from[..n],
                steps: &[],
                segments: &segments,
                b: filters.panel(panel, 0).as_ptr(),
                scales: std::ptr::null(),
                sums: std::ptr::null(),
                c: &places[..n],
                residual: None,
                first: range.start,
                bias: std::ptr::null(),
                cols: range.len(),
                add: false,
                clamp: None,
            };
            // SAFETY: rows of `a` hold `c` numbers, and rows of the result one for each filter.
            unsafe { compute(isa, Precision::F32, &tile) };
        }
    }
}

/// Six values by their number, written out: a library's function would call a closure without its caller's instructions.
macro_rules! six {
    (|$i:ident| $value:expr) => {
        [
            {
                let $i = 0;
                $value
            },
            {
                let $i = 1;
                $value
            },
            {
                let $i = 2;
                $value
            },
            {
                let $i = 3;
                $value
            },
            {
                let $i = 4;
                $value
            },
            {
                let $i = 5;
                $value
            },
        ]
    };
}
pub(super) use six;

by_isa! {
    /// `Bᵀ·d·B` of one tile, channel by channel, a row at each of 36 places in `to`, `stride` apart.
    ///
    /// # Safety
    /// `c` numbers can be read at each of `from`; the machine has the instructions.
    transform => transform_any(from: &[*const f32; POSITIONS], c: usize, to: &mut [f32], stride: usize)
}

#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "rows of a transposed array")]
unsafe fn transform_any<V: Vector>(from: &[*const f32; POSITIONS], c: usize, to: &mut [f32], stride: usize) {
    assert!(
        (POSITIONS - 1) * stride + c.next_multiple_of(V::LANES) <= to.len(),
        "rows of a transformed tile"
    );
    let to = to.as_mut_ptr();
    let mut channel = 0;
    while channel < c {
        let n = V::LANES.min(c - channel);
        // SAFETY: by the caller, and by the assertion above.
        unsafe {
            let load = |i: usize| {
                let at = from[i].add(channel);
                if n == V::LANES { V::load(at) } else { V::load_first(at, n) }
            };
            let mut columns = [[V::splat(0.0); SIDE]; SIDE];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = inner(six!(|i| load(i * SIDE + j)));
            }
            for i in 0..SIDE {
                let row = inner(six!(|j| columns[j][i]));
                for (j, v) in row.into_iter().enumerate() {
                    v.store(to.add((i * SIDE + j) * stride + channel));
                }
            }
        }
        channel += V::LANES;
    }
}

/// `Bᵀ·d`.
#[inline(always)]
pub(super) unsafe fn inner<V: Vector>(d: [V; SIDE]) -> [V; SIDE] {
    // SAFETY: by the caller.
    unsafe {
        let splat = |v: f32| V::splat(v);
        let (p2, q2) = (P * P, Q * Q);
        // Even and odd powers of the polynomials that are 0 at all points but ±P, and but ±Q.
        let a = d[4].add_product(d[2], splat(-q2));
        let b = d[3].add_product(d[1], splat(-q2));
        let e = d[4].add_product(d[2], splat(-p2));
        let f = d[3].add_product(d[1], splat(-p2));
        let (sum, product) = (splat(-p2 - q2), splat(p2 * q2));
        [
            d[4].add_product(d[0], product).add_product(d[2], sum),
            a.add_product(b, splat(P)),
            a.add_product(b, splat(-P)),
            e.add_product(f, splat(Q)),
            e.add_product(f, splat(-Q)),
            d[5].add_product(d[1], product).add_product(d[3], sum),
        ]
    }
}

by_isa! {
    /// Writes `clamp(Aᵀ·m·A + bias + residual)` for the first `size` rows and columns of a tile.
    ///
    /// # Safety
    /// A row of products lies at each of 36 places, `stride` apart; so many pixels can be written from `to` on, and read where
    /// the residual is, with the strides of its rows and pixels; the machine has the instructions.
    finish => finish_any(
        w: &Winograd,
        products: &[f32],
        stride: usize,
        to: *mut f32,
        size: [usize; 2],
        residual: Option<(*const f32, [usize; 2])>,
    )
}

#[inline(always)]
unsafe fn finish_any<V: Vector>(
    w: &Winograd,
    products: &[f32],
    stride: usize,
    to: *mut f32,
    size: [usize; 2],
    residual: Option<(*const f32, [usize; 2])>,
) {
    let o = w.to.channels;
    assert!((POSITIONS - 1) * stride + o.next_multiple_of(V::LANES) <= products.len(), "rows of products");
    let [lo, hi] = w.finish.clamp;
    let mut channel = 0;
    while channel < o {
        let n = V::LANES.min(o - channel);
        // SAFETY: by the caller, and by the assertion above.
        unsafe {
            let load = |i: usize| V::load(products.as_ptr().add(i * stride + channel));
            let mut columns = [[V::splat(0.0); OUT]; SIDE];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = outer(six!(|i| load(i * SIDE + j)));
            }
            let bias = V::load(w.bias.as_ptr().add(channel));
            let mut made = [[V::splat(0.0); OUT]; OUT];
            for (i, made) in made.iter_mut().enumerate() {
                *made = outer(six!(|j| columns[j][i]));
            }
            for (i, made) in made.iter().enumerate().take(size[0]) {
                for (j, &v) in made.iter().enumerate().take(size[1]) {
                    let mut v = v.add(bias);
                    if let Some((from, [row, pixel])) = residual {
                        v = v.add(V::load_first(from.add(i * row + j * pixel + channel), n));
                    }
                    let v = v.at_least(V::splat(lo)).at_most(V::splat(hi));
                    let to = to.add(i * w.to.row + j * w.to.pixel + channel);
                    if n == V::LANES { v.store(to) } else { v.store_first(to, n) }
                }
            }
        }
        channel += V::LANES;
    }
}

/// `Aᵀ·m`.
#[inline(always)]
pub(super) unsafe fn outer<V: Vector>(m: [V; SIDE]) -> [V; OUT] {
    // SAFETY: by the caller.
    unsafe {
        let splat = |v: f32| V::splat(v);
        let (minus, zero) = (splat(-1.0), splat(0.0));
        let (a, b) = (m[1].add(m[2]), m[1].add_product(m[2], minus));
        let (e, f) = (m[3].add(m[4]), m[3].add_product(m[4], minus));
        // Powers of the points times what was multiplied there.
        let powers =
            |to: V, x: V, y: V, n: i32| to.add_product(x, splat(P.powi(n))).add_product(y, splat(Q.powi(n)));
        [m[0].add(a).add(e), powers(zero, b, f, 1), powers(zero, a, e, 2), powers(m[5], b, f, 3)]
    }
}
