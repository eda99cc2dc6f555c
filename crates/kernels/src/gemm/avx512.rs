//! The tile of AVX-512: 8 rows by 48 columns in 24 registers.

use std::arch::x86_64::*;

use super::kernel::{Kernel, Tile, by_shape};

pub(super) const KERNEL: Kernel = Kernel { mr: MR, nr: NR, group: 1, prepare: None, run };

const MR: usize = 8;
const NR: usize = 3 * LANES;
const LANES: usize = 16;

/// # Safety
/// As [`Kernel::run`]; the machine has AVX-512 F.
unsafe fn run(t: Tile) {
    // SAFETY: the caller vouches for the pointers and the instructions.
    unsafe { by_shape!(tile, t, LANES, 1 2 3 4 5 6 7 8) }
}

/// `R` rows and `V` vectors of columns, of which the last may be partly outside.
#[target_feature(enable = "avx512f")]
unsafe fn tile<const R: usize, const V: usize>(t: Tile) {
    let mut sums = [[_mm512_setzero_ps(); V]; R];
    let (mut a, mut b) = (t.a, t.b);
    for _ in 0..t.k {
        // SAFETY: `a` and `b` hold `k` steps of `MR` and `NR` numbers, of which this is one.
        unsafe {
            let mut right = [_mm512_setzero_ps(); V];
            for (v, right) in right.iter_mut().enumerate() {
                *right = _mm512_loadu_ps(b.add(v * LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = _mm512_set1_ps(*a.add(i));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = _mm512_fmadd_ps(left, right, *sum);
                }
            }
            a = a.add(MR);
            b = b.add(NR);
        }
    }
    // SAFETY: by the caller.
    unsafe { store(&sums, t) };
}

/// Writes or adds the sums of a tile, `R` rows of `V` vectors, to the result.
///
/// # Safety
/// As [`Kernel::run`] of the result.
#[inline]
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn store<const R: usize, const V: usize>(sums: &[[__m512; V]; R], t: Tile) {
    let last: __mmask16 = 0xffff >> (V * LANES - t.cols);
    for (i, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            let mask = if v + 1 == V { last } else { 0xffff };
            // SAFETY: the mask keeps to the `cols` columns of a row of the tile, which lies in the result.
            unsafe {
                let to = t.c.add(i * t.ld + v * LANES);
                let sum = if t.add { _mm512_add_ps(_mm512_maskz_loadu_ps(mask, to), sum) } else { sum };
                _mm512_mask_storeu_ps(to, mask, sum);
            }
        }
    }
}
