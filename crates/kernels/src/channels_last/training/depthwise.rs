//! Depthwise convolution and its backward passes: one filter a channel (Howard et al., 2017), for vectors of channels at once.
//!
//! ```text
//! y[n,i,j,c]  = Σ_ab w[c,a,b]·x[n, i·s + a·d − top, j·s + b·d − left, c] + bias[c]
//! dx[n,·,·,c] = Σ_ab w[c,a,b]·g[n,i,j,c]      at the pixels that were read, phase by phase of the stride
//! dw[c,a,b]   = Σ_nij x[n, …, c]·g[n,i,j,c]
//! ```

use std::ops::Range;

use rayon::prelude::*;

use super::super::vector::{Vector, by_isa};
use super::rows::Images;
use super::scratch::Scratch;
use super::taps;
use crate::gemm::Shared;
use crate::{Floats, Isa, Window};

/// `y [n, oh, ow, c]` of `x [n, h, w, c]`, `weight [c, 1, kh, kw]` and `bias? [c]`.
///
/// ```
/// use headstart_kernels::{Window, channels_last::training};
/// let d = Window { n: 1, c: 2, size: [1, 2], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], padding: [0; 4] };
/// let mut y = [0.0; 4];
/// training::depthwise(&d, &[1.0, 2.0, 3.0, 4.0], &[10.0, 1.0], None, &mut y);
/// assert_eq!(y, [10.0, 2.0, 30.0, 4.0]);
/// ```
pub fn depthwise(d: &Window, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let [oh, ow] = d.out();
    assert_eq!([x.len(), weight.len()], [d.n * d.x_len(), d.c * d.taps()], "elements of x and of the weight");
    assert_eq!(y.len(), d.n * d.c * oh * ow, "elements of y");
    let filters = transposed(weight, d.taps());
    let mut start = Floats::zeros(d.c);
    if let Some(bias) = bias {
        start.copy_from_slice(bias);
    }
    let taps: Vec<Tap> = all_taps(d);
    let images = Images { data: x, size: d.size, channels: d.c };
    let slide =
        Slide { images, grid: [oh, ow], step: d.stride, taps: &taps, filters: &filters, bias: &start };
    slide.run(d.n, Shared::new(y), Strides { first: 0, image: oh * ow * d.c, row: ow * d.c, pixel: d.c });
}

/// Gradient with respect to `x`, `[n, h, w, c]`, from that of the result, `grad [n, oh, ow, c]`.
pub fn depthwise_backward_data(d: &Window, weight: &[f32], grad: &[f32], dx: &mut [f32]) {
    let [oh, ow] = d.out();
    assert_eq!(
        [dx.len(), weight.len()],
        [d.n * d.x_len(), d.c * d.taps()],
        "elements of x and of the weight"
    );
    assert_eq!(grad.len(), d.n * d.c * oh * ow, "elements of the gradient");
    let filters = transposed(weight, d.taps());
    let (zeros, [h, w], [s_y, s_x]) = (Floats::zeros(d.c), d.size, d.stride);
    let images = Images { data: grad, size: [oh, ow], channels: d.c };
    let to = Shared::new(dx);
    for (r_y, r_x) in (0..s_y.min(h)).flat_map(|y| (0..s_x.min(w)).map(move |x| (y, x))) {
        let (rows, columns) = (taps(d, 0, r_y), taps(d, 1, r_x));
        let of = |(y, x): (&(usize, isize), &(usize, isize))| Tap {
            at: [y.1, x.1],
            filter: y.0 * d.kernel[1] + x.0,
        };
        let taps: Vec<Tap> = rows.iter().flat_map(|y| columns.iter().map(move |x| (y, x))).map(of).collect();
        let grid = [(h - r_y).div_ceil(s_y), (w - r_x).div_ceil(s_x)];
        let slide = Slide { images, grid, step: [1, 1], taps: &taps, filters: &filters, bias: &zeros };
        let first = (r_y * w + r_x) * d.c;
        slide.run(d.n, to, Strides { first, image: d.x_len(), row: s_y * w * d.c, pixel: s_x * d.c });
    }
}

/// A tap: where it reads from a position on, and its filter's number.
#[derive(Clone, Copy)]
struct Tap {
    at: [isize; 2],
    filter: usize,
}

fn all_taps(d: &Window) -> Vec<Tap> {
    let at = |t: usize, i: usize| {
        let k = if i == 0 { t / d.kernel[1] } else { t % d.kernel[1] };
        (k * d.dilation[i]) as isize - d.padding[i] as isize
    };
    (0..d.taps()).map(|t| Tap { at: [at(t, 0), at(t, 1)], filter: t }).collect()
}

/// `[taps, c]` of `weight [c, taps]`.
fn transposed(weight: &[f32], taps: usize) -> Floats {
    let (mut filters, c) = (Floats::zeros(weight.len()), weight.len() / taps.max(1));
    for (channel, filter) in weight.chunks_exact(taps).enumerate() {
        filter.iter().enumerate().for_each(|(tap, &w)| filters[tap * c + channel] = w);
    }
    filters
}

