//! Products against their definition in f64, on every set of instructions that the machine has.

use proptest::prelude::*;

use super::*;
use crate::Activation;
use crate::numbers;

/// A matrix as it lies: with rows further apart than they are long, plain or transposed.
fn stored(values: &[f32], [rows, cols]: [usize; 2], gap: usize, transposed: bool) -> Vec<f32> {
    let (outer, inner) = if transposed { (cols, rows) } else { (rows, cols) };
    let mut data = vec![f32::NAN; outer * (inner + gap)];
    for i in 0..outer {
        for j in 0..inner {
            data[i * (inner + gap) + j] =
                if transposed { values[j * cols + i] } else { values[i * cols + j] };
        }
    }
    data
}

fn view(data: &[f32], [rows, cols]: [usize; 2], gap: usize, transposed: bool) -> Matrix<'_> {
    if transposed {
        Matrix::new(data, [cols, rows], rows + gap).transpose()
    } else {
        Matrix::new(data, [rows, cols], cols + gap)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn agrees_with_the_definition(
        m in 1usize..70, n in 1usize..110, k in 0usize..900,
        transposed in any::<[bool; 2]>(), gap in 0usize..3, add in any::<bool>(), bias in 0usize..3, seed in 0u32..1000,
    ) {
        let (a, b) = (numbers(m * k, seed), numbers(k * n, seed + 1));
        let a_data = stored(&a, [m, k], gap, transposed[0]);
        let b_data = stored(&b, [k, n], gap, transposed[1]);
        let before = numbers(m * (n + gap), seed + 2);
        let residual = numbers(m * (n + gap), seed + 3);
        let by_row = numbers(m, seed + 4);
        let by_column = numbers(n, seed + 5);
        let epilogue = Epilogue {
            bias: [Bias::None, Bias::Row(&by_row), Bias::Column(&by_column)][bias],
            residual: add.then_some(&residual),
            activation: Activation::Relu,
        };
        for isa in Isa::available() {
            let mut dst = before.clone();
            let (a_view, b_view) = (view(&a_data, [m, k], gap, transposed[0]), view(&b_data, [k, n], gap, transposed[1]));
            gemm_on(&Kernel::of(isa), a_view, b_view, &mut dst, n + gap, add, &epilogue);
            for i in 0..m {
                for j in 0..n + gap {
                    let at = i * (n + gap) + j;
                    if j >= n {
                        prop_assert_eq!(dst[at], before[at], "the margin stays");
                        continue;
                    }
                    let mut want: f64 = (0..k).map(|p| f64::from(a[i * k + p]) * f64::from(b[p * n + j])).sum();
                    if add {
                        want += f64::from(before[at]) + f64::from(residual[at]);
                    }
                    want += f64::from([0.0, by_row[i], by_column[j]][bias]);
                    let bound = 1e-6 * (k as f64 + 10.0).sqrt() * 3.0;
                    prop_assert!((f64::from(dst[at]) - want.max(0.0)).abs() < bound, "{isa:?} ({i}, {j}) of {m}×{n}×{k}");
                }
            }
        }
    }
}

#[test]
fn the_same_bits_for_any_number_of_threads() {
    for [m, n, k] in [[200, 333, 800], [1000, 64, 500], [8, 4096, 64]] {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let run = |n_threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("a pool");
            let mut y = vec![0.0; m * n];
            let (a, b) = (Matrix::new(&a, [m, k], k), Matrix::new(&b, [n, k], k).transpose());
            pool.install(|| gemm(a, b, &mut y, n, false, &Epilogue::default()));
            y
        };
        let want = run(1);
        for n_threads in [2, 3, 16] {
            assert!(run(n_threads) == want, "{m}×{n}×{k} on {n_threads} threads");
        }
    }
}

#[test]
#[should_panic(expected = "lies in its slice")]
fn short_slices_are_refused() {
    Matrix::new(&[0.0; 3], [2, 2], 2);
}

#[test]
#[should_panic(expected = "the result lies in its slice")]
fn a_short_result_is_refused() {
    let a = Matrix::new(&[0.0; 4], [2, 2], 2);
    gemm(a, a, &mut [0.0; 3], 2, false, &Epilogue::default());
}

#[test]
fn bf16_is_the_product_of_rounded_operands() {
    let rounded = |v: &[f32]| -> Vec<f32> {
        v.iter()
            .map(|v| f32::from_bits((v.to_bits() + 0x7fff + (v.to_bits() >> 16 & 1)) & 0xffff_0000))
            .collect()
    };
    for [m, n, k] in [[1, 1, 1], [9, 50, 7], [33, 100, 801], [8, 48, 384]] {
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let (a_rounded, b_rounded) = (rounded(&a), rounded(&b));
        for isa in Isa::available() {
            let mut dst = vec![0.0; m * n];
            let (a, b) = (Matrix::new(&a, [m, k], k), Matrix::new(&b, [k, n], n));
            gemm_on(&Kernel::of_bf16(isa), a, b, &mut dst, n, false, &Epilogue::default());
            for (at, got) in dst.iter().enumerate() {
                let (i, j) = (at / n, at % n);
                let want: f64 =
                    (0..k).map(|p| f64::from(a_rounded[i * k + p]) * f64::from(b_rounded[p * n + j])).sum();
                assert!(
                    (f64::from(*got) - want).abs() < 1e-4,
                    "{isa:?} ({i}, {j}) of {m}×{n}×{k}: {got} for {want}"
                );
            }
        }
    }
}
