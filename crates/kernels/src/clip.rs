//! Clipping to a range, of which ReLU6 is `0…6` and ReLU `0…∞`.

use rayon::prelude::*;

use crate::CHUNK;
use crate::simd::widest;

/// `y = min(max(x, min), max)`; what is not a number stays so.
///
/// ```
/// let mut y = [0.0; 3];
/// headstart_kernels::clip::forward(&[-1.0, 3.0, 6.5], [0.0, 6.0], &mut y);
/// assert_eq!(y, [0.0, 3.0, 6.0]);
/// ```
pub fn forward(x: &[f32], [min, max]: [f32; 2], y: &mut [f32]) {
    y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
        widest(|| y.iter_mut().zip(x).for_each(|(y, x)| *y = x.clamp(min, max)));
    });
}

/// `dx = g` where `min < x < max`, else 0, as PyTorch's hardtanh and relu have it.
///
/// ```
/// let mut dx = [0.0; 4];
/// headstart_kernels::clip::backward(&[-1.0, 0.0, 3.0, 6.5], &[1.0, 2.0, 3.0, 4.0], [0.0, 6.0], &mut dx);
/// assert_eq!(dx, [0.0, 0.0, 3.0, 0.0]);
/// ```
pub fn backward(x: &[f32], grad: &[f32], [min, max]: [f32; 2], dx: &mut [f32]) {
    dx.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).zip(grad.par_chunks(CHUNK)).for_each(|((dx, x), g)| {
        // By value and without `&&`: with a branch this is not vectorised, and sixty times slower.
        widest(|| {
            for ((d, &x), &g) in dx.iter_mut().zip(x).zip(g) {
                let inside = (x > min) & (x < max);
                *d = if inside { g } else { 0.0 };
            }
        });
    });
}
