//! How long the parts of a transformer's layer take that are not products with weights, on one thread.
//!
//! `cargo run --release -p headstart-kernels --example transformer`

use std::hint::black_box;
use std::time::Instant;

use headstart_kernels::attention::{self, Shape};
use headstart_kernels::gemm::Operands;
use headstart_kernels::{Activation, layer_norm, softmax};

fn main() {
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the first pool");
    let numbers = |n: usize| (0..n).map(|i| ((i * 37 % 101) as f32 - 50.0) * 0.05).collect::<Vec<f32>>();
    let [rows, width] = [2048, 384];
    let x = numbers(rows * width);
    let mut y = x.clone();
    println!(
        "softmax    {:6.2} ns a number",
        best(&mut || softmax::forward(&x, 128, &mut y)) / x.len() as f64
    );
    println!(
        "GELU       {:6.2} ns a number",
        best(&mut || Activation::Gelu.forward(&x, &mut y)) / x.len() as f64
    );
    let [weight, bias] = [numbers(width), numbers(width)];
    let norm = best(&mut || drop(black_box(layer_norm::forward(&x, [&weight, &bias], 1e-5, &mut y))));
    println!("layer norm {:6.2} ns a number", norm / x.len() as f64);
    let networks = [("MiniLM", 16, 32), ("BERT-base", 8, 64)];
    for ((network, n, size), operands) in
        networks.iter().flat_map(|n| [Operands::F32, Operands::Bf16].map(|o| (*n, o)))
    {
        let d = Shape { n, s_q: 128, s_k: 128, heads: 12, size, scale: 0.1, operands };
        let [q, k, v, g] = std::array::from_fn(|_| numbers(n * 128 * 12 * size));
        let [mut y, mut dq, mut dk, mut dv] = std::array::from_fn(|_| q.clone());
        let mut normalisers = Vec::new();
        let forward = best(&mut || normalisers = attention::forward(&d, [&q, &k, &v], None, None, &mut y));
        let backward = best(&mut || {
            attention::backward(&d, [&q, &k, &v], None, None, &normalisers, &g, [&mut dq, &mut dk, &mut dv]);
        });
        println!(
            "attention of {network} in {operands:?}: forward {:.2} ms, backward {:.2} ms",
            forward * 1e-6,
            backward * 1e-6
        );
    }
}

/// The least nanoseconds of several runs.
fn best(f: &mut dyn FnMut()) -> f64 {
    (0..30)
        .map(|_| {
            let start = Instant::now();
            f();
            start.elapsed().as_nanos() as f64
        })
        .fold(f64::INFINITY, f64::min)
}
