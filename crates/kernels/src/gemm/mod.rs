//! Products of matrices, `dst = a·b`, in f32.
//!
//! The scheme of Goto and van de Geijn (2008): the result is cut into blocks, and each block is a sum over slices of `k`
//! of products of packed panels, computed in tiles that stay in registers.
//!
//! Every element is summed in one order: slices of a size that depends on `k` alone, each one chain of products.  How
//! the result is cut into blocks, and which thread computes which, changes no bit.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod block;
mod epilogue;
mod kernel;
mod matrix;
mod pack;
mod portable;

use std::ops::Range;

use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
pub(crate) use bf16::side_by_side;
pub use epilogue::{Bias, Epilogue};
pub use matrix::Matrix;
pub(crate) use pack::{Lines, Strided, interleave};

use crate::{Isa, Precision};
use block::{Block, NC, compute};
use kernel::Kernel;

/// Products with fewer multiplications than this are not worth waking a thread.
const SERIAL: usize = 1 << 18;
/// Blocks for each thread, so that a slow one does not keep the others waiting.
const BLOCKS_A_THREAD: usize = 3;

/// `dst = epilogue(a·b)`, or `dst = epilogue(dst + a·b)` if `add`.  Rows of `dst` start `row_stride` apart.
///
/// # Panics
/// If sizes do not fit each other or their slices.
///
/// ```
/// use headstart_kernels::gemm::{Bias, Epilogue, Matrix, gemm};
/// let a = [1.0, 2.0, 3.0, 4.0];
/// let (a, b) = (Matrix::new(&a, [2, 2], 2), Matrix::new(&[1.0, 1.0], [1, 2], 2).transpose());
/// let mut y = [0.0; 2];
/// gemm(a, b, &mut y, 1, false, &Epilogue { bias: Bias::Row(&[0.5, -0.5]), ..Epilogue::default() });
/// assert_eq!(y, [3.5, 6.5]);
/// ```
pub fn gemm(
    a: Matrix<'_>,
    b: Matrix<'_>,
    dst: &mut [f32],
    row_stride: usize,
    add: bool,
    epilogue: &Epilogue<'_>,
) {
    gemm_of(Operands::F32, a, b, dst, row_stride, add, epilogue);
}

/// What the factors of a product are rounded to.  Sums are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Operands {
    /// Not rounded.
    #[default]
    F32,
    /// To bf16, where panels are packed: in memory they stay f32, as master weights do in mixed precision (Micikevicius et
    /// al., 2018).  Without `vdpbf16ps` the rounded numbers are multiplied in f32, which differs in rounding alone.
    Bf16,
}

impl Operands {
    /// Those of a precision.  What changes with every product, as activations and what learns do, is not rounded to integers, but
    /// to bf16.
    ///
    /// ```
    /// use headstart_kernels::{Precision, gemm::Operands};
    /// assert_eq!(Operands::of(Precision::Int8), Operands::Bf16);
    /// ```
    pub fn of(precision: Precision) -> Self {
        match precision {
            Precision::F32 => Operands::F32,
            Precision::Bf16 | Precision::Int8 => Operands::Bf16,
        }
    }

    /// Whether products are of pairs of bf16, by instructions of this machine.
    pub(crate) fn in_pairs(self) -> bool {
        self == Operands::Bf16 && Precision::Bf16.is_accelerated()
    }

    fn kernel(self) -> Kernel {
        match self {
            Operands::F32 => Kernel::of(Isa::best()),
            Operands::Bf16 => Kernel::of_bf16(Isa::best()),
        }
    }
}

/// As [`gemm`], of factors that are rounded to what `operands` says.
///
/// ```
/// use headstart_kernels::gemm::{Epilogue, Matrix, Operands, gemm_of};
/// let mut y = [0.0];
/// let one_and_a_bit = [1.0 + 1.0 / 512.0];
/// let (a, b) = (Matrix::new(&one_and_a_bit, [1, 1], 1), Matrix::new(&[3.0], [1, 1], 1));
/// gemm_of(Operands::Bf16, a, b, &mut y, 1, false, &Epilogue::default());
/// assert_eq!(y, [3.0], "bf16 has eight bits of mantissa");
/// ```
pub fn gemm_of(
    operands: Operands,
    a: Matrix<'_>,
    b: Matrix<'_>,
    dst: &mut [f32],
    row_stride: usize,
    add: bool,
    epilogue: &Epilogue<'_>,
) {
    gemm_on(&operands.kernel(), a, b, dst, row_stride, add, epilogue);
}

/// Panics unless sizes fit each other, and the result its slice.
fn check(a: Matrix<'_>, b: Matrix<'_>, dst: &[f32], row_stride: usize) {
    let ([m, k], [k_b, n]) = (a.size(), b.size());
    assert_eq!(k, k_b, "inner sizes");
    assert!(n <= row_stride, "rows of {n} overlap at {row_stride}");
    assert!(m == 0 || n == 0 || (m - 1) * row_stride + n <= dst.len(), "the result lies in its slice");
}

