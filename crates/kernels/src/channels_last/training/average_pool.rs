//! Pooling to means and its backward pass, on images `[n, height, width, channels]`.

use std::ops::Range;

use rayon::prelude::*;

use crate::Window;
use crate::simd::widest_fn;

/// The mean of what lies under a window, `y [n, oh, ow, c]`.  Padding counts as zeros or not at all; what a window reads beyond
/// it, if `out` has one row or column more than the window makes ("ceil mode"), never counts.
///
/// # Panics
/// If sizes do not fit each other, or the window is dilated.
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
            let (pixels, share) = under(d, [row % oh, j], counts_padding);
            mean(d, pixels, share, of_image, y);
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
            let (pixels, share) = under(d, [position / ow, position % ow], counts_padding);
            spread(d, pixels, share, grad, dx);
        }
    });
}

/// Rows and columns under the window at a position, and the part that one pixel has in their mean.
fn under(d: &Window, [i, j]: [usize; 2], counts_padding: bool) -> ([Range<usize>; 2], f32) {
    assert_eq!(d.dilation, [1, 1], "pools are not dilated");
    let ((rows, n_rows), (cols, n_cols)) = (d.under(0, i), d.under(1, j));
    let count = if counts_padding { n_rows * n_cols } else { rows.len() * cols.len() };
    ([rows, cols], 1.0 / count.max(1) as f32)
}

widest_fn! {
    /// The mean of each channel of some rows and columns.
    fn mean(d: &Window, pixels: [Range<usize>; 2], share: f32, x: &[f32], y: &mut [f32]) {
        let [rows, cols] = pixels;
        y.fill(0.0);
        for row in rows {
            for pixel in x[row * d.size[1] * d.c..].chunks_exact(d.c).take(cols.end).skip(cols.start) {
                y.iter_mut().zip(pixel).for_each(|(y, x)| *y += x);
            }
        }
        y.iter_mut().for_each(|y| *y *= share);
    }
}

widest_fn! {
    /// Adds the gradient of the mean of some rows and columns to theirs.
    fn spread(d: &Window, pixels: [Range<usize>; 2], share: f32, grad: &[f32], dx: &mut [f32]) {
        let [rows, cols] = pixels;
        for row in rows {
            for pixel in dx[row * d.size[1] * d.c..].chunks_exact_mut(d.c).take(cols.end).skip(cols.start) {
                pixel.iter_mut().zip(grad).for_each(|(dx, g)| *dx += g * share);
            }
        }
    }
}
