//! Scaled dot-product attention (Vaswani et al., 2017), head by head, with its backward pass.
//!
//! ```text
//! S = scale·q·kᵀ + bias      P = softmax(S)      y = P·v
//! dv = Pᵀ·g      dP = g·vᵀ      dS = P∘(dP − Σⱼ dP∘P)      dq = scale·dS·k      dk = scale·dSᵀ·q
//! ```
//!
//! With dropout the second P, and dP, are those that it leaves.
//!
//! Heads are read where they lie in `[batch, sequence, heads·size]`: nothing is transposed.  A block of queries at a time
//! keeps the scores in cache; the backward pass computes them again from two numbers a row, as FlashAttention does
//! (Dao et al., 2022), so that no matrix of scores is ever stored.

use rayon::prelude::*;

use crate::dropout::Dropout;
use crate::gemm::{Epilogue, Matrix, Operands, Shared, serial};
use crate::simd::widest_fn;
use crate::{activation, lanes, softmax};

/// Queries that are taken at a time.
const BLOCK: usize = 128;

/// Sizes of `q [n, s_q, heads·size]` and `k, v [n, s_k, heads·size]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Examples.
    pub n: usize,
    /// Queries an example.
    pub s_q: usize,
    /// Keys an example.
    pub s_k: usize,
    /// Heads.
    pub heads: usize,
    /// Width of a head.
    pub size: usize,
    /// What scores are multiplied by, `1/√size` as a rule.
    pub scale: f32,
    /// What the factors of products are rounded to: queries, keys, values and probabilities.
    pub operands: Operands,
}

/// Row by row of every head, `[n, heads, s_q]`: the largest score and the inverse of the sum of exponentials.
pub type Normalisers = Vec<[f32; 2]>;

/// `y [n, s_q, heads·size]`.  `bias [n, s_k]` is added to the scores of every key: 0 where it is attended, and a large
/// negative number where not.
///
/// ```
/// use headstart_kernels::{attention::{Shape, forward}, gemm::Operands};
/// let shape = Shape { n: 1, s_q: 1, s_k: 2, heads: 1, size: 1, scale: 1.0, operands: Operands::F32 };
/// let mut y = [0.0];
/// forward(&shape, [&[0.0], &[1.0, 1.0], &[3.0, 5.0]], None, None, &mut y);
/// assert_eq!(y, [4.0]);
/// forward(&shape, [&[0.0], &[1.0, 1.0], &[3.0, 5.0]], Some(&[0.0, -1e9]), None, &mut y);
/// assert_eq!(y, [3.0]);
/// ```
pub fn forward(
    d: &Shape,
    [q, k, v]: [&[f32]; 3],
    bias: Option<&[f32]>,
    drop: Option<Dropout>,
    y: &mut [f32],
) -> Normalisers {
    d.check([q, y], [k, v], bias);
    let mut normalisers = vec![[0.0; 2]; d.n * d.heads * d.s_q];
    let to = Shared::new(y);
    normalisers.par_chunks_mut(d.s_q).enumerate().for_each_init(
        Vec::new,
        |scores: &mut Vec<f32>, (t, kept)| {
            let (example, head) = (t / d.heads, t % d.heads);
            let [q_at, k_at] = [d.s_q, d.s_k].map(|s| example * s * d.width() + head * d.size);
            let bias = bias.map(|b| &b[example * d.s_k..][..d.s_k]);
            for (b, kept) in kept.chunks_mut(BLOCK).enumerate() {
                let q_at = q_at + b * BLOCK * d.width();
                scores.resize(kept.len() * d.s_k, 0.0);
                d.products(d.rows(q, q_at, kept.len()), d.rows(k, k_at, d.s_k), scores);
                probabilities(d, bias, drop, t * d.s_q + b * BLOCK, scores, kept);
                let p = Matrix::new(scores, [kept.len(), d.s_k], d.s_k);
                let v = d.rows(v, k_at, d.s_k);
                // SAFETY: these rows and columns of y belong to this block of this head alone, and lie in y by `check`.
                unsafe { serial(d.operands, p, v, to.at(q_at), d.width(), false, &Epilogue::default()) };
            }
        },
    );
    normalisers
}

