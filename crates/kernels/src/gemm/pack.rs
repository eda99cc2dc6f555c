//! Lays lines of a matrix out as the panels that a kernel reads: for every step of the sum, one number of each line.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::ops::Range;

use crate::Isa;

/// A factor of a product: the left one gives its rows as lines, the right one its columns.
pub(crate) trait Lines: Sync {
    /// Writes steps `k` of `n` lines from `first` on as `to [k.len(), width]`.  The `width − n` lines that there are not may
    /// hold anything: kernels do not read them.
    fn pack(&self, first: usize, n: usize, k: Range<usize>, width: usize, to: &mut [f32]);

    /// Writes pairs of steps in bf16 right away, `to [k.len()/2, width]`, a last one alone beside 0, if that is quicker; whether it
    /// did.  Only asked where the machine multiplies pairs.
    fn pack_pairs(&self, _first: usize, _n: usize, _k: Range<usize>, _width: usize, _to: &mut [f32]) -> bool {
        false
    }
}

/// Lines in a slice: step `p` of line `i` is at `i·line + p·step`.
#[derive(Clone, Copy)]
pub(crate) struct Strided<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) line: usize,
    pub(crate) step: usize,
}

impl Lines for Strided<'_> {
    fn pack(&self, first: usize, n: usize, k: Range<usize>, width: usize, to: &mut [f32]) {
        if n == 0 || k.is_empty() {
            return;
        }
        let to = &mut to[..k.len() * width];
        let from = &self.data[first * self.line + k.start * self.step..];
        if self.line == 1 {
            match (n == width, width) {
                (true, 8) => copy::<8>(from, self.step, to),
                (true, 48) => copy::<48>(from, self.step, to),
                (true, 24) => copy::<24>(from, self.step, to),
                _ => {
                    for (to, from) in to.chunks_exact_mut(width).zip(from.chunks(self.step.max(n))) {
                        to[..n].copy_from_slice(&from[..n]);
                    }
                }
            }
        } else if self.step == 1 {
            let mut lines = [0; MOST_LINES];
            lines[..n].iter_mut().enumerate().for_each(|(i, line)| *line = i * self.line);
            interleave(from, &lines[..n], k.len(), width, to);
        } else {
            for (p, to) in to.chunks_exact_mut(width).enumerate() {
                for (i, to) in to[..n].iter_mut().enumerate() {
                    *to = from[i * self.line + p * self.step];
                }
            }
        }
    }

    #[cfg(target_arch = "x86_64")]
    fn pack_pairs(&self, first: usize, n: usize, k: Range<usize>, width: usize, to: &mut [f32]) -> bool {
        if n == 0 || k.is_empty() {
            return false;
        }
        let from = &self.data[first * self.line + k.start * self.step..];
        let size = [k.len(), n];
        match [self.line, self.step] {
            [1, step] => super::bf16::pack(from, step, size, width, to),
            [line, 1] => {
                super::bf16::pack_lines(from, line, size, width, to);
                true
            }
            _ => false,
        }
    }
}

/// Copies `W` numbers of every row.  The compiler knows how many, so it need not call a function for each.
fn copy<const W: usize>(from: &[f32], step: usize, to: &mut [f32]) {
    for (to, from) in to.as_chunks_mut::<W>().0.iter_mut().zip(from.chunks(step.max(W))) {
        *to = *from.first_chunk().expect("a row holds the lines of its panel");
    }
}

/// Lines of the widest panel.
const MOST_LINES: usize = 48;

/// `to[p·width + i] = from[lines[i] + p]` for `k` steps.
pub(crate) fn interleave(from: &[f32], lines: &[usize], k: usize, width: usize, to: &mut [f32]) {
    let n = lines.len();
    let blocks = if transposes() { [n - n % 8, k - k % 8] } else { [0, 0] };
    #[cfg(target_arch = "x86_64")]
    for (i, lines) in lines.as_chunks::<8>().0.iter().enumerate().take(blocks[0] / 8) {
        assert!(lines.iter().all(|l| l + blocks[1] <= from.len()), "every line lies in its slice");
        let to = &mut to[i * 8..];
        for p in (0..blocks[1]).step_by(8) {
            let to = &mut to[p * width..];
            assert!(to.len() >= 7 * width + 8, "a block of 8×8");
            // SAFETY: the machine has AVX, and both blocks lie in their slices.
            unsafe { transpose8(from.as_ptr().add(p), lines, to.as_mut_ptr(), width) };
        }
    }
    // Eight steps at a time, so that what is written stays in the first cache.
    for start in (0..k).step_by(8) {
        let end = (start + 8).min(k);
        let first = if end <= blocks[1] { blocks[0] } else { 0 };
        for (i, line) in lines.iter().enumerate().skip(first) {
            for p in start..end {
                to[p * width + i] = from[line + p];
            }
        }
    }
}

fn transposes() -> bool {
    Isa::Avx2.is_available()
}

/// Transposes a block of 8×8 that lies in memory.
///
/// # Safety
/// Eight numbers lie at `from + line` for every line, and eight rows of eight can be written at `to`, `width` apart; the
/// machine has AVX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn transpose8(from: *const f32, lines: &[usize; 8], to: *mut f32, width: usize) {
    let mut r = [_mm256_setzero_ps(); 8];
    for (r, &line) in r.iter_mut().zip(lines) {
        // SAFETY: a line of the block.
        *r = unsafe { _mm256_loadu_ps(from.add(line)) };
    }
    for (i, row) in transposed(r).into_iter().enumerate() {
        // SAFETY: a row of the block.
        unsafe { _mm256_storeu_ps(to.add(i * width), row) };
    }
}

/// The transpose of a block of 8×8.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx")]
pub(super) fn transposed(r: [__m256; 8]) -> [__m256; 8] {
    let mut pairs = r;
    for i in 0..4 {
        pairs[2 * i] = _mm256_unpacklo_ps(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm256_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    let mut fours = r;
    for i in 0..2 {
        let [a, b, c, d] = [pairs[4 * i], pairs[4 * i + 1], pairs[4 * i + 2], pairs[4 * i + 3]];
        fours[4 * i] = _mm256_shuffle_ps::<0x44>(a, c);
        fours[4 * i + 1] = _mm256_shuffle_ps::<0xee>(a, c);
        fours[4 * i + 2] = _mm256_shuffle_ps::<0x44>(b, d);
        fours[4 * i + 3] = _mm256_shuffle_ps::<0xee>(b, d);
    }
    let mut rows = r;
    for i in 0..4 {
        rows[i] = _mm256_permute2f128_ps::<0x20>(fours[i], fours[i + 4]);
        rows[i + 4] = _mm256_permute2f128_ps::<0x31>(fours[i], fours[i + 4]);
    }
    rows
}
