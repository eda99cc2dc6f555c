//! Times products of matrices against the peak of the cores, measured in turn in the same run; one JSON line each.
//!
//! `cargo run --release -p headstart-kernels --example gemm [M N K]…`

use std::time::{Duration, Instant};

use headstart_kernels::channels_last::Linear;
use headstart_kernels::gemm::{Epilogue, Matrix, Operands, gemm_of};
use headstart_kernels::{Activation, Isa, Precision, peak};

fn main() {
    let numbers: Vec<usize> = std::env::args().skip(1).filter_map(|a| a.parse().ok()).collect();
    let sizes: Vec<[usize; 3]> =
        if numbers.is_empty() { vec![[1024, 1024, 1024]] } else { numbers.as_chunks::<3>().0.to_vec() };
    for [m, n, k] in sizes {
        let a = vec![0.5f32; m * k];
        let b = vec![0.25f32; k * n];
        let mut y = vec![0.0f32; m * n];
        let has = |precision: &Precision| *precision == Precision::F32 || precision.is_accelerated();
        let products = [
            ("a·b", Matrix::new(&a, [m, k], k), Matrix::new(&b, [k, n], n)),
            ("a·bᵀ", Matrix::new(&a, [m, k], k), Matrix::new(&b, [n, k], k).transpose()),
            ("aᵀ·b", Matrix::new(&a, [k, m], m).transpose(), Matrix::new(&b, [k, n], n)),
        ];
        let f32s = products.map(|(name, a, b)| (name, Precision::F32, a, b));
        let bf16s = products.map(|(name, a, b)| (name, Precision::Bf16, a, b));
        for precision in [Precision::F32, Precision::Bf16, Precision::Int8].into_iter().filter(has) {
            let layer = Linear::new(precision, &b, None, k, Activation::Identity);
            time("a·bᵀ, b packed", precision, [m, n, k], &mut || layer.run(&a, &mut y));
        }
        for (name, precision, a, b) in f32s.into_iter().chain(bf16s.into_iter().filter(|p| has(&p.1))) {
            let operands = if precision == Precision::F32 { Operands::F32 } else { Operands::Bf16 };
            let mut run = || gemm_of(operands, a, b, &mut y, n, false, &Epilogue::default());
            time(name, precision, [m, n, k], &mut run);
        }
    }
}

fn time(name: &str, precision: Precision, [m, n, k]: [usize; 3], run: &mut dyn FnMut()) {
    let (mut rates, mut peaks) = (Vec::new(), Vec::new());
    let operations = 2.0 * (m * n * k) as f64;
    let repeats = (2e9 / operations).ceil() as usize;
    for _ in 0..7 {
        peaks.push(peak::measure(precision, Isa::best(), Duration::from_millis(20)));
        let start = Instant::now();
        for _ in 0..repeats {
            run();
        }
        rates.push(operations * repeats as f64 / start.elapsed().as_secs_f64());
    }
    let (rate, peak) = (median(rates), median(peaks));
    println!(
        r#"{{"product":"{name}","precision":"{precision:?}","m":{m},"n":{n},"k":{k},"gflops":{:.1},"peak_gflops":{:.1},"share":{:.3}}}"#,
        rate / 1e9,
        peak / 1e9,
        rate / peak
    );
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
