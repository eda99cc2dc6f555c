//! Products of what a filter reads at every position with packed weights.
//!
//! Positions are taken in blocks.  What is read at a position is gathered into a row of the block, unless it is one run of
//! memory already, as for filters of one tap; so edges, strides and rounding to bf16 cost a copy a block, and a tile
//! reads a pointer a position.

use std::ops::Range;

use rayon::prelude::*;

use super::super::rounding::{halves, rounded};
use super::super::tile::{self, ROWS_MAX, Segment, Tile};
use super::super::with_buffer;
use super::Then;
use super::laid::Laid;
use super::panels::Panels;
use crate::gemm::{Operands, Shared};
use crate::{Bf16, Floats, Isa, Number, Precision};

/// Images `[n, height, width, channels]`, or some channels of such.
#[derive(Clone, Copy)]
pub(super) struct Images<'a> {
    /// From the first channel of the first pixel on.
    pub(super) data: &'a [f32],
    pub(super) size: [usize; 2],
    pub(super) channels: usize,
    /// From one pixel to the next.
    pub(super) pixel: usize,
}

impl<'a> Images<'a> {
    pub(super) fn new(data: &'a [f32], size: [usize; 2], channels: usize) -> Self {
        Images { data, size, channels, pixel: channels }
    }

    /// Some of the channels.
    pub(super) fn channels(self, some: &Range<usize>) -> Self {
        Images { data: &self.data[some.start..], channels: some.len(), ..self }
    }

    /// Whether nothing lies between the pixels.
    pub(super) fn is_whole(&self) -> bool {
        self.pixel == self.channels
    }

    /// From a pixel of an image on.
    pub(super) fn at(&self, image: usize, y: usize, x: usize) -> &'a [f32] {
        let [h, w] = self.size;
        &self.data[((image * h + y) * w + x) * self.pixel..]
    }
}

/// Pixels next to each other that are read at a position, from where that lies: `[y, x]` and how many.
#[derive(Debug, Clone, Copy)]
pub(super) struct Run {
    pub(super) at: [isize; 2],
    pub(super) len: usize,
}

/// What is read of images at each position `(i, j)` of a grid: runs from pixel `(i·step, j·step)` on; what lies outside is 0.
pub(super) struct Reads<'a> {
    pub(super) images: Images<'a>,
    pub(super) n: usize,
    pub(super) grid: [usize; 2],
    pub(super) step: [usize; 2],
    pub(super) runs: &'a [Run],
}

/// Where results are written, from several threads.
#[derive(Clone, Copy)]
pub(super) struct To {
    numbers: Shared,
    /// In bf16, two to a word.
    pub(super) in_halves: bool,
}

impl To {
    pub(super) fn new<N: Number>(to: &mut [N]) -> Self {
        let numbers = Shared::from_pointer(to.as_mut_ptr().cast());
        To { numbers, in_halves: N::IS_HALF }
    }

    /// # Safety
    /// The number lies in the slice that this was made of.
    pub(super) unsafe fn at(self, i: usize) -> *mut f32 {
        // SAFETY: by the caller.
        unsafe {
            match self.in_halves {
                true => self.numbers.at(0).cast::<Bf16>().add(i).cast(),
                false => self.numbers.at(i),
            }
        }
    }
}

/// Where the results of a position go: those of `(i, j)` of image `n` lie at `first + n·image + i·row + j·pixel`.
#[derive(Clone, Copy)]
pub(super) struct Target {
    pub(super) to: To,
    pub(super) first: usize,
    pub(super) image: usize,
    pub(super) row: usize,
    pub(super) pixel: usize,
}

/// Elements of the rows of a block: a third of the second cache.
const BLOCK: usize = 1 << 16;
/// Steps of a slice of the sum at most.
const STEPS: usize = 1280;
/// Numbers beyond the last row that may be written.
const BEYOND: usize = 16;
/// Positions of the largest block.
const POSITIONS: usize = 128;

