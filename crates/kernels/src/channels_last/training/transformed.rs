//! Filters as Winograd's products read them, `G·g·Gᵀ`, made anew for every step.

use std::ops::Range;

use rayon::prelude::*;

use super::super::winograd::{self, POSITIONS, SIDE};
use super::panels::starts;
use super::scratch::Scratch;
use crate::gemm::Shared;
use crate::simd::widest_fn;

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
pub(super) struct Packed {
    packed: Scratch,
    pub(super) starts: Vec<usize>,
    /// Filters and channels.
    pub(super) size: [usize; 2],
}

impl Packed {
    pub(super) fn new(filters: &Filters<'_>) -> Self {
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
    pub(super) fn panel(&self, panel: usize, position: usize) -> &[f32] {
        let ([first, end], channels) = ([self.starts[panel], self.starts[panel + 1]], self.size[1]);
        let cols = end - first;
        &self.packed[(first * POSITIONS + position * cols) * channels..][..cols * channels]
    }

    pub(super) fn range(&self, panel: usize) -> Range<usize> {
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
unsafe fn filters(
    from: &[f32],
    stride: usize,
    n: usize,
    turned: bool,
    to: Shared,
    cols: usize,
    channels: usize,
    channel: usize,
) {
    let values = transform(from, stride, n, turned);
    for (position, values) in values.iter().enumerate() {
        // SAFETY: by the caller.
        let row =
            unsafe { std::slice::from_raw_parts_mut(to.at((position * channels + channel) * cols), cols) };
        // Four at a time: for as many as it does not know, the compiler would call a function.
        let pairs = row.as_chunks_mut::<4>().0.iter_mut().zip(values.as_chunks::<4>().0);
        pairs.for_each(|(to, from)| *to = *from);
    }
}

widest_fn! {
    /// The numbers of `n` filters of one channel at every position.
    fn transform(from: &[f32], stride: usize, n: usize, turned: bool) -> [[f32; WIDTH]; POSITIONS] {
        let points = points();
        let mut g = [[0.0f32; WIDTH]; 9];
        for j in 0..n {
            let filter: &[f32; 9] = from[j * stride..].first_chunk().expect("a filter has nine taps");
            for (tap, &w) in filter.iter().enumerate() {
                g[if turned { 8 - tap } else { tap }][j] = w;
            }
        }
        let mut made = [[0.0f32; WIDTH]; POSITIONS];
        for (i, row) in points.iter().enumerate() {
            let mut half = [[0.0f32; WIDTH]; 3];
            for (b, half) in half.iter_mut().enumerate() {
                for (j, h) in half.iter_mut().enumerate() {
                    *h = row[0] * g[b][j] + row[1] * g[3 + b][j] + row[2] * g[6 + b][j];
                }
            }
            for (k, col) in points.iter().enumerate() {
                for (j, v) in made[i * SIDE + k].iter_mut().enumerate() {
                    *v = col[0] * half[0][j] + col[1] * half[1][j] + col[2] * half[2][j];
                }
            }
        }
        made
    }
}

/// [`winograd::points`], as a step of training takes them.
pub(super) fn points() -> [[f32; 3]; SIDE] {
    winograd::points().map(|row| row.map(|v| v as f32))
}
