//! The gradient of a convolution with respect to its weight: a product of the result's gradient with what was read, summed
//! over positions.
//!
//! With channels last, both factors are packed by copying runs of channels.  Of a group's channels, which are few, neither is packed:
//! rows are summed as outer products of what lies there, in f32.  Small gradients are summed in parts, one after the other in the end;
//! how many depends on the shape alone.

use std::ops::Range;

use rayon::prelude::*;

use super::super::{Winograd, outer};
use super::groups::Groups;
use super::laid::Laid;
use super::rows::{Images, Reads};
use super::runs;
use super::scratch::Scratch;
use super::winograd_weight;
use crate::gemm::{self, Epilogue, Operands, Shared, Strided, product};
use crate::simd::widest_fn;
use crate::{Window, columns};

/// Elements of a gradient that is summed in parts.
const SMALL: usize = 1 << 16;
/// Parts at most, and positions of one at least.
const PARTS: usize = 16;
const POSITIONS: usize = 768;

/// Gradient with respect to the weight, `[o, c/groups, kh, kw]`, from `x [n, h, w, c]` and the gradient of the result,
/// `grad [n, oh, ow, o]`.
///
/// ```
/// use headstart_kernels::{Window, channels_last::training, gemm::Operands};
/// let d = Window { n: 1, c: 2, size: [1, 2], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], padding: [0; 4] };
/// let mut dw = [0.0; 2];
/// training::backward_weight(&d, 1, Operands::F32, &[1.0, 2.0, 3.0, 4.0], &[10.0, 1.0], &mut dw);
/// assert_eq!(dw, [13.0, 24.0]);
/// ```
pub fn backward_weight(
    d: &Window,
    groups: usize,
    operands: Operands,
    x: &[f32],
    grad: &[f32],
    dw: &mut [f32],
) {
    let groups = Groups::new(d, groups, dw.len());
    let (o, [oh, ow]) = (groups.all_filters(), d.out());
    assert_eq!(x.len(), d.n * d.x_len(), "elements of x");
    assert_eq!(grad.len(), d.n * o * oh * ow, "elements of the gradient");
    if x.is_empty() || grad.is_empty() {
        return dw.fill(0.0);
    }
    let (images, grad) = (Images::new(x, d.size, d.c), Images::new(grad, [oh, ow], o));
    groups.make_filters(dw, |[inputs, outputs], dw| {
        of_group(&groups.window, operands, images.channels(&inputs), grad.channels(&outputs), dw);
    });
}

fn of_group(d: &Window, operands: Operands, images: Images<'_>, grad: Images<'_>, dw: &mut [f32]) {
    let (o, [oh, ow]) = (grad.channels, grad.size);
    if Winograd::pays(d, o) {
        return winograd_weight::backward_weight(d, operands, images, grad, dw);
    }
    let runs = runs(d);
    let reads = Reads { images, n: d.n, grid: [oh, ow], step: d.stride, runs: &runs };
    let (positions, lines) = (d.n * oh * ow, d.c * d.taps());
    // What is read at a position is the pixel itself.
    let is_pixel = reads.is_in_place() && d.stride == [1, 1] && d.size == [oh, ow];
    let laid = (!images.is_whole() && !is_pixel).then(|| Laid::new(&reads, Operands::F32));
    let is_large = dw.len() > SMALL && laid.is_none();
    let parts = if is_large { 1 } else { (positions / POSITIONS).clamp(1, PARTS) };
    let sum = |part: usize, to: &mut [f32], in_parallel: bool| {
        if let Some(laid) = &laid {
            let rows = part * d.n * oh / parts..(part + 1) * d.n * oh / parts;
            return outer_products(laid, grad, rows, to);
        }
        let range = part * positions / parts..(part + 1) * positions / parts;
        let left = Strided { data: &grad.data[range.start * grad.pixel..], line: 1, step: grad.pixel };
        let (size, to, nothing) = ([o, lines, range.len()], Shared::new(to), Epilogue::default());
        // SAFETY: `to` is [o, lines], and this product alone writes it.
        unsafe {
            if is_pixel {
                let (data, step) = (&images.data[range.start * images.pixel..], images.pixel);
                let right = Strided { data, line: 1, step };
                product(operands, &left, &right, size, to, lines, false, &nothing, in_parallel);
            } else {
                let right = Patches { reads: &reads, first: range.start };
                product(operands, &left, &right, size, to, lines, false, &nothing, in_parallel);
            }
        }
    };
    if parts == 1 && d.taps() == 1 {
        return sum(0, dw, true);
    }
    let len = dw.len();
    let mut made = Scratch::new(parts * len);
    match parts {
        1 => sum(0, &mut made, true),
        _ => made
            .par_chunks_exact_mut(len)
            .enumerate()
            .with_max_len(1)
            .for_each(|(part, to)| sum(part, to, false)),
    }
    // `[parts, o, taps, c]` to `[o, c, taps]`.
    dw.par_chunks_exact_mut(lines).enumerate().for_each(|(o, to)| {
        let (total, rest) = (o * lines..(o + 1) * lines, len);
        let mut of_filter = made[total.clone()].to_vec();
        for part in 1..parts {
            columns::add_rows(&mut of_filter, &made[part * rest..][total.clone()]);
        }
        for (tap, channels) in of_filter.chunks_exact(d.c).enumerate() {
            to[tap..].iter_mut().step_by(d.taps()).zip(channels).for_each(|(to, v)| *to = *v);
        }
    });
}

