//! The gradient of a convolution with respect to what it read: a convolution of the result's gradient.
//!
//! Row `y = s·u + r` of `x` was read by tap `a` at row `u + (r + top − a·d)/s` of the result, if that is an integer.  So
//! every phase `r` of the stride has its own taps, and is a convolution of stride 1 with them.

use rayon::prelude::*;

use super::patches::Patches;
use super::{POSITIONS, filters, groups};
use crate::Window;
use crate::gemm::{Epilogue, Operands};

/// Gradient with respect to `x`, from that of the result, `grad [n, o, oh, ow]`.
pub fn backward_data(d: &Window, operands: Operands, weight: &[f32], grad: &[f32], dx: &mut [f32]) {
    let [oh, ow] = d.out();
    let o = d.filters(weight.len());
    assert_eq!(dx.len(), d.n * d.x_len(), "elements of x");
    assert_eq!(grad.len(), d.n * o * oh * ow, "elements of the gradient");
    let margins = std::array::from_fn(|axis| Margins::new(d, axis, [oh, ow][axis]));
    let phases = phases(d, &margins, weight, o);
    let size = [oh + margins[0].before + margins[0].after, ow + margins[1].before + margins[1].after];
    let (plane_g, plane_x) = (size[0] * size[1], d.size[0] * d.size[1]);
    let is_whole = phases.len() == 1 && phases[0].grid == d.size;
    groups(
        POSITIONS,
        plane_x,
        d.n,
        (grad, o * oh * ow),
        (dx, d.x_len()),
        |grad, dx, buffers, in_parallel| {
            let images = grad.len() / (o * oh * ow);
            let source = if size == [oh, ow] {
                grad
            } else {
                buffers.planes.clear();
                buffers.planes.resize(images * o * plane_g, 0.0);
                let lay = |(to, g): (&mut [f32], &[f32])| {
                    let rows = to.chunks_exact_mut(size[1]).skip(margins[0].before).zip(g.chunks_exact(ow));
                    rows.for_each(|(to, g)| to[margins[1].before..][..ow].copy_from_slice(g));
                };
                if in_parallel {
                    let planes =
                        buffers.planes.par_chunks_exact_mut(plane_g).zip(grad.par_chunks_exact(oh * ow));
                    planes.with_min_len(4).for_each(lay);
                } else {
                    buffers.planes.chunks_exact_mut(plane_g).zip(grad.chunks_exact(oh * ow)).for_each(lay);
                }
                &buffers.planes
            };
            let (mut part, none) = (Vec::new(), Epilogue::default());
            for phase in &phases {
                let [gh, gw] = phase.grid;
                if gh * gw == 0 {
                    continue;
                }
                let patches = Patches {
                    source,
                    image: o * plane_g,
                    plane: plane_g,
                    pitch: size[1],
                    grid: phase.grid,
                    offsets: &phase.offsets,
                };
                let k = o * phase.offsets.len();
                let weight = filters(&phase.weight, d.c, k).rows_as_lines();
                let product = [d.c, images * gh * gw, k];
                if is_whole {
                    patches.times(operands, &weight, product, &none, dx, &mut buffers.joined, in_parallel);
                    continue;
                }
                part.resize(images * d.c * gh * gw, 0.0);
                patches.times(operands, &weight, product, &none, &mut part, &mut buffers.joined, in_parallel);
                for (dx, part) in dx.chunks_exact_mut(plane_x).zip(part.chunks_exact(gh * gw)) {
                    for (u, part) in part.chunks_exact(gw).enumerate() {
                        let row = &mut dx[(u * d.stride[0] + phase.at[0]) * d.size[1]..][..d.size[1]];
                        row[phase.at[1]..]
                            .iter_mut()
                            .step_by(d.stride[1])
                            .zip(part)
                            .for_each(|(dx, v)| *dx = *v);
                    }
                }
            }
        },
    );
}

/// One phase of the stride.
struct Phase {
    /// Its first row and column in `x`.
    at: [usize; 2],
    /// Its rows and columns.
    grid: [usize; 2],
    /// By tap of this phase: where it reads a plane of gradients with margins.
    offsets: Vec<usize>,
    /// `[c, o·taps]`.
    weight: Vec<f32>,
}

/// Zeros before and after the gradient's rows or columns.
struct Margins {
    before: usize,
    after: usize,
}

impl Margins {
    fn new(d: &Window, axis: usize, out: usize) -> Self {
        let (mut before, mut after) = (0, 0);
        for r in 0..d.stride[axis] {
            let rows = d.size[axis].saturating_sub(r).div_ceil(d.stride[axis]);
            for (_, shift) in taps(d, axis, r) {
                before = before.max((-shift).max(0) as usize);
                let last = rows as isize - 1 + shift;
                after = after.max((last - (out as isize - 1)).max(0) as usize);
            }
        }
        Margins { before, after }
    }
}

/// The taps that read phase `r` of an axis, and how far from it their rows of the result lie.
fn taps(d: &Window, axis: usize, r: usize) -> impl Iterator<Item = (usize, isize)> {
    let (s, step, pad) = (d.stride[axis] as isize, d.dilation[axis] as isize, d.padding[axis] as isize);
    (0..d.kernel[axis]).filter_map(move |a| {
        let distance = r as isize + pad - a as isize * step;
        (distance % s == 0).then_some((a, distance / s))
    })
}

fn phases(d: &Window, margins: &[Margins; 2], weight: &[f32], o: usize) -> Vec<Phase> {
    let pitch = d.out()[1] + margins[1].before + margins[1].after;
    let grid =
        |at: [usize; 2]| std::array::from_fn(|i| d.size[i].saturating_sub(at[i]).div_ceil(d.stride[i]));
    let of = |at: [usize; 2]| {
        let (mut offsets, mut read) = (Vec::new(), Vec::new());
        for (a, dy) in taps(d, 0, at[0]) {
            for (b, dx) in taps(d, 1, at[1]) {
                let row = (dy + margins[0].before as isize) as usize;
                offsets.push(row * pitch + (dx + margins[1].before as isize) as usize);
                read.push(a * d.kernel[1] + b);
            }
        }
        let mut turned = Vec::with_capacity(d.c * o * read.len());
        for c in 0..d.c {
            for o in 0..o {
                let filter = &weight[(o * d.c + c) * d.taps()..][..d.taps()];
                turned.extend(read.iter().map(|&t| filter[t]));
            }
        }
        Phase { at, grid: grid(at), offsets, weight: turned }
    };
    (0..d.stride[0]).flat_map(|y| (0..d.stride[1]).map(move |x| [y, x])).map(of).collect()
}
