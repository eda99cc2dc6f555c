//! Pooling to the largest and to the mean of all, and its backward pass, on images `[n, height, width, channels]`.

use rayon::prelude::*;

use crate::scale::scale_here;
use crate::simd::widest_fn;
use crate::{Window, columns};

/// Channels that are pooled together.
const CHANNELS: usize = 32;
/// No tap.
const NONE: u32 = 255;

/// The largest value under a window, NaN counting as larger than any, and by which tap it was read: the first of several.
/// Returns `y [n, oh, ow, c]` and the taps.  `out` may have one row or column more than the window makes: windows that reach
/// beyond the padding ("ceil mode").
///
/// # Panics
/// If the window has more than 255 taps or one has nothing of the image under it.
///
/// ```
/// use headstart_kernels::{Window, channels_last::training};
/// let d = Window { n: 1, c: 1, size: [2, 2], kernel: [2, 2], stride: [2, 2], dilation: [1, 1], padding: [0; 4] };
/// let (mut y, mut taps, mut dx) = ([0.0], [0], [0.0; 4]);
/// training::max_pool(&d, [1, 1], &[1.0, 3.0, 2.0, 0.0], &mut y, &mut taps);
/// training::max_pool_backward(&d, [1, 1], &taps, &[5.0], &mut dx);
/// assert_eq!((y, taps, dx), ([3.0], [1], [0.0, 5.0, 0.0, 0.0]));
/// ```
pub fn max_pool(d: &Window, out: [usize; 2], x: &[f32], y: &mut [f32], taps: &mut [u8]) {
    let (c, [oh, ow], [h, w]) = (d.c, out, d.size);
    assert!(d.taps() <= 255, "taps of {d:?} are counted by bytes");
    assert_eq!(x.len(), d.n * d.x_len(), "elements of x");
    assert_eq!([y.len(), taps.len()], [d.n * oh * ow * c; 2], "elements of y");
    if y.is_empty() {
        return;
    }
    y.par_chunks_exact_mut(ow * c).zip(taps.par_chunks_exact_mut(ow * c)).enumerate().for_each(
        |(row, (y, taps))| {
            let (image, i) = (row / oh, row % oh);
            let of_image = &x[image * h * w * c..][..h * w * c];
            max_row(d, i, of_image, y, taps);
        },
    );
}

widest_fn! {
    /// Row `i` of an image's result.
    fn max_row(d: &Window, i: usize, x: &[f32], y: &mut [f32], taps: &mut [u8]) {
        let pixels = y.chunks_exact_mut(d.c).zip(taps.chunks_exact_mut(d.c));
        for (j, (y, taps)) in pixels.enumerate() {
            for (k, (y, taps)) in y.chunks_mut(CHANNELS).zip(taps.chunks_mut(CHANNELS)).enumerate() {
                let (mut best, mut at) = ([f32::NEG_INFINITY; CHANNELS], [NONE; CHANNELS]);
                for_taps(d, [i, j], |tap, pixel| {
                    let from = &x[pixel * d.c + k * CHANNELS..][..y.len()];
                    // As many as the arrays have, so that the loop is unrolled.
                    let mut values = [f32::NEG_INFINITY; CHANNELS];
                    match from.first_chunk::<CHANNELS>() {
                        Some(from) => values = *from,
                        None => values[..from.len()].copy_from_slice(from),
                    }
                    for l in 0..CHANNELS {
                        let v = values[l];
                        let is_larger = (v > best[l]) | v.is_nan() | (at[l] == NONE);
                        best[l] = if is_larger { v } else { best[l] };
                        at[l] = if is_larger { tap } else { at[l] };
                    }
                });
                assert!(at[0] != NONE, "every window of {d:?} lies on the image");
                y.copy_from_slice(&best[..y.len()]);
                for (to, tap) in taps.iter_mut().zip(at) {
                    *to = tap as u8;
                }
            }
        }
    }
}

