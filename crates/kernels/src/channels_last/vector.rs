//! A register of floats of each set of instructions, so that a kernel is written once.

/// Some floats that are computed on together.
///
/// # Safety of the methods
/// The machine has the instructions.  Pointers can be read or written for as many floats as the vector has, or as many as are
/// said.  Everything is inlined into functions for which the compiler may use the instructions.
pub(super) trait Vector: Copy {
    /// Floats of a vector.
    const LANES: usize;
    unsafe fn splat(v: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    /// The first `n` floats, 1 to all; the others are 0.
    unsafe fn load_first(from: *const f32, n: usize) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// Writes the first `n` floats, 1 to all.
    unsafe fn store_first(self, to: *mut f32, n: usize);
    unsafe fn add(self, other: Self) -> Self;
    /// `self + a·b`, in one rounding where the machine can.
    unsafe fn add_product(self, a: Self, b: Self) -> Self;
    /// NaN in `self` stays.
    unsafe fn at_least(self, lo: Self) -> Self;
    /// NaN in `self` stays.
    unsafe fn at_most(self, hi: Self) -> Self;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;

    // SAFETY of every block: by the trait's contract.
    impl Vector for __m512 {
        const LANES: usize = 16;

        #[inline(always)]
        unsafe fn splat(v: f32) -> Self {
            unsafe { _mm512_set1_ps(v) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm512_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, n: usize) -> Self {
            unsafe { _mm512_maskz_loadu_ps(0xffff >> (16 - n), from) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm512_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, n: usize) {
            unsafe { _mm512_mask_storeu_ps(to, 0xffff >> (16 - n), self) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { _mm512_add_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            unsafe { _mm512_fmadd_ps(a, b, self) }
        }

        #[inline(always)]
        unsafe fn at_least(self, lo: Self) -> Self {
            // Of a NaN and a number, the instruction takes the second operand.
            unsafe { _mm512_max_ps(lo, self) }
        }

        #[inline(always)]
        unsafe fn at_most(self, hi: Self) -> Self {
            unsafe { _mm512_min_ps(hi, self) }
        }
    }

    // SAFETY of every block: by the trait's contract.
    impl Vector for __m256 {
        const LANES: usize = 8;

        #[inline(always)]
        unsafe fn splat(v: f32) -> Self {
            unsafe { _mm256_set1_ps(v) }
        }

        #[inline(always)]
        unsafe fn load(from: *const f32) -> Self {
            unsafe { _mm256_loadu_ps(from) }
        }

        #[inline(always)]
        unsafe fn load_first(from: *const f32, n: usize) -> Self {
            unsafe { _mm256_maskload_ps(from, mask(n)) }
        }

        #[inline(always)]
        unsafe fn store(self, to: *mut f32) {
            unsafe { _mm256_storeu_ps(to, self) }
        }

        #[inline(always)]
        unsafe fn store_first(self, to: *mut f32, n: usize) {
            unsafe { _mm256_maskstore_ps(to, mask(n), self) }
        }

        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            unsafe { _mm256_add_ps(self, other) }
        }

        #[inline(always)]
        unsafe fn add_product(self, a: Self, b: Self) -> Self {
            unsafe { _mm256_fmadd_ps(a, b, self) }
        }

        #[inline(always)]
        unsafe fn at_least(self, lo: Self) -> Self {
            unsafe { _mm256_max_ps(lo, self) }
        }

        #[inline(always)]
        unsafe fn at_most(self, hi: Self) -> Self {
            unsafe { _mm256_min_ps(hi, self) }
        }
    }

    /// All bits of the first `n` of eight lanes.
    #[inline(always)]
    unsafe fn mask(n: usize) -> __m256i {
        const ONES: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];
        // SAFETY: eight of sixteen, since `n` is at most 8; the machine has AVX2 by the caller.
        unsafe { _mm256_loadu_si256(ONES[8 - n..].as_ptr().cast()) }
    }
}

// SAFETY of every block: by the trait's contract.
impl Vector for [f32; 4] {
    const LANES: usize = 4;

    #[inline(always)]
    unsafe fn splat(v: f32) -> Self {
        [v; 4]
    }

    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        unsafe { from.cast::<Self>().read() }
    }

    #[inline(always)]
    unsafe fn load_first(from: *const f32, n: usize) -> Self {
        std::array::from_fn(|i| if i < n { unsafe { *from.add(i) } } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        unsafe { to.cast::<Self>().write(self) }
    }

    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, n: usize) {
        self.iter().take(n).enumerate().for_each(|(i, &v)| unsafe { *to.add(i) = v });
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] + other[i])
    }

    #[inline(always)]
    unsafe fn add_product(self, a: Self, b: Self) -> Self {
        std::array::from_fn(|i| self[i] + a[i] * b[i])
    }

    #[inline(always)]
    unsafe fn at_least(self, lo: Self) -> Self {
        std::array::from_fn(|i| if self[i] < lo[i] { lo[i] } else { self[i] })
    }

    #[inline(always)]
    unsafe fn at_most(self, hi: Self) -> Self {
        std::array::from_fn(|i| if self[i] > hi[i] { hi[i] } else { self[i] })
    }
}

/// Defines `$name(isa, arguments)`, which runs the generic `$body::<V>` on the registers of a set of instructions.
macro_rules! by_isa {
    ($(#[$doc:meta])* $name:ident => $body:ident($($arg:ident: $ty:ty),* $(,)?)) => {
        $(#[$doc])*
        pub(super) unsafe fn $name(isa: $crate::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                unsafe fn avx512($($arg: $ty),*) {
                    // SAFETY: by the caller.
                    unsafe { $body::<std::arch::x86_64::__m512>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2($($arg: $ty),*) {
                    // SAFETY: by the caller.
                    unsafe { $body::<std::arch::x86_64::__m256>($($arg),*) }
                }
                match isa {
                    // SAFETY: by the caller, who found the instructions on this machine.
                    $crate::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::Isa::Portable => {}
                }
            }
            let _ = isa;
            // SAFETY: by the caller.
            unsafe { $body::<[f32; 4]>($($arg),*) }
        }
    };
}
pub(super) use by_isa;

/// Floats of a vector of a set of instructions.
pub(super) fn lanes(isa: crate::Isa) -> usize {
    match isa {
        crate::Isa::Avx512 => 16,
        crate::Isa::Avx2 => 8,
        crate::Isa::Portable => 4,
    }
}
