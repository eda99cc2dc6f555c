//! Filters, packed once for a kernel.

use std::ops::Range;

use super::rounding::{pairs, signed_bytes};
use super::tile::VECTORS_MAX;
use crate::{Floats, Precision};

/// Filters `[o, c, kh, kw]` in panels of up to three vectors of filters: for every step of the sum, in the order
/// `(row, column, channel)`, a word of each filter of the panel.
#[derive(Debug)]
pub(super) struct Filters {
    precision: Precision,
    packed: Floats,
    /// One for each filter, padded to whole vectors.
    bias: Floats,
    /// What the integers of each filter stand for, and what they sum up to in that measure; the same padding.
    scales: Floats,
    sums: Floats,
    /// First filter of each panel, and the end.
    starts: Vec<usize>,
    steps: usize,
    n: usize,
}

impl Filters {
    /// Packs `weight [o, c, taps]` and `bias? [o]`; where several channels share a word, the last may be partly empty.
    pub(super) fn pack(
        precision: Precision,
        weight: &[f32],
        bias: Option<&[f32]>,
        c: usize,
        taps: usize,
        lanes: usize,
    ) -> Self {
        let n = weight.len() / (c * taps).max(1);
        assert!(n > 0 && weight.len() == n * c * taps, "filters of {c} channels and {taps} taps");
        let words = c.div_ceil(precision.factors_a_word());
        let steps = words * taps;
        let starts = panel_starts(n, lanes);
        let width = starts[starts.len() - 1];
        let mut packed = Floats::zeros(width * steps);
        let [mut scales, mut sums] = [(); 2].map(|()| match precision {
            Precision::Int8 => Floats::zeros(width),
            _ => Floats::none(),
        });
        let (mut channels, mut word) = (vec![0.0; c], vec![0.0; words]);
        for range in starts.windows(2) {
            let (first, cols) = (range[0], range[1] - range[0]);
            let panel = &mut packed[first * steps..range[1] * steps];
            for (j, filter) in weight[first * c * taps..].chunks_exact(c * taps).take(cols).enumerate() {
                let scale = largest(filter) / 127.0;
                for tap in 0..taps {
                    channels.iter_mut().zip(filter[tap..].iter().step_by(taps)).for_each(|(to, &w)| *to = w);
                    match precision {
                        Precision::F32 => word.copy_from_slice(&channels),
                        Precision::Bf16 => pairs(&channels, &mut word),
                        Precision::Int8 => {
                            let sum = signed_bytes(&channels, scale, &mut word);
                            sums[first + j] += sum as f32 * scale;
                        }
                    }
                    for (i, &word) in word.iter().enumerate() {
                        panel[(tap * words + i) * cols + j] = word;
                    }
                }
                if precision == Precision::Int8 {
                    scales[first + j] = scale;
                }
            }
        }
        assert!(bias.is_none_or(|bias| bias.len() == n), "a bias for every filter");
        let bias = Floats::padded(bias.unwrap_or_default(), width);
        Filters { precision, packed, bias, scales, sums, starts, steps, n }
    }

    /// Filters.
    pub(super) fn len(&self) -> usize {
        self.n
    }

    pub(super) fn precision(&self) -> Precision {
        self.precision
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

    /// Scales and sums of a panel of integers, padded to its width; none of floats.
    pub(super) fn integers(&self, panel: usize) -> Option<[&[f32]; 2]> {
        let range = self.starts[panel]..self.starts[panel + 1];
        (self.precision == Precision::Int8).then(|| [&self.scales, &self.sums].map(|f| &f[range.clone()]))
    }
}

/// First of `n` filters of each panel, and the end: panels of nearly one width, of whole vectors, so that 4 are 2 and 2.
pub(super) fn panel_starts(n: usize, lanes: usize) -> Vec<usize> {
    let vectors = n.div_ceil(lanes);
    let n_panels = vectors.div_ceil(VECTORS_MAX);
    (0..=n_panels).map(|i| i * vectors / n_panels.max(1) * lanes).collect()
}

/// The largest magnitude; infinite or NaN if one of them is.
fn largest(filter: &[f32]) -> f32 {
    f32::from_bits(filter.iter().map(|w| w.abs().to_bits()).max().unwrap_or(0))
}