/// Writes the product of what is read with the panels, and does what follows it.
///
/// # Safety
/// The target can be written at every position by nobody else, as many numbers as the panels have lines; a residual has
/// its size.
pub(super) unsafe fn multiply(
    reads: &Reads<'_>,
    panels: &Panels,
    then: &Then<'_>,
    target: Target,
    operands: Operands,
) {
    let positions = reads.n * reads.grid[0] * reads.grid[1];
    let laid = Laid::of(reads, operands);
    // One slice of the sum, so that it may be of any segments.
    let segments = laid.as_ref().filter(|_| panels.steps() <= STEPS).and_then(Laid::segments);
    let bias = Floats::padded(then.bias.unwrap_or_default(), panels.width());
    let tasks = 3 * rayon::current_num_threads();
    let most = (BLOCK / panels.steps()).next_multiple_of(ROWS_MAX).clamp(4 * ROWS_MAX, POSITIONS);
    let len = positions.div_ceil(tasks).next_multiple_of(ROWS_MAX).clamp(4 * ROWS_MAX, most);
    let down = positions.div_ceil(len);
    let across = tasks.div_ceil(down.max(1)).min(panels.len());
    (0..down * across).into_par_iter().with_max_len(1).for_each(|task| {
        let (i, j) = (task / across, task % across);
        let some = j * panels.len() / across..(j + 1) * panels.len() / across;
        let block = Block {
            reads,
            panels,
            then,
            bias: &bias,
            target,
            operands,
            laid: laid.as_ref(),
            segments: segments.as_deref(),
        };
        // SAFETY: by the caller; no two tasks share a result.
        unsafe { block.compute(i * len..((i + 1) * len).min(positions), some) };
    });
}

struct Block<'a> {
    reads: &'a Reads<'a>,
    panels: &'a Panels,
    then: &'a Then<'a>,
    /// Padded to the width of the panels.
    bias: &'a [f32],
    target: Target,
    operands: Operands,
    laid: Option<&'a Laid>,
    /// Where it is read, if without gathering.
    segments: Option<&'a [Segment]>,
}

impl Block<'_> {
    /// # Safety
    /// As [`multiply`], for these positions and panels.
    unsafe fn compute(&self, positions: Range<usize>, panels: Range<usize>) {
        let (steps, in_pairs) = (self.panels.steps(), self.panels.in_pairs());
        let in_place = self.operands == Operands::F32 && self.reads.is_in_place();
        debug_assert!(in_place || self.laid.is_some() || self.reads.images.is_whole(), "runs of pixels");
        let pitch = match (in_place || self.segments.is_some(), in_pairs) {
            (true, _) => 0,
            (false, false) => steps,
            (false, true) => steps.div_ceil(2),
        };
        with_buffer(pitch * positions.len() + BEYOND, |rows| {
            let mut a = [std::ptr::null::<f32>(); POSITIONS];
            let mut c = [std::ptr::null_mut::<f32>(); POSITIONS];
            let mut added = [std::ptr::null::<f32>(); POSITIONS];
            for (i, position) in positions.clone().enumerate() {
                let at = self.reads.at(position);
                // SAFETY: by the caller.
                c[i] = unsafe { self.target.to.at(self.target.index(at)) };
                if let Some(residual) = self.then.residual {
                    added[i] = residual[self.target.index(at)..].as_ptr();
                }
                if in_place {
                    a[i] = self.reads.first(at).as_ptr();
                    continue;
                }
                if let Some(laid) = self.laid {
                    if self.segments.is_some() {
                        a[i] = laid.read(at);
                        continue;
                    }
                    let row = &mut rows[i * pitch..];
                    a[i] = row.as_ptr();
                    // SAFETY: a row and what may be written beyond it.
                    unsafe { laid.gather(at, row.as_mut_ptr()) };
                    if in_pairs {
                        Bf16::in_words_mut(row, 2 * pitch)[steps..].fill(Bf16::default());
                    }
                    continue;
                }
                let row = &mut rows[i * pitch..][..pitch];
                a[i] = row.as_ptr();
                match self.operands {
                    Operands::F32 => self.reads.gather(at, row, |from, to| to.copy_from_slice(from)),
                    Operands::Bf16 if in_pairs => {
                        // The last may be beyond the steps.
                        let row = Bf16::in_words_mut(row, 2 * pitch);
                        row[steps..].fill(Bf16::default());
                        self.reads.gather(at, &mut row[..steps], halves);
                    }
                    Operands::Bf16 => self.reads.gather(at, row, rounded),
                }
            }
            // SAFETY: rows hold as many steps as the panels have; the rest by the caller.
            unsafe { self.tiles(&a[..positions.len()], &c, &added, panels) };
        });
    }

    /// # Safety
    /// Every `a` holds the steps of a position, in the segments if there are any, and the results can be written at every `c`; what is
    /// added, if anything is, lies at every `added`.
    unsafe fn tiles(
        &self,
        a: &[*const f32],
        c: &[*mut f32; POSITIONS],
        added: &[*const f32; POSITIONS],
        panels: Range<usize>,
    ) {
        let (steps, in_pairs) = (self.panels.steps(), self.panels.in_pairs());
        // What a gate looks at is there until the first slice is written, and halves are sums that are whole.
        let in_halves = self.target.to.in_halves;
        let n_slices = if self.then.gate.is_some() || in_halves { 1 } else { steps.div_ceil(STEPS) };
        let slice = steps.div_ceil(n_slices).next_multiple_of(8);
        let isa = Isa::best();
        for start in (0..steps).step_by(slice) {
            let end = (start + slice).min(steps);
            let (precision, a_word) = if in_pairs { (Precision::Bf16, 2) } else { (Precision::F32, 1) };
            let slice = [Segment { offset: start / a_word, len: (end - start).div_ceil(a_word) }];
            for panel in panels.clone() {
                let range = self.panels.range(panel);
                let is_last = end == steps;
                for i in (0..a.len()).step_by(tile::rows(isa)) {
                    let rows = i..(i + tile::rows(isa)).min(a.len());
                    let tile = Tile {
                        a: &a[rows.clone()],
                        steps: &[],
                        segments: self.segments.unwrap_or(&slice),
                        b: self.panels.panel(panel, start).as_ptr(),
                        scales: std::ptr::null(),
                        sums: std::ptr::null(),
                        c: &c[rows.clone()],
                        residual: self.then.residual.map(|_| &added[rows]),
                        first: range.start,
                        bias: self.bias[range.start..].as_ptr(),
                        cols: range.len(),
                        add: start > 0,
                        clamp: is_last.then_some(self.then.clip),
                        gate: self.then.gate,
                        in_halves,
                    };
                    // SAFETY: by the caller; a panel has a number of every line for every step, and a bias is padded.
                    unsafe { tile::compute(isa, precision, &tile) };
                }
            }
        }
    }
}

