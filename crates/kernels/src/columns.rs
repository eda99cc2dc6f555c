//! Sums over the rows of a matrix: gradients of what every row shares, such as a bias.

use rayon::prelude::*;

use crate::clip;
use crate::simd::widest_fn;

/// Rows that are summed by one thread; the sums of blocks are then added in their order.
pub(crate) const ROWS: usize = 64;

/// Column sums of `x [rows, width]`, `[width]`.
///
/// ```
/// assert_eq!(headstart_kernels::columns::sums(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2), [9.0, 12.0]);
/// ```
pub fn sums(x: &[f32], width: usize) -> Vec<f32> {
    add_all(x.par_chunks(ROWS * width.max(1)).map(|block| sums_here(block, width)).collect(), width)
}

/// The same on this thread.
fn sums_here(x: &[f32], width: usize) -> Vec<f32> {
    let mut sums = vec![0.0f32; width];
    add_rows(&mut sums, x);
    sums
}

widest_fn! {
    /// Adds every row of `x [rows, sums.len()]` to the sums.
    pub(crate) fn add_rows(sums: &mut [f32], x: &[f32]) {
        for row in x.chunks_exact(sums.len()) {
            for (s, v) in sums.iter_mut().zip(row) {
                *s += v;
            }
        }
    }
}

/// What of the gradient of `min(max(x, lo), hi)` reaches `x [rows, width]`, by the result `y`: `grad` becomes it.  Returns its
/// column sums, `[width]`.
///
/// ```
/// let mut grad = [1.0, 2.0, 3.0, 4.0];
/// let sums = headstart_kernels::columns::sums_of_passed(&mut grad, &[0.0, 1.0, 2.0, 6.0], [0.0, 6.0], 2);
/// assert_eq!((grad, sums), ([0.0, 2.0, 3.0, 0.0], vec![3.0, 2.0]));
/// ```
pub fn sums_of_passed(grad: &mut [f32], y: &[f32], range: [f32; 2], width: usize) -> Vec<f32> {
    let len = ROWS * width.max(1);
    let blocks = grad.par_chunks_mut(len).zip(y.par_chunks(len)).map(|(grad, y)| {
        clip::backward_here(y, range, grad);
        sums_here(grad, width)
    });
    add_all(blocks.collect(), width)
}

/// Sum of partial sums, in order and in f64, so that rounding does not grow with their number.
pub(crate) fn add_all(parts: Vec<Vec<f32>>, width: usize) -> Vec<f32> {
    let mut total = vec![0.0f64; width];
    for part in parts {
        total.iter_mut().zip(part).for_each(|(t, p)| *t += f64::from(p));
    }
    total.into_iter().map(|t| t as f32).collect()
}
