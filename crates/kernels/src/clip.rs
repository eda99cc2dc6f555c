//! Backward pass of clipping to a range, of which ReLU6 is `0…6`.

use rayon::prelude::*;

/// Elements that one task takes: enough to be worth waking a thread for.
const CHUNK: usize = 1 << 14;

/// `dx = g` where `min < x < max`, else 0, as PyTorch's hardtanh has it.
///
/// ```
/// let mut dx = [0.0; 4];
/// headstart_kernels::clip_backward(&[-1.0, 0.0, 3.0, 6.5], &[1.0, 2.0, 3.0, 4.0], [0.0, 6.0], &mut dx);
/// assert_eq!(dx, [0.0, 0.0, 3.0, 0.0]);
/// ```
pub fn clip_backward(x: &[f32], grad: &[f32], [min, max]: [f32; 2], dx: &mut [f32]) {
    dx.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(grad.par_chunks(CHUNK)).for_each(|((dx, x), g)| {
        for ((d, x), g) in dx.iter_mut().zip(x).zip(g) {
            *d = if *x > min && *x < max { *g } else { 0.0 };
        }
    });
}
