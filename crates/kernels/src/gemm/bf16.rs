//! The tile of AVX-512 BF16: 8 rows by 48 columns, two steps of the sum at a time by `vdpbf16ps`.

use std::arch::x86_64::*;

use super::kernel::{Kernel, Tile, by_shape};
use super::pack::transposed;
use crate::precision::paired;

pub(super) const KERNEL: Kernel = Kernel { mr: MR, nr: NR, group: 2, prepare: Some(pair), run };

const MR: usize = 8;
const NR: usize = 3 * LANES;
const LANES: usize = 16;

/// Whether the machine has `vdpbf16ps`.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512vl")
}

/// Rows `2p` and `2p + 1` of a panel become row `p` of pairs.
fn pair(panel: &mut [f32], width: usize) {
    assert!((width == MR || width == NR) && panel.len().is_multiple_of(2 * width), "a panel of whole pairs");
    // SAFETY: the kernel is only taken where the machine has the instructions.
    unsafe {
        match width {
            MR => pair_narrow(panel),
            _ => pair_wide(panel),
        }
    }
}

/// Pairs of `k` rows of the first `n` numbers, rows `step` apart: as packing and [`pair`] make them, without the way through
/// memory.  Whether there is a quick way.
pub(super) fn pack(from: &[f32], step: usize, [k, n]: [usize; 2], width: usize, to: &mut [f32]) -> bool {
    if width == MR && n < MR {
        return false;
    }
    assert!((k - 1) * step + n <= from.len() && k.div_ceil(2) * width <= to.len(), "rows of a panel");
    // SAFETY: only asked where the machine has the instructions; rows lie in their slices, as was just checked.
    unsafe {
        match width {
            MR => pack_narrow(from.as_ptr(), step, k, to.as_mut_ptr()),
            _ => pack_wide(from.as_ptr(), step, [k, n], to.as_mut_ptr()),
        }
    }
    true
}

/// The same of lines whose steps lie one after the other, lines `line` apart.
pub(super) fn pack_lines(from: &[f32], line: usize, [k, n]: [usize; 2], width: usize, to: &mut [f32]) {
    assert!(n <= width && k.div_ceil(2) * width <= to.len(), "steps of a panel");
    assert!((n - 1) * line + k <= from.len(), "lines of a panel");
    let whole = [k - k % (2 * SIDE), n - n % SIDE];
    for i in (0..whole[1]).step_by(SIDE) {
        for p in (0..whole[0]).step_by(2 * SIDE) {
            // SAFETY: only asked where the machine has the instructions; both blocks lie in their slices, as was just checked.
            unsafe {
                pack_square(
                    from.as_ptr().add(i * line + p),
                    line,
                    to.as_mut_ptr().add(p / 2 * width + i),
                    width,
                );
            }
        }
    }
    for (p, to) in to.chunks_exact_mut(width).take(k.div_ceil(2)).enumerate() {
        let done = if 2 * p < whole[0] { whole[1] } else { 0 };
        for (i, to) in to[..n].iter_mut().enumerate().skip(done) {
            let steps = &from[i * line..][2 * p..k.min(2 * p + 2)];
            *to = paired(steps[0], steps.get(1).copied().unwrap_or(0.0));
        }
    }
}

/// Lines, and pairs of steps, that are packed at once.
const SIDE: usize = 8;

/// # Safety
/// 16 steps of 8 lines lie at `from`, and 8 rows of 8 pairs can be written at `to`; the machine has AVX-512 F, VL and BF16.
#[target_feature(enable = "avx512f,avx512vl,avx512bf16,avx")]
unsafe fn pack_square(from: *const f32, line: usize, to: *mut f32, width: usize) {
    let mut lines = [_mm256_setzero_ps(); SIDE];
    for (i, pairs) in lines.iter_mut().enumerate() {
        // SAFETY: by the caller; vectors of bf16 and of floats have no invalid patterns.
        *pairs = unsafe {
            let rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(from.add(i * line)));
            std::mem::transmute::<__m256bh, __m256>(rounded)
        };
    }
    for (p, pairs) in transposed(lines).into_iter().enumerate() {
        // SAFETY: by the caller.
        unsafe { _mm256_storeu_ps(to.add(p * width), pairs) };
    }
}

