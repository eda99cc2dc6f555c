//! Training with these operators, whatever the number of threads.

use headstart_core::{Array, Batch, Rng};
use headstart_graph::{Conv, GraphBuilder, Op, Padding, Weights};

use crate::{AdamW, Device, Network, cross_entropy, random_weights};

/// Every operator of this file, small and large planes, strides, and padding that differs by side.
fn train(n_threads: usize) -> (Vec<f32>, Weights) {
    let mut b = GraphBuilder::new("small");
    let mut x = b.image("image", [3, 40, 40]);
    let convs = [
        Conv::new(24, 3).stride(2).pad(Padding::SameUpper).no_bias(),
        Conv::new(24, 3).groups(24).pad(Padding::SameUpper).no_bias(),
        Conv::new(70, 1).no_bias(),
        Conv::new(70, 5).groups(70).stride(2).pad(Padding::SameUpper),
        Conv::new(40, 3).stride(3),
        Conv::new(40, 1),
    ];
    for (i, conv) in convs.into_iter().enumerate() {
        x = b.conv(&format!("conv{i}"), x, conv).expect("fits");
        x = b.batch_norm(&format!("norm{i}"), x, 1e-5, 0.1).expect("fits");
        let act = if i % 2 == 0 { Op::Relu } else { Op::Clip { min: 0.0, max: 6.0 } };
        x = b.node(&format!("act{i}"), act, &[x]).expect("fits");
    }
    x = b.global_avg_pool("pool", x).expect("fits");
    let y = b.linear("fc", x, 4).expect("fits");
    let graph = b.finish([("logits", y)]).expect("a graph");
    let weights = random_weights(&graph, 0).expect("weights");
    let mut net = Network::load(graph, &weights, &Device::cpu()).expect("loads");
    let mut rng = Rng::new(1);
    let pixels = (0..9 * 3 * 40 * 40).map(|_| rng.normal() as f32).collect();
    let batch = Batch::image(Array::f32(&[9, 3, 40, 40], pixels));
    let labels: Vec<usize> = (0..9).map(|i| i % 4).collect();
    let mut optimiser = AdamW::new(1e-2, 0.05);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("a pool");
    let losses = pool.install(|| {
        let mut step = || {
            let loss = |i: crate::LossInput<'_>| cross_entropy(i.output(), &labels, i.device);
            net.step(&batch, &|_| true, &loss, &mut optimiser, &mut rng).expect("a step")
        };
        (0..4).map(|_| step()).collect()
    });
    (losses, net.weights().expect("weights"))
}

#[test]
fn training_is_the_same_to_the_bit_on_any_number_of_threads() {
    let (losses, weights) = train(1);
    assert!(losses[3] < losses[0] / 2.0, "it learns: {losses:?}");
    for n_threads in [2, 3, 7] {
        let (losses_other, weights_other) = train(n_threads);
        assert_eq!(losses, losses_other);
        for ((name, a), (_, b)) in weights.iter().zip(weights_other.iter()) {
            assert_eq!(a.to_f32().expect("f32"), b.to_f32().expect("f32"), "{name} on {n_threads} threads");
        }
    }
}
