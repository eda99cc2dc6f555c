//! Pooling: the largest value or the mean under a window, and the mean of a whole image.

use std::ops::Range;

use super::each;
use super::view::View;
use crate::Window;
use crate::gemm::Shared;
use crate::simd::widest_fn;

/// What is taken of the values under a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PoolKind {
    /// The largest; padding counts as −∞.
    Max,
    /// The mean of those in the image.
    Mean,
    /// The mean, padding counting as zeros; what a last window reads beyond the padding does not count.
    MeanWithPadding,
}

/// A pool that knows where it reads and writes.
#[derive(Debug)]
pub struct Pool {
    kind: PoolKind,
    window: Window,
    from: View,
    to: View,
}

/// Channels that are pooled together.
const CHANNELS: usize = 64;

impl Pool {
    /// Pools images at `from`.  The window's size of the result need not be that of `to`, whose last windows may reach beyond
    /// the padding ("ceil mode").
    ///
    /// # Panics
    /// If some window has nothing of the image under it, or the result would overwrite what is read.
    pub fn new(kind: PoolKind, window: Window, [from, to]: [View; 2]) -> Self {
        assert_eq!((window.size, window.dilation), (from.size, [1, 1]), "sizes of {window:?}");
        assert_eq!(from.channels, to.channels, "channels");
        for i in 0..2 {
            let (last, before) = ((to.size[i] - 1) * window.stride[i], window.padding[i]);
            assert!(
                before < window.kernel[i] && last < from.size[i] + before,
                "windows of {window:?} lie on the image"
            );
        }
        to.check_apart(&from);
        Pool { kind, window, from, to }
    }

    /// Pools `n` examples, on all threads or on this one.
    pub fn run(&self, arena: &mut [f32], n: usize, in_parallel: bool) {
        self.from.check(arena.len(), n);
        self.to.check(arena.len(), n);
        let h = self.to.size[0];
        let arena = Shared::new(arena);
        let row = |i: usize| {
            for x in 0..self.to.size[1] {
                // SAFETY: both views lie in the arena, nothing that is read is written, and rows are written by one thread.
                unsafe { self.pixel(arena, n, [i / h, i % h, x]) };
            }
        };
        each(n * h, in_parallel, row);
    }

    /// # Safety
    /// The views lie in the arena, nobody else writes the pixel, and nobody what is read.
    unsafe fn pixel(&self, arena: Shared, n: usize, [image, y, x]: [usize; 3]) {
        let ((rows, n_rows), (cols, n_cols)) = (self.window.under(0, y), self.window.under(1, x));
        let count = match self.kind {
            PoolKind::MeanWithPadding => n_rows * n_cols,
            _ => rows.len() * cols.len(),
        };
        let by = 1.0 / count as f32;
        let (from, to) = (|y, x| self.from.at(n, image, y, x), self.to.at(n, image, y, x));
        // SAFETY: by the caller.
        unsafe { pool(self.kind, self.to.channels, by, arena, (&from, rows, cols), to) };
    }
}

widest_fn! {
    /// Pools the pixels of `rows` and `cols`, which `from` places, into the one at `to`.
    ///
    /// # Safety
    /// All these pixels lie in the arena, nobody else writes the one at `to`, and nobody the others.
    unsafe fn pool(
        kind: PoolKind,
        c: usize,
        by: f32,
        arena: Shared,
        window: (&impl Fn(usize, usize) -> usize, Range<usize>, Range<usize>),
        to: usize,
    ) {
        let (from, rows, cols) = window;
        for first in (0..c).step_by(CHANNELS) {
            let len = CHANNELS.min(c - first);
            let mut pooled = [if kind == PoolKind::Max { f32::NEG_INFINITY } else { 0.0 }; CHANNELS];
            for row in rows.clone() {
                for col in cols.clone() {
                    // SAFETY: channels of a pixel of the image, which nobody writes.
                    let from = unsafe {
                        std::slice::from_raw_parts(arena.at(from(row, col) + first).cast_const(), len)
                    };
                    let pairs = pooled.iter_mut().zip(from);
                    if kind == PoolKind::Max {
                        // NaN, once met, stays.
                        for (p, &v) in pairs {
                            *p = if v > *p || v.is_nan() { v } else { *p };
                        }
                    } else {
                        for (p, v) in pairs {
                            *p += v;
                        }
                    }
                }
            }
            if kind != PoolKind::Max {
                for p in &mut pooled {
                    *p *= by;
                }
            }
            // SAFETY: channels of a pixel that this thread alone writes.
            unsafe {
                std::slice::from_raw_parts_mut(arena.at(to + first), len).copy_from_slice(&pooled[..len]);
            }
        }
    }
}

/// The mean of each channel: `y[n,0,0,c] = Σ_ij x[n,i,j,c] / (h·w)`, row by row.
#[derive(Debug)]
pub struct GlobalMean {
    from: View,
    to: View,
}

impl GlobalMean {
    /// The means of images at `from` into images of one pixel at `to`.
    pub fn new([from, to]: [View; 2]) -> Self {
        assert_eq!((to.size, to.channels), ([1, 1], from.channels), "a pixel with all channels");
        to.check_apart(&from);
        GlobalMean { from, to }
    }

    /// Takes the means of `n` examples.
    pub fn run(&self, arena: &mut [f32], n: usize) {
        self.from.check(arena.len(), n);
        self.to.check(arena.len(), n);
        let (c, [h, w]) = (self.from.channels, self.from.size);
        for image in 0..n {
            let from = |y, x| self.from.at(n, image, y, x);
            mean(arena, c, [h, w], &from, self.to.at(n, image, 0, 0));
        }
    }
}

widest_fn! {
    /// The mean of an image's pixels, which `from` places, row by row, into the one at `to`.
    fn mean(
        arena: &mut [f32],
        c: usize,
        size: [usize; 2],
        from: &impl Fn(usize, usize) -> usize,
        to: usize,
    ) {
        let [h, w] = size;
        let by = 1.0 / (h * w) as f32;
        for first in (0..c).step_by(CHANNELS) {
            let len = CHANNELS.min(c - first);
            let mut total = [0.0f32; CHANNELS];
            for y in 0..h {
                let mut sums = [0.0f32; CHANNELS];
                for x in 0..w {
                    for (s, v) in sums.iter_mut().zip(&arena[from(y, x) + first..][..len]) {
                        *s += v;
                    }
                }
                for (t, s) in total.iter_mut().zip(sums) {
                    *t += s;
                }
            }
            for (to, t) in arena[to + first..][..len].iter_mut().zip(total) {
                *to = t * by;
            }
        }
    }
}
