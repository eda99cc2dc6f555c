//! A register of floats of each set of instructions, so that a kernel is written once.

use crate::Bf16;
use crate::precision::paired;

/// Floats of the widest vector.
const LANES_MAX: usize = 16;

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
    /// What lies at the same lanes as numbers of `x` between `lo` and `hi`, which are not inside; the others are 0.
    unsafe fn where_inside(self, x: Self, lo: Self, hi: Self) -> Self;
    /// Both rounded to bf16, side by side in every lane.  Of AVX-512 it takes the instructions for bf16.
    #[inline(always)]
    unsafe fn pair(self, other: Self) -> Self {
        let (mut a, mut b) = ([0.0; LANES_MAX], [0.0; LANES_MAX]);
        unsafe {
            self.store(a.as_mut_ptr());
            other.store(b.as_mut_ptr());
            a.iter_mut().zip(b).for_each(|(a, b)| *a = paired(*a, b));
            Self::load(a.as_ptr())
        }
    }
    /// Writes the first `n` numbers, 1 to all, rounded to bf16.  Takes the same instructions.
    #[inline(always)]
    unsafe fn store_halves(self, to: *mut Bf16, n: usize) {
        let mut numbers = [0.0; LANES_MAX];
        unsafe {
            self.store(numbers.as_mut_ptr());
            (0..n).for_each(|i| *to.add(i) = Bf16::of(numbers[i]));
        }
    }
    /// `self + Σ aᵢ·bᵢ` over the two bf16 of every lane of `a` and `b`.
    unsafe fn add_pairs(self, a: Self, b: Self) -> Self;
    /// The same over four bytes of every lane of `a` and four signed ones of `b`, where lanes of the sum are integers.
    unsafe fn add_fours(self, a: Self, b: Self) -> Self;
    /// Lanes that are integers, as floats.
    unsafe fn of_integers(self) -> Self;
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::Vector;
    use crate::Bf16;
    use crate::gemm::side_by_side;

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

        #[inline(always)]
        unsafe fn where_inside(self, x: Self, lo: Self, hi: Self) -> Self {
            unsafe {
                let inside =
                    _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, lo) & _mm512_cmp_ps_mask::<_CMP_LT_OQ>(x, hi);
                _mm512_maskz_mov_ps(inside, self)
            }
        }

        #[inline(always)]
        unsafe fn pair(self, other: Self) -> Self {
            unsafe { _mm512_castsi512_ps(side_by_side(self, other)) }
        }

        #[inline(always)]
        unsafe fn store_halves(self, to: *mut Bf16, n: usize) {
            unsafe {
                let rounded = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(self));
                if n == Self::LANES {
                    _mm256_storeu_si256(to.cast(), rounded);
                } else {
                    _mm256_mask_storeu_epi16(to.cast(), 0xffff >> (16 - n), rounded);
                }
            }
        }

        #[inline(always)]
        unsafe fn add_pairs(self, a: Self, b: Self) -> Self {
            let pairs = |v: Self| unsafe { std::mem::transmute::<__m512, __m512bh>(v) };
            unsafe { _mm512_dpbf16_ps(self, pairs(a), pairs(b)) }
        }

        #[inline(always)]
        unsafe fn add_fours(self, a: Self, b: Self) -> Self {
            let [sum, a, b] = [self, a, b].map(|v| unsafe { _mm512_castps_si512(v) });
            unsafe { _mm512_castsi512_ps(_mm512_dpbusd_epi32(sum, a, b)) }
        }

        #[inline(always)]
        unsafe fn of_integers(self) -> Self {
            unsafe { _mm512_cvtepi32_ps(_mm512_castps_si512(self)) }
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

        #[inline(always)]
        unsafe fn where_inside(self, x: Self, lo: Self, hi: Self) -> Self {
            unsafe {
                let above = _mm256_cmp_ps::<_CMP_GT_OQ>(x, lo);
                _mm256_and_ps(self, _mm256_and_ps(above, _mm256_cmp_ps::<_CMP_LT_OQ>(x, hi)))
            }
        }

        #[inline(always)]
        unsafe fn add_pairs(self, a: Self, b: Self) -> Self {
            unsafe {
                let low = |v| _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_castps_si256(v)));
                let upper = _mm256_castsi256_ps(_mm256_set1_epi32(0xffff_0000_u32 as i32));
                let high = |v| _mm256_and_ps(v, upper);
                self.add_product(low(a), low(b)).add_product(high(a), high(b))
            }
        }

        #[inline(always)]
        unsafe fn add_fours(self, a: Self, b: Self) -> Self {
            unsafe {
                let [sum, a, b] = [_mm256_castps_si256(self), _mm256_castps_si256(a), _mm256_castps_si256(b)];
                // Bytes 0 and 2 of every lane, then 1 and 3, as 16 bits each.
                let even = |v| _mm256_srai_epi16::<8>(_mm256_slli_epi16::<8>(v));
                let evens = _mm256_madd_epi16(_mm256_and_si256(a, _mm256_set1_epi16(0xff)), even(b));
                let odds = _mm256_madd_epi16(_mm256_srli_epi16::<8>(a), _mm256_srai_epi16::<8>(b));
                _mm256_castsi256_ps(_mm256_add_epi32(sum, _mm256_add_epi32(evens, odds)))
            }
        }

        #[inline(always)]
        unsafe fn of_integers(self) -> Self {
            unsafe { _mm256_cvtepi32_ps(_mm256_castps_si256(self)) }
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

    #[inline(always)]
    unsafe fn where_inside(self, x: Self, lo: Self, hi: Self) -> Self {
        std::array::from_fn(|i| if x[i] > lo[i] && x[i] < hi[i] { self[i] } else { 0.0 })
    }

    #[inline(always)]
    unsafe fn add_pairs(self, a: Self, b: Self) -> Self {
        let halves = |v: f32| [v.to_bits() << 16, v.to_bits() & 0xffff_0000].map(f32::from_bits);
        std::array::from_fn(|i| {
            let (a, b) = (halves(a[i]), halves(b[i]));
            self[i] + a[0] * b[0] + a[1] * b[1]
        })
    }

    #[inline(always)]
    unsafe fn add_fours(self, a: Self, b: Self) -> Self {
        std::array::from_fn(|i| {
            let (a, b) = (a[i].to_bits().to_ne_bytes(), b[i].to_bits().to_ne_bytes());
            let sum: i32 = a.iter().zip(b).map(|(&a, b)| i32::from(a) * i32::from(b as i8)).sum();
            f32::from_bits((self[i].to_bits() as i32).wrapping_add(sum) as u32)
        })
    }

    #[inline(always)]
    unsafe fn of_integers(self) -> Self {
        self.map(|v| v.to_bits() as i32 as f32)
    }
}

