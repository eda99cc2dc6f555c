//! Some rows times panels of filters: the loops around the tiles.

use std::ops::Range;

use super::filters::Filters;
use super::tile::{Finish, Segment, Step, Tile, compute, rows};
use crate::{Activation, Isa};

/// Rows of a block at most.
pub(super) const BLOCK: usize = 128;
/// Steps of a slice of the sum at most: 48 filters take 250 kB of the second cache.
const STEPS: usize = 1280;

/// Rows of a block: where each is read, where its results go, and what is added to them.
pub(super) struct Rows {
    pub(super) from: [*const f32; BLOCK],
    pub(super) to: [*mut f32; BLOCK],
    pub(super) residual: [*const f32; BLOCK],
    /// What the integers of each row stand for.
    pub(super) steps: [Step; BLOCK],
    pub(super) len: usize,
}

impl Rows {
    pub(super) fn none() -> Self {
        Rows {
            from: [std::ptr::null(); BLOCK],
            to: [std::ptr::null_mut(); BLOCK],
            residual: [std::ptr::null(); BLOCK],
            steps: [Step::default(); BLOCK],
            len: 0,
        }
    }
}

/// Filters, what they read of a row, and what finishes a sum.
#[derive(Debug)]
pub(super) struct Product {
    pub(super) isa: Isa,
    pub(super) filters: Filters,
    /// What is read of every row, by slice of the sum.
    slices: Vec<Slice>,
    pub(super) finish: Finish,
    pub(super) has_residual: bool,
}

#[derive(Debug)]
struct Slice {
    /// Its first step.
    start: usize,
    segments: Vec<Segment>,
}

impl Product {
    /// A product with what lies in `runs` of memory.
    pub(super) fn new(
        isa: Isa,
        filters: Filters,
        runs: Vec<Segment>,
        finish: Finish,
        has_residual: bool,
    ) -> Self {
        assert!(isa.is_available(), "{isa:?} on this machine");
        Product { isa, filters, slices: slices(runs), finish, has_residual }
    }

    /// Multiplies rows by the filters of some panels.
    ///
    /// # Safety
    /// What the slices read lies at each row's place, and its results and residual have an element for each filter, which
    /// nobody else writes.
    pub(super) unsafe fn run(&self, r: &Rows, panels: Range<usize>) {
        let mr = rows(self.isa);
        for (s, slice) in self.slices.iter().enumerate() {
            let is_last = s + 1 == self.slices.len();
            for panel in panels.clone() {
                let range = self.filters.range(panel);
                let b = self.filters.panel(panel, slice.start).as_ptr();
                let bias = self.filters.bias(panel).as_ptr();
                let [scales, sums] =
                    self.filters.integers(panel).map_or([std::ptr::null(); 2], |f| f.map(<[f32]>::as_ptr));
                for i in (0..r.len).step_by(mr) {
                    let block = i..(i + mr).min(r.len);
                    let tile = Tile {
                        a: &r.from[block.clone()],
                        steps: &r.steps[block.clone()],
                        segments: &slice.segments,
                        b,
                        scales,
                        sums,
                        c: &r.to[block.clone()],
                        residual: (is_last && self.has_residual).then_some(&r.residual[block]),
                        first: range.start,
                        bias,
                        cols: range.len(),
                        add: s > 0,
                        clamp: is_last.then_some(self.finish.clamp),
                        gate: None,
                        in_halves: false,
                    };
                    // SAFETY: by the caller.
                    unsafe { compute(self.isa, self.filters.precision(), &tile) };
                    if is_last && self.finish.activation != Activation::Identity {
                        for c in tile.c {
                            // SAFETY: the results of a row, which nobody else holds.
                            let row =
                                unsafe { std::slice::from_raw_parts_mut(c.add(range.start), range.len()) };
                            self.finish.activation.apply(row);
                        }
                    }
                }
            }
        }
    }
}

/// Cuts the sum into slices.  Where one begins depends on the number of steps alone.
fn slices(runs: Vec<Segment>) -> Vec<Slice> {
    let steps: usize = runs.iter().map(|run| run.len).sum();
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
