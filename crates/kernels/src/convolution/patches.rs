//! What a filter reads at every position, as a factor of a product that is packed from the planes.

use std::ops::Range;

use crate::gemm::{Epilogue, Lines, Operands, Shared, interleave, product};
use crate::simd::widest;

/// Planes of some examples, and where the taps of a filter read them.
///
/// At position `(i, j)` of the grid, tap `t` of channel `c` reads
/// `source[example·image + c·plane + offsets[t] + i·pitch + j]`.
pub(super) struct Patches<'a> {
    pub(super) source: &'a [f32],
    pub(super) image: usize,
    pub(super) plane: usize,
    pub(super) pitch: usize,
    pub(super) grid: [usize; 2],
    pub(super) offsets: &'a [usize],
}

impl Patches<'_> {
    /// `y [images, m, grid] = filters·patches` for `[m, images·positions, k]`.
    #[expect(clippy::too_many_arguments, reason = "what a product asks for")]
    pub(super) fn times(
        &self,
        operands: Operands,
        filters: &impl Lines,
        size: [usize; 3],
        epilogue: &Epilogue<'_>,
        y: &mut [f32],
        joined: &mut Vec<f32>,
        in_parallel: bool,
    ) {
        let [m, n, _] = size;
        let positions = self.grid[0] * self.grid[1];
        assert_eq!(y.len(), m * n, "an element of y for every filter and position");
        if n == positions {
            // SAFETY: y is [m, n], and this product alone writes it.
            return unsafe {
                product(
                    operands,
                    filters,
                    &Columns(self),
                    size,
                    Shared::new(y),
                    n,
                    false,
                    epilogue,
                    in_parallel,
                )
            };
        }
        joined.resize(m * n, 0.0);
        // SAFETY: joined is [m, n], and this product alone writes it.
        unsafe {
            product(
                operands,
                filters,
                &Columns(self),
                size,
                Shared::new(joined),
                n,
                false,
                epilogue,
                in_parallel,
            )
        };
        for (i, to) in y.chunks_exact_mut(positions).enumerate() {
            let (image, row) = (i / m, i % m);
            to.copy_from_slice(&joined[row * n + image * positions..][..positions]);
        }
    }

    /// Runs of positions `q` that lie in one row of the grid: `f(first position, where tap 0 of channel 0 would read
    /// without its offset, length)`.
    fn runs(&self, q: Range<usize>, mut f: impl FnMut(usize, usize, usize)) {
        let [gh, gw] = self.grid;
        let mut at = q.start;
        while at < q.end {
            let (row, j) = (at / gw, at % gw);
            let (image, i) = (row / gh, row % gh);
            let len = (gw - j).min(q.end - at);
            f(at, image * self.image + i * self.pitch + j, len);
            at += len;
        }
    }
}

/// Lines are positions, steps are `(channel, tap)`.
pub(super) struct Columns<'a>(pub(super) &'a Patches<'a>);

/// Widest panel, and with it the most runs.
const WIDTH: usize = 48;

impl Lines for Columns<'_> {
    fn pack(&self, first: usize, n: usize, k: Range<usize>, width: usize, to: &mut [f32]) {
        let p = self.0;
        let (mut runs, mut n_runs) = ([(0, 0, 0); WIDTH], 0);
        p.runs(first..first + n, |at, start, len| {
            runs[n_runs] = (at - first, start, len);
            n_runs += 1;
        });
        let (runs, taps) = (&runs[..n_runs], p.offsets.len());
        let (mut channel, mut tap) = (k.start / taps, k.start % taps);
        widest(|| {
            for step in 0..k.len() {
                let offset = channel * p.plane + p.offsets[tap];
                for &(at, start, len) in runs {
                    copy(&p.source[start + offset..], len, &mut to[step * width + at..]);
                }
                tap += 1;
                if tap == taps {
                    (tap, channel) = (0, channel + 1);
                }
            }
        });
    }
}

/// Copies `len` numbers, sixteen at a time: what is written too much belongs to a later run, which overwrites it.
#[inline(always)]
fn copy(from: &[f32], len: usize, to: &mut [f32]) {
    let (from16, to16) = (from.as_chunks::<16>().0, to.as_chunks_mut::<16>().0);
    let whole = len.div_ceil(16);
    if from16.len() >= whole && to16.len() >= whole {
        to16[..whole].iter_mut().zip(from16).for_each(|(to, from)| *to = *from);
    } else {
        to[..len].copy_from_slice(&from[..len]);
    }
}

/// Lines are `(channel, tap)`, steps are positions.
pub(super) struct Rows<'a>(pub(super) &'a Patches<'a>);

impl Lines for Rows<'_> {
    fn pack(&self, first: usize, n: usize, k: Range<usize>, width: usize, to: &mut [f32]) {
        let (p, taps) = (self.0, self.0.offsets.len());
        let mut lines = [0; WIDTH];
        for (i, line) in lines[..n].iter_mut().enumerate() {
            let (channel, tap) = ((first + i) / taps, (first + i) % taps);
            *line = channel * p.plane + p.offsets[tap];
        }
        p.runs(k.clone(), |at, start, len| {
            interleave(&p.source[start..], &lines[..n], len, width, &mut to[(at - k.start) * width..]);
        });
    }
}