fn gemm_on(
    kernel: &Kernel,
    a: Matrix<'_>,
    b: Matrix<'_>,
    dst: &mut [f32],
    row_stride: usize,
    add: bool,
    epilogue: &Epilogue<'_>,
) {
    check(a, b, dst, row_stride);
    let ([m, k], [_, n]) = (a.size(), b.size());
    if m == 0 || n == 0 {
        return;
    }
    epilogue.check(m, n, row_stride);
    let (left, right) = (a.rows_as_lines(), b.columns_as_lines());
    // SAFETY: the result lies in `dst`, which this product alone writes.
    unsafe {
        product_on(kernel, &left, &right, [m, n, k], Shared::new(dst), row_stride, add, epilogue, true)
    };
}

/// The product of any two factors, `[m, n, k]`, on all threads or on this one.
///
/// # Safety
/// `m` rows of `n` numbers, `row_stride` apart, can be written at the start of `to` by this product alone.
#[expect(clippy::too_many_arguments, reason = "what BLAS asks for, too")]
pub(crate) unsafe fn product(
    operands: Operands,
    left: &impl Lines,
    right: &impl Lines,
    size: [usize; 3],
    to: Shared,
    row_stride: usize,
    add: bool,
    epilogue: &Epilogue<'_>,
    in_parallel: bool,
) {
    // SAFETY: by the caller.
    unsafe { product_on(&operands.kernel(), left, right, size, to, row_stride, add, epilogue, in_parallel) };
}

#[expect(clippy::too_many_arguments, reason = "what BLAS asks for, too")]
unsafe fn product_on(
    kernel: &Kernel,
    left: &impl Lines,
    right: &impl Lines,
    [m, n, k]: [usize; 3],
    to: Shared,
    row_stride: usize,
    add: bool,
    epilogue: &Epilogue<'_>,
    in_parallel: bool,
) {
    let one = |rows: Range<usize>, cols: Range<usize>| {
        // SAFETY: rows and columns lie in the result, and no two blocks share an element.
        unsafe {
            let to = to.at(rows.start * row_stride + cols.start);
            compute(kernel, left, right, Block { rows, cols, k, to, row_stride, add }, epilogue);
        }
    };
    if !in_parallel || m * n * k <= SERIAL {
        let [_, cols] = cut(m, n, kernel, 1);
        return (0..n).step_by(cols.max(1)).for_each(|j| one(0..m, j..(j + cols).min(n)));
    }
    let [rows, cols] = cut(m, n, kernel, rayon::current_num_threads());
    let across = n.div_ceil(cols);
    (0..m.div_ceil(rows) * across).into_par_iter().with_max_len(1).for_each(|t| {
        let (i, j) = (t / across * rows, t % across * cols);
        one(i..(i + rows).min(m), j..(j + cols).min(n));
    });
}

/// `a·b` on this thread, for products that are many and small.
///
/// # Safety
/// Rows of the result, `row_stride` apart, can be written at `to` by this thread alone.
pub(crate) unsafe fn serial(
    operands: Operands,
    a: Matrix<'_>,
    b: Matrix<'_>,
    to: *mut f32,
    row_stride: usize,
    add: bool,
    epilogue: &Epilogue<'_>,
) {
    let ([m, k], [k_b, n]) = (a.size(), b.size());
    assert_eq!(k, k_b, "inner sizes");
    let (left, right) = (a.rows_as_lines(), b.columns_as_lines());
    // SAFETY: by the caller.
    unsafe { product(operands, &left, &right, [m, n, k], Shared(to), row_stride, add, epilogue, false) };
}

/// Where blocks are written from several threads.
#[derive(Clone, Copy)]
pub(crate) struct Shared(*mut f32);

// SAFETY: whoever writes through it promises to write elements that nobody else does.
unsafe impl Sync for Shared {}
// SAFETY: as above.
unsafe impl Send for Shared {}

impl Shared {
    pub(crate) fn new(slice: &mut [f32]) -> Self {
        Shared(slice.as_mut_ptr())
    }

    /// What lies there need not be f32, if whoever writes knows.
    pub(crate) fn from_pointer(pointer: *mut f32) -> Self {
        Shared(pointer)
    }

    /// # Safety
    /// The element lies in the slice that the pointer was made of.
    pub(crate) unsafe fn at(self, i: usize) -> *mut f32 {
        // SAFETY: by the caller.
        unsafe { self.0.add(i) }
    }
}

/// Rows and columns of a block: as large as the caches like, as small as the threads need.
fn cut(m: usize, n: usize, kernel: &Kernel, n_threads: usize) -> [usize; 2] {
    let share = |size: usize, parts: usize, unit: usize| size.div_ceil(parts).next_multiple_of(unit);
    let (mut parts_m, mut parts_n) = (1, n.div_ceil(NC));
    let wanted = if n_threads == 1 { 1 } else { n_threads * BLOCKS_A_THREAD };
    loop {
        let (rows, cols) = (share(m, parts_m, kernel.mr), share(n, parts_n, kernel.nr));
        let blocks = m.div_ceil(rows) * n.div_ceil(cols);
        let smallest = rows <= 4 * kernel.mr && cols <= kernel.nr;
        if blocks >= wanted || smallest {
            return [rows, cols];
        }
        if rows > cols.min(4 * kernel.mr) && (rows >= cols || cols <= kernel.nr) {
            parts_m += 1
        } else {
            parts_n += 1
        }
    }
}

#[cfg(test)]
mod tests;
