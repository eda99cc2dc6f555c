//! Depthwise convolution: one filter a channel (Howard et al., 2017), for vectors of channels at once.
//!
//! ```text
//! y[n,i,j,c] = act(Σ_ab w[c,a,b]·x[n, i·s + a·d − top, j·s + b·d − left, c] + bias[c])
//! ```

use super::each;
use super::tile::Finish;
use super::vector::{Vector, by_isa};
use super::view::View;
use crate::gemm::Shared;
use crate::{Activation, Floats, Isa, Window};

/// A depthwise convolution that knows where it reads and writes.
#[derive(Debug)]
pub struct Depthwise {
    isa: Isa,
    /// `[taps, channels]`.
    filters: Floats,
    bias: Floats,
    window: Window,
    from: View,
    to: View,
    finish: Finish,
}

/// `[taps, c]` of `weight [c, taps]`.
pub(super) fn by_tap(weight: &[f32], taps: usize) -> Floats {
    let (mut filters, c) = (Floats::zeros(weight.len()), weight.len() / taps.max(1));
    for (channel, filter) in weight.chunks_exact(taps).enumerate() {
        filter.iter().enumerate().for_each(|(tap, &w)| filters[tap * c + channel] = w);
    }
    filters
}

impl Depthwise {
    /// Packs `weight [channels, 1, kh, kw]` and `bias? [channels]` for images at `from`; `window.n` does not matter.
    ///
    /// # Panics
    /// As [`super::Convolution::new`].
    pub fn new(
        weight: &[f32],
        bias: Option<&[f32]>,
        window: Window,
        [from, to]: [View; 2],
        finish: Finish,
    ) -> Self {
        Self::on(Isa::best(), weight, bias, window, [from, to], finish)
    }

    pub(super) fn on(
        isa: Isa,
        weight: &[f32],
        bias: Option<&[f32]>,
        window: Window,
        [from, to]: [View; 2],
        finish: Finish,
    ) -> Self {
        assert!(isa.is_available(), "{isa:?} on this machine");
        from.check_window(&window, &to, None);
        let (c, taps) = (window.c, window.taps());
        assert_eq!([c, weight.len()], [to.channels, c * taps], "a filter a channel");
        let filters = by_tap(weight, taps);
        assert!(bias.is_none_or(|bias| bias.len() == c), "a bias for every channel");
        let bias = Floats::padded(bias.unwrap_or_default(), c);
        Depthwise { isa, filters, bias, window, from, to, finish }
    }

    /// Convolves `n` examples, on all threads or on this one.
    pub fn run(&self, arena: &mut [f32], n: usize, in_parallel: bool) {
        self.from.check(arena.len(), n);
        self.to.check(arena.len(), n);
        let h = self.to.size[0];
        let arena = Shared::new(arena);
        let row = |i: usize| {
            let (image, y) = (i / h, i % h);
            let ([s_y, _], [top, left, ..]) = (self.window.stride, self.window.padding);
            let from = self.from.at(n, image, y * s_y, 0) - top * self.from.row - left * self.from.pixel;
            // SAFETY: both rows lie in the arena, with the margin that the window reads; this thread alone writes the one,
            // and nobody writes the other.
            unsafe {
                let to = arena.at(self.to.at(n, image, y, 0));
                rows(self.isa, self, arena.at(from), to);
                if self.finish.activation != Activation::Identity {
                    let (pixels, len) = self.to.runs();
                    for x in 0..pixels {
                        let run = std::slice::from_raw_parts_mut(to.add(x * self.to.pixel), len);
                        self.finish.activation.apply(run);
                    }
                }
            }
        };
        each(n * h, in_parallel, row);
    }
}

by_isa! {
    /// # Safety
    /// A row of the result can be written at `to`, and what the window reads of it lies at `from`; the machine has the
    /// instructions.
    rows => row(d: &Depthwise, from: *const f32, to: *mut f32)
}

#[inline(always)]
unsafe fn row<V: Vector>(d: &Depthwise, from: *const f32, to: *mut f32) {
    let w = d.to.size[1];
    let mut x = 0;
    // SAFETY: by the caller: pixels `x…x + T` of the row.
    unsafe {
        while w - x >= 7 {
            pixels::<V, 7>(d, from, to, x);
            x += 7;
        }
        while w - x >= 2 {
            pixels::<V, 2>(d, from, to, x);
            x += 2;
        }
        if w > x {
            pixels::<V, 1>(d, from, to, x);
        }
    }
}

/// `T` pixels next to each other from `x` on.
#[inline(always)]
unsafe fn pixels<V: Vector, const T: usize>(d: &Depthwise, from: *const f32, to: *mut f32, x: usize) {
    let ([kh, kw], [d_y, d_x], c) = (d.window.kernel, d.window.dilation, d.window.c);
    let (step, pixel) = (d.window.stride[1] * d.from.pixel, d.from.pixel);
    let [lo, hi] = d.finish.clamp;
    // SAFETY: by the caller; the filters have `c` channels a tap.
    unsafe {
        let (from, to) = (from.add(x * step), to.add(x * d.to.pixel));
        let mut channel = 0;
        while channel < c {
            let n = V::LANES.min(c - channel);
            let load = |at: *const f32| if n == V::LANES { V::load(at) } else { V::load_first(at, n) };
            let mut sums = [load(d.bias.as_ptr().add(channel)); T];
            let mut filter = d.filters.as_ptr().add(channel);
            for a in 0..kh {
                for b in 0..kw {
                    let tap = from.add(channel + a * d_y * d.from.row + b * d_x * pixel);
                    let weight = load(filter);
                    for (t, sum) in sums.iter_mut().enumerate() {
                        *sum = sum.add_product(load(tap.add(t * step)), weight);
                    }
                    filter = filter.add(c);
                }
            }
            for (t, sum) in sums.into_iter().enumerate() {
                let sum = sum.at_least(V::splat(lo)).at_most(V::splat(hi));
                let to = to.add(t * d.to.pixel + channel);
                if n == V::LANES { sum.store(to) } else { sum.store_first(to, n) }
            }
            channel += V::LANES;
        }
    }
}
