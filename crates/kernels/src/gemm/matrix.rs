//! A matrix in a slice.

use super::pack::Strided;

/// A matrix in a slice: element `(i, j)` is at `i·strides[0] + j·strides[1]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    size: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// `size[0]` rows of `size[1]` columns, of which each row starts `row_stride` after the one before.
    ///
    /// # Panics
    /// If an element lies outside `data`.
    ///
    /// ```
    /// let m = headstart_kernels::gemm::Matrix::new(&[1.0; 7], [2, 3], 4);
    /// assert_eq!((m.size(), m.transpose().size()), ([2, 3], [3, 2]));
    /// ```
    pub fn new(data: &'a [f32], size: [usize; 2], row_stride: usize) -> Self {
        let [rows, cols] = size;
        let is_empty = rows == 0 || cols == 0;
        assert!(
            is_empty || (rows - 1) * row_stride + cols <= data.len(),
            "matrix {size:?} lies in its slice"
        );
        Matrix { data, size, strides: [row_stride, 1] }
    }

    /// The transpose, without moving anything.
    pub fn transpose(self) -> Self {
        let ([rows, cols], [row, col]) = (self.size, self.strides);
        Matrix { data: self.data, size: [cols, rows], strides: [col, row] }
    }

    /// Rows and columns.
    pub fn size(self) -> [usize; 2] {
        self.size
    }

    pub(crate) fn rows_as_lines(self) -> Strided<'a> {
        Strided { data: self.data, line: self.strides[0], step: self.strides[1] }
    }

    pub(super) fn columns_as_lines(self) -> Strided<'a> {
        self.transpose().rows_as_lines()
    }
}
