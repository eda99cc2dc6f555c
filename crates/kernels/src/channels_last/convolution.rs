//! Dense convolution, and with it the linear layer: a product of what the filter reads with packed filters.
//!
//! ```text
//! y[n,i,j,o] = act(Σ_abc w[o,c,a,b]·x[n, i·s + a·d − top, j·s + b·d − left, c] + bias[o] + residual[n,i,j,o])
//! ```
//!
//! Pixels are taken in blocks whose rows stay in the second cache, and the sum in slices such that a panel of filters does
//! too.  Where a slice begins depends on the number of steps alone.

use std::ops::Range;

use rayon::prelude::*;

use super::filters::Filters;
use super::tile::{Finish, ROWS_MAX, Segment, Tile, compute, rows};
use super::vector::lanes;
use super::view::View;
use crate::gemm::Shared;
use crate::{Activation, Isa, Window};

/// Pixels of a block.
const BLOCK: usize = 128;
/// Steps of a slice of the sum at most: 48 filters take 250 kB of the second cache.
const STEPS: usize = 1280;

/// A convolution that knows where it reads and writes.
#[derive(Debug)]
pub struct Convolution {
    isa: Isa,
    filters: Filters,
    window: Window,
    from: View,
    to: View,
    residual: Option<View>,
    finish: Finish,
    /// What is read at every pixel, by slice of the sum.
    slices: Vec<Slice>,
}

#[derive(Debug)]
struct Slice {
    /// Its first step.
    start: usize,
    segments: Vec<Segment>,
}

impl Convolution {
    /// Packs `weight [o, c, kh, kw]` and `bias? [o]` for images at `from`; `window.n` does not matter.
    ///
    /// # Panics
    /// If sizes do not fit each other, the margin of `from` is narrower than what the window reads of its padding, or the
    /// result would overwrite what is read.
    pub fn new(
        weight: &[f32],
        bias: Option<&[f32]>,
        window: Window,
        [from, to]: [View; 2],
        residual: Option<View>,
        finish: Finish,
    ) -> Self {
        Self::on(Isa::best(), weight, bias, window, [from, to], residual, finish)
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
        from.check_window(&window, &to, residual.as_ref());
        let filters = Filters::pack(weight, bias, window.c, window.taps(), lanes(isa));
        assert_eq!(filters.len(), to.channels, "a channel of the result for every filter");
        let slices = slices(&window, &from);
        Convolution { isa, filters, window, from, to, residual, finish, slices }
    }

    /// Convolves `n` examples, on all threads or on this one.
    pub fn run(&self, arena: &mut [f32], n: usize, in_parallel: bool) {
        for view in [Some(&self.from), Some(&self.to), self.residual.as_ref()].into_iter().flatten() {
            view.check(arena.len(), n);
        }
        let (pixels, panels) = (n * self.to.pixels(), self.filters.n_panels());
        let arena = Shared::new(arena);
        if !in_parallel {
            for start in (0..pixels).step_by(BLOCK) {
                // SAFETY: the views lie in the arena, and this thread alone writes it.
                unsafe { self.block(arena, n, start..(start + BLOCK).min(pixels), 0..panels) };
            }
            return;
        }
        let tasks = 3 * rayon::current_num_threads();
        let rows = pixels.div_ceil(tasks).next_multiple_of(ROWS_MAX).clamp(4 * ROWS_MAX, BLOCK);
        let down = pixels.div_ceil(rows);
        let across = tasks.div_ceil(down).min(panels);
        (0..down * across).into_par_iter().with_max_len(1).for_each(|task| {
            let (i, j) = (task / across, task % across);
            let block = i * rows..((i + 1) * rows).min(pixels);
            let panels = j * panels / across..(j + 1) * panels / across;
            // SAFETY: the views lie in the arena, nothing that is read is written, and no two tasks share a result.
            unsafe { self.block(arena, n, block, panels) };
        });
    }

