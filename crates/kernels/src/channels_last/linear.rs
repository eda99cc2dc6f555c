//! The linear layer on rows that lie one after the other, `y = act(x·weightᵀ + bias)`, with weights packed once.

use rayon::prelude::*;

use super::filters::Filters;
use super::product::{BLOCK, Product, Rows};
use super::rounding::round;
use super::tile::{Finish, ROWS_MAX, Segment};
use super::vector::lanes;
use super::with_buffer;
use crate::gemm::Shared;
use crate::{Activation, Isa, Precision};

/// A linear layer with packed weights.  In integers, every row of `x` has a scale of its own.
///
/// ```
/// use headstart_kernels::{Activation, Precision, channels_last::Linear};
/// let layer = Linear::new(Precision::F32, &[1.0, 2.0, 3.0, 4.0], Some(&[0.5, -20.0]), 2, Activation::Relu);
/// let mut y = [0.0; 4];
/// layer.run(&[1.0, 1.0, 2.0, 3.0], &mut y);
/// assert_eq!(y, [3.5, 0.0, 8.5, 0.0]);
/// ```
#[derive(Debug)]
pub struct Linear {
    product: Product,
    width: usize,
}

impl Linear {
    /// Packs `weight [out, width]` and `bias? [out]`.
    pub fn new(
        precision: Precision,
        weight: &[f32],
        bias: Option<&[f32]>,
        width: usize,
        activation: Activation,
    ) -> Self {
        Self::on((precision.isa(), precision), weight, bias, width, activation)
    }

    pub(super) fn on(
        (isa, precision): (Isa, Precision),
        weight: &[f32],
        bias: Option<&[f32]>,
        width: usize,
        activation: Activation,
    ) -> Self {
        let filters = Filters::pack(precision, weight, bias, width, 1, lanes(isa));
        let runs = vec![Segment { offset: 0, len: width.div_ceil(precision.factors_a_word()) }];
        Linear {
            product: Product::new(isa, filters, runs, Finish { activation, ..Finish::default() }, false),
            width,
        }
    }

    /// Before the activation, adds what is given where it runs.
    ///
    /// ```
    /// use headstart_kernels::{Activation, Precision, channels_last::Linear};
    /// let layer = Linear::new(Precision::F32, &[2.0], None, 1, Activation::Identity).adding();
    /// let mut y = [0.0];
    /// layer.run_adding(&[3.0], Some(&[10.0]), &mut y);
    /// assert_eq!(y, [16.0]);
    /// ```
    pub fn adding(mut self) -> Self {
        self.product.has_residual = true;
        self
    }

    /// Length of a row of `y`.
    pub fn out(&self) -> usize {
        self.product.filters.len()
    }

    /// `x [rows, width]` → `y [rows, out]`, on all threads of the pool.
    pub fn run(&self, x: &[f32], y: &mut [f32]) {
        self.run_adding(x, None, y);
    }

    /// The same with `residual [rows, out]`, if the layer is [`Linear::adding`].
    pub fn run_adding(&self, x: &[f32], residual: Option<&[f32]>, y: &mut [f32]) {
        self.run_on(rayon::current_num_threads(), x, residual, y);
    }

    /// The same as [`Linear::run`] on the caller's thread alone: for a task among many.
    pub fn run_here(&self, x: &[f32], y: &mut [f32]) {
        self.run_on(1, x, None, y);
    }

