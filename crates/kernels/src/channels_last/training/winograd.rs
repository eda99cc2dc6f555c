//! Winograd's F(4×4, 3×3) of [`super::super::Winograd`] for a step of training: filters are transformed anew every time, for
//! the gradient of the image turned by half a turn, and what lies outside of an image is read as zeros.

use std::ops::Range;

use rayon::prelude::*;

use super::super::tile::{self, ROWS_MAX, Segment, Tile};
use super::super::vector::{Vector, by_isa, lanes};
use super::super::winograd::{OUT, P, POSITIONS, Q, SIDE, outer, six, transform};
use super::deep;
use super::panels::starts;
use super::rows::Images;
use super::scratch::{Scratch, on_thread};
use crate::gemm::Shared;
use crate::simd::widest;
use crate::{Floats, Isa, Precision};

/// Filters that are transformed when a convolution knows how.
#[derive(Clone, Copy)]
pub(super) struct Filters<'a> {
    weight: &'a [f32],
    /// Filters and channels.
    pub(super) size: [usize; 2],
    /// Filter `i` of channel `k` is at `i·strides[0] + k·strides[1]`.
    strides: [usize; 2],
    /// By half a turn.
    turned: bool,
}

/// Filters of the widest panel.
const WIDTH: usize = 48;

impl<'a> Filters<'a> {
    /// Of a weight `[o, c, 3, 3]`.
    pub(super) fn forward(weight: &'a [f32], [o, c]: [usize; 2]) -> Self {
        Filters { weight, size: [o, c], strides: [c * 9, 9], turned: false }
    }

    /// Of the filters `[c, o, 3, 3]`, turned, that make the gradient of the image from that of the result.
    pub(super) fn backward(weight: &'a [f32], [o, c]: [usize; 2]) -> Self {
        Filters { weight, size: [c, o], strides: [9, c * 9], turned: true }
    }

    /// `G·g·Gᵀ` of a panel's filters and some channels: for every position and channel a number of each filter.
    ///
    /// # Safety
    /// `to` has a row of the panel's width for `n_channels` channels at every position, of which row `channel − first` is written
    /// by nobody else.
    pub(super) unsafe fn transform(
        &self,
        panel: Range<usize>,
        channels: Range<usize>,
        first: usize,
        n_channels: usize,
        to: Shared,
    ) {
        let (cols, n) = (panel.len(), panel.len().min(self.size[0] - panel.start));
        for channel in channels {
            let from = &self.weight[panel.start * self.strides[0] + channel * self.strides[1]..];
            // SAFETY: by the caller.
            unsafe { filters(from, self.strides[0], n, self.turned, to, cols, n_channels, channel - first) };
        }
    }
}

/// `G·g·Gᵀ` of filters, in panels: for every panel, position and channel a number of each filter.
struct Packed {
    packed: Scratch,
    starts: Vec<usize>,
    /// Filters and channels.
    size: [usize; 2],
}

impl Packed {
    fn new(filters: &Filters<'_>) -> Self {
        let [n, channels] = filters.size;
        let starts = starts(n);
        let mut packed = Scratch::new(POSITIONS * channels * starts[starts.len() - 1]);
        let mut rest = &mut packed[..];
        let mut panels = Vec::new();
        for range in starts.windows(2) {
            let (panel, behind) = rest.split_at_mut((range[1] - range[0]) * POSITIONS * channels);
            panels.push((range[0]..range[1], panel));
            rest = behind;
        }
        panels.into_par_iter().with_max_len(1).for_each(|(range, panel)| {
            let to = Shared::new(panel);
            (0..channels.div_ceil(CHANNELS)).into_par_iter().for_each(|block| {
                let some = block * CHANNELS..((block + 1) * CHANNELS).min(channels);
                // SAFETY: the panel has a row for every channel, and no two tasks write one.
                unsafe { filters.transform(range.clone(), some, 0, channels, to) };
            });
        });
        Packed { packed, starts, size: [n, channels] }
    }

