//! Lays lines of a matrix out as the panels that a kernel reads: for every step of the sum, one number of each line.

use std::ops::Range;

use crate::Isa;

/// A factor of a product: the left one gives its rows as lines, the right one its columns.
pub(crate) trait Lines: Sync {
    /// Writes steps `k` of `n` lines from `first` on as `to [k.len(), width]`, and zeros for the `width − n` lines that
    /// there are not.
    fn pack(&self, first: usize, n: usize, k: Range<usize>, width: usize, to: &mut [f32]);
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
        let to = &mut to[..k.len() * width];
        if n == 0 || k.is_empty() {
            return to.fill(0.0);
        }
        let from = &self.data[first * self.line + k.start * self.step..];
        if n < width {
            to.fill(0.0);
        }
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
            interleave(from, self.line, n, k.len(), width, to);
        } else {
            for (p, to) in to.chunks_exact_mut(width).enumerate() {
                for (i, to) in to[..n].iter_mut().enumerate() {
                    *to = from[i * self.line + p * self.step];
                }
            }
        }
    }
}

/// Copies `W` numbers of every row.  The compiler knows how many, so it need not call a function for each.
fn copy<const W: usize>(from: &[f32], step: usize, to: &mut [f32]) {
    for (to, from) in to.as_chunks_mut::<W>().0.iter_mut().zip(from.chunks(step.max(W))) {
        *to = *from.first_chunk().expect("a row holds the lines of its panel");
    }
}

/// `to[p·width + i] = from[i·line + p]` for `n` lines of `k` steps.
fn interleave(from: &[f32], line: usize, n: usize, k: usize, width: usize, to: &mut [f32]) {
    let whole = [n - n % 8, k - k % 8];
    let blocks = if transposes() { whole } else { [0, 0] };
    #[cfg(target_arch = "x86_64")]
    for i in (0..blocks[0]).step_by(8) {
        for p in (0..blocks[1]).step_by(8) {
            let (from, to) = (&from[i * line + p..], &mut to[p * width + i..]);
            assert!(from.len() >= 7 * line + 8 && to.len() >= 7 * width + 8, "a block of 8×8");
            // SAFETY: the machine has AVX, and both blocks lie in their slices.
            unsafe { transpose8(from.as_ptr(), line, to.as_mut_ptr(), width) };
        }
    }
    // Eight steps at a time, so that what is written stays in the first cache.
    for start in (0..k).step_by(8) {
        let end = (start + 8).min(k);
        for i in 0..n {
            let done = i < blocks[0] && end <= blocks[1];
            if !done {
                for p in start..end {
                    to[p * width + i] = from[i * line + p];
                }
            }
        }
    }
}

fn transposes() -> bool {
    Isa::Avx2.is_available()
}

/// Transposes a block of 8×8.
///
/// # Safety
/// Eight rows of eight numbers lie at `from`, `line` apart, and at `to`, `width` apart; the machine has AVX.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx")]
unsafe fn transpose8(from: *const f32, line: usize, to: *mut f32, width: usize) {
    use std::arch::x86_64::*;
    let mut r = [_mm256_setzero_ps(); 8];
    for (i, r) in r.iter_mut().enumerate() {
        // SAFETY: row `i` of the block.
        *r = unsafe { _mm256_loadu_ps(from.add(i * line)) };
    }
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
    for i in 0..4 {
        let (low, high) = (fours[i], fours[i + 4]);
        // SAFETY: rows `i` and `i + 4` of the block.
        unsafe {
            _mm256_storeu_ps(to.add(i * width), _mm256_permute2f128_ps::<0x20>(low, high));
            _mm256_storeu_ps(to.add((i + 4) * width), _mm256_permute2f128_ps::<0x31>(low, high));
        }
    }
}