/// How results are written.
///
/// # Safety of the method
/// As those of [`Vector`]; `at` counts results.
pub(super) trait Store {
    unsafe fn store<V: Vector>(v: V, to: *mut f32, at: usize, n: usize);
}

/// As they are.
pub(super) struct Whole;

/// In bf16, two to a word.
pub(super) struct Halves;

// SAFETY of every block: by the trait's contract.
impl Store for Whole {
    #[inline(always)]
    unsafe fn store<V: Vector>(v: V, to: *mut f32, at: usize, n: usize) {
        unsafe { if n == V::LANES { v.store(to.add(at)) } else { v.store_first(to.add(at), n) } }
    }
}

impl Store for Halves {
    #[inline(always)]
    unsafe fn store<V: Vector>(v: V, to: *mut f32, at: usize, n: usize) {
        unsafe { v.store_halves(to.cast::<Bf16>().add(at), n) }
    }
}

/// Defines `$name(isa, arguments)`, which runs the generic `$body::<V>`, or `$body::<V, $generic>`, on the registers of a set of
/// instructions; of AVX-512 it may have a further feature.
macro_rules! by_isa {
    ($(#[$doc:meta])* $name:ident => $body:ident($($arg:ident: $ty:ty),* $(,)?)) => {
        by_isa!($(#[$doc])* $name with "avx512f" => $body::<>($($arg: $ty),*));
    };
    ($(#[$doc:meta])* $name:ident => $body:ident::<$generic:ty>($($arg:ident: $ty:ty),* $(,)?)) => {
        by_isa!($(#[$doc])* $name with "avx512f" => $body::<$generic>($($arg: $ty),*));
    };
    (
        $(#[$doc:meta])*
        $name:ident with $feature:literal => $body:ident::<$($generic:ty)?>($($arg:ident: $ty:ty),* $(,)?)
    ) => {
        $(#[$doc])*
        pub(in crate::channels_last) unsafe fn $name(isa: $crate::Isa, $($arg: $ty),*) {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                #[target_feature(enable = $feature)]
                unsafe fn avx512($($arg: $ty),*) {
                    // SAFETY: by the caller.
                    unsafe { $body::<std::arch::x86_64::__m512, $($generic)?>($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                unsafe fn avx2($($arg: $ty),*) {
                    // SAFETY: by the caller.
                    unsafe { $body::<std::arch::x86_64::__m256, $($generic)?>($($arg),*) }
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
            unsafe { $body::<[f32; 4], $($generic)?>($($arg),*) }
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
