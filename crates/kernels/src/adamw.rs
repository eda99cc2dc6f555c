//! One step of AdamW (Loshchilov and Hutter, 2019), in one pass over a parameter and its moments.
//!
//! ```text
//! m ← β₁·m + (1 − β₁)·g
//! v ← β₂·v + (1 − β₂)·g²
//! w ← (1 − lr·λ)·w − lr·(m / (1 − β₁ᵗ)) / (√(v / (1 − β₂ᵗ)) + ε)
//! ```

use rayon::prelude::*;

use crate::CHUNK;
use crate::scale::scale_here;
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

/// The same for a table of which the gradient is 0 but in some `rows` (ascending, each once; `grad [rows, width]`).  `moved` says in which rows
/// moments are not all 0; those of the others are not read, since nothing but decay changes them.  The same bits as by [`update`].
///
/// ```
/// use headstart_kernels::adamw::{Step, update_rows};
/// let step = Step { lr: 0.1, weight_decay: 0.0, betas: [0.9, 0.999], eps: 1e-8, step: 1 };
/// let (mut w, mut m, mut v, mut moved) = ([1.0; 4], [0.0; 4], [0.0; 4], [false; 2]);
/// update_rows(&step, &[1], &[3.0, -0.5], [&mut w, &mut m, &mut v], &mut moved);
/// assert!(w[..2] == [1.0, 1.0] && w[2] < 0.91 && w[3] > 1.09);
/// assert_eq!(moved, [false, true]);
/// ```
///
/// # Panics
/// If a row is not in the table or sizes do not fit.
pub fn update_rows(
    step: &Step,
    rows: &[i64],
    grad: &[f32],
    [param, m, v]: [&mut [f32]; 3],
    moved: &mut [bool],
) {
    let n = moved.len();
    let width = param.len().checked_div(n).unwrap_or(0);
    assert!(param.len() == n * width && grad.len() == rows.len() * width, "rows of the table's width");
    let inside = |row: &i64| usize::try_from(*row).is_ok_and(|row| row < n);
    assert!(rows.iter().all(inside) && rows.is_sorted_by(|a, b| a < b), "ascending rows of a table of {n}");
    if width == 0 {
        return;
    }
    let share = CHUNK.div_ceil(width);
    let still = vec![0.0; width];
    moved
        .par_chunks_mut(share)
        .zip(param.par_chunks_mut(share * width))
        .zip(m.par_chunks_mut(share * width))
        .zip(v.par_chunks_mut(share * width))
        .enumerate()
        .for_each(|(i, (((moved, param), m), v))| {
            let first = i * share;
            let mut next = rows.partition_point(|&row| (row as usize) < first);
            for (k, moved) in moved.iter_mut().enumerate() {
                let at = k * width..(k + 1) * width;
                let has_grad = rows.get(next).is_some_and(|&row| row as usize == first + k);
                *moved |= has_grad;
                if *moved {
                    let grad = if has_grad { &grad[next * width..][..width] } else { &still };
                    next += usize::from(has_grad);
                    update_here(step, grad, &mut param[at.clone()], &mut m[at.clone()], &mut v[at]);
                } else {
                    scale_here(step.keep(), &mut param[at]);
                }
            }
        });
}

impl Step {
    /// What decay leaves of a weight.
    fn keep(&self) -> f32 {
        (1.0 - self.lr * self.weight_decay) as f32
    }
}

widest_fn! {
    /// The same on this thread.
    fn update_here(step: &Step, grad: &[f32], param: &mut [f32], m: &mut [f32], v: &mut [f32]) {
        let [beta1, beta2] = step.betas;
        let (b1, c1) = (beta1 as f32, (1.0 - beta1) as f32);
        let (b2, c2) = (beta2 as f32, (1.0 - beta2) as f32);
        let m_scale = (1.0 / (1.0 - beta1.powi(step.step))) as f32;
        let v_scale = (1.0 / (1.0 - beta2.powi(step.step))) as f32;
        let (lr, keep, eps) = (step.lr as f32, step.keep(), step.eps as f32);
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

    /// Rows come and go, and some never come: the same bits as where zeros stand for what is not there.
    #[test]
    fn rows_are_moved_as_if_the_others_had_gradients_of_zero() {
        let (n, width) = (700, 37);
        let start = numbers(n * width, 1);
        let (mut whole, mut rows) = (
            [start.clone(), vec![0.0; n * width], vec![0.0; n * width]],
            [start, vec![0.0; n * width], vec![0.0; n * width]],
        );
        let mut moved = vec![false; n];
        for t in 1..=4 {
            let step = Step { lr: 0.01, weight_decay: 0.05, betas: [0.9, 0.999], eps: 1e-8, step: t };
            let read: Vec<i64> =
                (0..n as i64).filter(|i| i * 7 % 11 < 3 && i % 5 == i64::from(t % 3)).collect();
            let grad = numbers(read.len() * width, 10 + t as u32);
            let mut all = vec![0.0; n * width];
            for (row, grad) in read.iter().zip(grad.chunks_exact(width)) {
                all[*row as usize * width..][..width].copy_from_slice(grad);
            }
            let [w, m, v] = &mut whole;
            update(&step, &all, w, m, v);
            update_rows(&step, &read, &grad, rows.each_mut().map(Vec::as_mut_slice), &mut moved);
        }
        assert_eq!(rows, whole);
        let n_moved = moved.iter().filter(|m| **m).count();
        assert!(n_moved > 50 && n_moved < 300, "{n_moved} of {n} rows moved");
    }

    #[test]
    #[should_panic(expected = "ascending rows of a table of 2")]
    fn a_row_that_is_not_in_the_table_is_refused() {
        let step = Step { lr: 0.1, weight_decay: 0.0, betas: [0.9, 0.999], eps: 1e-8, step: 1 };
        update_rows(&step, &[2], &[1.0], [&mut [0.0; 2], &mut [0.0; 2], &mut [0.0; 2]], &mut [false; 2]);
    }

    #[test]
    #[should_panic(expected = "ascending rows of a table of 2")]
    fn a_row_that_is_named_twice_is_refused() {
        let step = Step { lr: 0.1, weight_decay: 0.0, betas: [0.9, 0.999], eps: 1e-8, step: 1 };
        update_rows(
            &step,
            &[1, 1],
            &[1.0; 2],
            [&mut [0.0; 2], &mut [0.0; 2], &mut [0.0; 2]],
            &mut [false; 2],
        );
    }

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