impl<'a> Reads<'a> {
    /// Whether what is read at a position is one run of the image.
    pub(super) fn is_in_place(&self) -> bool {
        let inside = |i: usize| (self.grid[i] - 1) * self.step[i] < self.images.size[i];
        matches!(self.runs, [Run { at: [0, 0], len: 1 }]) && inside(0) && inside(1)
    }

    /// Image, row and column of a position.
    pub(super) fn at(&self, position: usize) -> [usize; 3] {
        let [h, w] = self.grid;
        [position / (h * w), position / w % h, position % w]
    }

    /// The image from where a position lies on.
    fn first(&self, [image, i, j]: [usize; 3]) -> &'a [f32] {
        &self.images.at(image, i * self.step[0], j * self.step[1])[..self.images.channels]
    }

    /// Calls `put` for every run of a position with what lies in the image, of all its channels; what lies outside becomes 0.
    #[inline(always)]
    pub(super) fn gather<E: Copy + Default>(
        &self,
        [image, i, j]: [usize; 3],
        row: &mut [E],
        put: impl Fn(&[f32], &mut [E]),
    ) {
        let Images { size: [h, w], channels, .. } = self.images;
        let mut rest = row;
        for run in self.runs {
            let (to, behind) = std::mem::take(&mut rest).split_at_mut(run.len * channels);
            rest = behind;
            let y = (i * self.step[0]) as isize + run.at[0];
            let x = (j * self.step[1]) as isize + run.at[1];
            if y < 0 || y >= h as isize {
                to.fill(E::default());
                continue;
            }
            let before = (-x).clamp(0, run.len as isize) as usize;
            let end = (w as isize - x).clamp(before as isize, run.len as isize) as usize;
            to[..before * channels].fill(E::default());
            to[end * channels..].fill(E::default());
            if end > before {
                let from = self.images.at(image, y as usize, (x + before as isize) as usize);
                let len = (end - before) * channels;
                put(&from[..len], &mut to[before * channels..][..len]);
            }
        }
    }
}

impl Target {
    /// Images `[n, height, width, channels]` from one of their channels on.
    pub(super) fn new(to: To, [h, w]: [usize; 2], channels: usize, first: usize) -> Self {
        Target { to, first, image: h * w * channels, row: w * channels, pixel: channels }
    }

    pub(super) fn index(&self, [image, i, j]: [usize; 3]) -> usize {
        self.first + image * self.image + i * self.row + j * self.pixel
    }
}
