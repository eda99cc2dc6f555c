//! One block of a product, on one thread.

use std::cell::Cell;
use std::ops::Range;

use super::epilogue::Epilogue;
use super::kernel::{Kernel, Tile};
use super::pack::Lines;

/// Steps of a slice of the sum at most.  With [`NC`] columns a slice of the right factor takes 590 kB, which stays in
/// the second cache; a panel of the left one stays in the first.
const KC: usize = 384;
/// Columns of a block at most.
pub(crate) const NC: usize = 384;

/// Which part of a product, and where it goes.
pub(crate) struct Block {
    pub(crate) rows: Range<usize>,
    pub(crate) cols: Range<usize>,
    /// Steps of the sum.
    pub(crate) k: usize,
    /// The block's first element.
    pub(crate) to: *mut f32,
    pub(crate) row_stride: usize,
    /// Adds to what is there.
    pub(crate) add: bool,
}

/// Computes a block of at most [`NC`] columns.
///
/// # Safety
/// Rows of the block, `row_stride` apart, can be written at `to` by this thread alone.
pub(super) unsafe fn compute(
    kernel: &Kernel,
    left: &impl Lines,
    right: &impl Lines,
    block: Block,
    epilogue: &Epilogue<'_>,
) {
    let Block { rows, cols, k, to, row_stride, add } = block;
    assert!(cols.len() <= NC, "columns of a block");
    let n_panels = cols.len().div_ceil(kernel.nr);
    let step = k.div_ceil(k.div_ceil(KC).max(1)).next_multiple_of(8);
    with_buffers(kernel.mr * step, n_panels * kernel.nr * step, |a, b| {
        let mut start = 0;
        loop {
            let slice = start..(start + step).min(k);
            let is_last = slice.end == k;
            let len = slice.len();
            // Groups of steps, the last filled with zeros.
            let padded = len.next_multiple_of(kernel.group);
            for (j, panel) in b.chunks_mut((kernel.nr * padded).max(1)).take(n_panels).enumerate() {
                let first = cols.start + j * kernel.nr;
                pack(
                    kernel,
                    right,
                    first..(first + kernel.nr).min(cols.end),
                    slice.clone(),
                    kernel.nr,
                    panel,
                );
            }
            for i in rows.clone().step_by(kernel.mr) {
                let n_rows = kernel.mr.min(rows.end - i);
                pack(kernel, left, i..i + n_rows, slice.clone(), kernel.mr, a);
                let row = (i - rows.start) * row_stride;
                for j in 0..n_panels {
                    let col = j * kernel.nr;
                    let n_cols = kernel.nr.min(cols.len() - col);
                    let (a, b) =
                        (&a[..padded * kernel.mr], &b[j * kernel.nr * padded..][..padded * kernel.nr]);
                    // SAFETY: the panels were just cut to their sizes, and the tile lies in the block.
                    unsafe {
                        (kernel.run)(Tile {
                            k: padded / kernel.group,
                            a: a.as_ptr(),
                            b: b.as_ptr(),
                            c: to.add(row + col),
                            ld: row_stride,
                            rows: n_rows,
                            cols: n_cols,
                            add: add || start > 0,
                        });
                    }
                }
                if is_last && !epilogue.is_empty() {
                    for r in 0..n_rows {
                        // SAFETY: a row of the block, which nobody else holds.
                        let values = unsafe {
                            std::slice::from_raw_parts_mut(to.add(row + r * row_stride), cols.len())
                        };
                        epilogue.apply(i + r, cols.start, row_stride, values);
                    }
                }
            }
            start = slice.end;
            if is_last {
                return;
            }
        }
    });
}

/// Lays some lines out as a kernel reads them.
fn pack(
    kernel: &Kernel,
    lines: &impl Lines,
    some: Range<usize>,
    k: Range<usize>,
    width: usize,
    panel: &mut [f32],
) {
    if kernel.group == 2 && lines.pack_pairs(some.start, some.len(), k.clone(), width, panel) {
        return;
    }
    let len = k.len();
    lines.pack(some.start, some.len(), k, width, panel);
    if let Some(prepare) = kernel.prepare {
        let padded = len.next_multiple_of(kernel.group);
        panel[len * width..padded * width].fill(0.0);
        prepare(&mut panel[..padded * width], width);
    }
}

/// A line of cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Calls `f` with two buffers of this thread.
fn with_buffers(a: usize, b: usize, f: impl FnOnce(&mut [f32], &mut [f32])) {
    thread_local! {
        static BUFFER: Cell<Vec<Line>> = const { Cell::new(Vec::new()) };
    }
    let (a_lines, b_lines) = (a.div_ceil(16), b.div_ceil(16));
    let mut lines = BUFFER.take();
    if lines.len() < a_lines + b_lines {
        lines.resize(a_lines + b_lines, Line([0.0; 16]));
    }
    let (left, right) = lines.split_at_mut(a_lines);
    f(flat(left), flat(&mut right[..b_lines]));
    BUFFER.set(lines);
}

fn flat(lines: &mut [Line]) -> &mut [f32] {
    // SAFETY: a line is sixteen numbers and nothing else.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * 16) }
}
