//! Products of matrices that lie in slices: `gemm` behind bounds that are checked.

use gemm::Parallelism;

/// A matrix in a slice: element `(i, j)` is at `i·strides[0] + j·strides[1]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f32],
    size: [usize; 2],
    strides: [usize; 2],
}

impl<'a> Matrix<'a> {
    /// `size[0]` rows, of which each starts `row_stride` after the one before.
    pub(crate) fn new(data: &'a [f32], size: [usize; 2], row_stride: usize) -> Self {
        Matrix { data, size, strides: [row_stride, 1] }
    }

    pub(crate) fn transpose(self) -> Self {
        let ([rows, cols], [row, col]) = (self.size, self.strides);
        Matrix { data: self.data, size: [cols, rows], strides: [col, row] }
    }

    /// `n` rows from row `start` on.
    pub(crate) fn rows(self, start: usize, n: usize) -> Self {
        assert!(start + n <= self.size[0], "rows {start}+{n} of {}", self.size[0]);
        Matrix { data: &self.data[start * self.strides[0]..], size: [n, self.size[1]], strides: self.strides }
    }
}

/// `dst = a·b`, or `dst += a·b` if `add`, on this thread; rows of `dst` start `row_stride` apart.
pub(crate) fn matmul(a: Matrix<'_>, b: Matrix<'_>, dst: &mut [f32], row_stride: usize, add: bool) {
    let ([m, k], [k_b, n]) = (a.size, b.size);
    assert_eq!(k, k_b, "inner sizes");
    assert!(n <= row_stride, "rows of {n} overlap at {row_stride}");
    if m == 0 || n == 0 {
        return;
    }
    let fits = |len: usize, [rows, cols]: [usize; 2], [row, col]: [usize; 2]| {
        rows == 0 || cols == 0 || (rows - 1) * row + (cols - 1) * col < len
    };
    assert!(fits(a.data.len(), a.size, a.strides), "left matrix lies in its slice");
    assert!(fits(b.data.len(), b.size, b.strides), "right matrix lies in its slice");
    assert!(fits(dst.len(), [m, n], [row_stride, 1]), "result lies in its slice");
    let stride = |s: usize| isize::try_from(s).expect("a stride is shorter than its slice");
    // SAFETY: the assertions above keep every index that gemm computes from sizes and strides inside the three slices;
    // `dst` is borrowed mutably, so it overlaps neither of the others, and its rows do not overlap each other.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            dst.as_mut_ptr(),
            1,
            stride(row_stride),
            add,
            a.data.as_ptr(),
            stride(a.strides[1]),
            stride(a.strides[0]),
            b.data.as_ptr(),
            stride(b.strides[1]),
            stride(b.strides[0]),
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    #[test]
    fn agrees_with_the_definition() {
        for (m, k, n) in [(1, 1, 1), (3, 5, 7), (17, 33, 65), (64, 1, 9)] {
            let (a, b) = (numbers(m * k, 1), numbers(n * k, 2));
            let mut dst = vec![1.0f32; m * (n + 2)];
            // b is stored transposed, and dst has a margin that must stay.
            matmul(Matrix::new(&a, [m, k], k), Matrix::new(&b, [n, k], k).transpose(), &mut dst, n + 2, true);
            for i in 0..m {
                for j in 0..n + 2 {
                    let sum: f32 =
                        if j < n { (0..k).map(|l| a[i * k + l] * b[j * k + l]).sum() } else { 0.0 };
                    assert!((dst[i * (n + 2) + j] - 1.0 - sum).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "right matrix lies in its slice")]
    fn short_slices_are_refused() {
        let mut dst = [0.0; 4];
        matmul(Matrix::new(&[0.0; 4], [2, 2], 2), Matrix::new(&[0.0; 3], [2, 2], 2), &mut dst, 2, false);
    }
}
