//! Clipping to a range, of which ReLU6 is `0…6` and ReLU `0…∞`.

use rayon::prelude::*;

use crate::CHUNK;
use crate::simd::widest_fn;

/// `x` becomes `y = min(max(x, min), max)`; what is not a number stays so.
///
/// ```
/// let mut x = [-1.0, 3.0, 6.5];
/// headstart_kernels::clip::forward([0.0, 6.0], &mut x);
/// assert_eq!(x, [0.0, 3.0, 6.0]);
/// ```
pub fn forward([min, max]: [f32; 2], x: &mut [f32]) {
    x.par_chunks_mut(CHUNK).for_each(|x| clamp(x, min, max));
}

widest_fn! {
    fn clamp(x: &mut [f32], min: f32, max: f32) {
        for x in x {
            *x = x.clamp(min, max);
        }
    }
}

/// `dx = g` where `min < y < max`, else 0, as PyTorch's hardtanh and relu have it; `grad` becomes `dx`.  Whether a value was
/// inside shows in the result as well as in what was clipped, so that need not be kept.
///
/// ```
/// let mut grad = [1.0, 2.0, 3.0, 4.0];
/// headstart_kernels::clip::backward(&[0.0, 0.0, 3.0, 6.0], [0.0, 6.0], &mut grad);
/// assert_eq!(grad, [0.0, 0.0, 3.0, 0.0]);
/// ```
pub fn backward(y: &[f32], range: [f32; 2], grad: &mut [f32]) {
    grad.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(|(grad, y)| backward_here(y, range, grad));
}

widest_fn! {
    /// The same on this thread.
    pub(crate) fn backward_here(y: &[f32], range: [f32; 2], grad: &mut [f32]) {
        let [min, max] = range;
        // By value and without `&&`: with a branch this is not vectorised, and sixty times slower.
        for (g, &y) in grad.iter_mut().zip(y) {
            let inside = (y > min) & (y < max);
            *g = if inside { *g } else { 0.0 };
        }
    }
}
