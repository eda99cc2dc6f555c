//! Depthwise convolution and its backward passes: one filter a channel (Howard et al., 2017), for vectors of channels at once.
//!
//! ```text
//! y[n,i,j,c]  = Σ_ab w[c,a,b]·x[n, i·s + a·d − top, j·s + b·d − left, c] + bias[c]
//! dx[n,·,·,c] = Σ_ab w[c,a,b]·g[n,i,j,c]      at the pixels that were read, phase by phase of the stride
//! dw[c,a,b]   = Σ_nij x[n, …, c]·g[n,i,j,c]
//! ```

use std::ops::Range;

use rayon::prelude::*;

use super::super::depthwise::by_tap;
use super::super::tile::fetch;
use super::super::vector::{Halves, Store, Vector, Whole, by_isa};
use super::rows::{Images, To};
use super::scratch::Scratch;
use super::{Then, makes_halves, taps};
use crate::gemm::Operands;
use crate::{Floats, Isa, Number, Window};

/// `y [n, oh, ow, c]` of `x [n, h, w, c]` and `weight [c, 1, kh, kw]`; without a gate also in bf16, on machines with products of
/// pairs of it.
///
/// ```
/// use headstart_kernels::{Window, channels_last::training::{self, Then}};
/// let d = Window { n: 1, c: 2, size: [1, 2], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], padding: [0; 4] };
/// let mut y = [0.0; 4];
/// training::depthwise(&d, &[1.0, 2.0, 3.0, 4.0], &[10.0, 1.0], &Then::default(), &mut y);
/// assert_eq!(y, [10.0, 2.0, 30.0, 4.0]);
/// ```
///
/// # Panics
/// If a residual is to be added, which depthwise convolutions cannot do.
pub fn depthwise<N: Number>(d: &Window, x: &[f32], weight: &[f32], then: &Then<'_>, y: &mut [N]) {
    let [oh, ow] = d.out();
    assert_eq!([x.len(), weight.len()], [d.n * d.x_len(), d.c * d.taps()], "elements of x and of the weight");
    assert_eq!(y.len(), d.n * d.c * oh * ow, "elements of y");
    assert!(then.residual.is_none(), "no residual");
    assert!(!N::IS_HALF || then.gate.is_none() && makes_halves(Operands::Bf16), "halves on this machine");
    assert!(then.bias.is_none_or(|bias| bias.len() == d.c), "a bias for every channel");
    let filters = by_tap(weight, d.taps());
    let bias = Floats::padded(then.bias.unwrap_or_default(), d.c);
    let images = Images::new(x, d.size, d.c);
    let (grid, step, taps) = ([oh, ow], d.stride, all_taps(d));
    let to = Strides { first: 0, image: oh * ow * d.c, row: ow * d.c, pixel: d.c };
    let slide = Slide { images, grid, step, taps, filters: &filters, bias: &bias, then: *then, to };
    run(&[slide], d.n, To::new(y));
}

/// Gradient with respect to `x`, `[n, h, w, c]`, from that of the result, `grad [n, oh, ow, c]`, and `gate` as for
/// [`super::backward_data`].
pub fn depthwise_backward_data(
    d: &Window,
    weight: &[f32],
    grad: &[f32],
    gate: Option<[f32; 2]>,
    dx: &mut [f32],
) {
    let [oh, ow] = d.out();
    assert_eq!(
        [dx.len(), weight.len()],
        [d.n * d.x_len(), d.c * d.taps()],
        "elements of x and of the weight"
    );
    assert_eq!(grad.len(), d.n * d.c * oh * ow, "elements of the gradient");
    let filters = by_tap(weight, d.taps());
    let (zeros, [h, w], [s_y, s_x]) = (Floats::zeros(d.c), d.size, d.stride);
    let images = Images::new(grad, [oh, ow], d.c);
    let phases = (0..s_y.min(h)).flat_map(|y| (0..s_x.min(w)).map(move |x| (y, x)));
    let slides: Vec<Slide<'_>> = phases
        .map(|(r_y, r_x)| {
            let columns = &taps(d, 1, r_x);
            let tap = |y: (usize, isize), x: &(usize, isize)| Tap {
                at: [y.1, x.1],
                filter: y.0 * d.kernel[1] + x.0,
            };
            Slide {
                images,
                grid: [(h - r_y).div_ceil(s_y), (w - r_x).div_ceil(s_x)],
                step: [1, 1],
                taps: taps(d, 0, r_y)
                    .into_iter()
                    .flat_map(|y| columns.iter().map(move |x| tap(y, x)))
                    .collect(),
                filters: &filters,
                bias: &zeros,
                then: Then { gate, ..Then::default() },
                to: Strides {
                    first: (r_y * w + r_x) * d.c,
                    image: d.x_len(),
                    row: s_y * w * d.c,
                    pixel: s_x * d.c,
                },
            }
        })
        .collect();
    run(&slides, d.n, To::new(dx));
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

/// Filters that slide over images.
pub(super) struct Slide<'a> {
    images: Images<'a>,
    grid: [usize; 2],
    step: [usize; 2],
    taps: Vec<Tap>,
    filters: &'a [f32],
    then: Then<'a>,
    /// Of as many numbers as there are channels.
    bias: &'a [f32],
    to: Strides,
}

