//! Sums over the rows of a matrix: gradients of what every row shares, such as a bias.

use rayon::prelude::*;

use crate::simd::widest;

/// Rows that are summed by one thread; the sums of blocks are then added in their order.
pub(crate) const ROWS: usize = 64;

/// Column sums of `x [rows, width]`, `[width]`.
///
/// ```
/// assert_eq!(headstart_kernels::columns::sums(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2), [9.0, 12.0]);
/// ```
pub fn sums(x: &[f32], width: usize) -> Vec<f32> {
    let blocks = x
        .par_chunks(ROWS * width.max(1))
        .map(|block| {
            let mut sums = vec![0.0f32; width];
            widest(|| {
                for row in block.chunks_exact(width) {
                    sums.iter_mut().zip(row).for_each(|(s, v)| *s += v);
                }
            });
            sums
        })
        .collect();
    add_all(blocks, width)
}

/// Sum of partial sums, in order.
pub(crate) fn add_all(parts: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut total = vec![0.0f32; width];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    total
}
