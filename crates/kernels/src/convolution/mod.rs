//! Dense convolution and its backward passes, as products of matrices.
//!
//! ```text
//! y[n,o,i,j]  = Σ_cab w[o,c,a,b]·x[n, c, i·s + a·d − top, j·s + b·d − left]
//! ```
//!
//! What the filter reads at every position are the columns of a matrix `col [c·kh·kw, positions]` ("im2col", Chellapilla
//! et al., 2006) that is never stored: it is packed for the product straight from the planes ("implicit GEMM").  With
//! `w [o, c·kh·kw]` and `g [o, positions]`: `y = w·col`, `dw = Σ g·colᵀ`, and `dx` is itself a convolution of `g`, one for
//! every phase of the stride, so that nothing is multiplied with zeros.  Small planes are joined over examples, since
//! thin products are slow.

mod backward_data;
mod patches;
#[cfg(test)]
mod tests;

use rayon::prelude::*;

use crate::Window;
use crate::gemm::{Bias, Epilogue, Lines, Matrix, Operands, Shared, Strided, product};
use crate::phases::Phases;

pub use backward_data::backward_data;
use patches::{Patches, Rows};

/// Positions that a product should have at least.
const POSITIONS: usize = 128;
/// The same where products are summed over positions: fewer passes over the sums.
const POSITIONS_SUMMED: usize = 1024;

/// `y [n, o, oh, ow]` of `x [n, c, h, w]`, `weight [o, c, kh, kw]` and `bias? [o]`.
pub fn forward(
    d: &Window,
    operands: Operands,
    x: &[f32],
    weight: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let phases = Phases::new(d);
    let plane_y = phases.out[0] * phases.out[1];
    let o = d.filters(weight.len());
    assert_eq!(x.len(), d.n * d.x_len(), "elements of x");
    assert_eq!(y.len(), d.n * o * plane_y, "elements of y");
    let filters = Strided { data: weight, line: d.c * d.taps(), step: 1 };
    groups(POSITIONS, plane_y, d.n, (x, d.x_len()), (y, o * plane_y), |x, y, buffers, in_parallel| {
        let images = x.len() / d.x_len();
        let patches = laid(d, &phases, x, &mut buffers.planes, in_parallel);
        let size = [o, images * plane_y, d.c * d.taps()];
        let epilogue = Epilogue { bias: bias.map_or(Bias::None, Bias::Row), ..Epilogue::default() };
        patches.times(operands, &filters, size, &epilogue, y, &mut buffers.joined, in_parallel);
    });
}

/// Gradient with respect to the weight, `[o, c, kh, kw]`.
pub fn backward_weight(d: &Window, operands: Operands, x: &[f32], grad: &[f32], dw: &mut [f32]) {
    let phases = Phases::new(d);
    let plane_y = phases.out[0] * phases.out[1];
    let o = d.filters(dw.len());
    assert_eq!(x.len(), d.n * d.x_len(), "elements of x");
    assert_eq!(grad.len(), d.n * o * plane_y, "elements of the gradient");
    dw.fill(0.0);
    let group = group(POSITIONS_SUMMED, plane_y, d.n);
    let mut planes = Vec::new();
    let to = Shared::new(dw);
    for (x, grad) in x.chunks(group * d.x_len().max(1)).zip(grad.chunks(group * o * plane_y)) {
        let images = x.len() / d.x_len();
        let patches = laid(d, &phases, x, &mut planes, true);
        let gradients = OverImages { data: grad, image: o * plane_y, plane: plane_y };
        let size = [o, d.c * d.taps(), images * plane_y];
        // SAFETY: dw is [o, c·taps], and this product alone writes it.
        unsafe {
            product(
                operands,
                &gradients,
                &Rows(&patches),
                size,
                to,
                size[1],
                true,
                &Epilogue::default(),
                true,
            );
        }
    }
}

/// What the filter reads of some examples.  A filter of one tap reads `x` as it lies.
fn laid<'a>(
    d: &Window,
    phases: &'a Phases<'_>,
    x: &'a [f32],
    buffer: &'a mut Vec<f32>,
    in_parallel: bool,
) -> Patches<'a> {
    let plane_x = d.size[0] * d.size[1];
    if d.is_pointwise() {
        return Patches {
            source: x,
            image: d.x_len(),
            plane: plane_x,
            pitch: plane_x,
            grid: [1, plane_x],
            offsets: &[0],
        };
    }
    let len = phases.len();
    // Padding must be 0; the rest is written.
    buffer.clear();
    buffer.resize(x.len() / plane_x * len, 0.0);
    if in_parallel {
        let planes = buffer.par_chunks_exact_mut(len).zip(x.par_chunks_exact(plane_x));
        planes.with_min_len(4).for_each(|(to, x)| phases.lay(x, to));
    } else {
        buffer.chunks_exact_mut(len).zip(x.chunks_exact(plane_x)).for_each(|(to, x)| phases.lay(x, to));
    }
    Patches {
        source: buffer,
        image: d.c * len,
        plane: len,
        pitch: phases.size[1],
        grid: phases.out,
        offsets: &phases.starts,
    }
}

#[derive(Default)]
struct Buffers {
    planes: Vec<f32>,
    joined: Vec<f32>,
}

/// Examples that are taken together.
fn group(positions: usize, plane: usize, n: usize) -> usize {
    positions.div_ceil(plane.max(1)).clamp(1, n.max(1))
}

/// Calls `f(x, y, buffers, in parallel)` for groups of examples: every group on a thread of its own where there are
/// enough of them, otherwise one after the other, each on all threads.
fn groups(
    positions: usize,
    plane: usize,
    n: usize,
    (x, x_len): (&[f32], usize),
    (y, y_len): (&mut [f32], usize),
    f: impl Fn(&[f32], &mut [f32], &mut Buffers, bool) + Sync,
) {
    if x_len == 0 || y_len == 0 {
        return y.fill(0.0);
    }
    let group = group(positions, plane, n);
    if n.div_ceil(group) >= rayon::current_num_threads() {
        let groups = y.par_chunks_mut(group * y_len).zip(x.par_chunks(group * x_len));
        groups.with_max_len(1).for_each_init(Buffers::default, |buffers, (y, x)| f(x, y, buffers, false));
    } else {
        let mut buffers = Buffers::default();
        let groups = y.chunks_mut(group * y_len).zip(x.chunks(group * x_len));
        groups.for_each(|(y, x)| f(x, y, &mut buffers, true));
    }
}

/// Planes of several examples as lines: line `o`, step `image·plane + position`.
struct OverImages<'a> {
    data: &'a [f32],
    image: usize,
    plane: usize,
}

impl Lines for OverImages<'_> {
    fn pack(&self, first: usize, n: usize, k: std::ops::Range<usize>, width: usize, to: &mut [f32]) {
        let mut at = k.start;
        while at < k.end {
            let (image, start) = (at / self.plane, at % self.plane);
            let end = (start + k.end - at).min(self.plane);
            let lines = Strided { data: &self.data[image * self.image..], line: self.plane, step: 1 };
            lines.pack(first, n, start..end, width, &mut to[(at - k.start) * width..]);
            at += end - start;
        }
    }
}

/// A matrix of filters `[rows, cols]`.
fn filters(data: &[f32], rows: usize, cols: usize) -> Matrix<'_> {
    Matrix::new(data, [rows, cols], cols)
}