/// Where results go.
#[derive(Clone, Copy)]
struct Strides {
    first: usize,
    image: usize,
    row: usize,
    pixel: usize,
}

/// All slides' results, row by row: they read nearly the same.
fn run(slides: &[Slide<'_>], n: usize, to: To) {
    let rows = slides.iter().map(|slide| slide.grid[0]).max().unwrap_or(0);
    (0..n * rows).into_par_iter().for_each(|row| {
        let (image, i) = (row / rows, row % rows);
        for slide in slides.iter().filter(|slide| i < slide.grid[0]) {
            let Strides { first, image: of_image, row, .. } = slide.to;
            // SAFETY: rows of the results lie apart from each other; the machine has the best instructions it has.
            unsafe {
                let (isa, at) = (Isa::best(), to.at(first + image * of_image + i * row));
                match to.in_halves {
                    true => slide_row_in_halves(isa, slide, image, i, at),
                    false => slide_row(isa, slide, image, i, at),
                }
            }
        }
    });
}

impl Slide<'_> {
    /// What the taps of row `i` read.
    fn row(&self, image: usize, i: usize) -> Row {
        let Images { size: [h, w], channels, .. } = self.images;
        let last = [0, 1].map(|axis| self.taps.iter().map(|tap| tap.at[axis]).max().unwrap_or(0));
        let (mut taps, mut middle) = (Vec::with_capacity(self.taps.len()), 0..self.grid[1]);
        for tap in &self.taps {
            let y = (i * self.step[0]) as isize + tap.at[0];
            if !(0..h as isize).contains(&y) {
                continue;
            }
            let within = inside(tap.at[1], self.step[1], w, self.grid[1]);
            middle = middle.start.max(within.start)..middle.end.min(within.end);
            let start = (image * h + y as usize) * w * channels;
            // Those of the last rows and columns of taps read what none has read before.
            let is_first = (0..2).all(|axis| tap.at[axis] + self.step[axis] as isize > last[axis]);
            taps.push((*tap, start, within, is_first));
        }
        Row { taps, middle }
    }
}

/// The taps that lie in the image in one row.
struct Row {
    /// With where the row that a tap reads begins, at which positions it reads inside, and whether it is the first to read there.
    taps: Vec<(Tap, usize, Range<usize>, bool)>,
    /// Positions at which all of them read inside.
    middle: Range<usize>,
}

/// What taps read from a position on: where it begins, and the filter's number.
#[derive(Default)]
struct Read {
    all: Vec<(*const f32, usize)>,
    /// Where nobody has read before.
    fresh: Vec<*const f32>,
}

