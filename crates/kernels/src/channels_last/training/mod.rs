//! Convolutions of networks that learn, on whole images `[n, height, width, channels]`, and their backward passes.
//!
//! ```text
//! y[n,i,j,o]  = Σ_cab w[o,c,a,b]·x[n, i·s + a·d − top, j·s + b·d − left, c] + bias[o]
//! dx[n,·,·,c] = Σ_oab w[o,c,a,b]·g[n,i,j,o]      at the pixels that were read
//! dw[o,c,a,b] = Σ_nij x[n, …, c]·g[n,i,j,o]
//! ```
//!
//! where `c` are the channels of the group of `o`, of which most convolutions have one.
//!
//! Nothing is known before a step but the shapes, so weights are packed for every step, and images have no margin.  Filters of
//! 3×3 and stride 1 go by Winograd's way, forward and backward, whose products are f32 whatever the operands, but for the gradient of
//! their weight; others by products of gathered rows, of which the gradient of `x` has one for every phase of the stride, with the taps that reach
//! it, so that nothing is multiplied with zeros.

mod add;
mod average_pool;
mod backward_weight;
mod concat;
mod deep;
mod depthwise;
mod groups;
mod laid;
mod panels;
mod pool;
mod rows;
mod scratch;
#[cfg(test)]
mod tests;
mod transformed;
mod winograd;
mod winograd_weight;

use rayon::prelude::*;

use super::Winograd;
use crate::gemm::Operands;
use crate::{Number, Window};

pub use add::{add, interleave};
pub use average_pool::{average_pool, average_pool_backward};
pub use backward_weight::backward_weight;
pub use concat::{concat, part_of};
pub use depthwise::{depthwise, depthwise_backward_data, depthwise_backward_weight};
use groups::Groups;
use panels::{Lines, Panels};
pub use pool::{global_mean, global_mean_backward, max_pool, max_pool_backward};
use rows::{Images, Reads, Run, Target, To, multiply};
use transformed::Filters;
use winograd::{convolve, n_tiles};

/// What is done to the sums of a convolution while they are at hand: `min(max(sum + bias + residual, lo), hi)`, where a gate lets
/// it pass.
#[derive(Debug, Clone, Copy)]
pub struct Then<'a> {
    /// `[o]`.
    pub bias: Option<&'a [f32]>,
    /// An image of the result's shape.
    pub residual: Option<&'a [f32]>,
    /// Least and greatest value: `[0, ∞]` is ReLU.
    pub clip: [f32; 2],
    /// Results are 0 where what they replace does not lie inside a range: how the gradient of what was clipped is written over it.
    pub gate: Option<[f32; 2]>,
}

impl Default for Then<'_> {
    /// Nothing.
    fn default() -> Self {
        Then { bias: None, residual: None, clip: [f32::NEG_INFINITY, f32::INFINITY], gate: None }
    }
}

/// `y [n, oh, ow, o]` of `x [n, h, w, c]` and `weight [o, c/groups, kh, kw]`; in bf16 only where products are of pairs of it
/// ([`makes_halves`]), and nothing is done to it.
///
/// ```
/// use headstart_kernels::channels_last::training::{self, Then};
/// use headstart_kernels::{Window, gemm::Operands};
/// let d = Window { n: 1, c: 2, size: [1, 2], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], padding: [0; 4] };
/// let (then, mut y) = (Then { bias: Some(&[0.5]), clip: [0.0, 30.0], ..Then::default() }, [0.0; 2]);
/// training::forward(&d, 1, Operands::F32, &[1.0, 2.0, 3.0, 4.0], &[10.0, 1.0], &then, &mut y);
/// assert_eq!(y, [12.5, 30.0]);
/// ```
///
/// # Panics
/// As all that follow: if sizes do not fit each other.
pub fn forward<N: Number>(
    d: &Window,
    groups: usize,
    operands: Operands,
    x: &[f32],
    weight: &[f32],
    then: &Then<'_>,
    y: &mut [N],
) {
    let groups = Groups::new(d, groups, weight.len());
    let (o, [oh, ow]) = (groups.all_filters(), d.out());
    assert_eq!(x.len(), d.n * d.x_len(), "elements of x");
    assert_eq!(y.len(), d.n * o * oh * ow, "elements of y");
    assert!(then.bias.is_none_or(|bias| bias.len() == o), "a bias for every filter");
    assert!(then.residual.is_none_or(|residual| residual.len() == y.len()), "elements of the residual");
    assert!(!N::IS_HALF || makes_halves(operands) && then.is_nothing(), "products as they are, in pairs");
    if y.is_empty() {
        return;
    }
    let (images, to) = (Images::new(x, d.size, d.c), To::new(y));
    groups.for_each(weight, |[inputs, outputs], weight| {
        let then = Then { bias: then.bias.map(|bias| &bias[outputs.clone()]), ..*then };
        let target = Target::new(to, [oh, ow], o, outputs.start);
        // SAFETY: the target is y, whose channels have one group each.
        unsafe {
            forward_group(&groups.window, operands, images.channels(&inputs), weight, &then, target);
        }
    });
}