/// The sum over some rows of positions, `[o, lines]`.
fn outer_products(laid: &Laid, grad: Images<'_>, rows: Range<usize>, to: &mut [f32]) {
    let (o, [oh, ow]) = (grad.channels, grad.size);
    let lines = to.len() / o;
    to.fill(0.0);
    for row in rows {
        let (image, i) = (row / oh, row % oh);
        let mut first = 0;
        for (read, len) in laid.runs([image, i, 0]) {
            let factors = [grad.at(image, i, 0), read];
            outer::multiply(
                factors,
                [grad.pixel, laid.pixel()],
                ow,
                [o, len],
                &mut to[first..],
                lines,
                true,
                false,
            );
            first += len;
        }
    }
}

/// Lines are `(tap, channel)`, steps are positions from `first` on.
struct Patches<'a> {
    reads: &'a Reads<'a>,
    first: usize,
}

/// Lines of the widest panel, and with it the most runs.
const WIDTH: usize = 48;

/// Lines of a panel that are read from one run of pixels: `lines` of the run, from line `to` of the panel on.
#[derive(Clone, Copy, Default)]
struct Piece {
    at: [isize; 2],
    lines: [usize; 2],
    to: usize,
}

widest_fn! {
    /// Writes `n` steps from position `first` on.
    fn gather(reads: &Reads<'_>, pieces: &[Piece], first: usize, n: usize, width: usize, to: &mut [f32]) {
        let Images { data, size: [h, w], channels, .. } = reads.images;
        let [grid_h, grid_w] = reads.grid;
        let [mut image, mut i, mut j] = reads.at(first);
        for to in to.chunks_exact_mut(width).take(n) {
            let (y, x) = ((i * reads.step[0]) as isize, (j * reads.step[1]) as isize);
            for Piece { at, lines: [from, until], to: line } in pieces {
                let (y, x) = (y + at[0], x + at[1]);
                let to = &mut to[*line..line + until - from];
                // Lines of the run whose pixels lie in the image.
                let inside = |pixel: isize| (pixel - x).max(0) as usize * channels;
                let (lo, hi) = (inside(0).clamp(*from, *until), inside(w as isize).clamp(*from, *until));
                if y < 0 || y >= h as isize || lo >= hi {
                    to.fill(0.0);
                    continue;
                }
                let at = (((image * h + y as usize) * w) as isize + x) * channels as isize + lo as isize;
                let row = &data[at as usize..][..hi - lo];
                if hi - lo < to.len() {
                    to.fill(0.0);
                }
                copy(row, &mut to[lo - from..hi - from]);
            }
            j += 1;
            if j == grid_w {
                (j, i) = (0, i + 1);
                if i == grid_h {
                    (i, image) = (0, image + 1);
                }
            }
        }
    }
}

impl gemm::Lines for Patches<'_> {
    fn pack(&self, first: usize, n: usize, k: Range<usize>, width: usize, to: &mut [f32]) {
        let channels = self.reads.images.channels;
        let (mut pieces, mut n_pieces, mut start) = ([Piece::default(); WIDTH], 0, 0);
        for run in self.reads.runs {
            let end = start + run.len * channels;
            let (from, until) = (start.max(first), end.min(first + n));
            if from < until {
                pieces[n_pieces] =
                    Piece { at: run.at, lines: [from - start, until - start], to: from - first };
                n_pieces += 1;
            }
            start = end;
        }
        gather(self.reads, &pieces[..n_pieces], self.first + k.start, k.len(), width, to);
    }
}

/// Copies a run; where the compiler knows how long it is, it calls no function.
#[inline(always)]
fn copy(from: &[f32], to: &mut [f32]) {
    let (from16, from1) = from.as_chunks::<16>();
    let (to16, to1) = to.as_chunks_mut::<16>();
    to16.iter_mut().zip(from16).for_each(|(to, from)| *to = *from);
    if !to1.is_empty() {
        to1.iter_mut().zip(from1).for_each(|(to, from)| *to = *from);
    }
}
