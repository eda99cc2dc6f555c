//! Sums over the rows of a matrix: gradients of what every row shares, such as a bias.

use rayon::prelude::*;

use crate::passes::{add_sums, block, repeat, task};
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

/// What of the gradient of `min(max(x, lo), hi)` reaches `x [rows, width]`, by the result `y`: `grad` becomes it.  Returns its
/// column sums, `[width]`.
///
/// ```
/// let mut grad = [1.0, 2.0, 3.0, 4.0];
/// let sums = headstart_kernels::columns::sums_of_passed(&mut grad, &[0.0, 1.0, 2.0, 6.0], [0.0, 6.0], 2);
/// assert_eq!((grad, sums), ([0.0, 2.0, 3.0, 0.0], vec![3.0, 2.0]));
/// ```
pub fn sums_of_passed(grad: &mut [f32], y: &[f32], [lo, hi]: [f32; 2], width: usize) -> Vec<f32> {
    let (task, block, none) = (task(width), block(width), repeat(&vec![0.0; width]));
    let parts: Vec<_> = grad
        .par_chunks_mut(task)
        .zip(y.par_chunks(task))
        .map(|(grad, y)| {
            let mut sums = [vec![0.0f64; width], vec![0.0f64; width]];
            for (grad, y) in grad.chunks_mut(block).zip(y.chunks(block)) {
                widest(|| {
                    for (g, y) in grad.iter_mut().zip(y) {
                        *g = if (*y > lo) & (*y < hi) { *g } else { 0.0 };
                    }
                });
                add_sums(&mut sums, [grad, grad], [&none; 3], |g, _, _| [g, 0.0]);
            }
            sums
        })
        .collect();
    let mut total = vec![0.0f64; width];
    for [part, _] in parts {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    total.into_iter().map(|t| t as f32).collect()
}

/// Sum of partial sums, in order.
pub(crate) fn add_all(parts: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut total = vec![0.0f32; width];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += p);
    }
    total
}
