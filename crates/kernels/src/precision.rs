//! What the factors of a product are rounded to.

use crate::Isa;

/// What the factors of a product are rounded to, and what it is summed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// f32 in f32.
    #[default]
    F32,
    /// bf16 in f32, in pairs (Kalamkar et al., 2019).
    Bf16,
    /// 8-bit integers in i32, in groups of four: bytes of one factor, signed bytes of the other, with scales of their own
    /// (Jacob et al., 2018).
    Int8,
}

impl Precision {
    /// Factors that share a word of 32 bits and are multiplied together.
    pub(crate) fn factors_a_word(self) -> usize {
        match self {
            Precision::F32 => 1,
            Precision::Bf16 => 2,
            Precision::Int8 => 4,
        }
    }

    /// Whether this machine has instructions that multiply faster in it than in f32.  Without them results are the same up
    /// to rounding, and come later.
    ///
    /// ```
    /// use headstart_kernels::Precision;
    /// assert!(!Precision::F32.is_accelerated());
    /// ```
    pub fn is_accelerated(self) -> bool {
        self != Precision::F32 && self.isa() == Isa::Avx512
    }

    /// The widest set of instructions in which this machine has products of this precision, or can do without.
    pub(crate) fn isa(self) -> Isa {
        #[cfg(target_arch = "x86_64")]
        if self != Precision::F32
            && Isa::best() == Isa::Avx512
            && !(is_x86_feature_detected!("avx512bf16") && is_x86_feature_detected!("avx512vnni"))
        {
            return Isa::Avx2;
        }
        Isa::best()
    }
}

/// A number rounded to bf16.
#[inline(always)]
pub(crate) fn round_bf16(v: f32) -> f32 {
    f32::from_bits(bf16_bits(v) << 16)
}

/// The upper half of a number, rounded to the nearest, ties to even; NaN stays NaN.
#[inline(always)]
pub(crate) fn bf16_bits(v: f32) -> u32 {
    let bits = v.to_bits();
    let nearest = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    if v.is_nan() { 0x7fc0 } else { nearest }
}

/// Two numbers in bf16, of which the second lies in the upper half.
#[inline(always)]
pub(crate) fn paired(a: f32, b: f32) -> f32 {
    f32::from_bits(bf16_bits(a) | bf16_bits(b) << 16)
}
