//! What a tile of a convolution is, and who computes it.

use super::vector::{Halves, Store, Vector, by_isa};
use crate::{Activation, Isa, Precision};

/// Pixels of the largest tile.
pub(super) const ROWS_MAX: usize = 8;
/// Vectors of filters of the widest tile.
pub(super) const VECTORS_MAX: usize = 3;

/// A run of words that a filter reads, from where it reads first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) offset: usize,
    pub(super) len: usize,
}

/// What a byte `q` stands for: `scale·q − shift`.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Step {
    pub(super) scale: f32,
    pub(super) shift: f32,
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

/// Some pixels by some filters: `c = a·b`, or `c += a·b`, and what finishes it.  Factors lie in words, as many in each as
/// the precision puts there.
pub(super) struct Tile<'a> {
    /// Where each pixel is read, 1 to `mr` of them.
    pub(super) a: &'a [*const f32],
    /// What the integers there stand for.
    pub(super) steps: &'a [Step],
    /// What is read there, one run after the other.
    pub(super) segments: &'a [Segment],
    /// Packed filters, `[steps, vectors·lanes]`.
    pub(super) b: *const f32,
    /// What the integers of a filter stand for, and their sum in that measure, `[vectors·lanes]` each; null if they are
    /// floats.
    pub(super) scales: *const f32,
    pub(super) sums: *const f32,
    /// Where each pixel's results go, that of the first filter of all.
    pub(super) c: &'a [*mut f32],
    /// Where what is added to them lies, likewise.
    pub(super) residual: Option<&'a [*const f32]>,
    /// The first filter of the tile.
    pub(super) first: usize,
    /// `[vectors·lanes]`.
    pub(super) bias: *const f32,
    /// Filters, of which the last vector may hold less than it could.
    pub(super) cols: usize,
    /// Adds to `c`.
    pub(super) add: bool,
    /// Least and greatest value, once the sum is complete: only then bias and residual are added.
    pub(super) clamp: Option<[f32; 2]>,
    /// Results are 0 where what they replace does not lie inside a range.
    pub(super) gate: Option<[f32; 2]>,
    /// Whether results are written in bf16: whole sums of pairs, and nothing is done to them.
    pub(super) in_halves: bool,
}

/// Pixels of a tile.
pub(super) fn rows(isa: Isa) -> usize {
    if isa == Isa::Avx512 { ROWS_MAX } else { 4 }
}

/// Computes a tile.  Every element is one chain of products in the order of the segments, whatever the size of the tile.
///
/// # Safety
/// All that the tile points to can be read, and written where results go, by this thread alone; there is a place for results
/// for each of `a`, and one of the residual if there is one, and a step if they are integers; `isa` is that of the precision on
/// this machine, or below it.
#[inline]
pub(super) unsafe fn compute(isa: Isa, precision: Precision, t: &Tile<'_>) {
    // SAFETY: by the caller.
    unsafe {
        match precision {
            Precision::F32 => floats(isa, t),
            Precision::Bf16 => pairs(isa, t),
            Precision::Int8 => fours(isa, t),
        }
    }
}