    /// A panel's row for every channel, at one position.
    fn panel(&self, panel: usize, position: usize) -> &[f32] {
        let ([first, end], channels) = ([self.starts[panel], self.starts[panel + 1]], self.size[1]);
        let cols = end - first;
        &self.packed[(first * POSITIONS + position * cols) * channels..][..cols * channels]
    }

    fn range(&self, panel: usize) -> Range<usize> {
        self.starts[panel]..self.starts[panel + 1].min(self.size[0])
    }
}

/// Channels that one task transforms.
const CHANNELS: usize = 16;

/// Transforms `n` filters of one channel.
///
/// # Safety
/// A row of `cols` numbers can be written for this channel at every position of the panel at `to`.
#[expect(clippy::too_many_arguments, reason = "a loop's body")]
pub(super) unsafe fn filters(
    from: &[f32],
    stride: usize,
    n: usize,
    turned: bool,
    to: Shared,
    cols: usize,
    channels: usize,
    channel: usize,
) {
    let points = points();
    widest(|| {
        let mut g = [[0.0f32; WIDTH]; 9];
        for j in 0..n {
            let filter: &[f32; 9] = from[j * stride..].first_chunk().expect("a filter has nine taps");
            for (tap, &w) in filter.iter().enumerate() {
                g[if turned { 8 - tap } else { tap }][j] = w;
            }
        }
        for (i, row) in points.iter().enumerate() {
            let mut half = [[0.0f32; WIDTH]; 3];
            for (b, half) in half.iter_mut().enumerate() {
                for (j, h) in half.iter_mut().enumerate() {
                    *h = row[0] * g[b][j] + row[1] * g[3 + b][j] + row[2] * g[6 + b][j];
                }
            }
            for (k, col) in points.iter().enumerate() {
                let mut values = [0.0f32; WIDTH];
                for (j, v) in values.iter_mut().enumerate() {
                    *v = col[0] * half[0][j] + col[1] * half[1][j] + col[2] * half[2][j];
                }
                // SAFETY: by the caller.
                unsafe {
                    let row = to.at(((i * SIDE + k) * channels + channel) * cols);
                    let row = std::slice::from_raw_parts_mut(row, cols);
                    // Four at a time: for as many as it does not know, the compiler would call a function.
                    let pairs = row.as_chunks_mut::<4>().0.iter_mut().zip(values.as_chunks::<4>().0);
                    pairs.for_each(|(to, from)| *to = *from);
                }
            }
        }
    });
}

/// `G`: a filter's polynomial at each point, over the product of the point's distances from the others.
pub(super) fn points() -> [[f32; 3]; SIDE] {
    let (p, q) = (f64::from(P), f64::from(Q));
    let at = |x: f64, distances: f64| [1.0, x, x * x].map(|power| (power / distances) as f32);
    let (of_p, of_q) = (2.0 * p * p * (p * p - q * q), 2.0 * q * q * (q * q - p * p));
    [at(0.0, p * p * q * q), at(p, of_p), at(-p, of_p), at(q, of_q), at(-q, of_q), [0.0, 0.0, 1.0]]
}

/// Tiles of a block.
pub(super) const TILES: usize = 64;

