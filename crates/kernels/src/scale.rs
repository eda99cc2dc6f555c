//! Length of a vector, and scaling it.

use rayon::prelude::*;

use crate::CHUNK;
use crate::simd::widest_fn;

/// Numbers that are summed side by side.
const LANES: usize = 16;

/// `Σ x²`, in f64; where parts of the sum begin depends on the length alone.
///
/// ```
/// assert_eq!(headstart_kernels::scale::square_sum(&[3.0, -4.0]), 25.0);
/// ```
pub fn square_sum(x: &[f32]) -> f64 {
    let parts: Vec<f64> = x.par_chunks(CHUNK).map(square_sum_here).collect();
    parts.iter().sum()
}

widest_fn! {
    /// The same on this thread.
    fn square_sum_here(x: &[f32]) -> f64 {
        let mut sums = [0.0f64; LANES];
        let (whole, rest) = x.as_chunks::<LANES>();
        for x in whole {
            for i in 0..LANES {
                sums[i] += f64::from(x[i]) * f64::from(x[i]);
            }
        }
        for (sum, x) in sums.iter_mut().zip(rest) {
            *sum += f64::from(*x) * f64::from(*x);
        }
        sums.iter().sum()
    }
}

/// Every `x` becomes `x·by`.
///
/// ```
/// let mut x = [3.0, -4.0];
/// headstart_kernels::scale::scale(0.5, &mut x);
/// assert_eq!(x, [1.5, -2.0]);
/// ```
pub fn scale(by: f32, x: &mut [f32]) {
    x.par_chunks_mut(CHUNK).for_each(|x| scale_here(by, x));
}

widest_fn! {
    /// The same on this thread.
    pub(crate) fn scale_here(by: f32, x: &mut [f32]) {
        for x in x {
            *x *= by;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    #[test]
    fn sums_of_any_length_are_their_definition() {
        for n in [0, 1, 15, 16, 17, CHUNK + 5, 3 * CHUNK] {
            let x = numbers(n, 1);
            let want: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            assert!((square_sum(&x) - want).abs() <= 1e-12 * want, "{n} numbers");
        }
    }
}
