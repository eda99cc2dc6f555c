//! Sums of images, and how they come to lie with channels last.

use rayon::prelude::*;

use crate::{CHUNK, columns};

/// `to += from`.
///
/// ```
/// let mut to = [1.0, 2.0];
/// headstart_kernels::channels_last::training::add(&mut to, &[10.0, 20.0]);
/// assert_eq!(to, [11.0, 22.0]);
/// ```
pub fn add(to: &mut [f32], from: &[f32]) {
    assert_eq!(to.len(), from.len(), "an element for each");
    to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK)).for_each(|(to, from)| columns::add_rows(to, from));
}

/// Images `x [n, c, plane]` as `[n, plane, c]`.
///
/// ```
/// let mut to = [0.0; 6];
/// headstart_kernels::channels_last::training::interleave(&[1.0, 2.0, 3.0, 10.0, 20.0, 30.0], 2, 3, &mut to);
/// assert_eq!(to, [1.0, 10.0, 2.0, 20.0, 3.0, 30.0]);
/// ```
pub fn interleave(x: &[f32], c: usize, plane: usize, to: &mut [f32]) {
    assert_eq!(x.len(), to.len(), "an element for each");
    if x.is_empty() {
        return;
    }
    // Pixels whose results stay in the first cache meanwhile.
    let pixels = (PIXELS / c).max(16);
    to.par_chunks_exact_mut(c * plane).zip(x.par_chunks_exact(c * plane)).for_each(|(to, x)| {
        to.par_chunks_mut(c * pixels).enumerate().for_each(|(i, to)| {
            for (channel, plane) in x.chunks_exact(plane).enumerate() {
                let to = to[channel..].iter_mut().step_by(c);
                to.zip(&plane[i * pixels..]).for_each(|(to, v)| *to = *v);
            }
        });
    });
}

/// Elements of a block.
const PIXELS: usize = 1 << 12;