/// `to [n, h, w, o]` of images that begin `pad` rows and columns after what the first filter reads.
pub(super) fn convolve(
    images: Images<'_>,
    n: usize,
    pad: [usize; 2],
    filters: &Filters<'_>,
    bias: Option<&[f32]>,
    size: [usize; 2],
    to: &mut [f32],
) {
    let o = filters.size[0];
    assert_eq!(to.len(), n * size[0] * size[1] * o, "elements of the result");
    let width = lanes(Isa::best());
    let bias = bias.map(|bias| Floats::padded(bias, o.next_multiple_of(width)));
    let bias = bias.unwrap_or_else(|| Floats::zeros(o.next_multiple_of(width)));
    let zeros = Floats::zeros(images.channels);
    let tiles = Tiles { images, pad, size, zeros: &zeros };
    let n_tiles = n * tiles.grid().iter().product::<usize>();
    if deep::pays(n_tiles, filters.size) {
        return deep::convolve(&tiles, n_tiles, filters, &bias, to);
    }
    let filters = &Packed::new(filters);
    let tasks = 3 * rayon::current_num_threads();
    let len = n_tiles.div_ceil(tasks).next_multiple_of(ROWS_MAX).clamp(2 * ROWS_MAX, tiles.block(o));
    let down = n_tiles.div_ceil(len);
    let panels = filters.starts.len() - 1;
    let across = tasks.div_ceil(down).min(panels);
    let to = Shared::new(to);
    (0..down * across).into_par_iter().with_max_len(1).for_each(|task| {
        let (i, j) = (task / across, task % across);
        let panels = j * panels / across..(j + 1) * panels / across;
        // SAFETY: `to` has every pixel of every image, and no two tasks share one's filters.
        unsafe { block(&tiles, filters, &bias, to, i * len..((i + 1) * len).min(n_tiles), panels) };
    });
}

/// # Safety
/// Results of these tiles and panels can be written at `to` by this thread alone.
unsafe fn block(
    tiles: &Tiles<'_>,
    filters: &Packed,
    bias: &[f32],
    to: Shared,
    block: Range<usize>,
    panels: Range<usize>,
) {
    let isa = Isa::best();
    let (c, len) = (tiles.images.channels, block.len());
    let pitch = c.next_multiple_of(lanes(isa));
    let [first, end] = [filters.starts[panels.start], filters.starts[panels.end]];
    let width = end - first;
    on_thread(POSITIONS * len * (pitch + width), |buffer| {
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
                multiply(a, pitch, b, &mut made[range.start - first..], width, len, range.len(), c, false);
            }
        }
        let (o, count) = (filters.size[0], filters.range(panels.end - 1).end - first);
        for (i, tile) in block.enumerate() {
            // SAFETY: by the caller.
            unsafe {
                tiles.write(tile, &products[i * width..], len * width, &bias[first..], first, count, o, to)
            };
        }
    });
}

/// `to [tiles, cols] = a [tiles, c]·b [c, cols]`, or `to += a·b`; rows lie `pitch` and `width` apart.
#[expect(clippy::too_many_arguments, reason = "what BLAS asks for, too")]
pub(super) fn multiply(
    a: &[f32],
    pitch: usize,
    b: &[f32],
    to: &mut [f32],
    width: usize,
    tiles: usize,
    cols: usize,
    c: usize,
    add: bool,
) {
    let isa = Isa::best();
    let segments = [Segment { offset: 0, len: c }];
    assert!(
        a.len() >= (tiles - 1) * pitch + c && to.len() >= (tiles - 1) * width + cols,
        "rows of a product"
    );
    assert!(b.len() >= c * cols.next_multiple_of(lanes(isa)), "a panel");
    for i in (0..tiles).step_by(tile::rows(isa)) {
        let rows = tile::rows(isa).min(tiles - i);
        let (mut from, mut at) = ([std::ptr::null(); ROWS_MAX], [std::ptr::null_mut(); ROWS_MAX]);
        for r in 0..rows {
            from[r] = a[(i + r) * pitch..].as_ptr();
            at[r] = to[(i + r) * width..].as_mut_ptr();
        }
        let t = Tile {
            a: &from[..rows],
            steps: &[],
            segments: &segments,
            b: b.as_ptr(),
            scales: std::ptr::null(),
            sums: std::ptr::null(),
            c: &at[..rows],
            residual: None,
            first: 0,
            bias: std::ptr::null(),
            cols,
            add,
            clamp: None,
        };
        // SAFETY: rows and the panel are as long as was just checked.
        unsafe { tile::compute(isa, Precision::F32, &t) };
    }
}

/// The tiles of some images.
pub(super) struct Tiles<'a> {
    pub(super) images: Images<'a>,
    /// Rows and columns that are read before the first.
    pub(super) pad: [usize; 2],
    /// Of the results.
    pub(super) size: [usize; 2],
    /// A pixel.
    pub(super) zeros: &'a [f32],
}

