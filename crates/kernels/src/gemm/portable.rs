//! The tile of every other machine: 4 rows by 8 columns that the compiler vectorises as it can.

use super::kernel::{Kernel, Tile};

pub(super) const KERNEL: Kernel = Kernel { mr: MR, nr: NR, group: 1, prepare: None, run };

const MR: usize = 4;
const NR: usize = 8;

/// # Safety
/// As [`Kernel::run`].
unsafe fn run(t: Tile) {
    // SAFETY: the caller holds `k` steps of packed panels.
    let (a, b) =
        unsafe { (std::slice::from_raw_parts(t.a, t.k * MR), std::slice::from_raw_parts(t.b, t.k * NR)) };
    let mut sums = [[0.0f32; NR]; MR];
    for (a, b) in a.as_chunks::<MR>().0.iter().zip(b.as_chunks::<NR>().0) {
        for (sums, &a) in sums.iter_mut().zip(a) {
            for (sum, &b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    for (i, sums) in sums.iter().enumerate().take(t.rows) {
        for (j, &sum) in sums.iter().enumerate().take(t.cols) {
            // SAFETY: `rows` and `cols` of the tile lie in the result.
            unsafe {
                let to = t.c.add(i * t.ld + j);
                *to = if t.add { *to + sum } else { sum };
            }
        }
    }
}
