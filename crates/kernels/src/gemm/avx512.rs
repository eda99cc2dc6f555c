//! The tile of AVX-512: 8 rows by 48 columns in 24 registers.

use std::arch::x86_64::*;

use super::kernel::{Kernel, Tile};

pub(super) const KERNEL: Kernel = Kernel { mr: MR, nr: NR, group: 1, prepare: None, run };

const MR: usize = 8;
const NR: usize = 3 * LANES;
const LANES: usize = 16;

/// # Safety
/// As [`Kernel::run`]; the machine has AVX-512 F.
unsafe fn run(t: Tile) {
    macro_rules! by_rows {
        ($v:literal) => {
            // SAFETY: the caller vouches for the pointers and the instructions.
            unsafe {
                match t.rows {
                    1 => tile::<1, $v>(t),
                    2 => tile::<2, $v>(t),
                    3 => tile::<3, $v>(t),
                    4 => tile::<4, $v>(t),
                    5 => tile::<5, $v>(t),
                    6 => tile::<6, $v>(t),
                    7 => tile::<7, $v>(t),
                    _ => tile::<8, $v>(t),
                }
            }
        };
    }
    match t.cols.div_ceil(LANES) {
        1 => by_rows!(1),
        2 => by_rows!(2),
        _ => by_rows!(3),
    }
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