impl Tiles<'_> {
    /// Rows and columns of tiles of an image.
    pub(super) fn grid(&self) -> [usize; 2] {
        self.size.map(|n| n.div_ceil(OUT))
    }

    /// Tiles of a block at most: what is made of them stays in the second cache while the filters fit there too, or the filters
    /// are read for many tiles at once.
    fn block(&self, o: usize) -> usize {
        let c = self.images.channels;
        if c * o <= 8192 {
            (3500 / (c + o)).next_multiple_of(ROWS_MAX).clamp(2 * ROWS_MAX, TILES)
        } else {
            TILES
        }
    }

    /// Image, row and column of a tile.
    pub(super) fn at(&self, tile: usize) -> [usize; 3] {
        let [rows, cols] = self.grid();
        [tile / (rows * cols), tile / cols % rows, tile % cols]
    }

    /// Writes `count` filters from `first` on of `o` for a tile, of products that lie `stride` apart by position.
    ///
    /// # Safety
    /// The result `to` has every pixel of every image, and nobody else writes these.
    #[expect(clippy::too_many_arguments, reason = "a loop's body")]
    pub(super) unsafe fn write(
        &self,
        tile: usize,
        products: &[f32],
        stride: usize,
        bias: &[f32],
        first: usize,
        count: usize,
        o: usize,
        to: Shared,
    ) {
        let ([h, w], [image, row, col]) = (self.size, self.at(tile));
        let (y, x) = (row * OUT, col * OUT);
        let size = [OUT.min(h - y), OUT.min(w - x)];
        // SAFETY: `size` pixels of the result from here on, by the caller.
        unsafe {
            let to = to.at(((image * h + y) * w + x) * o + first);
            finish(Isa::best(), products, stride, bias, count, to, size, [w * o, o]);
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

by_isa! {
    /// Writes `Aᵀ·m·A + bias` for the first `size` rows and columns of a tile, `count` channels.
    ///
    /// # Safety
    /// A row of products lies at each of 36 places, `stride` apart; so many pixels can be written from `to` on, with `strides`
    /// of rows and pixels; the machine has the instructions.
    finish => finish_any(
        products: &[f32],
        stride: usize,
        bias: &[f32],
        count: usize,
        to: *mut f32,
        size: [usize; 2],
        strides: [usize; 2],
    )
}

#[inline(always)]
#[expect(clippy::too_many_arguments, reason = "a loop's body")]
unsafe fn finish_any<V: Vector>(
    products: &[f32],
    stride: usize,
    bias: &[f32],
    count: usize,
    to: *mut f32,
    size: [usize; 2],
    strides: [usize; 2],
) {
    let padded = count.next_multiple_of(V::LANES);
    assert!((POSITIONS - 1) * stride + padded <= products.len() && padded <= bias.len(), "rows of products");
    let mut channel = 0;
    while channel < count {
        let n = V::LANES.min(count - channel);
        // SAFETY: by the caller, and by the assertion above.
        unsafe {
            let load = |i: usize| V::load(products.as_ptr().add(i * stride + channel));
            let mut columns = [[V::splat(0.0); OUT]; SIDE];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = outer(six!(|i| load(i * SIDE + j)));
            }
            let bias = V::load(bias.as_ptr().add(channel));
            let mut made = [[V::splat(0.0); OUT]; OUT];
            for (i, made) in made.iter_mut().enumerate() {
                *made = outer(six!(|j| columns[j][i]));
            }
            for (i, made) in made.iter().enumerate().take(size[0]) {
                for (j, &v) in made.iter().enumerate().take(size[1]) {
                    let (v, to) = (v.add(bias), to.add(i * strides[0] + j * strides[1] + channel));
                    if n == V::LANES { v.store(to) } else { v.store_first(to, n) }
                }
            }
        }
        channel += V::LANES;
    }
}
