//! `aᵀ·b` of rows that lie as they do, as a sum of outer products: nothing is packed, which pays where few rows of the result share
//! what packing would cost.

use super::tile::{self, Multiply, ROWS_MAX, VECTORS_MAX, rows};
use super::vector::{Vector, by_isa, lanes};
use crate::{Isa, Precision};

/// `to [m, n] = aᵀ·b` of `k` rows each, `a [k, m]` and `b [k, n]`, on this thread.
///
/// ```
/// let mut y = [0.0; 2];
/// headstart_kernels::channels_last::transposed_product(&[1.0, 2.0, 3.0, 4.0], &[10.0, 1.0], 2, &mut y);
/// assert_eq!(y, [13.0, 24.0]);
/// ```
pub fn transposed_product(a: &[f32], b: &[f32], k: usize, to: &mut [f32]) {
    let [m, n] = [a.len(), b.len()].map(|len| len / k.max(1));
    assert_eq!([a.len(), b.len(), to.len()], [k * m, k * n, m * n], "rows of the factors and of the result");
    match k {
        0 => to.fill(0.0),
        _ => multiply([a, b], [m, n], k, [m, n], to, n, false, false),
    }
}

/// `to [m, n] = aᵀ·b`, or `to += aᵀ·b`, of `a [k, m]` and `b [k, n]`; rows of the three lie `pitches` and `width` apart.  Factors may be
/// pairs of bf16 side by side.
#[expect(clippy::too_many_arguments, reason = "two factors and a product")]
pub(super) fn multiply(
    [a, b]: [&[f32]; 2],
    pitches: [usize; 2],
    k: usize,
    [m, n]: [usize; 2],
    to: &mut [f32],
    width: usize,
    add: bool,
    in_pairs: bool,
) {
    if m == 0 || n == 0 {
        return;
    }
    let isa = Isa::best();
    let lanes = lanes(isa);
    assert!(a.len() >= (k - 1) * pitches[0] + m && to.len() >= (m - 1) * width + n, "rows of a product");
    assert!(b.len() >= (k - 1) * pitches[1] + n, "rows of the right factor");
    assert!(!in_pairs || Precision::Bf16.is_accelerated(), "products of pairs on this machine");
    for j in (0..n).step_by(VECTORS_MAX * lanes) {
        let cols = (n - j).min(VECTORS_MAX * lanes);
        for i in (0..m).step_by(rows(isa)) {
            let tile = OuterTile {
                a: &a[i..],
                b: &b[j..],
                pitches,
                k,
                rows: rows(isa).min(m - i),
                cols,
                to: to[i * width + j..].as_mut_ptr(),
                width,
                add,
            };
            // SAFETY: rows and columns lie in the three slices, as was just checked, and so were the instructions.
            unsafe { if in_pairs { sum_outer_pairs(isa, &tile) } else { sum_outer(isa, &tile) } };
        }
    }
}

/// A tile of a sum of outer products.
pub(super) struct OuterTile<'a> {
    a: &'a [f32],
    b: &'a [f32],
    pitches: [usize; 2],
    k: usize,
    rows: usize,
    cols: usize,
    to: *mut f32,
    width: usize,
    add: bool,
}

by_isa! {
    /// Computes a tile.
    ///
    /// # Safety
    /// `k` rows of the factors lie in their slices, and the tile's rows can be written; the machine has the instructions.
    sum_outer => outer_any::<tile::Floats>(
        t: &OuterTile<'_>)
}

by_isa! {
    /// Computes a tile of pairs.
    ///
    /// # Safety
    /// As [`sum_outer`].
    sum_outer_pairs with "avx512bf16" => outer_any::<tile::Pairs>(
        t: &OuterTile<'_>)
}

#[inline(always)]
unsafe fn outer_any<V: Vector, M: Multiply>(t: &OuterTile<'_>) {
    // SAFETY: by the caller.
    unsafe {
        match t.cols.div_ceil(V::LANES) {
            1 => outer_of_width::<V, M, 1>(t),
            2 => outer_of_width::<V, M, 2>(t),
            _ => outer_of_width::<V, M, 3>(t),
        }
    }
}

#[inline(always)]
unsafe fn outer_of_width<V: Vector, M: Multiply, const N: usize>(t: &OuterTile<'_>) {
    // SAFETY: by the caller.
    unsafe {
        match t.rows {
            ROWS_MAX => outer_of_size::<V, M, N, ROWS_MAX>(t),
            4 => outer_of_size::<V, M, N, 4>(t),
            2 => outer_of_size::<V, M, N, 2>(t),
            // Few: one after the other.
            n => (0..n).for_each(|i| {
                let (a, to) = (&t.a[i..], t.to.add(i * t.width));
                outer_of_size::<V, M, N, 1>(&OuterTile { a, to, rows: 1, ..*t });
            }),
        }
    }
}

#[inline(always)]
unsafe fn outer_of_size<V: Vector, M: Multiply, const N: usize, const R: usize>(t: &OuterTile<'_>) {
    // SAFETY: by the caller.
    unsafe {
        let last = t.cols - (N - 1) * V::LANES;
        let mut sums = [[V::splat(0.0); N]; R];
        let (mut a, mut b) = (t.a.as_ptr(), t.b.as_ptr());
        for _ in 0..t.k {
            let mut right = [V::splat(0.0); N];
            for (v, right) in right.iter_mut().enumerate() {
                let at = b.add(v * V::LANES);
                *right = if v + 1 == N && last < V::LANES { V::load_first(at, last) } else { V::load(at) };
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let left = V::splat(*a.add(r));
                for (sum, right) in sums.iter_mut().zip(right) {
                    *sum = M::add(*sum, left, right);
                }
            }
            a = a.wrapping_add(t.pitches[0]);
            b = b.wrapping_add(t.pitches[1]);
        }
        // Once through memory: a loop over the sums themselves would keep them there from the start.
        let mut done = [[std::mem::MaybeUninit::<V>::uninit(); N]; R];
        for (done, sums) in done.iter_mut().zip(sums) {
            done.iter_mut().zip(sums).for_each(|(done, sum)| {
                done.write(sum);
            });
        }
        for (r, done) in std::hint::black_box(&done).iter().enumerate() {
            for (v, sum) in done.iter().enumerate() {
                let n = if v + 1 == N { last } else { V::LANES };
                let (mut sum, to) = (sum.assume_init(), t.to.add(r * t.width + v * V::LANES));
                if t.add {
                    sum = V::load_first(to, n).add(sum);
                }
                if n == V::LANES { sum.store(to) } else { sum.store_first(to, n) }
            }
        }
    }
}