/// Fills `[dq, dk, dv]` from the gradient of `y`.
pub fn backward(
    d: &Shape,
    [q, k, v]: [&[f32]; 3],
    bias: Option<&[f32]>,
    drop: Option<Dropout>,
    normalisers: &Normalisers,
    grad: &[f32],
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    d.check([q, grad], [k, v], bias);
    d.check([dq, grad], [dk, dv], None);
    assert_eq!(normalisers.len(), d.n * d.heads * d.s_q, "normalisers of the forward pass");
    let [dq, dk, dv] = [dq, dk, dv].map(Shared::new);
    let none = Epilogue::default();
    normalisers.par_chunks(d.s_q).enumerate().for_each_init(
        || [Vec::new(), Vec::new()],
        |[p, dp]: &mut [Vec<f32>; 2], (t, kept)| {
            let (example, head) = (t / d.heads, t % d.heads);
            let [q_at, k_at] = [d.s_q, d.s_k].map(|s| example * s * d.width() + head * d.size);
            let bias = bias.map(|b| &b[example * d.s_k..][..d.s_k]);
            let (k, v) = (d.rows(k, k_at, d.s_k), d.rows(v, k_at, d.s_k));
            for (b, kept) in kept.chunks(BLOCK).enumerate() {
                let q_at = q_at + b * BLOCK * d.width();
                let (q, g) = (d.rows(q, q_at, kept.len()), d.rows(grad, q_at, kept.len()));
                let size = [kept.len(), d.s_k];
                p.resize(size[0] * size[1], 0.0);
                dp.resize(size[0] * size[1], 0.0);
                d.products(q, k, p);
                d.products(g, v, dp);
                slopes(d, bias, drop, t * d.s_q + b * BLOCK, kept, [p, dp]);
                let (p, ds) = (Matrix::new(p, size, d.s_k), Matrix::new(dp, size, d.s_k));
                let add = b > 0;
                // SAFETY: a head's rows and columns belong to this task alone, and lie in their slices by `check`.
                unsafe {
                    serial(d.operands, p.transpose(), g, dv.at(k_at), d.width(), add, &none);
                    serial(d.operands, ds, k, dq.at(q_at), d.width(), false, &none);
                    serial(d.operands, ds.transpose(), q, dk.at(k_at), d.width(), add, &none);
                }
            }
        },
    );
}

impl Shape {
    fn width(&self) -> usize {
        self.heads * self.size
    }

    fn check(&self, queries: [&[f32]; 2], keys: [&[f32]; 2], bias: Option<&[f32]>) {
        assert!(
            self.s_q > 0 && self.s_k > 0 && self.heads > 0 && self.size > 0,
            "no axis is empty: {self:?}"
        );
        for (slices, s) in [(queries, self.s_q), (keys, self.s_k)] {
            for slice in slices {
                assert_eq!(slice.len(), self.n * s * self.width(), "elements of {self:?}");
            }
        }
        assert!(bias.is_none_or(|b| b.len() == self.n * self.s_k), "a bias for every key of {self:?}");
    }

    /// Rows of one head.
    fn rows<'a>(&self, x: &'a [f32], at: usize, n: usize) -> Matrix<'a> {
        Matrix::new(&x[at..], [n, self.size], self.width())
    }

    /// `to = a·bᵀ` of a block's rows and a head's keys or values.
    fn products(&self, a: Matrix<'_>, b: Matrix<'_>, to: &mut [f32]) {
        assert_eq!(to.len(), a.size()[0] * self.s_k, "a number for every query and key");
        // SAFETY: `to` is as large as the product.
        unsafe {
            serial(self.operands, a, b.transpose(), to.as_mut_ptr(), self.s_k, false, &Epilogue::default())
        };
    }
}

widest_fn! {
    /// Products of queries and keys become probabilities, row by row; `kept` is what the backward pass wants.  Rows are counted
    /// over all heads, from `first` on.
    fn probabilities(
        d: &Shape,
        bias: Option<&[f32]>,
        drop: Option<Dropout>,
        first: usize,
        rows: &mut [f32],
        kept: &mut [[f32; 2]],
    ) {
        for (i, (row, kept)) in rows.chunks_exact_mut(d.s_k).zip(kept).enumerate() {
            to_scores(row, d.scale, bias);
            *kept = softmax::normalise(row);
            if let Some(drop) = drop {
                drop.apply_to_row(first + i, row);
            }
        }
    }
}

widest_fn! {
    /// In rows of the first, products of queries and keys become probabilities; in those of the second, their gradients become those
    /// of the products.
    fn slopes(
        d: &Shape,
        bias: Option<&[f32]>,
        drop: Option<Dropout>,
        first: usize,
        kept: &[[f32; 2]],
        rows: [&mut [f32]; 2],
    ) {
        let [p, dp] = rows.map(|rows| rows.chunks_exact_mut(d.s_k));
        for (i, ((p, dp), &[max, scale])) in p.zip(dp).zip(kept).enumerate() {
            to_scores(p, d.scale, bias);
            for p in p.iter_mut() {
                *p = activation::exp(*p - max) * scale;
            }
            if let Some(drop) = drop {
                drop.apply_to_row(first + i, dp);
            }
            let mean = lanes::sum2(p, dp, |p, d| p * d);
            for (dp, &p) in dp.iter_mut().zip(&*p) {
                *dp = p * (*dp - mean) * d.scale;
            }
            if let Some(drop) = drop {
                drop.apply_to_row(first + i, p);
            }
        }
    }
}

