//! Weights of a step, packed for its products: they change with every step, so packing must be quick.

use std::ops::Range;

use rayon::prelude::*;

use super::super::filters::panel_starts;
use super::super::tile::VECTORS_MAX;
use super::super::vector::lanes;
use super::scratch::Scratch;
use crate::Isa;
use crate::gemm::{Operands, interleave};
use crate::precision::{paired, round_bf16};
use crate::simd::widest_fn;

/// Where the numbers of a weight lie for a product: step `(tap, channel)` of line `i` is at
/// `i·line + channel·step + taps[tap]`.
pub(super) struct Lines<'a> {
    pub(super) weight: &'a [f32],
    pub(super) n: usize,
    pub(super) line: usize,
    pub(super) channels: usize,
    pub(super) step: usize,
    pub(super) taps: &'a [usize],
}

/// Lines in panels of up to three vectors of them: for every step of the sum, a number of each line; for bf16 two steps side by
/// side in every element.
pub(super) struct Panels {
    packed: Scratch,
    /// First line of each panel, and the end.
    starts: Vec<usize>,
    n: usize,
    steps: usize,
    in_pairs: bool,
}

impl Panels {
    pub(super) fn pack(lines: &Lines<'_>, operands: Operands) -> Self {
        let starts = starts(lines.n);
        let steps = lines.channels * lines.taps.len();
        let in_pairs = operands.in_pairs();
        let rows = if in_pairs { steps.next_multiple_of(2) } else { steps };
        let mut packed = Scratch::new(starts[starts.len() - 1] * rows);
        let mut rest = &mut packed[..];
        let mut panels = Vec::new();
        for range in starts.windows(2) {
            let (panel, behind) = rest.split_at_mut((range[1] - range[0]) * rows);
            panels.push((range[0]..range[1], panel));
            rest = behind;
        }
        panels.into_par_iter().with_max_len(1).for_each(|(range, panel)| {
            let cols = range.len();
            lines.fill(range, panel);
            match operands {
                Operands::F32 => {}
                Operands::Bf16 if in_pairs => {
                    panel[steps * cols..].fill(0.0);
                    pair(panel, cols);
                }
                Operands::Bf16 => panel.iter_mut().for_each(|v| *v = round_bf16(*v)),
            }
        });
        Panels { packed, starts, n: lines.n, steps, in_pairs }
    }

    /// Steps of the sum.
    pub(super) fn steps(&self) -> usize {
        self.steps
    }

    /// Whether an element holds two steps in bf16.
    pub(super) fn in_pairs(&self) -> bool {
        self.in_pairs
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Lines of all panels, and what the last is padded with.
    pub(super) fn width(&self) -> usize {
        self.starts[self.starts.len() - 1]
    }

    /// The lines of a panel.
    pub(super) fn range(&self, panel: usize) -> Range<usize> {
        self.starts[panel]..self.starts[panel + 1].min(self.n)
    }

    /// A panel from some step of the sum on; of pairs, an even one.
    pub(super) fn panel(&self, panel: usize, step: usize) -> &[f32] {
        let [first, end] = [self.starts[panel], self.starts[panel + 1]];
        let (rows, step) = match self.in_pairs {
            true => (self.steps.next_multiple_of(2), step / 2),
            false => (self.steps, step),
        };
        &self.packed[first * rows + step * (end - first)..end * rows]
    }
}

/// First line of each panel, and the end.
pub(super) fn starts(n: usize) -> Vec<usize> {
    panel_starts(n, lanes(Isa::best()))
}

impl Lines<'_> {
    /// Writes the steps of some lines; there may be fewer than the panel is wide.
    fn fill(&self, range: Range<usize>, panel: &mut [f32]) {
        let (cols, n) = (range.len(), range.len().min(self.n - range.start));
        let from = &self.weight[range.start * self.line..];
        let rows = panel.chunks_exact_mut(cols);
        if self.line == 1 {
            let places =
                self.taps.iter().flat_map(|tap| (0..self.channels).map(move |c| c * self.step + tap));
            rows.zip(places).for_each(|(to, at)| to[..n].copy_from_slice(&from[at..at + n]));
        } else if self.step == 1 && self.taps.len() == 1 {
            let mut starts = [0; VECTORS_MAX * 16];
            starts[..n].iter_mut().enumerate().for_each(|(i, start)| *start = i * self.line + self.taps[0]);
            interleave(from, &starts[..n], self.channels, cols, panel);
        } else {
            let places =
                self.taps.iter().flat_map(|tap| (0..self.channels).map(move |c| c * self.step + tap));
            for (to, at) in rows.zip(places) {
                to[..n].iter_mut().zip(from[at..].iter().step_by(self.line)).for_each(|(to, v)| *to = *v);
            }
        }
    }
}

widest_fn! {
    /// Rows `2p` and `2p + 1` become row `p` of pairs.
    fn pair(panel: &mut [f32], cols: usize) {
        for p in 0..panel.len() / (2 * cols) {
            for j in 0..cols {
                let (even, odd) = (panel[2 * p * cols + j], panel[(2 * p + 1) * cols + j]);
                panel[p * cols + j] = paired(even, odd);
            }
        }
    }
}