impl Read {
    /// At position `j`.
    fn move_to(&mut self, j: usize, s: &Slide<'_>, row: &Row) {
        self.all.clear();
        self.fresh.clear();
        for (tap, start, within, is_first) in &row.taps {
            if within.contains(&j) {
                let x = (j * s.step[1]) as isize + tap.at[1];
                let from = s.images.data[start + x as usize * s.images.channels..].as_ptr();
                self.all.push((from, tap.filter));
                if *is_first {
                    self.fresh.push(from);
                }
            }
        }
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
    slide_row => row::<Whole>(
        s: &Slide<'_>, image: usize, i: usize, to: *mut f32)
}

by_isa! {
    /// # Safety
    /// As [`slide_row`], in bf16.
    slide_row_in_halves with "avx512bf16" => row::<Halves>(
        s: &Slide<'_>, image: usize, i: usize, to: *mut f32)
}

#[inline(always)]
unsafe fn row<V: Vector, S: Store>(s: &Slide<'_>, image: usize, i: usize, to: *mut f32) {
    let (row, mut read, mut j) = (s.row(image, i), Read::default(), 0);
    while j < s.grid[1] {
        read.move_to(j, s, &row);
        let left = if row.middle.contains(&j) { row.middle.end - j } else { 1 };
        // SAFETY: by the caller; taps read inside the image for so many positions.
        unsafe {
            let at = j * s.to.pixel;
            j += match left {
                7.. => pixels::<V, S, 7>(s, &read, to, at),
                3.. => pixels::<V, S, 3>(s, &read, to, at),
                _ => pixels::<V, S, 1>(s, &read, to, at),
            };
        }
    }
}

/// `T` pixels next to each other; returns how many.  What the next ones will read for the first time is
/// fetched: steps of whole pixels are too long for the processor to foresee.
#[inline(always)]
unsafe fn pixels<V: Vector, S: Store, const T: usize>(
    s: &Slide<'_>,
    read: &Read,
    to: *mut f32,
    at: usize,
) -> usize {
    let (c, pixel) = (s.images.channels, s.to.pixel);
    let step = s.step[1] * c;
    let mut channel = 0;
    // SAFETY: by the caller; filters and bias have `c` channels.
    unsafe {
        while channel < c {
            let n = V::LANES.min(c - channel);
            let load = |at: *const f32| if n == V::LANES { V::load(at) } else { V::load_first(at, n) };
            let mut sums = [load(s.bias.as_ptr().add(channel)); T];
            for &(from, filter) in &read.all {
                let weight = load(s.filters.as_ptr().add(filter * c + channel));
                for (t, sum) in sums.iter_mut().enumerate() {
                    *sum = sum.add_product(load(from.add(t * step + channel)), weight);
                }
            }
            for t in T..2 * T {
                read.fresh.iter().for_each(|from| fetch(from.wrapping_add(t * step + channel)));
                fetch(to.wrapping_add(at + t * pixel + channel));
            }
            let [lo, hi] = s.then.clip.map(|v| V::splat(v));
            for (t, sum) in sums.into_iter().enumerate() {
                let (mut sum, at) = (sum.at_least(lo).at_most(hi), at + t * pixel + channel);
                if let Some(range) = s.then.gate {
                    let [lo, hi] = range.map(|v| V::splat(v));
                    sum = sum.where_inside(load(to.add(at)), lo, hi);
                }
                S::store(sum, to, at, n);
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
    let slide = Slide {
        images: Images::new(x, d.size, c),
        grid: [oh, ow],
        step: d.stride,
        taps: all_taps(d),
        filters: &[],
        bias: &[],
        then: Then::default(),
        to: Strides { first: 0, image: oh * ow * c, row: ow * c, pixel: c },
    };
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

/// Pixels of a row that are summed before the next channels are.
const BLOCK: usize = 8;

#[inline(always)]
unsafe fn sums_of_row<V: Vector>(s: &Slide<'_>, image: usize, i: usize, grad: &[f32], sums: &mut [f32]) {
    let c = s.images.channels;
    let (row, mut read, mut j) = (s.row(image, i), Read::default(), 0);
    while j < s.grid[1] {
        read.move_to(j, s, &row);
        let len = if row.middle.contains(&j) { BLOCK.min(row.middle.end - j) } else { 1 };
        let block = Block { step: s.step[1] * c, c, len, read: &read };
        // SAFETY: the row has `len` pixels of `c` channels from here on, and taps read inside the image for all of them.
        unsafe { block.add::<V>(grad[j * c..].as_ptr(), sums) };
        j += len;
    }
}

/// Some pixels of a row, at which all taps read inside the image.
struct Block<'a> {
    /// Elements from one pixel that a tap reads to the next.
    step: usize,
    c: usize,
    len: usize,
    read: &'a Read,
}

impl Block<'_> {
    /// Adds what the pixels give to the sums of taps.
    ///
    /// # Safety
    /// `len` pixels can be read where the taps read and at `grad`; the machine has the instructions.
    #[inline(always)]
    unsafe fn add<V: Vector>(&self, grad: *const f32, sums: &mut [f32]) {
        let mut channel = 0;
        while channel < self.c {
            for t in self.len..2 * self.len {
                self.read.fresh.iter().for_each(|from| fetch(from.wrapping_add(t * self.step + channel)));
                fetch(grad.wrapping_add(t * self.c + channel));
            }
            let mut rest = &self.read.all[..];
            while !rest.is_empty() {
                // As many chains of sums as hide how long each takes, of which a row or all of usual filters have a multiple.
                // SAFETY: by the caller.
                let n = unsafe {
                    match rest.len() {
                        n if n.is_multiple_of(9) => self.add_some::<V, 9>(rest, grad, channel, sums),
                        n if n.is_multiple_of(5) => self.add_some::<V, 5>(rest, grad, channel, sums),
                        3.. => self.add_some::<V, 3>(rest, grad, channel, sums),
                        _ => self.add_some::<V, 1>(rest, grad, channel, sums),
                    }
                };
                rest = &rest[n..];
            }
            channel += V::LANES;
        }
    }

    /// The first `K` taps, for a vector of channels; returns how many.
    #[inline(always)]
    unsafe fn add_some<V: Vector, const K: usize>(
        &self,
        taps: &[(*const f32, usize)],
        grad: *const f32,
        channel: usize,
        sums: &mut [f32],
    ) -> usize {
        let lanes = V::LANES.min(self.c - channel);
        let taps = taps.first_chunk::<K>().expect("so many taps");
        // SAFETY: by the caller; sums are `[taps, c]`.
        unsafe {
            let load =
                |at: *const f32| if lanes == V::LANES { V::load(at) } else { V::load_first(at, lanes) };
            let mut of_taps = [V::splat(0.0); K];
            for j in 0..self.len {
                let g = load(grad.add(j * self.c + channel));
                for (sum, (from, _)) in of_taps.iter_mut().zip(taps) {
                    *sum = sum.add_product(load(from.add(j * self.step + channel)), g);
                }
            }
            for (sum, (_, filter)) in of_taps.into_iter().zip(taps) {
                let to = sums[filter * self.c + channel..].as_mut_ptr();
                let total = load(to.cast_const()).add(sum);
                if lanes == V::LANES { total.store(to) } else { total.store_first(to, lanes) }
            }
        }
        K
    }
}