/// A row of products of queries and keys becomes scores.
#[inline(always)]
fn to_scores(row: &mut [f32], scale: f32, bias: Option<&[f32]>) {
    match bias {
        Some(bias) => {
            for (s, b) in row.iter_mut().zip(bias) {
                *s = *s * scale + b;
            }
        }
        None => {
            for s in row {
                *s *= scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    /// By the formulas in f64: `[y, dq, dk, dv]`.
    fn naive(
        d: &Shape,
        [q, k, v]: [&[f32]; 3],
        bias: &[f32],
        drop: Option<Dropout>,
        g: &[f32],
    ) -> [Vec<f64>; 4] {
        let mut y = vec![0.0; q.len()];
        let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; k.len()]);
        let width = d.heads * d.size;
        for t in 0..d.n * d.heads * d.s_q {
            let (n, h, i) = (t / (d.heads * d.s_q), t / d.s_q % d.heads, t % d.s_q);
            let q_at = |e: usize| (n * d.s_q + i) * width + h * d.size + e;
            let k_at = |j: usize, e: usize| (n * d.s_k + j) * width + h * d.size + e;
            let dot = |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| {
                (0..d.size).map(|e| a(e) * b(e)).sum::<f64>()
            };
            let of = |x: &[f32], at: usize| f64::from(x[at]);
            let s: Vec<f64> = (0..d.s_k)
                .map(|j| {
                    let qk = dot(&|e| of(q, q_at(e)), &|e| of(k, k_at(j, e)));
                    (qk * f64::from(d.scale) + f64::from(bias[n * d.s_k + j])).exp()
                })
                .collect();
            let sum: f64 = s.iter().sum();
            let p: Vec<f64> = s.iter().map(|s| s / sum).collect();
            let mut kept = vec![1.0; d.s_k];
            if let Some(drop) = drop {
                drop.apply_to_row(t, &mut kept);
            }
            let dp: Vec<f64> = (0..d.s_k)
                .map(|j| dot(&|e| of(g, q_at(e)), &|e| of(v, k_at(j, e))) * f64::from(kept[j]))
                .collect();
            let mean: f64 = p.iter().zip(&dp).map(|(p, d)| p * d).sum();
            for j in 0..d.s_k {
                let ds = p[j] * (dp[j] - mean) * f64::from(d.scale);
                for e in 0..d.size {
                    y[q_at(e)] += p[j] * f64::from(kept[j]) * of(v, k_at(j, e));
                    dv[k_at(j, e)] += p[j] * f64::from(kept[j]) * of(g, q_at(e));
                    dq[q_at(e)] += ds * of(k, k_at(j, e));
                    dk[k_at(j, e)] += ds * of(q, q_at(e));
                }
            }
        }
        [y, dq, dk, dv]
    }

    #[test]
    fn agrees_with_the_definition_over_many_shapes() {
        for (i, (n, s_q, s_k, heads, size)) in
            [(2, 5, 7, 3, 4), (1, 1, 1, 1, 1), (2, 130, 140, 2, 16), (3, 17, 17, 1, 33)]
                .into_iter()
                .enumerate()
        {
            let drop = (i % 2 == 0).then_some(Dropout { p: 0.3, seed: 9 });
            let scale = 1.0 / (size as f32).sqrt();
            let d = Shape { n, s_q, s_k, heads, size, scale, operands: Operands::F32 };
            let width = heads * size;
            let (q, g) = (numbers(n * s_q * width, 1), numbers(n * s_q * width, 4));
            let (k, v) = (numbers(n * s_k * width, 2), numbers(n * s_k * width, 3));
            let bias: Vec<f32> =
                (0..n * s_k).map(|j| if j % s_k > 3 && j % 3 == 0 { -1e9 } else { 0.0 }).collect();
            let want = naive(&d, [&q, &k, &v], &bias, drop, &g);
            // Numbers are up to 1, and bf16 rounds each by 2⁻⁹ of it.
            for (operands, bound) in [(Operands::F32, 1e-5), (Operands::Bf16, 3e-2)] {
                let d = Shape { operands, ..d };
                let mut y = vec![0.0; q.len()];
                let kept = forward(&d, [&q, &k, &v], Some(&bias), drop, &mut y);
                let (mut dq, mut dk, mut dv) = (vec![9.0; q.len()], vec![9.0; k.len()], vec![9.0; k.len()]);
                backward(&d, [&q, &k, &v], Some(&bias), drop, &kept, &g, [&mut dq, &mut dk, &mut dv]);
                for ((name, got), want) in ["y", "dq", "dk", "dv"].into_iter().zip([y, dq, dk, dv]).zip(&want)
                {
                    let worst =
                        got.iter().zip(want).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                    assert!(worst < bound, "{name} of {d:?}: off by {worst}");
                }
            }
        }
    }

    #[test]
    fn where_every_key_is_masked_all_count_alike() {
        let d = Shape { n: 1, s_q: 1, s_k: 2, heads: 1, size: 1, scale: 1.0, operands: Operands::F32 };
        let mut y = [0.0];
        forward(&d, [&[1.0], &[1.0, 2.0], &[3.0, 5.0]], Some(&[-1e9; 2]), None, &mut y);
        assert_eq!(y, [4.0]);
    }
}
