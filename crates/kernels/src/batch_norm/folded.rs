//! Batch norm by given statistics as part of the convolution before it, with gradients.
//!
//! ```text
//! α = γ / √(σ² + ε)        conv(x, w)·α + (β − μ·α) = conv(x, α·w) + (β − μ·α)
//! dw = α·d(α·w)            dβ = Σ g        dγ = (⟨w, d(α·w)⟩ − μ·Σ g) / √(σ² + ε)
//! ```
//!
//! The last holds since `⟨w, d(α·w)⟩ = Σ g·conv(x, w)` in every channel: neither what the convolution made is kept, nor is a pass
//! over it needed.

use rayon::prelude::*;

use super::Statistics;

/// What a batch norm does to the filters before it.
#[derive(Debug, Clone)]
pub struct Folded {
    statistics: Statistics,
    eps: f64,
    scale: Vec<f32>,
    shift: Vec<f32>,
}

impl Folded {
    /// By statistics of as many channels as `gamma` and `beta` have.
    ///
    /// ```
    /// use headstart_kernels::batch_norm::{Folded, Statistics};
    /// let statistics = Statistics { mean: vec![1.0], variance: vec![3.0] };
    /// let folded = Folded::new(statistics, 1.0, [&[4.0], &[0.5]]);
    /// assert_eq!((folded.weight(&[3.0, 5.0]), folded.bias()), (vec![6.0, 10.0], &[-1.5][..]));
    /// // A sum of g = 2 and a gradient of the scaled weight: dw = 2·(1, −1), dγ = (3 − 5 − 1·2)/2.
    /// let mut dw = [1.0, -1.0];
    /// assert_eq!(folded.gradients(&[3.0, 5.0], &mut dw, &[2.0]), [-2.0]);
    /// assert_eq!(dw, [2.0, -2.0]);
    /// ```
    pub fn new(statistics: Statistics, eps: f64, affine: [&[f32]; 2]) -> Self {
        let [scale, shift] = statistics.affine(eps, affine);
        Folded { statistics, eps, scale, shift }
    }

    /// The filters that do what `weight [o, …]` and the batch norm do.
    pub fn weight(&self, weight: &[f32]) -> Vec<f32> {
        let mut scaled = weight.to_vec();
        self.scale_filters(&mut scaled);
        scaled
    }

    /// Their bias.
    pub fn bias(&self) -> &[f32] {
        &self.shift
    }

    /// From the gradient of the scaled filters, which becomes that of `weight`, and that of their bias: `dγ`; `dβ` is that of the
    /// bias.
    pub fn gradients(&self, weight: &[f32], dweight: &mut [f32], dbias: &[f32]) -> Vec<f32> {
        let len = self.filter(weight.len());
        let products = weight
            .par_chunks_exact(len)
            .zip(dweight.par_chunks_exact(len))
            .map(|(w, dw)| w.iter().zip(dw).map(|(w, dw)| f64::from(*w) * f64::from(*dw)).sum::<f64>());
        let products: Vec<f64> = products.collect();
        let channels = self.statistics.inverses(self.eps).zip(&self.statistics.mean).zip(dbias);
        let of = |(((inverse, mean), dbias), p): (((f64, &f32), &f32), f64)| {
            ((p - f64::from(*mean) * f64::from(*dbias)) * inverse) as f32
        };
        let dgamma = channels.zip(products).map(of).collect();
        self.scale_filters(dweight);
        dgamma
    }

    fn scale_filters(&self, weight: &mut [f32]) {
        let filters = weight.par_chunks_exact_mut(self.filter(weight.len()));
        filters.zip(&self.scale).for_each(|(w, scale)| w.iter_mut().for_each(|w| *w *= scale));
    }

    /// Elements of a filter.
    fn filter(&self, len: usize) -> usize {
        assert!(len > 0 && len.is_multiple_of(self.scale.len()), "filters of {} channels", self.scale.len());
        len / self.scale.len()
    }
}