/// Gradient with respect to `x`, from that of the result and the taps that [`max_pool`] returned.
pub fn max_pool_backward(d: &Window, out: [usize; 2], taps: &[u8], grad: &[f32], dx: &mut [f32]) {
    let (c, [oh, ow]) = (d.c, out);
    assert_eq!(dx.len(), d.n * d.x_len(), "elements of x");
    assert_eq!([grad.len(), taps.len()], [d.n * oh * ow * c; 2], "elements of the gradient");
    if dx.is_empty() {
        return;
    }
    let of_image = oh * ow * c;
    dx.par_chunks_exact_mut(d.x_len())
        .zip(grad.par_chunks_exact(of_image).zip(taps.par_chunks_exact(of_image)))
        .for_each(|(dx, (grad, taps))| {
            dx.fill(0.0);
            // Where each tap's pixel begins.
            let mut starts = [0usize; 256];
            for (q, (grad, taps)) in grad.chunks_exact(c).zip(taps.chunks_exact(c)).enumerate() {
                for_taps(d, [q / ow, q % ow], |tap, pixel| starts[tap as usize] = pixel * c);
                for (channel, (g, &tap)) in grad.iter().zip(taps).enumerate() {
                    dx[starts[usize::from(tap)] + channel] += g;
                }
            }
        });
}

/// Calls `f(tap, pixel)` for what lies in the image under the window of a position.
#[inline(always)]
fn for_taps(d: &Window, [i, j]: [usize; 2], mut f: impl FnMut(u32, usize)) {
    let [h, w] = d.size;
    for a in 0..d.kernel[0] {
        let y = (i * d.stride[0] + a * d.dilation[0]).wrapping_sub(d.padding[0]);
        for b in 0..d.kernel[1] {
            let x = (j * d.stride[1] + b * d.dilation[1]).wrapping_sub(d.padding[1]);
            if y < h && x < w {
                f((a * d.kernel[1] + b) as u32, y * w + x);
            }
        }
    }
}

/// The mean of each channel of `x [n, pixels, c]`, `y [n, c]`.
///
/// ```
/// let mut y = [0.0; 2];
/// headstart_kernels::channels_last::training::global_mean(&[1.0, 2.0, 3.0, 4.0], 2, &mut y);
/// assert_eq!(y, [2.0, 3.0]);
/// ```
pub fn global_mean(x: &[f32], c: usize, y: &mut [f32]) {
    if x.is_empty() {
        return;
    }
    let of_image = x.len() / (y.len() / c);
    let by = 1.0 / (of_image / c) as f32;
    y.par_chunks_exact_mut(c).zip(x.par_chunks_exact(of_image)).for_each(|(y, x)| {
        y.fill(0.0);
        // Blocks of pixels, then blocks: shorter chains of roundings.
        let mut sums = vec![0.0f32; c];
        for block in x.chunks(16 * c) {
            sums.fill(0.0);
            columns::add_rows(&mut sums, block);
            columns::add_rows(y, &sums);
        }
        scale_here(by, y);
    });
}

/// Gradient with respect to `x` from that of the means, `grad [n, c]`.
pub fn global_mean_backward(grad: &[f32], c: usize, dx: &mut [f32]) {
    if dx.is_empty() {
        return;
    }
    let of_image = dx.len() / (grad.len() / c);
    let by = 1.0 / (of_image / c) as f32;
    dx.par_chunks_exact_mut(of_image)
        .zip(grad.par_chunks_exact(c))
        .for_each(|(dx, grad)| spread(grad, by, dx));
}

widest_fn! {
    /// Every pixel becomes `grad·by`.
    fn spread(grad: &[f32], by: f32, dx: &mut [f32]) {
        for pixel in dx.chunks_exact_mut(grad.len()) {
            for (dx, g) in pixel.iter_mut().zip(grad) {
                *dx = g * by;
            }
        }
    }
}
