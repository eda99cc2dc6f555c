//! The tile of AVX-512 BF16: 8 rows by 48 columns, two steps of the sum at a time by `vdpbf16ps`.

use std::arch::x86_64::*;

use super::kernel::{Kernel, Tile, bf16_bits};
use crate::simd::widest;

pub(super) const KERNEL: Kernel = Kernel { mr: MR, nr: NR, group: 2, prepare: Some(pair), run };

const MR: usize = 8;
const NR: usize = 3 * LANES;
const LANES: usize = 16;

/// Whether the machine has `vdpbf16ps`.
pub(super) fn is_available() -> bool {
    is_x86_feature_detected!("avx512bf16")
}

/// Rows `2p` and `2p + 1` of a panel become row `p` of pairs.
fn pair(panel: &mut [f32], width: usize) {
    widest(|| {
        for p in 0..panel.len() / (2 * width) {
            for i in 0..width {
                let (even, odd) = (panel[2 * p * width + i], panel[(2 * p + 1) * width + i]);
                panel[p * width + i] = f32::from_bits(bf16_bits(odd) << 16 | bf16_bits(even));
            }
        }
    });
}

/// # Safety
/// As [`Kernel::run`]; the machine has AVX-512 F and BF16.
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
