//! What a tile of a convolution is, and who computes it.

use super::vector::{Vector, by_isa};
use crate::{Activation, Isa};

/// Pixels of the largest tile.
pub(super) const ROWS_MAX: usize = 8;
/// Vectors of filters of the widest tile.
pub(super) const VECTORS_MAX: usize = 3;

/// A run of memory that a filter reads, from where it reads first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: usize,
    pub(super) len: usize,
}

/// What is done to a sum while it is in registers: `activation(clamp(sum + bias + residual))`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Finish {
    /// Least and greatest value: `[0, ∞]` is ReLU, `[0, 6]` ReLU6.
    pub clamp: [f32; 2],
    /// Applied last.
    pub activation: Activation,
}

impl Default for Finish {
    /// Nothing.
    fn default() -> Self {
        Finish { clamp: [f32::NEG_INFINITY, f32::INFINITY], activation: Activation::Identity }
    }
}

impl Finish {
    /// Replaces every value, on this thread; NaN stays.
    #[inline(always)]
    pub(super) fn apply(&self, values: &mut [f32]) {
        let [lo, hi] = self.clamp;
        if lo > f32::NEG_INFINITY || hi < f32::INFINITY {
            values.iter_mut().for_each(|v| *v = clamped(*v, lo, hi));
        }
        self.activation.apply(values);
    }
}

#[inline(always)]
pub(super) fn clamped(v: f32, lo: f32, hi: f32) -> f32 {
    let v = if v < lo { lo } else { v };
    if v > hi { hi } else { v }
}

/// Some pixels by some filters: `c = a·b`, or `c += a·b`, and what finishes it.
pub(super) struct Tile<'a> {
    /// Where each pixel is read, 1 to `mr` of them.
    pub(super) a: [*const f32; ROWS_MAX],
    /// What is read there, one run after the other.
    pub(super) segments: &'a [Segment],
    /// Packed filters, `[steps, vectors·lanes]`.
    pub(super) b: *const f32,
    /// Where each pixel's results go.
    pub(super) c: [*mut f32; ROWS_MAX],
    /// Where what is added to them lies.
    pub(super) residual: Option<[*const f32; ROWS_MAX]>,
    /// `[vectors·lanes]`.
    pub(super) bias: *const f32,
    pub(super) rows: usize,
    /// Filters, of which the last vector may hold less than it could.
    pub(super) cols: usize,
    /// Adds to `c`.
    pub(super) add: bool,
    /// Least and greatest value, once the sum is complete: only then bias and residual are added.
    pub(super) clamp: Option<[f32; 2]>,
}

/// Pixels of a tile.
pub(super) fn rows(isa: Isa) -> usize {
    if isa == Isa::Avx512 { ROWS_MAX } else { 4 }
}

by_isa! {
    /// Computes a tile.  Every element is one chain of products in the order of the segments, whatever the size of the tile.
    ///
    /// # Safety
    /// All that the tile points to can be read, and written where results go, by this thread alone; the machine has the
    /// instructions.
    compute => any(t: &Tile<'_>)
}

#[inline(always)]
unsafe fn any<V: Vector>(t: &Tile<'_>) {
    // SAFETY: by the caller.
    unsafe {
        match t.cols.div_ceil(V::LANES) {
            1 => of_width::<V, 1>(t),
            2 => of_width::<V, 2>(t),
            _ => of_width::<V, 3>(t),
        }
    }
}

#[inline(always)]
unsafe fn of_width<V: Vector, const N: usize>(t: &Tile<'_>) {
    // SAFETY: by the caller.
    unsafe {
        match t.rows {
            1 => of_size::<V, N, 1>(t),
            2 => of_size::<V, N, 2>(t),
            3 => of_size::<V, N, 3>(t),
            4 => of_size::<V, N, 4>(t),
            5 => of_size::<V, N, 5>(t),
            6 => of_size::<V, N, 6>(t),
            7 => of_size::<V, N, 7>(t),
            _ => of_size::<V, N, 8>(t),
        }
    }
}

/// Steps between a product and the filters that are fetched into the first cache for later ones.
const AHEAD: usize = 12;

/// `N` vectors of filters, of which the last may be partly outside, by `R` pixels.
#[inline(always)]
unsafe fn of_size<V: Vector, const N: usize, const R: usize>(t: &Tile<'_>) {
    // SAFETY: by the caller; what is fetched ahead is not read.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; R];
        let mut b = t.b;
        for segment in t.segments {
            let mut a = [std::ptr::null(); R];
            for (a, from) in a.iter_mut().zip(t.a) {
                *a = from.add(segment.offset);
            }
            for p in 0..segment.len {
                let mut right = [V::splat(0.0); N];
                for (v, right) in right.iter_mut().enumerate() {
                    fetch(b.wrapping_add((AHEAD * N + v) * V::LANES));
                    *right = V::load(b.add(v * V::LANES));
                }
                for (sums, a) in sums.iter_mut().zip(a) {
                    let left = V::splat(*a.add(p));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = sum.add_product(left, right);
                    }
                }
                b = b.add(N * V::LANES);
            }
        }
        // Once through memory: a loop over the sums themselves would keep them there from the start.
        let mut done = [[std::mem::MaybeUninit::<V>::uninit(); N]; R];
        for (done, sums) in done.iter_mut().zip(sums) {
            for (done, sum) in done.iter_mut().zip(sums) {
                done.write(sum);
            }
        }
        let last = t.cols - (N - 1) * V::LANES;
        for (i, done) in std::hint::black_box(&done).iter().enumerate() {
            for (v, sum) in done.iter().enumerate() {
                let (at, n) = (v * V::LANES, if v + 1 == N { last } else { V::LANES });
                let (mut sum, to) = (sum.assume_init(), t.c[i].add(at));
                if t.add {
                    sum = V::load_first(to, n).add(sum);
                }
                if let Some([lo, hi]) = t.clamp {
                    sum = sum.add(V::load(t.bias.add(at)));
                    if let Some(residual) = &t.residual {
                        sum = sum.add(V::load_first(residual[i].add(at), n));
                    }
                    sum = sum.at_least(V::splat(lo)).at_most(V::splat(hi));
                }
                if n == V::LANES {
                    sum.store(to);
                } else {
                    sum.store_first(to, n);
                }
            }
        }
    }
}

/// Asks for a line of memory.
#[inline(always)]
fn fetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has SSE, and no address is wrong to ask for.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