    /// `next` of what this layer makes, on all threads of the pool.  Of many rows, what is between the layers never leaves the cache.
    ///
    /// ```
    /// use headstart_kernels::{Activation, Precision, channels_last::Linear};
    /// let first = Linear::new(Precision::F32, &[1.0, -1.0], None, 1, Activation::Relu);
    /// let second = Linear::new(Precision::F32, &[1.0, 1.0], None, 2, Activation::Identity).adding();
    /// let mut y = [0.0; 2];
    /// first.run_before(&second, &[2.0, -3.0], Some(&[0.5, 0.25]), &mut y);
    /// assert_eq!(y, [2.5, 3.25]);
    /// ```
    pub fn run_before(&self, next: &Linear, x: &[f32], residual: Option<&[f32]>, y: &mut [f32]) {
        let (rows, between, out) = (x.len() / self.width, self.out(), next.out());
        assert_eq!((next.width, y.len()), (between, rows * out), "layers that fit, and rows of y");
        let cached = (BETWEEN / between).next_multiple_of(ROWS_MAX);
        let size = rows.div_ceil(3 * rayon::current_num_threads()).next_multiple_of(ROWS_MAX);
        if size < 4 * ROWS_MAX {
            let mut made = vec![0.0; rows * between];
            self.run(x, &mut made);
            return next.run_adding(&made, residual, y);
        }
        let size = size.min(cached).max(4 * ROWS_MAX);
        y.par_chunks_mut(size * out)
            .zip(x.par_chunks(size * self.width))
            .enumerate()
            .with_max_len(1)
            .for_each_init(Vec::new, |made: &mut Vec<f32>, (i, (y, x))| {
                made.resize(x.len() / self.width * between, 0.0);
                self.run_here(x, made);
                next.run_on(1, made, residual.map(|r| &r[i * size * out..][..y.len()]), y);
            });
    }

    fn run_on(&self, n_threads: usize, x: &[f32], residual: Option<&[f32]>, y: &mut [f32]) {
        let (rows, out) = (x.len() / self.width, self.out());
        assert_eq!([x.len(), y.len()], [rows * self.width, rows * out], "rows of x and of y");
        assert_eq!(residual.map(<[f32]>::len), self.product.has_residual.then_some(y.len()), "what is added");
        let tasks = if n_threads == 1 { 1 } else { 3 * n_threads };
        let panels = self.product.filters.n_panels();
        let size = rows.div_ceil(tasks).next_multiple_of(ROWS_MAX).clamp(4 * ROWS_MAX, BLOCK);
        let down = rows.div_ceil(size);
        let across = tasks.div_ceil(down.max(1)).min(panels);
        let y = Shared::new(y);
        let block = |task: usize| {
            let (i, j) = (task / across, task % across);
            let block = i * size..((i + 1) * size).min(rows);
            let panels = j * panels / across..(j + 1) * panels / across;
            let x = &x[block.start * self.width..block.end * self.width];
            // SAFETY: `y` has a row for each of `x`, and no two tasks share a result.
            self.rounded(x, |r| unsafe {
                for k in 0..r.len {
                    let at = (block.start + k) * out;
                    r.to[k] = y.at(at);
                    r.residual[k] = residual.map_or(std::ptr::null(), |r| r[at..].as_ptr());
                }
                self.product.run(r, panels.clone());
            });
        };
        if n_threads == 1 || rows * self.width * out < SERIAL {
            (0..down * across).for_each(block);
        } else {
            (0..down * across).into_par_iter().with_max_len(1).for_each(block);
        }
    }

    /// Calls `f` with at most [`BLOCK`] rows of `x` in the layer's precision.
    fn rounded(&self, x: &[f32], f: impl FnOnce(&mut Rows)) {
        let precision = self.product.filters.precision();
        let words = self.width.div_ceil(precision.factors_a_word());
        let mut rows = Rows::none();
        rows.len = x.len() / self.width;
        if precision == Precision::F32 {
            x.chunks_exact(words).zip(&mut rows.from).for_each(|(row, from)| *from = row.as_ptr());
            return f(&mut rows);
        }
        with_buffer(words * rows.len, |buffer| {
            for (i, (row, to)) in x.chunks_exact(self.width).zip(buffer.chunks_exact_mut(words)).enumerate() {
                rows.steps[i] = round(precision, std::iter::once((row, 0)), to);
                rows.from[i] = to.as_ptr();
            }
            f(&mut rows);
        });
    }
}

/// Numbers between two layers that stay in the second cache.
const BETWEEN: usize = 1 << 17;
/// Products with fewer multiplications than this are not worth waking a thread.
const SERIAL: usize = 1 << 18;
