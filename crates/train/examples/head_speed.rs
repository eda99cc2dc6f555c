//! How long the convex head takes, on made-up features that are correlated as a network's are.
//!
//!     cargo run --release -p headstart-train --example head_speed -- 10000 1280 10
//!
//! Prints one JSON line: rows, width, classes, seconds of a whole cross-validated fit, strengths tried, iterations of the
//! last fit, accuracy on held-out rows.

use std::time::Instant;

use headstart_core::Features;
use headstart_train::{LogisticSpec, fit};

fn main() {
    let sizes: Vec<usize> = std::env::args().skip(1).map(|a| a.parse().expect("three numbers")).collect();
    let [n, width, n_classes] = sizes[..] else {
        eprintln!("usage: head_speed ROWS WIDTH CLASSES");
        std::process::exit(2)
    };
    let mut state = 7u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / 16_777_216.0 - 0.5
    };
    // 64 hidden factors of falling strength, each seen by every feature.
    let n_factors = 64;
    let mixing: Vec<f32> = (0..n_factors * width).map(|_| next()).collect();
    let labels: Vec<usize> = (0..n).map(|i| i % n_classes).collect();
    let mut values = Vec::with_capacity(n * width);
    for &y in &labels {
        let mut row: Vec<f32> = (0..width).map(|_| 0.3 * next()).collect();
        for f in 0..n_factors {
            let signal = if f % n_classes == y { 0.15 } else { 0.0 };
            let factor = (next() + signal) / (1.0 + f as f32 / 4.0);
            row.iter_mut().zip(&mixing[f * width..(f + 1) * width]).for_each(|(v, m)| *v += factor * m);
        }
        values.extend(row.iter().map(|v| v.max(-0.2)));
    }
    let features = Features { width, example_idx: (0..n).collect(), values };
    let start = Instant::now();
    let head = fit(&features, &labels, n_classes, None, &LogisticSpec::default(), &|_, _| ())
        .expect("the made-up features are in order");
    let seconds = start.elapsed().as_secs_f64();
    let accuracy = head.cv.iter().find(|p| p.l2 == head.l2).map_or(0.0, |p| p.accuracy.unwrap_or_default());
    println!(
        r#"{{"rows":{n},"width":{width},"classes":{n_classes},"seconds":{seconds:.2},"strengths":{},"l2":{:.5},"iterations":{},"converged":{},"cv_accuracy":{accuracy:.4}}}"#,
        head.cv.len(),
        head.l2,
        head.n_iterations,
        head.converged
    );
}