by_isa! {
    /// # Safety
    /// As [`compute`].
    floats => any::<Floats>(t: &Tile<'_>)
}

by_isa! {
    /// # Safety
    /// As [`compute`].
    pairs with "avx512bf16" => any::<Pairs>(t: &Tile<'_>)
}

by_isa! {
    /// # Safety
    /// As [`compute`].
    fours with "avx512vnni" => any::<Fours>(t: &Tile<'_>)
}

/// How words are multiplied.
///
/// # Safety of the methods
/// As those of [`Vector`].
pub(super) trait Multiply {
    /// Whether sums are integers.
    const INTEGERS: bool = false;
    /// Whether there are instructions to write sums in bf16.
    const ROUNDS: bool = false;
    unsafe fn add<V: Vector>(sum: V, a: V, b: V) -> V;
}

pub(super) struct Floats;
pub(super) struct Pairs;
struct Fours;

// SAFETY of every block: by the trait's contract.
impl Multiply for Floats {
    #[inline(always)]
    unsafe fn add<V: Vector>(sum: V, a: V, b: V) -> V {
        unsafe { sum.add_product(a, b) }
    }
}

impl Multiply for Pairs {
    const ROUNDS: bool = true;

    #[inline(always)]
    unsafe fn add<V: Vector>(sum: V, a: V, b: V) -> V {
        unsafe { sum.add_pairs(a, b) }
    }
}

impl Multiply for Fours {
    const INTEGERS: bool = true;

    #[inline(always)]
    unsafe fn add<V: Vector>(sum: V, a: V, b: V) -> V {
        unsafe { sum.add_fours(a, b) }
    }
}

#[inline(always)]
unsafe fn any<V: Vector, M: Multiply>(t: &Tile<'_>) {
    // SAFETY: by the caller.
    unsafe {
        match t.cols.div_ceil(V::LANES) {
            1 => of_width::<V, M, 1>(t),
            2 => of_width::<V, M, 2>(t),
            _ => of_width::<V, M, 3>(t),
        }
    }
}

#[inline(always)]
unsafe fn of_width<V: Vector, M: Multiply, const N: usize>(t: &Tile<'_>) {
    // SAFETY: by the caller.
    unsafe {
        match t.a.len() {
            1 => of_size::<V, M, N, 1>(t),
            2 => of_size::<V, M, N, 2>(t),
            3 => of_size::<V, M, N, 3>(t),
            4 => of_size::<V, M, N, 4>(t),
            5 => of_size::<V, M, N, 5>(t),
            6 => of_size::<V, M, N, 6>(t),
            7 => of_size::<V, M, N, 7>(t),
            _ => of_size::<V, M, N, 8>(t),
        }
    }
}

/// Steps between a product and the filters that are fetched into the first cache for later ones.
const AHEAD: usize = 12;

/// `N` vectors of filters, of which the last may be partly outside, by `R` pixels.
#[inline(always)]
unsafe fn of_size<V: Vector, M: Multiply, const N: usize, const R: usize>(t: &Tile<'_>) {
    // SAFETY: by the caller; what is fetched ahead is not read.
    unsafe {
        let mut sums = [[V::splat(0.0); N]; R];
        let mut b = t.b;
        for segment in t.segments {
            let mut a = [std::ptr::null(); R];
            for (i, a) in a.iter_mut().enumerate() {
                *a = t.a.get_unchecked(i).add(segment.offset);
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
                        *sum = M::add(*sum, left, right);
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
                if M::ROUNDS && t.in_halves {
                    Halves::store(sum.assume_init(), *t.c.get_unchecked(i), t.first + at, n);
                    continue;
                }
                let (mut sum, to) = (sum.assume_init(), t.c.get_unchecked(i).add(t.first + at));
                if M::INTEGERS {
                    let step = t.steps.get_unchecked(i);
                    let scale = V::splat(0.0).add_product(V::load(t.scales.add(at)), V::splat(step.scale));
                    let mut offset = if t.add { V::load_first(to, n) } else { V::splat(0.0) };
                    if t.clamp.is_some() {
                        let bias = V::load(t.bias.add(at));
                        offset = if t.add { offset.add(bias) } else { bias };
                        offset = offset.add_product(V::load(t.sums.add(at)), V::splat(-step.shift));
                    }
                    sum = offset.add_product(sum.of_integers(), scale);
                } else {
                    if t.add {
                        sum = V::load_first(to, n).add(sum);
                    }
                    if t.clamp.is_some() {
                        sum = sum.add(V::load(t.bias.add(at)));
                    }
                }
                if let Some([lo, hi]) = t.clamp {
                    if let Some(residual) = &t.residual {
                        let from = residual.get_unchecked(i).add(t.first + at);
                        sum = sum.add(V::load_first(from, n));
                    }
                    sum = sum.at_least(V::splat(lo)).at_most(V::splat(hi));
                }
                if let Some([lo, hi]) = t.gate {
                    sum = sum.where_inside(V::load_first(to, n), V::splat(lo), V::splat(hi));
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
pub(super) fn fetch(at: *const f32) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every x86-64 has SSE, and no address is wrong to ask for.
    unsafe {
        std::arch::x86_64::_mm_prefetch::<{ std::arch::x86_64::_MM_HINT_T0 }>(at.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}
