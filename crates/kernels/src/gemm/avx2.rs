//! The tile of AVX2: 4 rows by 24 columns in 12 registers.

use std::arch::x86_64::*;

use super::kernel::{Kernel, Tile, by_shape};

pub(super) const KERNEL: Kernel = Kernel { mr: MR, nr: NR, group: 1, prepare: None, run };

const MR: usize = 4;
const NR: usize = 3 * LANES;
const LANES: usize = 8;

/// # Safety
/// As [`Kernel::run`]; the machine has AVX2 and FMA.
unsafe fn run(t: Tile) {
    // SAFETY: the caller vouches for the pointers and the instructions.
    unsafe { by_shape!(tile, t, LANES, 1 2 3 4) }
}

/// `R` rows and `V` vectors of columns, of which the last may be partly outside.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const R: usize, const V: usize>(t: Tile) {
    let mut sums = [[_mm256_setzero_ps(); V]; R];
    let (mut a, mut b) = (t.a, t.b);
    for _ in 0..t.k {
        // SAFETY: `a` and `b` hold `k` steps of `MR` and `NR` numbers, of which this is one.
        unsafe {
            let mut right = [_mm256_setzero_ps(); V];
            for (v, right) in right.iter_mut().enumerate() {
                *right = _mm256_loadu_ps(b.add(v * LANES));
            }
            for (i, sums) in sums.iter_mut().enumerate() {
                let left = _mm256_broadcast_ss(&*a.add(i));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = _mm256_fmadd_ps(left, right, *sum);
                }
            }
            a = a.add(MR);
            b = b.add(NR);
        }
    }
    let inside = i32::try_from(LANES - (V * LANES - t.cols)).unwrap_or(0);
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    let last = _mm256_cmpgt_epi32(_mm256_set1_epi32(inside), lanes);
    for (i, sums) in sums.iter().enumerate() {
        for (v, &sum) in sums.iter().enumerate() {
            let mask = if v + 1 == V { last } else { _mm256_set1_epi32(-1) };
            // SAFETY: the mask keeps to the `cols` columns of a row of the tile, which lies in the result.
            unsafe {
                let to = t.c.add(i * t.ld + v * LANES);
                let sum = if t.add { _mm256_add_ps(_mm256_maskload_ps(to, mask), sum) } else { sum };
                _mm256_maskstore_ps(to, mask, sum);
            }
        }
    }
}
