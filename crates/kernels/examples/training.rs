//! How fast the passes of a step of training are, layer by layer, beside the peak that is measured in the same run.
//!
//! `cargo run --release -p headstart-kernels --example training [EXAMPLES] [f32|bf16]`

mod layers;

use std::time::{Duration, Instant};

use headstart_kernels::batch_norm::{BatchNorm, statistics};
use headstart_kernels::channels_last::training::{self as kernel, Then};
use headstart_kernels::gemm::Operands;
use headstart_kernels::{Isa, Precision, peak};
use layers::{LAYERS, window};

/// Height and width, channels and filters, groups, stride: 3×3 layers of ResNeXt and RegNet.
const GROUPED: [[usize; 4]; 6] = [
    [56, 128, 32, 1],
    [28, 256, 32, 1],
    [14, 512, 32, 1],
    [14, 1024, 32, 2],
    [28, 208, 26, 1],
    [14, 448, 4, 1],
];

fn main() {
    let mut args = std::env::args().skip(1);
    let n = args.next().and_then(|n| n.parse().ok()).unwrap_or(4);
    let operands = if args.next().as_deref() == Some("bf16") { Operands::Bf16 } else { Operands::F32 };
    rayon::ThreadPoolBuilder::new().num_threads(1).build_global().expect("the first pool");
    let dense = LAYERS.map(|layer| (layer, 1));
    let grouped = GROUPED.map(|[side, c, groups, stride]| ([side, c, c, 3, stride], groups));
    for (layer @ [side, c, o, k, stride], groups) in dense.into_iter().chain(grouped) {
        let d = window(n, layer);
        let [h, w] = d.out();
        let numbers = |n: usize| (0..n).map(|i| (i % 7) as f32 * 0.1).collect::<Vec<f32>>();
        let weight = numbers(k * k * if o == 0 { c } else { c * o / groups });
        let out = if o == 0 { c } else { o };
        let (x, mut y) = (numbers(n * side * side * c), numbers(n * h * w * out));
        let (mut dx, mut dw) = (x.clone(), weight.clone());
        let flops = 2.0 * (weight.len() * n * h * w) as f64;
        let grad = y.clone();
        let times = [
            best(&mut || match o {
                0 => kernel::depthwise(&d, &x, &weight, &Then::default(), &mut y),
                _ => kernel::forward(&d, groups, operands, &x, &weight, &Then::default(), &mut y),
            }),
            best(&mut || match o {
                0 => kernel::depthwise_backward_data(&d, &weight, &grad, None, &mut dx),
                _ => kernel::backward_data(&d, groups, operands, &weight, &grad, None, &mut dx),
            }),
            best(&mut || match o {
                0 => kernel::depthwise_backward_weight(&d, &x, &grad, &mut dw),
                _ => kernel::backward_weight(&d, groups, operands, &x, &grad, &mut dw),
            }),
        ];
        print!("{side:4}² × {c:4} → {o:4} in {groups:2}, {k}×{k} by {stride}:");
        for (time, top) in times {
            let share = flops / time / top * 100.0;
            print!(" {:7.3} ms {share:3.0} %", time * 1e3);
        }
        println!();
    }
    for [rows, c] in [[12_544 * n, 16], [12_544 * n, 96], [3136 * n, 64], [196 * n, 576]] {
        let x: Vec<f32> = (0..rows * c).map(|i| (i % 7) as f32 * 0.1).collect();
        let (affine, mut y, mut grad) = (vec![1.0; c], x.clone(), x.clone());
        let clip = [0.0, 6.0];
        let norm = BatchNorm { statistics: statistics(&x, c), are_given: false, eps: 1e-5, clip };
        let gigabytes = (rows * c * 4) as f64 / 1e9;
        let passes = [
            best(&mut || drop(statistics(&x, c))),
            best(&mut || norm.forward(&x, [&affine, &affine], None, &mut y)),
            best(&mut || drop(norm.backward(&x, [&affine, &affine], &mut grad))),
        ];
        print!("{rows:6} × {c:4}: batch norm");
        for ((time, _), images) in passes.into_iter().zip([1.0, 2.0, 5.0]) {
            print!(" {:7.3} ms {:4.1} GB/s", time * 1e3, images * gigabytes / time);
        }
        println!();
    }
}

/// The least seconds of several runs, and the peak meanwhile: between two of them, others may have the core.
fn best(f: &mut dyn FnMut()) -> (f64, f64) {
    let (mut least, mut top) = (f64::MAX, 0.0f64);
    for _ in 0..12 {
        top = top.max(peak::measure(Precision::F32, Isa::best(), Duration::from_millis(1)));
        let (start, on_processor) = (Instant::now(), processor_seconds());
        f();
        let seconds = match (on_processor, processor_seconds()) {
            (Some(start), Some(end)) => end - start,
            _ => start.elapsed().as_secs_f64(),
        };
        least = least.min(seconds);
    }
    (least, top)
}

/// What all threads had of the processor, where Linux says: others may have it meanwhile.
fn processor_seconds() -> Option<f64> {
    let mut sum = 0.0;
    for task in std::fs::read_dir("/proc/self/task").ok()? {
        let text = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
        sum += text.split_whitespace().next()?.parse::<f64>().ok()?;
    }
    Some(sum / 1e9)
}