/// # Safety
/// `k` rows of 8 lie at `from`, and half as many can be written at `to`; the machine has AVX-512 F, VL and BF16.
#[target_feature(enable = "avx512f,avx512vl,avx512bf16")]
unsafe fn pack_narrow(from: *const f32, step: usize, k: usize, to: *mut f32) {
    for p in 0..k.div_ceil(2) {
        // SAFETY: by the caller; vectors of bf16 and of integers have no invalid patterns.
        unsafe {
            let even = _mm256_loadu_ps(from.add(2 * p * step));
            let odd = if 2 * p + 1 < k {
                _mm256_loadu_ps(from.add((2 * p + 1) * step))
            } else {
                _mm256_setzero_ps()
            };
            let rounded = |v| std::mem::transmute::<__m128bh, __m128i>(_mm256_cvtneps_pbh(v));
            let (even, odd) = (rounded(even), rounded(odd));
            let pairs = _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
            _mm256_storeu_si256(to.add(p * MR).cast(), pairs);
        }
    }
}

/// # Safety
/// `k` rows of `n` numbers lie at `from`, and half as many of 48 can be written at `to`; the machine has AVX-512 F and BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn pack_wide(from: *const f32, step: usize, [k, n]: [usize; 2], to: *mut f32) {
    for p in 0..k.div_ceil(2) {
        for v in (0..n).step_by(LANES) {
            let inside = 0xffff >> (LANES - LANES.min(n - v));
            // SAFETY: by the caller; what lies outside is not read.
            unsafe {
                let even = _mm512_maskz_loadu_ps(inside, from.add(2 * p * step + v));
                let last = 2 * p + 1 == k;
                let odd = from.wrapping_add((2 * p + 1) * step + v);
                let odd = _mm512_maskz_loadu_ps(if last { 0 } else { inside }, odd);
                _mm512_storeu_si512(to.add(p * NR + v).cast(), side_by_side(even, odd));
            }
        }
    }
}

/// Two vectors in bf16, a number of each in every lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
pub(crate) fn side_by_side(even: __m512, odd: __m512) -> __m512i {
    let bits = |v| {
        // SAFETY: vectors of bf16 and of integers have no invalid patterns.
        _mm512_cvtepu16_epi32(unsafe { std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v)) })
    };
    _mm512_or_si512(bits(even), _mm512_slli_epi32::<16>(bits(odd)))
}

/// Rows of 8: two of them fill a vector.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn pair_narrow(panel: &mut [f32]) {
    let at = panel.as_mut_ptr();
    for p in 0..panel.len() / (2 * MR) {
        // SAFETY: rows 2p and 2p + 1 lie in the panel, and row p is not behind them; vectors of bf16 and of integers have
        // no invalid patterns.
        unsafe {
            let both = _mm512_cvtneps_pbh(_mm512_loadu_ps(at.add(2 * p * MR)));
            let both = std::mem::transmute::<__m256bh, __m256i>(both);
            let (even, odd) = (_mm256_castsi256_si128(both), _mm256_extracti128_si256::<1>(both));
            let pairs = _mm256_set_m128i(_mm_unpackhi_epi16(even, odd), _mm_unpacklo_epi16(even, odd));
            _mm256_storeu_si256(at.add(p * MR).cast(), pairs);
        }
    }
}

/// Rows of 48: three vectors each.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn pair_wide(panel: &mut [f32]) {
    let at = panel.as_mut_ptr();
    for p in 0..panel.len() / (2 * NR) {
        for v in (0..NR).step_by(LANES) {
            // SAFETY: as above.
            unsafe {
                let row = |row: usize| _mm512_loadu_ps(at.add(row * NR + v));
                let pairs = side_by_side(row(2 * p), row(2 * p + 1));
                _mm512_storeu_si512(at.add(p * NR + v).cast(), pairs);
            }
        }
    }
}

/// # Safety
/// As [`Kernel::run`]; the machine has AVX-512 F and BF16.
unsafe fn run(t: Tile) {
    // SAFETY: the caller vouches for the pointers and the instructions.
    unsafe { by_shape!(tile, t, LANES, 1 2 3 4 5 6 7 8) }
}

/// `R` rows and `V` vectors of columns, of which the last may be partly outside.
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn tile<const R: usize, const V: usize>(t: Tile) {
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    let (mut a, mut b) = (t.a, t.b);
    for _ in 0..t.k {
        // SAFETY: `a` and `b` hold `k` steps of `MR` and `NR` pairs, of which this is one; vectors of floats and of
        // pairs of bf16 are 512 bits without invalid patterns.
        unsafe {
            let mut right = [_mm512_setzero_ps(); V];
            for (v, right) in right.iter_mut().enumerate() {
                *right = _mm512_loadu_ps(b.add(v * LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = std::mem::transmute::<__m512, __m512bh>(_mm512_set1_ps(*a.add(i)));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = _mm512_dpbf16_ps(*sum, left, std::mem::transmute::<__m512, __m512bh>(right));
                }
            }
            a = a.add(MR);
            b = b.add(NR);
        }
    }
    // SAFETY: by the caller.
    unsafe { super::avx512::store(&sums, t) };
}