/// Filters that slide over images.
pub(super) struct Slide<'a> {
    images: Images<'a>,
    grid: [usize; 2],
    step: [usize; 2],
    taps: &'a [Tap],
    filters: &'a [f32],
    bias: &'a [f32],
}

/// Where results go.
#[derive(Clone, Copy)]
struct Strides {
    first: usize,
    image: usize,
    row: usize,
    pixel: usize,
}

impl Slide<'_> {
    fn run(&self, n: usize, to: Shared, strides: Strides) {
        let rows = self.grid[0];
        (0..n * rows).into_par_iter().for_each(|row| {
            let (image, i) = (row / rows, row % rows);
            // SAFETY: rows of the result lie apart from each other; the machine has the best instructions it has.
            unsafe {
                let to = to.at(strides.first + image * strides.image + i * strides.row);
                slide_row(Isa::best(), self, image, i, to, strides.pixel);
            }
        });
    }

    /// The taps of row `i` that lie in the image, and where each reads.
    fn rows(&self, image: usize, i: usize) -> impl Iterator<Item = (Tap, usize)> {
        let Images { size: [h, w], channels, .. } = self.images;
        self.taps.iter().filter_map(move |&tap| {
            let y = (i * self.step[0]) as isize + tap.at[0];
            (0..h as isize).contains(&y).then(|| (tap, (image * h + y as usize) * w * channels))
        })
    }
}

/// Positions of a row of a grid at which a tap reads inside the image.
fn inside(tap: isize, step: usize, w: usize, n: usize) -> Range<usize> {
    let (step, w) = (step as isize, w as isize);
    let first = (-tap).max(0) as usize;
    let first = first.div_ceil(step as usize).min(n);
    let end = if w > tap { ((w - tap - 1) / step + 1) as usize } else { 0 };
    first..end.clamp(first, n)
}

