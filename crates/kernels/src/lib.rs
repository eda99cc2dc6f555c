//! CPU kernels that the tensor library lacks or is slow at.  They take slices and know no graph, no tensor and no
//! autodiff.  One algorithm a file, tested against a naive reference.
//!
//! Work is divided among threads so that each number is computed by one thread in one order: results are the same to
//! the bit whatever the number of threads.

mod activation;
pub mod adamw;
mod aligned;
pub mod arena;
pub mod attention;
pub mod batch_norm;
pub mod channels_last;
pub mod clip;
pub mod columns;
pub mod dropout;
pub mod embedding;
pub mod gemm;
mod lanes;
pub mod layer_norm;
mod number;
pub mod peak;
mod precision;
pub mod scale;
pub mod sgd;
mod simd;
pub mod softmax;
mod window;

pub use activation::Activation;
pub use aligned::Floats;
pub use number::{Bf16, Number};
pub use precision::Precision;
pub use simd::Isa;
pub use window::Window;

/// Elements that one task takes at least, or it is not worth waking a thread.
const CHUNK: usize = 1 << 14;

/// Uniform numbers in −1…1 for tests.
#[cfg(test)]
fn numbers(n: usize, seed: u32) -> Vec<f32> {
    let mut s = seed;
    (0..n)
        .map(|_| {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (s >> 8) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}
