//! What is done to a product while it is still in cache: bias, residual, activation.

use crate::activation::Activation;

/// What is added to every row or column of a product.
#[derive(Debug, Clone, Copy, Default)]
pub enum Bias<'a> {
    /// Nothing.
    #[default]
    None,
    /// A number for every row.
    Row(&'a [f32]),
    /// A number for every column.
    Column(&'a [f32]),
}

/// `dst = activation(product + bias + residual)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Epilogue<'a> {
    /// Added first.
    pub bias: Bias<'a>,
    /// Added then: of the same layout as `dst`.
    pub residual: Option<&'a [f32]>,
    /// Applied last.
    pub activation: Activation,
}

impl Epilogue<'_> {
    /// Panics unless bias and residual fit a result of `m` rows and `n` columns, `row_stride` apart.
    pub(super) fn check(&self, m: usize, n: usize, row_stride: usize) {
        match self.bias {
            Bias::None => {}
            Bias::Row(b) => assert_eq!(b.len(), m, "a bias for every row"),
            Bias::Column(b) => assert_eq!(b.len(), n, "a bias for every column"),
        }
        if let Some(r) = self.residual {
            assert!(r.len() >= (m - 1) * row_stride + n, "the residual has the layout of the result");
        }
    }

    /// Applies it to `values`, which are columns from `col` on of row `row`.
    pub(super) fn apply(&self, row: usize, col: usize, row_stride: usize, values: &mut [f32]) {
        match self.bias {
            Bias::None => {}
            Bias::Row(b) => values.iter_mut().for_each(|v| *v += b[row]),
            Bias::Column(b) => values.iter_mut().zip(&b[col..]).for_each(|(v, b)| *v += b),
        }
        if let Some(r) = self.residual {
            values.iter_mut().zip(&r[row * row_stride + col..]).for_each(|(v, r)| *v += r);
        }
        self.activation.apply(values);
    }

    /// True if there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        matches!(self.bias, Bias::None) && self.residual.is_none() && self.activation == Activation::Identity
    }
}
