//! Dense convolution, and with it the linear layer over a whole image: a product of what the filter reads with packed
//! filters.
//!
//! ```text
//! y[n,i,j,o] = act(Σ_abc w[o,c,a,b]·x[n, i·s + a·d − top, j·s + b·d − left, c] + bias[o] + residual[n,i,j,o])
//! ```
//!
//! Pixels are taken in blocks whose rows stay in the second cache, and the sum in slices such that a panel of filters does
//! too.  In f32 they are read where they lie.  In fewer bits, bands of images are rounded into a buffer first; a band's
//! height depends on the sizes of the images alone, and in integers it has one scale.

use std::ops::Range;

use rayon::prelude::*;

use super::filters::Filters;
use super::product::{BLOCK, Product, Rows};
use super::rounding::round;
use super::tile::{Finish, ROWS_MAX, Segment, Step};
use super::vector::lanes;
use super::view::View;
use super::with_buffer;
use crate::gemm::Shared;
use crate::{Isa, Precision, Window};

/// Words of a rounded band, roughly at most.
const BAND: usize = 1 << 14;

/// A convolution that knows where it reads and writes.
#[derive(Debug)]
pub struct Convolution {
    product: Product,
    window: Window,
    from: View,
    to: View,
    residual: Option<View>,
    /// How images are rounded before; none in f32.
    bands: Option<Bands>,
}

impl Convolution {
    /// `precision`, or the next wider one that a convolution is likely quicker in: rounding the image costs time, and few
    /// products may not be worth it.
    ///
    /// ```
    /// use headstart_kernels::{Precision, Window, channels_last::Convolution};
    /// let d = Window { n: 1, c: 64, size: [56, 56], kernel: [3, 3], stride: [1, 1], dilation: [1, 1], padding: [1; 4] };
    /// assert_eq!(Convolution::paying(Precision::Int8, &d, 64), Precision::Int8);
    /// assert_eq!(Convolution::paying(Precision::Int8, &Window { c: 3, ..d }, 64), Precision::F32, "a picture's colours");
    /// ```
    pub fn paying(precision: Precision, d: &Window, filters: usize) -> Precision {
        match precision {
            _ if d.c < 16 => Precision::F32,
            Precision::Int8 if d.c < 32 || d.taps() * filters < 64 => Precision::Bf16,
            precision => precision,
        }
    }

    /// Packs `weight [o, c, kh, kw]` and `bias? [o]` for images at `from`; `window.n` does not matter.
    ///
    /// # Panics
    /// If sizes do not fit each other, the margin of `from` is narrower than what the window reads of its padding, or the
    /// result would overwrite what is read.
    pub fn new(
        precision: Precision,
        weight: &[f32],
        bias: Option<&[f32]>,
        window: Window,
        [from, to]: [View; 2],
        residual: Option<View>,
        finish: Finish,
    ) -> Self {
        Self::on((precision.isa(), precision), weight, bias, window, [from, to], residual, finish)
    }

    pub(super) fn on(
        (isa, precision): (Isa, Precision),
        weight: &[f32],
        bias: Option<&[f32]>,
        window: Window,
        [from, to]: [View; 2],
        residual: Option<View>,
        finish: Finish,
    ) -> Self {
        from.check_window(&window, &to, residual.as_ref());
        let filters = Filters::pack(precision, weight, bias, window.c, window.taps(), lanes(isa));
        assert_eq!(filters.len(), to.channels, "a channel of the result for every filter");
        let bands = (precision != Precision::F32).then(|| Bands::new(precision, &window, &to));
        let runs = bands.as_ref().map_or_else(|| runs(&window, &from), |b| runs(&b.window, &b.view));
        let product = Product::new(isa, filters, runs, finish, residual.is_some());
        Convolution { product, window, from, to, residual, bands }
    }