by_isa! {
    /// # Safety
    /// The row's pixels can be written at `to`; the machine has the instructions.
    slide_row => row(s: &Slide<'_>, image: usize, i: usize, to: *mut f32, pixel: usize)
}

#[inline(always)]
unsafe fn row<V: Vector>(s: &Slide<'_>, image: usize, i: usize, to: *mut f32, pixel: usize) {
    let (w, n) = (s.images.size[1], s.grid[1]);
    let mut all = 0..n;
    let mut read = Vec::with_capacity(s.taps.len());
    for (tap, start) in s.rows(image, i) {
        let within = inside(tap.at[1], s.step[1], w, n);
        all = all.start.max(within.start)..all.end.min(within.end);
        read.push((tap, start, within));
    }
    let middle = all.start.min(n)..all.end.max(all.start).min(n);
    let mut some = Vec::with_capacity(read.len());
    let mut j = 0;
    // SAFETY: by the caller: taps that are passed on read inside the image.
    unsafe {
        while j < n {
            let is_middle = middle.contains(&j);
            some.clear();
            for (tap, start, within) in &read {
                if within.contains(&j) {
                    let x = (j * s.step[1]) as isize + tap.at[1];
                    let from = s.images.data.as_ptr().add(start + x as usize * s.images.channels);
                    some.push((from, s.filters.as_ptr().add(tap.filter * s.images.channels)));
                }
            }
            let left = if is_middle { middle.end - j } else { 1 };
            let to = to.add(j * pixel);
            j += match left {
                7.. => pixels::<V, 7>(s, &some, to, pixel),
                3.. => pixels::<V, 3>(s, &some, to, pixel),
                _ => pixels::<V, 1>(s, &some, to, pixel),
            };
        }
    }
}

/// `T` pixels next to each other; returns how many.
#[inline(always)]
unsafe fn pixels<V: Vector, const T: usize>(
    s: &Slide<'_>,
    taps: &[(*const f32, *const f32)],
    to: *mut f32,
    pixel: usize,
) -> usize {
    let c = s.images.channels;
    let step = s.step[1] * c;
    let mut channel = 0;
    // SAFETY: by the caller; filters and bias have `c` channels.
    unsafe {
        while channel < c {
            let n = V::LANES.min(c - channel);
            let load = |at: *const f32| if n == V::LANES { V::load(at) } else { V::load_first(at, n) };
            let mut sums = [load(s.bias.as_ptr().add(channel)); T];
            for &(from, filter) in taps {
                let weight = load(filter.add(channel));
                for (t, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add_product(load(from.add(t * step + channel)), weight);
                }
            }
            for (t, sum) in sums.into_iter().enumerate() {
                let to = to.add(t * pixel + channel);
                if n == V::LANES { sum.store(to) } else { sum.store_first(to, n) }
            }
            channel += V::LANES;
        }
    }
    T
}

/// Parts whose sums are added in the end, at least.
const PARTS: usize = 16;

/// Gradient with respect to the weight, `[c, 1, kh, kw]`, from `x` and the gradient of the result.
pub fn depthwise_backward_weight(d: &Window, x: &[f32], grad: &[f32], dw: &mut [f32]) {
    let ([oh, ow], c) = (d.out(), d.c);
    assert_eq!([x.len(), dw.len()], [d.n * d.x_len(), c * d.taps()], "elements of x and of the weight");
    assert_eq!(grad.len(), d.n * c * oh * ow, "elements of the gradient");
    // Bands of rows of every image: how many depends on the shape alone.
    let bands = PARTS.div_ceil(d.n.max(1)).min(oh).max(1);
    let len = dw.len();
    let mut parts = Scratch::new(d.n * bands * len);
    let (all, images) = (all_taps(d), Images { data: x, size: d.size, channels: c });
    let none = Floats::zeros(0);
    let slide = Slide { images, grid: [oh, ow], step: d.stride, taps: &all, filters: &none, bias: &none };
    parts.par_chunks_exact_mut(len.max(1)).enumerate().with_max_len(1).for_each(|(part, sums)| {
        let (image, band) = (part / bands, part % bands);
        sums.fill(0.0);
        for i in band * oh / bands..(band + 1) * oh / bands {
            let grad = &grad[(image * oh + i) * ow * c..][..ow * c];
            // SAFETY: the machine has the best instructions it has.
            unsafe { sum_row(Isa::best(), &slide, image, i, grad, sums) };
        }
    });
    dw.fill(0.0);
    for part in parts.chunks_exact(len.max(1)) {
        for (tap, sums) in part.chunks_exact(c).enumerate() {
            dw[tap..].iter_mut().step_by(d.taps()).zip(sums).for_each(|(to, v)| *to += v);
        }
    }
}

by_isa! {
    /// Adds what a row gives to `sums [taps, c]`.
    ///
    /// # Safety
    /// The machine has the instructions.
    sum_row => sums_of_row(s: &Slide<'_>, image: usize, i: usize, grad: &[f32], sums: &mut [f32])
}

#[inline(always)]
unsafe fn sums_of_row<V: Vector>(s: &Slide<'_>, image: usize, i: usize, grad: &[f32], sums: &mut [f32]) {
    let (c, w, n) = (s.images.channels, s.images.size[1], s.grid[1]);
    let read: Vec<_> =
        s.rows(image, i).map(|(tap, start)| (tap, start, inside(tap.at[1], s.step[1], w, n))).collect();
    // Three taps at a time share the gradient.
    for some in read.chunks(3) {
        let middle = some.iter().fold(0..n, |m, (_, _, r)| m.start.max(r.start)..m.end.min(r.end));
        let mut channel = 0;
        while channel < c {
            let lanes = V::LANES.min(c - channel);
            // SAFETY: rows of the gradient have `c` channels, and taps read inside the image where `inside` says so.
            unsafe {
                let load =
                    |at: *const f32| if lanes == V::LANES { V::load(at) } else { V::load_first(at, lanes) };
                let g = |j: usize| load(grad.as_ptr().add(j * c + channel));
                let x = |tap: &Tap, start: usize, j: usize| {
                    let x = (j * s.step[1]) as isize + tap.at[1];
                    load(s.images.data.as_ptr().add(start + x as usize * c + channel))
                };
                let mut of_taps = [V::splat(0.0); 3];
                if let [(a, a0, _), (b, b0, _), (e, e0, _)] = some {
                    // Two chains of sums for each tap.
                    let mut others = [V::splat(0.0); 3];
                    let mut j = middle.start;
                    while j + 1 < middle.end {
                        for (sums, j) in [(&mut of_taps, j), (&mut others, j + 1)] {
                            let g = g(j);
                            sums[0] = sums[0].add_product(x(a, *a0, j), g);
                            sums[1] = sums[1].add_product(x(b, *b0, j), g);
                            sums[2] = sums[2].add_product(x(e, *e0, j), g);
                        }
                        j += 2;
                    }
                    if j < middle.end {
                        let g = g(j);
                        of_taps[0] = of_taps[0].add_product(x(a, *a0, j), g);
                        of_taps[1] = of_taps[1].add_product(x(b, *b0, j), g);
                        of_taps[2] = of_taps[2].add_product(x(e, *e0, j), g);
                    }
                    of_taps.iter_mut().zip(others).for_each(|(a, b)| *a = a.add(b));
                }
                for ((tap, start, range), sum) in some.iter().zip(&mut of_taps) {
                    let was_done = some.len() == 3 && middle.start < middle.end;
                    let (before, after) = match was_done {
                        true => (range.start..middle.start, middle.end..range.end),
                        false => (range.clone(), 0..0),
                    };
                    for j in before.chain(after) {
                        *sum = sum.add_product(x(tap, *start, j), g(j));
                    }
                    let to = sums.as_mut_ptr().add(tap.filter * c + channel);
                    let total = load(to.cast_const()).add(*sum);
                    if lanes == V::LANES { total.store(to) } else { total.store_first(to, lanes) }
                }
            }
            channel += V::LANES;
        }
    }
}
