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

/// Runs `f` compiled for the widest instructions of this machine.
///
/// `f` is inlined into a function for which the compiler may use them, so its loops are vectorised that wide; what it
/// computes is the same, since the compiler neither reorders nor fuses operations on floats.  Only what is short is inlined for
/// certain: what is long, or multiplies and adds in one rounding, is a [`widest_fn`].
#[inline]
pub(crate) fn widest<R>(f: impl FnOnce() -> R) -> R {
    #[cfg(target_arch = "x86_64")]
    match Isa::best() {
        // SAFETY: `best` found the instructions on this machine.
        Isa::Avx512 => return unsafe { on_avx512(f) },
        // SAFETY: as above.
        Isa::Avx2 => return unsafe { on_avx2(f) },
        Isa::Portable => {}
    }
    f()
}

/// Defines a function that is compiled for every set of instructions, and runs the widest of this machine.
///
/// Its body is always inlined into what may use them.  So should be what it calls, and loops over iterators' closures are
/// better written as loops: a function of its own does not know its caller's instructions, and without them `mul_add`, for
/// one, is a call for every number.
macro_rules! widest_fn {
    (
        $(#[$doc:meta])*
        $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $(-> $made:ty)? $body:block
    ) => {
        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $made)? {
            #[inline(always)]
            fn body($($arg: $ty),*) $(-> $made)? $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
                fn avx512($($arg: $ty),*) $(-> $made)? {
                    body($($arg),*)
                }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) $(-> $made)? {
                    body($($arg),*)
                }
                match $crate::Isa::best() {
                    // SAFETY: `best` found the instructions on this machine.
                    $crate::Isa::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    $crate::Isa::Avx2 => return unsafe { avx2($($arg),*) },
                    $crate::Isa::Portable => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use widest_fn;

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
fn on_avx512<R>(f: impl FnOnce() -> R) -> R {
    f()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn on_avx2<R>(f: impl FnOnce() -> R) -> R {
    f()
}
