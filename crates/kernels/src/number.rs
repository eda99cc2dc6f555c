//! Numbers of images between operators: f32, or bf16 where products are rounded to it anyway.

use crate::precision::bf16_bits;

/// A number in bf16: the upper half of an f32.
///
/// ```
/// use headstart_kernels::{Bf16, Number};
/// assert_eq!(Bf16::of(1.0 + 1.0 / 512.0).get(), 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct Bf16(u16);

impl Bf16 {
    /// The nearest one, ties to even.
    #[inline(always)]
    pub fn of(v: f32) -> Self {
        Bf16(bf16_bits(v) as u16)
    }

    /// The first `len` numbers that lie in `words`, two in each.
    pub fn in_words(words: &[f32], len: usize) -> &[Bf16] {
        assert!(len <= 2 * words.len(), "two numbers a word");
        // SAFETY: a word is two halves, and every pattern is a number.
        unsafe { std::slice::from_raw_parts(words.as_ptr().cast(), len) }
    }

    /// The same, to be written.
    pub fn in_words_mut(words: &mut [f32], len: usize) -> &mut [Bf16] {
        assert!(len <= 2 * words.len(), "two numbers a word");
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), len) }
    }
}

/// What an image's numbers may be: [`f32`] or [`Bf16`].
pub trait Number: Copy + Send + Sync + private::Sealed {
    /// Whether two of them share a word.
    const IS_HALF: bool;

    /// As f32.
    fn get(self) -> f32;
}

impl Number for f32 {
    const IS_HALF: bool = false;

    #[inline(always)]
    fn get(self) -> f32 {
        self
    }
}

impl Number for Bf16 {
    const IS_HALF: bool = true;

    #[inline(always)]
    fn get(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
}

mod private {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for super::Bf16 {}
}