    /// Convolves `n` examples, on all threads or on this one.
    pub fn run(&self, arena: &mut [f32], n: usize, in_parallel: bool) {
        for view in [Some(&self.from), Some(&self.to), self.residual.as_ref()].into_iter().flatten() {
            view.check(arena.len(), n);
        }
        let arena = Shared::new(arena);
        let tasks = 3 * rayon::current_num_threads();
        let panels = self.product.filters.n_panels();
        // What a task takes: pixels, or bands of so many rows.
        let (parts, size) = match &self.bands {
            None if in_parallel => {
                let pixels = n * self.to.pixels();
                (pixels, pixels.div_ceil(tasks).next_multiple_of(ROWS_MAX).clamp(4 * ROWS_MAX, BLOCK))
            }
            None => (n * self.to.pixels(), BLOCK),
            Some(bands) => (n * bands.count, BLOCK.div_ceil(bands.rows * self.to.size[1])),
        };
        let down = parts.div_ceil(size);
        let across = if in_parallel { tasks.div_ceil(down).min(panels) } else { 1 };
        let task = |task: usize| {
            let (i, j) = (task / across, task % across);
            let part = i * size..((i + 1) * size).min(parts);
            let panels = j * panels / across..(j + 1) * panels / across;
            // SAFETY: the views lie in the arena, nothing that is read is written, and no two tasks share a result.
            unsafe {
                match &self.bands {
                    None => self.pixels(arena, n, part, panels),
                    Some(bands) => self.rounded(bands, arena, n, part, panels),
                }
            }
        };
        if in_parallel {
            (0..down * across).into_par_iter().with_max_len(1).for_each(task);
        } else {
            (0..down).for_each(task);
        }
    }

    /// Convolves a block of pixels, read where they lie.
    ///
    /// # Safety
    /// The views lie in the arena, and nobody else writes what is read or written here.
    unsafe fn pixels(&self, arena: Shared, n: usize, block: Range<usize>, panels: Range<usize>) {
        let ([s_y, s_x], [top, left, ..]) = (self.window.stride, self.window.padding);
        let before = top * self.from.row + left * self.from.pixel;
        let [h, w] = self.to.size;
        let mut rows = Rows::none();
        let (mut image, mut y, mut x) = (block.start / (h * w), block.start / w % h, block.start % w);
        for i in 0..block.len() {
            // SAFETY: pixels lie in their views, which lie in the arena, with the margin that the window reads.
            unsafe {
                rows.from[i] = arena.at(self.from.at(n, image, y * s_y, x * s_x) - before);
                self.results(arena, n, [image, y, x], &mut rows, i);
            }
            x += 1;
            if x == w {
                (x, y) = (0, y + 1);
                if y == h {
                    (y, image) = (0, image + 1);
                }
            }
        }
        rows.len = block.len();
        // SAFETY: by the caller.
        unsafe { self.product.run(&rows, panels) };
    }

    /// Where the results of a pixel go, and what is added to them.
    ///
    /// # Safety
    /// The views lie in the arena.
    unsafe fn results(&self, arena: Shared, n: usize, [image, y, x]: [usize; 3], rows: &mut Rows, i: usize) {
        // SAFETY: by the caller.
        unsafe {
            rows.to[i] = arena.at(self.to.at(n, image, y, x));
            if let Some(residual) = &self.residual {
                rows.residual[i] = arena.at(residual.at(n, image, y, x));
            }
        }
    }

    /// Rounds some bands, and convolves what lies in the buffer then.
    ///
    /// # Safety
    /// As [`Convolution::pixels`].
    unsafe fn rounded(
        &self,
        bands: &Bands,
        arena: Shared,
        n: usize,
        part: Range<usize>,
        panels: Range<usize>,
    ) {
        with_buffer(part.len() * bands.view.image, |buffer| {
            let mut rows = Rows::none();
            for (band, buffer) in part.zip(buffer.chunks_exact_mut(bands.view.image)) {
                let (image, first) = (band / bands.count, band % bands.count * bands.rows);
                let end = (first + bands.rows).min(self.to.size[0]);
                // SAFETY: by the caller.
                let step = unsafe { self.round(bands, arena, [n, image], first..end, buffer) };
                let [s_y, s_x] = bands.window.stride;
                for (y, x) in (first..end).flat_map(|y| (0..self.to.size[1]).map(move |x| (y, x))) {
                    let i = rows.len;
                    rows.from[i] = buffer[bands.view.at(1, 0, (y - first) * s_y, x * s_x)..].as_ptr();
                    rows.steps[i] = step;
                    // SAFETY: by the caller.
                    unsafe { self.results(arena, n, [image, y, x], &mut rows, i) };
                    rows.len += 1;
                    if rows.len == BLOCK {
                        // SAFETY: by the caller; the buffer holds what the window reads of each pixel.
                        unsafe { self.product.run(&rows, panels.clone()) };
                        rows.len = 0;
                    }
                }
            }
            // SAFETY: as above.
            unsafe { self.product.run(&rows, panels.clone()) };
        });
    }