/// # Safety
/// The target can be written for every position of the window by nobody else, as many numbers as there are filters; a residual has its
/// size.
unsafe fn forward_group(
    d: &Window,
    operands: Operands,
    images: Images<'_>,
    weight: &[f32],
    then: &Then<'_>,
    target: Target,
) {
    let (o, grid) = (d.filters(weight.len()), d.out());
    if by_winograd(d, o, operands) {
        let filters = Filters::forward(weight, [o, d.c]);
        let [top, left, ..] = d.padding;
        // SAFETY: by the caller.
        return unsafe { convolve(images, d.n, [top, left], &filters, then, grid, target) };
    }
    let taps: Vec<usize> = (0..d.taps()).collect();
    let lines = Lines { weight, n: o, line: d.c * d.taps(), channels: d.c, step: d.taps(), taps: &taps };
    let panels = Panels::pack(&lines, operands);
    let runs = runs(d);
    let reads = Reads { images, n: d.n, grid, step: d.stride, runs: &runs };
    // SAFETY: by the caller.
    unsafe { multiply(&reads, &panels, then, target, operands) };
}

impl Then<'_> {
    fn is_nothing(&self) -> bool {
        let Then { bias, residual, clip, gate } = self;
        bias.is_none() && residual.is_none() && gate.is_none() && *clip == [f32::NEG_INFINITY, f32::INFINITY]
    }
}

/// Whether convolutions with such operands can write their results in bf16.
pub fn makes_halves(operands: Operands) -> bool {
    operands.in_pairs()
}

/// Whether Winograd's way is the faster one: products of pairs take half as long directly, so for them only where there are many
/// tiles for the transformed filters.
fn by_winograd(d: &Window, o: usize, operands: Operands) -> bool {
    Winograd::pays(d, o) && (!operands.in_pairs() || n_tiles(d.n, d.out()) >= TILES_FOR_PAIRS)
}

/// Fewer tiles cost more than they save beside pairs of bf16.
const TILES_FOR_PAIRS: usize = 160;

/// What a window reads at each position: pixels, or where its taps are neighbours, rows of them.
fn runs(d: &Window) -> Vec<Run> {
    let ([kh, kw], [top, left, ..], [d_y, d_x]) = (d.kernel, d.padding, d.dilation);
    let at = |a: usize, b: usize| [(a * d_y) as isize - top as isize, (b * d_x) as isize - left as isize];
    if kw == 1 || d_x == 1 {
        return (0..kh).map(|a| Run { at: at(a, 0), len: kw }).collect();
    }
    (0..kh * kw).map(|t| Run { at: at(t / kw, t % kw), len: 1 }).collect()
}

/// Gradient with respect to `x`, `[n, h, w, c]`, from that of the result, `grad [n, oh, ow, o]`.  If `x` was clipped by the one
/// who made it, `dx` may hold it, and `gate` its range: what clipping did not let pass becomes 0.
///
/// ```
/// use headstart_kernels::{Window, channels_last::training, gemm::Operands};
/// let d = Window { n: 1, c: 2, size: [1, 2], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], padding: [0; 4] };
/// let mut dx = [0.0; 4];
/// training::backward_data(&d, 1, Operands::F32, &[10.0, 1.0], &[1.0, 2.0], None, &mut dx);
/// assert_eq!(dx, [10.0, 1.0, 20.0, 2.0]);
/// let mut x = [0.0, 3.0, 6.0, 1.0];
/// training::backward_data(&d, 1, Operands::F32, &[10.0, 1.0], &[1.0, 2.0], Some([0.0, 6.0]), &mut x);
/// assert_eq!(x, [0.0, 1.0, 0.0, 2.0]);
/// ```
pub fn backward_data(
    d: &Window,
    groups: usize,
    operands: Operands,
    weight: &[f32],
    grad: &[f32],
    gate: Option<[f32; 2]>,
    dx: &mut [f32],
) {
    let groups = Groups::new(d, groups, weight.len());
    let (o, [oh, ow]) = (groups.all_filters(), d.out());
    assert_eq!(dx.len(), d.n * d.x_len(), "elements of x");
    assert_eq!(grad.len(), d.n * o * oh * ow, "elements of the gradient");
    if dx.is_empty() {
        return;
    }
    let (images, to) = (Images::new(grad, [oh, ow], o), To::new(dx));
    groups.for_each(weight, |[inputs, outputs], weight| {
        let then = Then { gate, ..Then::default() };
        let target = Target::new(to, d.size, d.c, inputs.start);
        // SAFETY: the target is dx, whose channels have one group each.
        unsafe {
            backward_data_of_group(
                &groups.window,
                operands,
                images.channels(&outputs),
                weight,
                &then,
                target,
            );
        }
    });
}

