//! What the cores can do at most: chains of independent multiply-adds that stay in registers.
//!
//! The yardstick for products of matrices.  It is measured on all threads of the pool at once, in the run that it is
//! compared with, since clocks drift and machines are shared.

use std::hint::black_box;
use std::time::{Duration, Instant};

use rayon::prelude::*;

use crate::{Isa, Precision};

/// Operations a second of all threads of the pool together, a multiplication and an addition counting as two; measured
/// for about `time` on the instructions `isa`.
///
/// ```
/// use headstart_kernels::{Isa, Precision, peak};
/// let flops = peak::measure(Precision::F32, Isa::best(), std::time::Duration::from_millis(5));
/// assert!(flops > 1e8);
/// ```
pub fn measure(precision: Precision, isa: Isa, time: Duration) -> f64 {
    let n_threads = rayon::current_num_threads();
    let per_call = operations(precision, isa);
    // All threads start together and stop at the same moment.
    let start = Instant::now();
    let calls: u64 = (0..n_threads)
        .into_par_iter()
        .with_max_len(1)
        .map(|_| {
            let mut calls = 0;
            while start.elapsed() < time {
                chains(precision, isa);
                calls += 1;
            }
            calls
        })
        .sum();
    calls as f64 * per_call / start.elapsed().as_secs_f64()
}

/// Rounds of every chain between looks at the clock.
const ROUNDS: usize = 20_000;
/// Independent chains: more than the latency of an instruction times how many start a cycle.
const CHAINS: usize = 12;

fn operations(precision: Precision, isa: Isa) -> f64 {
    let lanes = match isa {
        Isa::Portable => 4,
        Isa::Avx2 => 8,
        Isa::Avx512 => 16,
    };
    (ROUNDS * CHAINS * lanes * precision.factors_a_word() * 2) as f64
}

fn chains(precision: Precision, isa: Isa) {
    assert!(isa.is_available(), "{isa:?} on this machine");
    match (isa, precision) {
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, Precision::F32) => {
            // SAFETY: the machine has the instructions.
            unsafe { x86::f32_avx512() }
        }
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx2, Precision::F32) => {
            // SAFETY: the machine has the instructions.
            unsafe { x86::f32_avx2() }
        }
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, Precision::Bf16) => {
            assert!(is_x86_feature_detected!("avx512bf16"), "bf16 on this machine");
            // SAFETY: the machine has the instructions.
            unsafe { x86::bf16() }
        }
        #[cfg(target_arch = "x86_64")]
        (Isa::Avx512, Precision::Int8) => {
            assert!(is_x86_feature_detected!("avx512vnni"), "VNNI on this machine");
            // SAFETY: the machine has the instructions.
            unsafe { x86::int8() }
        }
        (_, Precision::F32) => portable(),
        (isa, precision) => panic!("{precision:?} has no kernel on {isa:?}"),
    }
}

fn portable() {
    let (x, y) = (black_box([0.999f32; 4]), black_box([1e-3f32; 4]));
    let mut sums = [[0.0f32; 4]; CHAINS];
    for _ in 0..ROUNDS {
        for sum in &mut sums {
            for i in 0..4 {
                sum[i] = sum[i] * x[i] + y[i];
            }
        }
    }
    black_box(sums);
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::hint::black_box;

    use super::{CHAINS, ROUNDS};

    #[target_feature(enable = "avx512f")]
    pub(super) fn f32_avx512() {
        let (x, y) = (black_box(_mm512_set1_ps(0.999)), black_box(_mm512_set1_ps(1e-3)));
        let mut sums = [_mm512_setzero_ps(); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_fmadd_ps(x, *sum, y);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) fn f32_avx2() {
        let (x, y) = (black_box(_mm256_set1_ps(0.999)), black_box(_mm256_set1_ps(1e-3)));
        let mut sums = [_mm256_setzero_ps(); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm256_fmadd_ps(x, *sum, y);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512bf16")]
    pub(super) fn bf16() {
        // 1.0 in bf16 is 0x3f80.
        let x = black_box(_mm512_set1_epi16(0x3f80));
        let mut sums = [_mm512_setzero_ps(); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                // SAFETY: both types are 512 bits without invalid patterns.
                let x = unsafe { std::mem::transmute::<__m512i, __m512bh>(x) };
                *sum = _mm512_dpbf16_ps(*sum, x, x);
            }
        }
        black_box(sums);
    }

    #[target_feature(enable = "avx512f,avx512vnni")]
    pub(super) fn int8() {
        let x = black_box(_mm512_set1_epi8(1));
        let mut sums = [_mm512_setzero_si512(); CHAINS];
        for _ in 0..ROUNDS {
            for sum in &mut sums {
                *sum = _mm512_dpbusd_epi32(*sum, x, x);
            }
        }
        black_box(sums);
    }
}
