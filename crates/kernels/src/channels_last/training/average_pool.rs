//! Pooling to means and its backward pass, on images `[n, height, width, channels]`.

use rayon::prelude::*;

use super::pool::for_taps;
use crate::Window;
use crate::simd::widest_fn;

/// The mean of what lies under a window, `y [n, oh, ow, c]`.  Padding counts as zeros or not at all; what a window reads beyond
/// it, if `out` has one row or column more than the window makes ("ceil mode"), never counts.
///
/// # Panics
/// If sizes do not fit each other.
///
/// ```
/// use headstart_kernels::{Window, channels_last::training};
/// let d = Window { n: 1, c: 1, size: [1, 2], kernel: [1, 2], stride: [1, 2], dilation: [1, 1], padding: [0, 1, 0, 1] };
/// let (x, mut y, mut dx) = ([1.0, 3.0], [0.0; 2], [0.0; 2]);
/// training::average_pool(&d, [1, 2], false, &x, &mut y);
/// assert_eq!(y, [1.0, 3.0]);
/// training::average_pool(&d, [1, 2], true, &x, &mut y);
/// assert_eq!(y, [0.5, 1.5]);
/// training::average_pool_backward(&d, [1, 2], true, &[1.0, 4.0], &mut dx);
/// assert_eq!(dx, [0.5, 2.0]);
/// ```
pub fn average_pool(d: &Window, out: [usize; 2], counts_padding: bool, x: &[f32], y: &mut [f32]) {
    let (c, [oh, ow]) = (d.c, out);
    assert_eq!([x.len(), y.len()], [d.n * d.x_len(), d.n * oh * ow * c], "elements of x and y");
    if y.is_empty() || x.is_empty() {
        return y.fill(0.0);
    }
    y.par_chunks_exact_mut(ow * c).enumerate().for_each(|(row, y)| {
        let of_image = &x[row / oh * d.x_len()..][..d.x_len()];
        for (j, y) in y.chunks_exact_mut(c).enumerate() {
            let at = [row % oh, j];
            pixel(d, at, share(d, at, counts_padding), of_image, y);
        }
    });
}

/// Gradient with respect to `x` from that of the means.
pub fn average_pool_backward(
    d: &Window,
    out: [usize; 2],
    counts_padding: bool,
    grad: &[f32],
    dx: &mut [f32],
) {
    let (c, [oh, ow]) = (d.c, out);
    assert_eq!(
        [dx.len(), grad.len()],
        [d.n * d.x_len(), d.n * oh * ow * c],
        "elements of x and the gradient"
    );
    if grad.is_empty() || dx.is_empty() {
        return dx.fill(0.0);
    }
    dx.par_chunks_exact_mut(d.x_len()).zip(grad.par_chunks_exact(oh * ow * c)).for_each(|(dx, grad)| {
        dx.fill(0.0);
        for (position, grad) in grad.chunks_exact(c).enumerate() {
            let at = [position / ow, position % ow];
            spread(d, at, share(d, at, counts_padding), grad, dx);
        }
    });
}

/// The part that one pixel has in the mean at a position.
fn share(d: &Window, position: [usize; 2], counts_padding: bool) -> f32 {
    let count = |axis: usize| {
        let (before, behind, size) = (d.padding[axis], d.padding[axis + 2], d.size[axis]);
        // From where the padding begins.
        let counted = if counts_padding { 0..before + size + behind } else { before..before + size };
        let taps = (0..d.kernel[axis]).map(|tap| position[axis] * d.stride[axis] + tap * d.dilation[axis]);
        taps.filter(|at| counted.contains(at)).count()
    };
    1.0 / (count(0) * count(1)).max(1) as f32
}

widest_fn! {
    /// The mean of each channel at a position.
    fn pixel(d: &Window, position: [usize; 2], by: f32, x: &[f32], y: &mut [f32]) {
        y.fill(0.0);
        for_taps(d, position, |_, pixel| {
            y.iter_mut().zip(&x[pixel * d.c..]).for_each(|(y, x)| *y += x);
        });
        y.iter_mut().for_each(|y| *y *= by);
    }
}

widest_fn! {
    /// Adds the gradient of the mean at a position to those of the pixels it is of.
    fn spread(d: &Window, position: [usize; 2], by: f32, grad: &[f32], dx: &mut [f32]) {
        for_taps(d, position, |_, pixel| {
            dx[pixel * d.c..].iter_mut().zip(grad).for_each(|(dx, g)| *dx += g * by);
        });
    }
}
