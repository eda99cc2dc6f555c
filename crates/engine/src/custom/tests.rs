//! Training with these operators, whatever the number of threads.

use headstart_core::{Array, Batch, Rng, Values};
use headstart_graph::{Conv, Graph, GraphBuilder, GraphError, Init, Op, Padding, ValueId, Weights};

use crate::{AdamW, Device, Network, cross_entropy, random_weights};

/// Four steps: the losses, and the weights after them.
fn train(graph: &Graph, batch: &Batch, labels: &[usize], n_threads: usize) -> (Vec<f32>, Weights) {
    let weights = random_weights(graph, 0).expect("weights");
    let mut net = Network::load(graph.clone(), &weights, &Device::cpu()).expect("loads");
    let (mut optimiser, mut rng) = (AdamW::new(1e-2, 0.05), Rng::new(2));
    let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("a pool");
    let losses = pool.install(|| {
        let mut step = || {
            let loss = |i: crate::LossInput<'_>| cross_entropy(i.output(), labels, i.device);
            net.step(batch, &|_| true, &loss, &mut optimiser, &mut rng).expect("a step")
        };
        (0..4).map(|_| step()).collect()
    });
    (losses, net.weights().expect("weights"))
}

fn same_on_any_number_of_threads(graph: &Graph, batch: &Batch, labels: &[usize]) {
    let (losses, weights) = train(graph, batch, labels, 1);
    assert!(losses[3] < losses[0] / 2.0, "it learns: {losses:?}");
    for n_threads in [2, 3, 7] {
        let (losses_other, weights_other) = train(graph, batch, labels, n_threads);
        assert_eq!(losses, losses_other);
        for ((name, a), (_, b)) in weights.iter().zip(weights_other.iter()) {
            assert_eq!(a.to_f32().expect("f32"), b.to_f32().expect("f32"), "{name} on {n_threads} threads");
        }
    }
}

/// Small and large planes, strides, and padding that differs by side.
#[test]
fn pictures_train_to_the_same_bits_on_any_number_of_threads() {
    let mut b = GraphBuilder::new("small");
    let mut x = b.image("image", [3, 40, 40]);
    let convs = [
        Conv::new(24, 3).stride(2).pad(Padding::SameUpper).no_bias(),
        Conv::new(24, 3).groups(24).pad(Padding::SameUpper).no_bias(),
        Conv::new(36, 3).groups(12).no_bias(),
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
    let mut rng = Rng::new(1);
    let pixels = (0..9 * 3 * 40 * 40).map(|_| rng.normal() as f32).collect();
    let labels: Vec<usize> = (0..9).map(|i| i % 4).collect();
    same_on_any_number_of_threads(&graph, &Batch::image(Array::f32(&[9, 3, 40, 40], pixels)), &labels);
}

/// Two layers of a transformer of width 72.
fn transformer() -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new("transformer");
    let (ids, mask) = (b.ids("input_ids", None), b.ids("attention_mask", Some(1)));
    let table = b.param("table".into(), &[90, 72], Init::Normal(0.5))?;
    let mut x: ValueId = b.node("embedding", Op::Embedding, &[table, ids])?;
    for i in 0..2 {
        let at = |part: &str| format!("layer{i}.{part}");
        let [q, k, v] = [b.linear(&at("q"), x, 72)?, b.linear(&at("k"), x, 72)?, b.linear(&at("v"), x, 72)?];
        let y =
            b.node(&at("attention"), Op::Attention(headstart_graph::Attention::new(3)), &[q, k, v, mask])?;
        let sum = b.node(&at("add"), Op::Add, &[x, y])?;
        let x1 = b.layer_norm(&at("norm"), sum, 1e-5)?;
        let y = b.linear(&at("up"), x1, 200)?;
        let y = b.node(&at("act"), if i == 0 { Op::Gelu { tanh: false } } else { Op::Silu }, &[y])?;
        let y = b.linear(&at("down"), y, 72)?;
        x = b.node(&at("add2"), Op::Add, &[x1, y])?;
    }
    let first = b.node("first", Op::Select { axis: 1, index: 0 }, &[x])?;
    let y = b.linear("fc", first, 3)?;
    b.finish([("logits", y)])
}

#[test]
fn texts_train_to_the_same_bits_on_any_number_of_threads() {
    let graph = transformer().expect("a graph");
    let mut rng = Rng::new(3);
    let ids = (0..6 * 50).map(|_| (rng.uniform() * 90.0) as i64).collect();
    let mask = (0..6 * 50).map(|i| i64::from(i % 50 < 20 + i / 50 * 5)).collect();
    let inputs = [("input_ids", ids), ("attention_mask", mask)];
    let inputs = inputs.map(|(name, values)| (name.to_string(), Array::i64(&[6, 50], values))).into();
    let batch = Batch { inputs };
    same_on_any_number_of_threads(&graph, &batch, &[0, 1, 2, 0, 1, 2]);
}

/// A prediction does not depend on what else is in the batch, which is what makes a cache of features honest.
#[test]
fn an_example_is_the_same_bits_alone_and_in_a_batch() {
    let graph = transformer().expect("a graph");
    let weights = random_weights(&graph, 0).expect("weights");
    let net = Network::load(graph, &weights, &Device::cpu()).expect("loads");
    let ids: Vec<i64> = (0..5 * 50).map(|i| i * i % 90).collect();
    let infer = |ids: &[i64]| {
        let array = Array::i64(&[ids.len() / 50, 50], ids.to_vec());
        let logits = net.infer(&Batch { inputs: [("input_ids".to_string(), array)].into() }).expect("runs");
        match logits.values {
            Values::F32(v) => v,
            Values::I64(_) => unreachable!("logits are f32"),
        }
    };
    let together = infer(&ids);
    for (i, alone) in ids.chunks(50).map(infer).enumerate() {
        assert_eq!(alone, together[i * 3..][..3], "example {i}");
    }
}