/// # Safety
/// The target can be written at every pixel of the window's images by nobody else, all their channels.
unsafe fn backward_data_of_group(
    d: &Window,
    operands: Operands,
    images: Images<'_>,
    weight: &[f32],
    then: &Then<'_>,
    target: Target,
) {
    let (o, [oh, ow], [h, w]) = (images.channels, images.size, d.size);
    let turned = Window { c: o, size: [oh, ow], padding: d.padding.map(|p| 2usize.saturating_sub(p)), ..*d };
    if d.padding.iter().all(|&p| p <= 2) && by_winograd(d, o, operands) && turned.out() == d.size {
        let filters = Filters::backward(weight, [o, d.c]);
        let [top, left, ..] = turned.padding;
        // SAFETY: by the caller.
        return unsafe { convolve(images, d.n, [top, left], &filters, then, d.size, target) };
    }
    let phases = |axis: usize| (0..d.stride[axis]).filter(move |&r| r < d.size[axis]);
    let taps_y: Vec<_> = phases(0).map(|r| taps(d, 0, r)).collect();
    let taps_x: Vec<_> = phases(1).map(|r| taps(d, 1, r)).collect();
    for (r_y, taps_y) in taps_y.iter().enumerate() {
        for (r_x, taps_x) in taps_x.iter().enumerate() {
            let phase = Target {
                first: target.index([0, r_y, r_x]),
                row: d.stride[0] * target.row,
                pixel: d.stride[1] * target.pixel,
                ..target
            };
            let grid = [(h - r_y).div_ceil(d.stride[0]), (w - r_x).div_ceil(d.stride[1])];
            let both = || taps_y.iter().flat_map(|y| taps_x.iter().map(move |x| (y, x)));
            let read: Vec<usize> = both().map(|(y, x)| y.0 * d.kernel[1] + x.0).collect();
            if read.is_empty() {
                // SAFETY: by the caller.
                unsafe { fill(phase, [d.n, grid[0], grid[1]], d.c) };
                continue;
            }
            let runs: Vec<Run> = both().map(|(y, x)| Run { at: [y.1, x.1], len: 1 }).collect();
            let (line, step) = (d.taps(), d.c * d.taps());
            let panels =
                Panels::pack(&Lines { weight, n: d.c, line, channels: o, step, taps: &read }, operands);
            let reads = Reads { images, n: d.n, grid, step: [1, 1], runs: &runs };
            // SAFETY: by the caller; the grid has every pixel of this phase.
            unsafe { multiply(&reads, &panels, then, phase, operands) };
        }
    }
}

/// Nobody read the pixels of a phase: their gradient is 0.
///
/// # Safety
/// So many channels can be written at every position of the target by nobody else.
unsafe fn fill(target: Target, [n, h, w]: [usize; 3], channels: usize) {
    (0..n * h).into_par_iter().for_each(|row| {
        for x in 0..w {
            let at = target.index([row / h, row % h, x]);
            // SAFETY: by the caller.
            unsafe { std::slice::from_raw_parts_mut(target.to.at(at), channels).fill(0.0) };
        }
    });
}

/// The taps that read phase `r` of an axis, and how far from it their rows of the result lie: row `y = s·u + r` of `x` was read
/// by tap `a` at row `u + (r + top − a·d)/s`, if that is an integer.
fn taps(d: &Window, axis: usize, r: usize) -> Vec<(usize, isize)> {
    let (s, step, pad) = (d.stride[axis] as isize, d.dilation[axis] as isize, d.padding[axis] as isize);
    let of = |a: usize| {
        let distance = r as isize + pad - a as isize * step;
        (distance % s == 0).then_some((a, distance / s))
    };
    (0..d.kernel[axis]).filter_map(of).collect()
}
