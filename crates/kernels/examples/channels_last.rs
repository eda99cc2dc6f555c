//! How fast layers of convolutional networks are on one thread, beside the peak that is measured in the same run.
//!
//! `cargo run --release -p headstart-kernels --example channels_last [EXAMPLES] [f32|bf16|int8]`

mod layers;

use std::time::{Duration, Instant};

use headstart_kernels::channels_last::{Convolution, Depthwise, Finish, View, Winograd};
use headstart_kernels::{Floats, Isa, Precision, peak};
use layers::{LAYERS, window};

fn main() {
    let n = std::env::args().nth(1).and_then(|n| n.parse().ok()).unwrap_or(4);
    let precision = match std::env::args().nth(2).as_deref() {
        Some("bf16") => Precision::Bf16,
        Some("int8") => Precision::Int8,
        _ => Precision::F32,
    };
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the first pool");
    let finish = Finish { clamp: [0.0, 6.0], ..Finish::default() };
    let mut top = 0.0f64;
    for layer @ [side, c, o, k, stride] in LAYERS {
        let window = window(n, layer);
        let from = View::new(0, [side; 2], c, window.margin());
        let to = View::new(from.image, window.out(), if o == 0 { c } else { o }, [1; 4]);
        let mut arena = Floats::zeros((to.start + to.image) * n);
        arena.iter_mut().enumerate().for_each(|(i, v)| *v = (i % 7) as f32 * 0.1);
        let weight = vec![0.01; k * k * if o == 0 { c } else { c * o }];
        let views = [from, to];
        let layer = if o == 0 {
            Layer::Depthwise(Depthwise::new(&weight, None, window, views, finish))
        } else if precision == Precision::F32 && Winograd::pays(&window, o) {
            Layer::Winograd(Winograd::new(&weight, None, window, views, None, finish))
        } else {
            Layer::Direct(Box::new(Convolution::new(precision, &weight, None, window, views, None, finish)))
        };
        let [h, w] = window.out();
        let flops = 2.0 * (weight.len() * n * h * w) as f64;
        // The least of many short runs: between two of them, others may have the core.
        let mut best = f64::MAX;
        for _ in 0..10 {
            top = top.max(peak::measure(precision, Isa::best(), Duration::from_millis(1)));
            for _ in 0..10 {
                let start = Instant::now();
                layer.run(&mut arena, n);
                best = best.min(start.elapsed().as_secs_f64());
            }
        }
        let (ms, gflops) = (best * 1e3 / n as f64, flops / best / 1e9);
        println!(
            "{side:4}² × {c:4} → {o:4}, {k}×{k} by {stride}: {ms:7.3} ms, {gflops:6.1} GF/s, {:3.0} % of the peak",
            gflops * 1e11 / top
        );
    }
}

enum Layer {
    Direct(Box<Convolution>),
    Winograd(Winograd),
    Depthwise(Depthwise),
}

impl Layer {
    fn run(&self, arena: &mut [f32], n: usize) {
        match self {
            Layer::Direct(c) => c.run(arena, n, false),
            Layer::Winograd(w) => w.run(arena, n, false),
            Layer::Depthwise(d) => d.run(arena, n, false),
        }
    }
}
