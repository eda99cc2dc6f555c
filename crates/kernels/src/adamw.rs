//! One step of AdamW (Loshchilov and Hutter, 2019), in one pass over a parameter and its moments.
//!
//! ```text
//! m ← β₁·m + (1 − β₁)·g
//! v ← β₂·v + (1 − β₂)·g²
//! w ← (1 − lr·λ)·w − lr·(m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
//! ```

use rayon::prelude::*;

use crate::CHUNK;
use crate::simd::widest_fn;

/// The numbers of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Step {
    /// Learning rate.
    pub lr: f64,
    /// λ: decay of the weights by `lr·λ` a step.
    pub weight_decay: f64,
    /// Decay of the moments.
    pub betas: [f64; 2],
    /// Added to the denominator.
    pub eps: f64,
    /// t: 1 in the first step.
    pub step: i32,
}

/// Updates `param` and its moments, which start at 0.
///
/// ```
/// use headstart_kernels::adamw::{Step, update};
/// let step = Step { lr: 0.1, weight_decay: 0.0, betas: [0.9, 0.999], eps: 1e-8, step: 1 };
/// let (mut w, mut m, mut v) = ([1.0, 1.0], [0.0; 2], [0.0; 2]);
/// update(&step, &[3.0, -0.5], &mut w, &mut m, &mut v);
/// assert!((w[0] - 0.9).abs() < 1e-6 && (w[1] - 1.1).abs() < 1e-6, "the first step is lr·sign(g)");
/// ```
pub fn update(step: &Step, grad: &[f32], param: &mut [f32], m: &mut [f32], v: &mut [f32]) {
    param
        .par_chunks_mut(CHUNK)
        .zip(m.par_chunks_mut(CHUNK))
        .zip(v.par_chunks_mut(CHUNK))
        .zip(grad.par_chunks(CHUNK))
        .for_each(|(((param, m), v), grad)| update_here(step, grad, param, m, v));
}

widest_fn! {
    /// The same on this thread.
    fn update_here(step: &Step, grad: &[f32], param: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        let [beta1, beta2] = step.betas;
        let (b1, c1) = (beta1 as f32, (1.0 - beta1) as f32);
        let (b2, c2) = (beta2 as f32, (1.0 - beta2) as f32);
        let m_scale = (1.0 / (1.0 - beta1.powi(step.step))) as f32;
        let v_scale = (1.0 / (1.0 - beta2.powi(step.step))) as f32;
        let (lr, keep, eps) = (step.lr as f32, (1.0 - step.lr * step.weight_decay) as f32, step.eps as f32);
        for (((p, m), v), g) in param.iter_mut().zip(m).zip(v).zip(grad) {
            *m = *m * b1 + g * c1;
            *v = *v * b2 + g * g * c2;
            let denominator = (*v * v_scale).sqrt() + eps;
            *p = *p * keep - *m * m_scale / denominator * lr;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    #[test]
    fn agrees_with_the_formula_in_double_precision() {
        let n = CHUNK + 37;
        let (mut w, mut m, mut v) = (numbers(n, 1), vec![0.0; n], vec![0.0; n]);
        let mut want: Vec<[f64; 3]> = w.iter().map(|&w| [f64::from(w), 0.0, 0.0]).collect();
        for t in 1..=5 {
            let g = numbers(n, 10 + t as u32);
            let step = Step { lr: 0.01, weight_decay: 0.05, betas: [0.9, 0.999], eps: 1e-8, step: t };
            update(&step, &g, &mut w, &mut m, &mut v);
            for (s, g) in want.iter_mut().zip(&g) {
                let g = f64::from(*g);
                s[1] = 0.9 * s[1] + 0.1 * g;
                s[2] = 0.999 * s[2] + 0.001 * g * g;
                let (m_hat, v_hat) = (s[1] / (1.0 - 0.9f64.powi(t)), s[2] / (1.0 - 0.999f64.powi(t)));
                s[0] = (1.0 - 0.01 * 0.05) * s[0] - 0.01 * m_hat / (v_hat.sqrt() + 1e-8);
            }
        }
        assert!(w.iter().zip(&want).all(|(w, s)| (f64::from(*w) - s[0]).abs() < 1e-5));
    }
}
