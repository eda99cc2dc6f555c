//! A preconditioner from the features' principal axes.
//!
//! Features of a deep network are strongly correlated, which makes logistic regression ill-conditioned: plain L-BFGS needs
//! hundreds of iterations where the penalty is weak.  Along the principal axis with variance s, and for a class whose
//! probability has curvature c = mean p·(1−p), the Hessian is about c·s + λ; dividing by it takes most of that away.  The
//! axes are computed once from all rows and serve every fold and strength: a preconditioner changes the way to the optimum,
//! not the optimum, so nothing leaks between folds.

use faer::diag::Diag;
use faer::dyn_stack::{MemBuffer, MemStack};
use faer::linalg::evd::{ComputeEigenvectors, self_adjoint_evd, self_adjoint_evd_scratch};
use faer::linalg::matmul::matmul;
use faer::{Accum, Mat, MatMut, MatRef, Par};
use headstart_kernels::channels_last::Linear;
use headstart_kernels::channels_last::training::interleave;
use headstart_kernels::{Activation, Precision};
use rayon::prelude::*;

/// Beyond this many axes, they are estimated from a sample of rows.
const N_AXES_EXACT: usize = 2048;
const N_ROWS_SAMPLED: usize = 1024;
/// Axes with less than this share of the largest variance are rounding noise.
const VARIANCE_SHARE_MIN: f32 = 1e-5;
/// Output rows a task computes of the Gram matrix.
const STRIPE: usize = 64;

/// Principal axes of standardised features.
pub(crate) struct Axes {
    width: usize,
    /// From coordinates by feature to coordinates by axis, and back; none without axes.
    rotations: Option<[Linear; 2]>,
    /// Along each axis.
    variance: Vec<f64>,
}

impl Axes {
    /// Of `[rows, width]`, centred.
    pub(crate) fn of(x: &[f32], width: usize) -> Self {
        let n = x.len() / width;
        if width <= n && width <= N_AXES_EXACT {
            let columns = MatRef::from_row_major_slice(x, n, width).transpose();
            let (vectors, variance) = eigen(gram(columns, 1.0 / n as f32), width);
            return Axes::along(width, vectors, variance);
        }
        // Fewer rows than features: the Gram matrix of rows has the same variances, and X turns its vectors into axes.
        let n_kept = if n > N_AXES_EXACT { N_ROWS_SAMPLED } else { n };
        let sample: Vec<f32> = (0..n_kept)
            .flat_map(|i| {
                let row = i * n / n_kept;
                &x[row * width..(row + 1) * width]
            })
            .copied()
            .collect();
        let rows = MatRef::from_row_major_slice(&sample, n_kept, width);
        let (of_rows, variance) = eigen(gram(rows, 1.0 / n_kept as f32), n_kept);
        let r = variance.len();
        let mut vectors = vec![0.0f32; r * width];
        let coefficients = MatRef::from_row_major_slice(&of_rows, r, n_kept);
        matmul(
            MatMut::from_row_major_slice_mut(&mut vectors, r, width),
            Accum::Replace,
            coefficients,
            rows,
            1.0,
            Par::Seq,
        );
        for (axis, v) in vectors.chunks_exact_mut(width).zip(&variance) {
            let norm = (v * n_kept as f64).sqrt() as f32;
            axis.iter_mut().for_each(|a| *a /= norm);
        }
        Axes::along(width, vectors, variance)
    }

    /// Along orthonormal `vectors [axes, width]`.
    fn along(width: usize, vectors: Vec<f32>, variance: Vec<f64>) -> Self {
        let r = variance.len();
        let layer =
            |weight: &[f32], from| Linear::new(Precision::F32, weight, None, from, Activation::Identity);
        let rotations = (r > 0).then(|| {
            let mut back = vec![0.0f32; width * r];
            interleave(&vectors, r, width, &mut back);
            [layer(&vectors, width), layer(&back, r)]
        });
        Axes { width, rotations, variance }
    }

    /// Divides a gradient (`[n_classes, width]`, then biases) by an estimate of the Hessian's diagonal along the axes.
    pub(crate) fn precondition(&self, gradient: &[f64], curvature: &[f64], l2: f64) -> Vec<f64> {
        let (d, k, r) = (self.width, curvature.len(), self.variance.len());
        let g: Vec<f32> = gradient[..k * d].iter().map(|v| *v as f32).collect();
        let (mut along, mut back) = (vec![0.0f32; k * r], vec![0.0f32; k * d]);
        if let Some([there, _]) = &self.rotations {
            there.run_here(&g, &mut along);
        }
        // With an axis for every feature the rest is nothing, and leaving it out avoids a cancellation.
        let rest = if r == d { 0.0 } else { 1.0 / l2 };
        for (along, c) in along.chunks_exact_mut(r.max(1)).zip(curvature) {
            for (a, s) in along.iter_mut().zip(&self.variance) {
                *a *= (1.0 / (c * s + l2) - rest) as f32;
            }
        }
        if let Some([_, home]) = &self.rotations {
            home.run_here(&along, &mut back);
        }
        let weights = gradient.iter().zip(&back).map(|(g, b)| f64::from(*b) + rest * g);
        let biases = gradient[k * d..].iter().zip(curvature).map(|(g, c)| g / c.max(1e-6));
        weights.chain(biases).collect()
    }
}

/// The lower half of `scale · A·Aᵀ`, in stripes so that the bits do not depend on the number of threads.  The longest come first.
fn gram(a: MatRef<'_, f32>, scale: f32) -> Mat<f32> {
    let n = a.nrows();
    let mut out = vec![0.0f32; n * n];
    out.par_chunks_mut(STRIPE * n).enumerate().rev().for_each(|(i, stripe)| {
        let n_rows = stripe.len() / n;
        let rows = a.subrows(i * STRIPE, n_rows);
        let until = i * STRIPE + n_rows;
        let to = MatMut::from_row_major_slice_mut(stripe, n_rows, n).subcols_mut(0, until);
        matmul(to, Accum::Replace, rows, a.subrows(0, until).transpose(), scale, Par::Seq);
    });
    MatRef::from_row_major_slice(&out, n, n).to_owned()
}

/// Eigenvectors as rows and eigenvalues of a symmetric matrix, by its lower half, without the noise; none if the iteration fails, which
/// leaves a method that is slower but right.
fn eigen(a: Mat<f32>, n: usize) -> (Vec<f32>, Vec<f64>) {
    let (mut values, mut vectors) = (Diag::<f32>::zeros(n), Mat::<f32>::zeros(n, n));
    let params = Default::default();
    let scratch = self_adjoint_evd_scratch::<f32>(n, ComputeEigenvectors::Yes, Par::Seq, params);
    let mut buffer = MemBuffer::new(scratch);
    let stack = MemStack::new(&mut buffer);
    let done = self_adjoint_evd(a.as_ref(), values.as_mut(), Some(vectors.as_mut()), Par::Seq, stack, params);
    if done.is_err() {
        return (Vec::new(), Vec::new());
    }
    let values = values.column_vector();
    let floor = VARIANCE_SHARE_MIN * values[n - 1];
    let kept: Vec<usize> = (0..n).filter(|&i| values[i] > floor).collect();
    (
        kept.iter().flat_map(|&i| vectors.col(i).iter().copied()).collect(),
        kept.iter().map(|&i| f64::from(values[i])).collect(),
    )
}