    /// # Safety
    /// The views lie in the arena, and nobody else writes what is read or written here.
    unsafe fn block(&self, arena: Shared, n: usize, block: Range<usize>, panels: Range<usize>) {
        let offsets = self.offsets(n, block.clone());
        let mr = rows(self.isa);
        for (s, slice) in self.slices.iter().enumerate() {
            let is_last = s + 1 == self.slices.len();
            for panel in panels.clone() {
                let range = self.filters.range(panel);
                let b = self.filters.panel(panel, slice.start).as_ptr();
                let bias = self.filters.bias(panel).as_ptr();
                for i in (0..block.len()).step_by(mr) {
                    let rows = mr.min(block.len() - i);
                    let pointers = |offsets: &[usize], add: usize| {
                        let mut pointers = [std::ptr::null_mut(); ROWS_MAX];
                        for (pointer, offset) in pointers.iter_mut().zip(&offsets[i..i + rows]) {
                            // SAFETY: pixels lie in their views, which lie in the arena.
                            *pointer = unsafe { arena.at(offset + add) };
                        }
                        pointers
                    };
                    let tile = Tile {
                        a: pointers(&offsets.from, 0).map(|p| p.cast_const()),
                        segments: &slice.segments,
                        b,
                        c: pointers(&offsets.to, range.start),
                        residual: self
                            .residual
                            .filter(|_| is_last)
                            .map(|_| pointers(&offsets.residual, range.start).map(|p| p.cast_const())),
                        bias,
                        rows,
                        cols: range.len(),
                        add: s > 0,
                        clamp: is_last.then_some(self.finish.clamp),
                    };
                    // SAFETY: the margin holds what the window reads of the padding, and all lies in the arena.
                    unsafe { compute(self.isa, &tile) };
                    if is_last && self.finish.activation != Activation::Identity {
                        for c in &tile.c[..rows] {
                            // SAFETY: the results of a pixel, which nobody else holds.
                            let row = unsafe { std::slice::from_raw_parts_mut(*c, range.len()) };
                            self.finish.activation.apply(row);
                        }
                    }
                }
            }
        }
    }

    /// Where the pixels of a block are read and written.
    fn offsets(&self, n: usize, block: Range<usize>) -> Offsets {
        let mut offsets = Offsets { from: [0; BLOCK], to: [0; BLOCK], residual: [0; BLOCK] };
        let ([s_y, s_x], [top, left, ..]) = (self.window.stride, self.window.padding);
        let before = top * self.from.row + left * self.from.pixel;
        let [h, w] = self.to.size;
        let (mut image, mut y, mut x) = (block.start / (h * w), block.start / w % h, block.start % w);
        for i in 0..block.len() {
            offsets.from[i] = self.from.at(n, image, y * s_y, x * s_x) - before;
            offsets.to[i] = self.to.at(n, image, y, x);
            if let Some(residual) = &self.residual {
                offsets.residual[i] = residual.at(n, image, y, x);
            }
            x += 1;
            if x == w {
                (x, y) = (0, y + 1);
                if y == h {
                    (y, image) = (0, image + 1);
                }
            }
        }
        offsets
    }
}

struct Offsets {
    from: [usize; BLOCK],
    to: [usize; BLOCK],
    residual: [usize; BLOCK],
}

/// What a filter reads from its first element on, in slices of the sum.
fn slices(d: &Window, from: &View) -> Vec<Slice> {
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
    let steps = d.c * kh * kw;
    let len = steps.div_ceil(steps.div_ceil(STEPS)).next_multiple_of(8);
    let mut slices: Vec<Slice> = Vec::new();
    let mut at = 0;
    for mut run in runs {
        while run.len > 0 {
            if at % len == 0 {
                slices.push(Slice { start: at, segments: Vec::new() });
            }
            let part = run.len.min(len - at % len);
            let slice = slices.last_mut().expect("the first step opens a slice");
            slice.segments.push(Segment { offset: run.offset, len: part });
            (run.offset, run.len, at) = (run.offset + part, run.len - part, at + part);
        }
    }
    slices
}
