//! Products of 8-bit integers, summed in i32: `y[i,j] = sᵢ·tⱼ·Σ qᵢ·wⱼ`, with a scale for every row of either factor.
//!
//! Both factors are quantised symmetrically to −127…127 (Jacob et al., 2018).  Activations are stored with 128 added, as
//! `vpdpbusd` multiplies unsigned by signed bytes; what that adds to every sum is taken off by the weights' sums.  Four
//! steps of the sum share a word, so that words are packed like numbers in f32.  Sums of integers are exact: every set of
//! instructions gives the same bits.

use rayon::prelude::*;

use super::kernel::{Kernel, Tile};
use super::pack::Strided;
use super::{Epilogue, Shared, product_on};
use crate::simd::widest;
use crate::{Isa, lanes};

/// Steps of the sum that share a word.
const GROUP: usize = 4;
/// Longest sum that cannot overflow: 2³¹ / (255·127).
const STEPS_MAX: usize = 66_000;

/// Rows of activations in 8 bits.
#[derive(Debug, Clone)]
pub struct Activations(Bytes);

/// Rows of weights `[out, in]` in 8 bits.
#[derive(Debug, Clone)]
pub struct Weights {
    bytes: Bytes,
    /// Σ w by row.
    sums: Vec<i32>,
}

/// Rows of bytes, four to a word, in the pattern of an f32.
#[derive(Debug, Clone)]
struct Bytes {
    words: Vec<f32>,
    /// Rows and steps.
    size: [usize; 2],
    scales: Vec<f32>,
}

impl Activations {
    /// Quantises rows `[m, k]` that lie one after the other; a row of zeros stays so.
    pub fn quantise(x: &[f32], k: usize) -> Self {
        Activations(Bytes::quantise(x, k, 128).0)
    }
}

impl Weights {
    /// Quantises rows `[n, k]` that lie one after the other.
    pub fn quantise(weight: &[f32], k: usize) -> Self {
        let (bytes, sums) = Bytes::quantise(weight, k, 0);
        Weights { bytes, sums }
    }
}

impl Bytes {
    fn quantise(x: &[f32], k: usize, offset: i32) -> (Self, Vec<i32>) {
        assert!(k > 0 && k <= STEPS_MAX, "{k} steps of a sum (1 to {STEPS_MAX})");
        assert!(x.len().is_multiple_of(k), "rows of {k} numbers");
        let (rows, words_a_row) = (x.len() / k, k.div_ceil(GROUP));
        let mut words = vec![0.0f32; rows * words_a_row];
        let (scales, sums) = words
            .par_chunks_exact_mut(words_a_row)
            .with_min_len(8)
            .zip(x.par_chunks_exact(k))
            .map(|(words, x)| {
                let (largest, rest) =
                    widest(|| (lanes::max(x), lanes::sum(x, |v| if v.is_finite() { 0.0 } else { 1.0 })));
                assert!(rest == 0.0, "numbers to quantise are finite");
                let smallest = widest(|| x.iter().fold(0.0f32, |a, &v| if v < a { v } else { a }));
                let range = largest.max(-smallest);
                let scale = if range > 0.0 { range / 127.0 } else { 1.0 };
                let mut sum = 0;
                for (word, x) in words.iter_mut().zip(x.chunks(GROUP)) {
                    let mut bytes = [offset as u8; GROUP];
                    for (byte, v) in bytes.iter_mut().zip(x) {
                        let q = (v / scale).round_ties_even() as i32;
                        sum += q;
                        *byte = (q + offset) as u8;
                    }
                    *word = f32::from_bits(u32::from_le_bytes(bytes));
                }
                (scale, sum)
            })
            .unzip();
        (Bytes { words, size: [rows, k], scales }, sums)
    }

    fn lines(&self) -> Strided<'_> {
        Strided { data: &self.words, line: self.size[1].div_ceil(GROUP), step: 1 }
    }
}

/// `dst [m, n] = epilogue(x·weightᵀ)` for `x [m, k]` and `weight [n, k]`.
///
/// ```
/// use headstart_kernels::gemm::{Activations, Epilogue, Weights, gemm_int8};
/// let (x, w) = (Activations::quantise(&[127.0, -127.0], 2), Weights::quantise(&[2.54, 1.27], 2));
/// let mut y = [0.0];
/// gemm_int8(&x, &w, &mut y, &Epilogue::default());
/// assert!((y[0] - 127.0 * (2.54 - 1.28)).abs() < 1e-3, "1.27 of 2.54 is 64 of 127: {y:?}");
/// ```
pub fn gemm_int8(x: &Activations, weight: &Weights, dst: &mut [f32], epilogue: &Epilogue<'_>) {
    gemm_on(&Kernel::of_int8(Isa::best()), x, weight, dst, epilogue);
}

