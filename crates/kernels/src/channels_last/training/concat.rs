//! Images side by side, by channels, and some channels of an image.

use rayon::prelude::*;

/// Elements of a task, roughly.
const BLOCK: usize = 1 << 14;

/// `y [pixels, Σ widths]` of `parts [pixels, width]` each.
///
/// # Panics
/// If `y` has not as many elements as the parts together, or a part none for each pixel.
///
/// ```
/// use headstart_kernels::channels_last::training;
/// let mut y = [0.0; 6];
/// training::concat(&[&[1.0, 2.0], &[10.0, 11.0, 20.0, 21.0]], 2, &mut y);
/// assert_eq!(y, [1.0, 10.0, 11.0, 2.0, 20.0, 21.0]);
/// let mut part = [0.0; 4];
/// training::part_of(&y, 2, 1, &mut part);
/// assert_eq!(part, [10.0, 11.0, 20.0, 21.0]);
/// ```
pub fn concat(parts: &[&[f32]], pixels: usize, y: &mut [f32]) {
    if y.is_empty() {
        return;
    }
    let width = y.len() / pixels;
    let widths: Vec<usize> = parts.iter().map(|part| part.len() / pixels).collect();
    assert_eq!([y.len(), width], [pixels * width, widths.iter().sum()], "a place for every channel");
    assert!(parts.iter().zip(&widths).all(|(part, w)| part.len() == w * pixels), "channels of every pixel");
    let block = BLOCK.div_ceil(width);
    y.par_chunks_mut(block * width).enumerate().for_each(|(i, y)| {
        for (pixel, mut y) in (i * block..).zip(y.chunks_exact_mut(width)) {
            for (part, &w) in parts.iter().zip(&widths) {
                let (to, rest) = y.split_at_mut(w);
                to.copy_from_slice(&part[pixel * w..][..w]);
                y = rest;
            }
        }
    });
}

/// The channels from `first` on of `x [pixels, channels]`, as many as `part [pixels, width]` has.
///
/// # Panics
/// If there are not so many.
pub fn part_of(x: &[f32], pixels: usize, first: usize, part: &mut [f32]) {
    if part.is_empty() {
        return;
    }
    let [channels, width] = [x.len(), part.len()].map(|len| len / pixels);
    assert_eq!([x.len(), part.len()], [channels * pixels, width * pixels], "channels of every pixel");
    assert!(first + width <= channels, "channels {first} to {} of {channels}", first + width);
    let block = BLOCK.div_ceil(width);
    part.par_chunks_mut(block * width).zip(x.par_chunks(block * channels)).for_each(|(part, x)| {
        for (to, x) in part.chunks_exact_mut(width).zip(x.chunks_exact(channels)) {
            to.copy_from_slice(&x[first..first + width]);
        }
    });
}
