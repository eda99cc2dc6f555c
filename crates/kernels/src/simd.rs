//! Which instructions the machine has, and loops compiled for the widest of them.

/// A set of instructions for which kernels exist.
///
/// ```
/// use headstart_kernels::Isa;
/// assert!(Isa::available().contains(&Isa::best()));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Isa {
    /// What every processor does.
    Portable,
    /// AVX2 with fused multiply-add.
    Avx2,
    /// AVX-512 F, VL, BW and DQ.
    Avx512,
}

impl Isa {
    /// The widest set that this machine has.
    pub fn best() -> Self {
        if Isa::Avx512.is_available() {
            Isa::Avx512
        } else if Isa::Avx2.is_available() {
            Isa::Avx2
        } else {
            Isa::Portable
        }
    }

    /// Every set that this machine has.
    pub fn available() -> Vec<Self> {
        [Isa::Portable, Isa::Avx2, Isa::Avx512].into_iter().filter(|isa| isa.is_available()).collect()
    }

    /// Whether this machine has it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Isa::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512vl")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
            }
            #[cfg(not(target_arch = "x86_64"))]
            _ => false,
        }
    }
}

/// Defines a function that is compiled for every set of instructions, and runs the widest of this machine.
///
/// Its body is always inlined into what may use them, so its loops are vectorised that wide; what it computes is the same, since
/// the compiler neither reorders nor fuses operations on floats.  What it calls should always be inlined, too, and loops are
/// better written as loops than as closures for iterators: a function of its own does not know its caller's instructions, and
/// without them `mul_add`, for one, is a call for every number.
macro_rules! widest_fn {
    ($(#[$attribute:meta])* $vis:vis fn $($rest:tt)*) => {
        $crate::simd::widest_fn!(@ [$(#[$attribute])* $vis] [] $($rest)*);
    };
    ($(#[$attribute:meta])* $vis:vis unsafe fn $($rest:tt)*) => {
        $crate::simd::widest_fn!(@ [$(#[$attribute])* $vis] [unsafe] $($rest)*);
    };
    (
        @ [$($head:tt)*] [$($unsafe:tt)?] $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $made:ty)? $body:block
    ) => {
        $($head)* $($unsafe)? fn $name($($arg: $ty),*) $(-> $made)? {
            #[inline(always)]
            $($unsafe)? fn body($($arg: $ty),*) $(-> $made)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                #[allow(unused_unsafe, reason = "some bodies are safe")]
                $($unsafe)? fn avx512($($arg: $ty),*) $(-> $made)? {
                    // SAFETY: by the caller.
                    unsafe { body($($arg),*) }
                }
                #[target_feature(enable = "avx2,fma")]
                #[allow(unused_unsafe, reason = "some bodies are safe")]
                $($unsafe)? fn avx2($($arg: $ty),*) $(-> $made)? {
                    // SAFETY: by the caller.
                    unsafe { body($($arg),*) }
                }
                match $crate::Isa::best() {
                    // SAFETY: `best` found the instructions on this machine; the rest by the caller.
                    $crate::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::Isa::Portable => {}
                }
            }
            #[allow(unused_unsafe, reason = "some bodies are safe")]
            // SAFETY: by the caller.
            unsafe {
                body($($arg),*)
            }
        }
    };
}
pub(crate) use widest_fn;
