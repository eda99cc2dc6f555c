//! Filters, packed once for a kernel.

use std::ops::Range;

use super::tile::VECTORS_MAX;
use crate::Floats;

/// Filters `[o, c, kh, kw]` in panels of up to three vectors of filters: for every step of the sum, in the order
/// `(row, column, channel)`, a number of each filter of the panel.
#[derive(Debug)]
pub(super) struct Filters {
    packed: Floats,
    /// One for each filter, padded to whole vectors.
    bias: Floats,
    /// First filter of each panel, and the end.
    starts: Vec<usize>,
    steps: usize,
    n: usize,
}

impl Filters {
    /// Packs `weight [o, c, taps]` and `bias? [o]`.
    pub(super) fn pack(weight: &[f32], bias: Option<&[f32]>, c: usize, taps: usize, lanes: usize) -> Self {
        let steps = c * taps;
        let n = weight.len() / steps.max(1);
        assert!(n > 0 && weight.len() == n * steps, "filters of {c} channels and {taps} taps");
        let vectors = n.div_ceil(lanes);
        let n_panels = vectors.div_ceil(VECTORS_MAX);
        // Panels of nearly one width: 4 vectors are 2 and 2.
        let starts: Vec<usize> = (0..=n_panels).map(|i| i * vectors / n_panels * lanes).collect();
        let width = vectors * lanes;
        let mut packed = Floats::zeros(width * steps);
        for range in starts.windows(2) {
            let (first, cols) = (range[0], range[1] - range[0]);
            let panel = &mut packed[first * steps..range[1] * steps];
            for (j, filter) in weight[first * steps..].chunks_exact(steps).take(cols).enumerate() {
                for (channel, filter) in filter.chunks_exact(taps).enumerate() {
                    for (tap, &w) in filter.iter().enumerate() {
                        panel[(tap * c + channel) * cols + j] = w;
                    }
                }
            }
        }
        assert!(bias.is_none_or(|bias| bias.len() == n), "a bias for every filter");
        let bias = Floats::padded(bias.unwrap_or_default(), width);
        Filters { packed, bias, starts, steps, n }
    }

    /// Filters.
    pub(super) fn len(&self) -> usize {
        self.n
    }

    pub(super) fn n_panels(&self) -> usize {
        self.starts.len() - 1
    }

    /// The filters of a panel.
    pub(super) fn range(&self, panel: usize) -> Range<usize> {
        self.starts[panel]..self.starts[panel + 1].min(self.n)
    }

    /// A panel from some step of the sum on, `[.., width]`.
    pub(super) fn panel(&self, panel: usize, step: usize) -> &[f32] {
        let [first, end] = [self.starts[panel], self.starts[panel + 1]];
        &self.packed[first * self.steps + step * (end - first)..end * self.steps]
    }

    /// The bias of a panel, padded to its width.
    pub(super) fn bias(&self, panel: usize) -> &[f32] {
        &self.bias[self.starts[panel]..self.starts[panel + 1]]
    }
}
