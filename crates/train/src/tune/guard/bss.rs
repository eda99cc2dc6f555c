//! Batch spectral shrinkage: the smallest singular values of a batch's features are made smaller still, because they carry
//! what does not transfer (Chen et al., 2019, *Catastrophic Forgetting Meets Negative Transfer*).
//!
//! ```text
//! loss + η·Σ σ₋ᵢ²(F),   F [batch, width], the k smallest of its singular values
//! ```
//!
//! With `F·Fᵀ = U·diag(σ²)·Uᵀ`, the derivative of `σᵢ²` is that of `‖uᵢᵀ·F‖²` with `uᵢ` held fixed.

use faer::{Mat, Side};
use headstart_core::{Array, Values};
use headstart_engine::{Device, EngineTensor, add_scaled, host, projected_square};

/// Adds the term.
pub(super) fn add(
    loss: EngineTensor,
    features: EngineTensor,
    strength: f64,
    k: usize,
    device: &Device,
) -> EngineTensor {
    match host(&features).ok().and_then(|f| smallest(&f, k)) {
        Some(u) => add_scaled(loss, projected_square(features, &u, device), strength),
        // Features that are no numbers fail in the loss itself, with a better message.
        None => loss,
    }
}

/// The left singular vectors of the `k` smallest singular values, `[k, batch]`.
fn smallest(features: &Array, k: usize) -> Option<Array> {
    let Values::F32(values) = &features.values else { return None };
    let (n, width) = (features.shape[0], features.shape[1]);
    let f = |i: usize, j: usize| f64::from(values[i * width + j]);
    let gram = Mat::from_fn(n, n, |i, j| (0..width).map(|c| f(i, c) * f(j, c)).sum::<f64>());
    // Eigenvalues rise.
    let eigen = gram.self_adjoint_eigen(Side::Lower).ok()?;
    let k = k.min(n);
    let u = (0..k).flat_map(|i| (0..n).map(move |row| (row, i))).map(|(row, i)| eigen.U()[(row, i)] as f32);
    Some(Array::f32(&[k, n], u.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows (3, 0) and (0, 1): the smaller singular value is 1, along the second row.
    #[test]
    fn finds_the_direction_of_the_smallest_singular_value() {
        let u = smallest(&Array::f32(&[2, 2], vec![3.0, 0.0, 0.0, 1.0]), 1).unwrap();
        let Values::F32(values) = u.values else { panic!("f32") };
        assert!(values[0].abs() < 1e-6 && (values[1].abs() - 1.0).abs() < 1e-6, "{values:?}");
    }
}
