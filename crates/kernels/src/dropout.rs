//! Dropout (Srivastava et al., 2014): `y = x∘m` with `mᵢ` 0 or `1/(1 − p)`, and `dx = g∘m`.
//!
//! No mask is stored.  Which elements are dropped is a function of the seed and the place alone, so that the backward pass,
//! on any number of threads, drops the same ones.

use rayon::prelude::*;

use crate::CHUNK;
use crate::simd::widest_fn;

/// What is dropped.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Dropout {
    /// Probability that one is dropped, below 1; what stays is multiplied by `1/(1 − p)`.
    pub p: f32,
    /// Another seed, other places.
    pub seed: u64,
}

impl Dropout {
    /// Drops some of `values`: of a result in the forward pass, of its gradient in the backward pass.
    ///
    /// ```
    /// use headstart_kernels::dropout::Dropout;
    /// let drop = Dropout { p: 0.25, seed: 1 };
    /// let (mut y, mut dx) = (vec![1.0; 40_000], vec![1.0; 40_000]);
    /// drop.apply(&mut y);
    /// drop.apply(&mut dx);
    /// assert_eq!(y, dx, "the same places");
    /// let mean = y.iter().sum::<f32>() / 40_000.0;
    /// assert!((mean - 1.0).abs() < 0.01 && y.contains(&0.0));
    /// ```
    pub fn apply(self, values: &mut [f32]) {
        values.par_chunks_mut(CHUNK).enumerate().for_each(|(i, row)| apply_here(self, i, row));
    }

    /// Drops some of one row; `row` counts over all there are.
    #[inline(always)]
    pub(crate) fn apply_to_row(self, row_idx: usize, row: &mut [f32]) {
        // SplitMix64's mix of seed and row, then a 32-bit mix a column, which compilers vectorise.
        let mut z = self.seed.wrapping_add((row_idx as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let key = (z ^ (z >> 31)) as u32;
        let limit = (f64::from(self.p) * 4_294_967_296.0) as u32;
        let kept = 1.0 / (1.0 - self.p);
        for (j, value) in row.iter_mut().enumerate() {
            let mut x = key.wrapping_add((j as u32).wrapping_mul(0x9E37_79B9));
            x = (x ^ (x >> 16)).wrapping_mul(0x7FEB_352D);
            x = (x ^ (x >> 15)).wrapping_mul(0x846C_A68B);
            x ^= x >> 16;
            *value *= if x < limit { 0.0 } else { kept };
        }
    }
}

widest_fn! {
    /// [`Dropout::apply_to_row`] for a row by itself.
    fn apply_here(drop: Dropout, row_idx: usize, row: &mut [f32]) {
        drop.apply_to_row(row_idx, row);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_keeps_its_share_and_differs_by_row_and_seed() {
        let row = |row_idx: usize, seed: u64| {
            let mut ones = vec![1.0; 4096];
            Dropout { p: 0.1, seed }.apply_to_row(row_idx, &mut ones);
            ones
        };
        let dropped: usize = (0..64).map(|r| row(r, 5).iter().filter(|v| **v == 0.0).count()).sum();
        let share = dropped as f64 / (64.0 * 4096.0);
        assert!((share - 0.1).abs() < 0.003, "{share} of all are dropped");
        assert!(row(0, 5).iter().all(|v| *v == 0.0 || (v - 1.0 / 0.9).abs() < 1e-6));
        let alike = |a: &[f32], b: &[f32]| a.iter().zip(b).filter(|(a, b)| **a == 0.0 && **b == 0.0).count();
        for other in [row(1, 5), row(0, 6)] {
            // 1 % of 4,096 by chance.
            assert!((15..75).contains(&alike(&row(0, 5), &other)), "{}", alike(&row(0, 5), &other));
        }
    }
}