pub(super) fn gemm_on(
    kernel: &Kernel,
    x: &Activations,
    weight: &Weights,
    dst: &mut [f32],
    epilogue: &Epilogue<'_>,
) {
    let ([m, k], [n, k_w]) = (x.0.size, weight.bytes.size);
    assert_eq!(k, k_w, "inner sizes");
    assert_eq!(dst.len(), m * n, "an element for every row of x and of the weight");
    if m == 0 || n == 0 {
        return;
    }
    epilogue.check(m, n, n);
    let size = [m, n, k.div_ceil(GROUP)];
    let none = Epilogue::default();
    // SAFETY: dst is [m, n], and this product alone writes it.
    unsafe {
        product_on(kernel, &x.0.lines(), &weight.bytes.lines(), size, Shared::new(dst), n, false, &none, true)
    };
    dst.par_chunks_exact_mut(n).with_min_len((crate::CHUNK / n).max(1)).enumerate().for_each(|(i, row)| {
        let scale = x.0.scales[i];
        widest(|| {
            for ((v, t), sum) in row.iter_mut().zip(&weight.bytes.scales).zip(&weight.sums) {
                let exact = (v.to_bits() as i32).wrapping_sub(sum.wrapping_mul(128));
                *v = exact as f32 * (scale * t);
            }
        });
        epilogue.apply(i, 0, n, row);
    });
}

/// What the kernels for integers compute, on any machine.
pub(super) const PORTABLE: Kernel = Kernel { mr: 4, nr: 8, group: 1, prepare: None, run: portable };

/// # Safety
/// As [`Kernel::run`], over words of bytes and sums that are i32 in the pattern of f32.
unsafe fn portable(t: Tile) {
    for i in 0..t.rows {
        for j in 0..t.cols {
            let mut sum = 0i32;
            for p in 0..t.k {
                // SAFETY: step `p` of the panels.
                let (a, b) = unsafe { (*t.a.add(p * 4 + i), *t.b.add(p * 8 + j)) };
                let (a, b) = (a.to_bits().to_le_bytes(), b.to_bits().to_le_bytes());
                sum += a.iter().zip(b).map(|(&a, b)| i32::from(a) * i32::from(b as i8)).sum::<i32>();
            }
            // SAFETY: `rows` and `cols` of the tile lie in the result.
            unsafe {
                let to = t.c.add(i * t.ld + j);
                let before = if t.add { (*to).to_bits() as i32 } else { 0 };
                *to = f32::from_bits(before.wrapping_add(sum) as u32);
            }
        }
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) mod vnni {
    //! The tile of AVX-512 VNNI: 8 rows by 48 columns, four steps of the sum at a time by `vpdpbusd`.

    use std::arch::x86_64::*;

    use super::super::kernel::{Kernel, Tile, by_shape};

    pub(in super::super) const KERNEL: Kernel = Kernel { mr: MR, nr: NR, group: 1, prepare: None, run };

    const MR: usize = 8;
    const NR: usize = 3 * LANES;
    const LANES: usize = 16;

    /// Whether the machine has `vpdpbusd`.
    pub(in super::super) fn is_available() -> bool {
        is_x86_feature_detected!("avx512vnni")
    }

    /// # Safety
    /// As [`Kernel::run`], over words of bytes and sums that are i32 in the pattern of f32; the machine has VNNI.
    unsafe fn run(t: Tile) {
        // SAFETY: the caller vouches for the pointers and the instructions.
        unsafe { by_shape!(tile, t, LANES, 1 2 3 4 5 6 7 8) }
    }

    /// `R` rows and `V` vectors of columns, of which the last may be partly outside.
    #[target_feature(enable = "avx512f,avx512vnni")]
    unsafe fn tile<const R: usize, const V: usize>(t: Tile) {
        let mut sums = [[_mm512_setzero_si512(); V]; R];
        let (mut a, mut b) = (t.a.cast::<i32>(), t.b.cast::<i32>());
        for _ in 0..t.k {
            // SAFETY: `a` and `b` hold `k` steps of `MR` and `NR` words, of which this is one.
            unsafe {
                let mut right = [_mm512_setzero_si512(); V];
                for (v, right) in right.iter_mut().enumerate() {
                    *right = _mm512_loadu_si512(b.add(v * LANES).cast());
                }
                for (i, sums) in sums.iter_mut().enumerate() {
                    let left = _mm512_set1_epi32(*a.add(i));
                    for (sum, right) in sums.iter_mut().zip(right) {
                        *sum = _mm512_dpbusd_epi32(*sum, left, right);
                    }
                }
                a = a.add(MR);
                b = b.add(NR);
            }
        }
        let last: __mmask16 = 0xffff >> (V * LANES - t.cols);
        for (i, sums) in sums.iter().enumerate() {
            for (v, &sum) in sums.iter().enumerate() {
                let mask = if v + 1 == V { last } else { 0xffff };
                // SAFETY: the mask keeps to the `cols` columns of a row of the tile, which lies in the result.
                unsafe {
                    let to = t.c.add(i * t.ld + v * LANES).cast::<i32>();
                    let before = _mm512_maskz_loadu_epi32(mask, to);
                    let sum = if t.add { _mm512_add_epi32(before, sum) } else { sum };
                    _mm512_mask_storeu_epi32(to, mask, sum);
                }
            }
        }
    }
}
