//! Numbers in fewer bits, several to a word: what products in bf16 and in integers read.
//!
//! Activations become bytes over the range that they take where they are read together, `v ≈ scale·q − shift` with
//! `q` in 0…255, so that zero is exact; weights become signed bytes, `w ≈ scale·q` with `q` in −127…127 (Jacob et al., 2018).

use super::tile::Step;
use crate::precision::round_bf16;
use crate::simd::widest_fn;
use crate::{Bf16, Precision, lanes};

/// Two numbers to a word; the rest of the last is 0.
pub(super) fn pairs(from: &[f32], to: &mut [f32]) {
    assert_eq!(to.len(), from.len().div_ceil(2), "a word for two numbers");
    let len = 2 * to.len();
    let (to, rest) = Bf16::in_words_mut(to, len).split_at_mut(from.len());
    halves(from, to);
    rest.fill(Bf16::default());
}

widest_fn! {
    /// A number in bf16 each.
    pub(super) fn halves(from: &[f32], to: &mut [Bf16]) {
        for (to, &v) in to.iter_mut().zip(from) {
            *to = Bf16::of(v);
        }
    }
}

widest_fn! {
    /// Numbers rounded to bf16, each in a word of its own.
    pub(super) fn rounded(from: &[f32], to: &mut [f32]) {
        for (to, &v) in to.iter_mut().zip(from) {
            *to = round_bf16(v);
        }
    }
}

/// Rounds runs of numbers that are read together, each to the words from its place in `to` on.  In integers they have one step,
/// which is returned.
pub(super) fn round<'a>(
    precision: Precision,
    runs: impl Iterator<Item = (&'a [f32], usize)> + Clone,
    to: &mut [f32],
) -> Step {
    let words = |run: &[f32], at: usize| at..at + run.len().div_ceil(precision.factors_a_word());
    match precision {
        Precision::F32 => runs.for_each(|(run, at)| to[words(run, at)].copy_from_slice(run)),
        Precision::Bf16 => runs.for_each(|(run, at)| pairs(run, &mut to[words(run, at)])),
        Precision::Int8 => {
            let mut extent = Extent::ZERO;
            runs.clone().for_each(|(run, _)| extent = widened(extent, run));
            let (step, bytes) = extent.step();
            runs.for_each(|(run, at)| bytes.of(run, &mut to[words(run, at)]));
            return step;
        }
    }
    Step::default()
}

/// `round(w/scale)`, four to a word; the rest of the last is 0.  Returns their sum.
pub(super) fn signed_bytes(from: &[f32], scale: f32, to: &mut [f32]) -> i64 {
    let to = bytes(from, to);
    let by = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    to.iter_mut().zip(from).for_each(|(to, w)| *to = (w * by).round_ties_even() as i8 as u8);
    to[from.len()..].fill(0);
    to.iter().map(|&q| i64::from(q as i8)).sum()
}

/// The bytes of the words of `from.len()` numbers.
fn bytes<'a>(from: &[f32], to: &'a mut [f32]) -> &'a mut [u8] {
    assert_eq!(to.len(), from.len().div_ceil(4), "a word for four numbers");
    // SAFETY: four bytes are a word, and every pattern is a number.
    unsafe { std::slice::from_raw_parts_mut(to.as_mut_ptr().cast(), 4 * to.len()) }
}

/// Lanes in which extremes are looked for.
const LANES: usize = 32;

/// The range of numbers, with zero.
#[derive(Debug, Clone, Copy)]
struct Extent {
    lo: [f32; LANES],
    hi: [f32; LANES],
    /// Patterns of the largest magnitudes, which tell of NaN and infinity.
    magnitude: [u32; LANES],
}

impl Extent {
    const ZERO: Extent = Extent { lo: [0.0; LANES], hi: [0.0; LANES], magnitude: [0; LANES] };

    /// Widens to hold `v` as well.
    #[inline(always)]
    fn add(&mut self, lane: usize, v: f32) {
        self.lo[lane] = if v < self.lo[lane] { v } else { self.lo[lane] };
        self.hi[lane] = if v > self.hi[lane] { v } else { self.hi[lane] };
        self.magnitude[lane] = self.magnitude[lane].max(v.to_bits() & 0x7fff_ffff);
    }

    /// Bytes over this range.  What stands for NaN or infinity, or for steps too large for a number, makes every product
    /// NaN.
    fn step(self) -> (Step, Bytes) {
        let (lo, hi, magnitude) = extremes(&self);
        let scale = (hi - lo) / 255.0;
        if magnitude >= f32::INFINITY.to_bits() || !scale.is_finite() {
            return (Step { scale: f32::NAN, shift: f32::NAN }, Bytes { by: 0.0, zero: 0.0 });
        }
        // Numbers too small for a step are zeros.
        let by = 1.0 / scale;
        let by = if by.is_finite() { by } else { 0.0 };
        let zero = (-lo * by).round_ties_even();
        (Step { scale, shift: scale * zero }, Bytes { by, zero })
    }
}

widest_fn! {
    /// An extent that holds `values` as well.
    fn widened(extent: Extent, values: &[f32]) -> Extent {
        let mut extent = extent;
        let (whole, rest) = values.as_chunks::<LANES>();
        for values in whole {
            for (lane, &v) in values.iter().enumerate() {
                extent.add(lane, v);
            }
        }
        for (lane, &v) in rest.iter().enumerate() {
            extent.add(lane, v);
        }
        extent
    }
}

widest_fn! {
    /// The least and greatest numbers, and the largest pattern.
    fn extremes(extent: &Extent) -> (f32, f32, u32) {
        (
            lanes::folded(extent.lo, |a, b| if b < a { b } else { a }),
            lanes::folded(extent.hi, |a, b| if b > a { b } else { a }),
            lanes::folded(extent.magnitude, u32::max),
        )
    }
}

/// How numbers become bytes: `round(v·by) + zero`.
#[derive(Debug, Clone, Copy)]
struct Bytes {
    by: f32,
    zero: f32,
}

impl Bytes {
    /// Four bytes to a word.  The last may be partly 0, which stands for nothing, since weights are 0 there.
    fn of(self, from: &[f32], to: &mut [f32]) {
        let to = bytes(from, to);
        round_to_bytes(self, from, to);
        to[from.len()..].fill(0);
    }
}

widest_fn! {
    fn round_to_bytes(bytes: Bytes, from: &[f32], to: &mut [u8]) {
        // Adding 1.5·2²³ leaves the number, rounded to the nearest, in the lowest bits.
        const ROUND: f32 = 12_582_912.0;
        for (to, &v) in to.iter_mut().zip(from) {
            let v = v.mul_add(bytes.by, bytes.zero);
            let v = if v < 0.0 { 0.0 } else { v };
            let v = if v > 255.0 { 255.0 } else { v };
            *to = (v + ROUND).to_bits() as u8;
        }
    }
}