    /// Rounds what is read for some rows of the result.
    ///
    /// # Safety
    /// `from` lies in the arena, and nobody writes it.
    unsafe fn round(
        &self,
        bands: &Bands,
        arena: Shared,
        [n, image]: [usize; 2],
        results: Range<usize>,
        buffer: &mut [f32],
    ) -> Step {
        let (precision, from, [h, w]) = (self.product.filters.precision(), &self.from, bands.view.size);
        let h = h - (bands.rows - results.len()) * bands.window.stride[0];
        let [gap_y, gap_x] = bands.gap;
        // A row of the band as runs of memory: one, where nothing lies between its pixels.
        let is_run = gap_x == 1
            && from.pixel == from.channels
            && from.channels.is_multiple_of(precision.factors_a_word());
        let (runs, len) = if is_run { (1, w * from.channels) } else { (w, from.channels) };
        let ([top, left, ..], first) = (self.window.padding, results.start * self.window.stride[0]);
        let corner = from.at(n, image, first, 0) - top * from.row - left * from.pixel;
        let runs = (0..h).flat_map(|y| (0..runs).map(move |x| (y, x))).map(|(y, x)| {
            let at = corner + y * gap_y * from.row + x * gap_x * from.pixel;
            // SAFETY: by the caller: pixels of the image or of its margin.
            let run = unsafe { std::slice::from_raw_parts(arena.at(at).cast_const(), len) };
            (run, y * bands.view.row + x * bands.view.pixel)
        });
        round(precision, runs, buffer)
    }
}

/// Images in bands of rows of the result, as they lie in a buffer of words.
#[derive(Debug)]
struct Bands {
    /// Rows of the result in each but the last of an image.
    rows: usize,
    /// Bands of an image.
    count: usize,
    /// What a band reads, its padding included; channels are words.
    view: View,
    /// The window over that.
    window: Window,
    /// From one row or column that is read to the next: more than 1 where a filter of one row or column skips some.
    gap: [usize; 2],
}

impl Bands {
    fn new(precision: Precision, d: &Window, to: &View) -> Self {
        let words = d.c.div_ceil(precision.factors_a_word());
        let gap: [usize; 2] = std::array::from_fn(|i| if d.kernel[i] == 1 { d.stride[i] } else { 1 });
        let stride: [usize; 2] = std::array::from_fn(|i| d.stride[i] / gap[i]);
        // Rows or columns that are read for some of the result.
        let read =
            |i: usize, results: usize| (results - 1) * stride[i] + (d.kernel[i] - 1) * d.dilation[i] + 1;
        let [h, w] = to.size;
        let width = read(1, w);
        let fitting = (1..=h).rev().find(|&rows| read(0, rows) * width * words <= BAND).unwrap_or(1);
        let count = h.div_ceil(fitting);
        let rows = h.div_ceil(count);
        let view = View::new(0, [read(0, rows), width], words, [0; 4]);
        let window = Window { n: 1, c: words, size: view.size, stride, padding: [0; 4], ..*d };
        Bands { rows, count: h.div_ceil(rows), view, window, gap }
    }
}

/// What a filter reads from its first element on, one run after the other.
fn runs(d: &Window, from: &View) -> Vec<Segment> {
    let [kh, kw] = d.kernel;
    let mut runs: Vec<Segment> = Vec::new();
    for tap in 0..kh * kw {
        let (a, b) = (tap / kw, tap % kw);
        let offset = a * d.dilation[0] * from.row + b * d.dilation[1] * from.pixel;
        match runs.last_mut() {
            // Where nothing lies between pixels, those of a row are one run.
            Some(run) if run.offset + run.len == offset => run.len += d.c,
            _ => runs.push(Segment { offset, len: d.c }),
        }
    }
    runs
}
