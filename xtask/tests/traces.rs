//! Five steps of AdamW on a tiny BERT give the losses that PyTorch and PEFT give: everything, LoRA, DoRA and (IA)³
//! (`traces/make.py` made the numbers).  Merged, an adapter answers as it did beside the layer.

use std::collections::BTreeMap;

use headstart_core::{Array, Batch, Rng, Values};
use headstart_engine::{
    AdamW, BatchNormPolicy, Device, Network, Rate, Rates, TrainMode, cross_entropy, fill_missing,
};
use headstart_graph::rewrite::{Adapter, AdapterKind, LoraSpec, adapt, is_adapters, merge, start_magnitudes};
use headstart_graph::{Graph, Tensor, Weights};
use headstart_zoo::bert::{self, BertConfig};
use serde::Deserialize;
use xtask::golden::{fill, uniform};

#[derive(Deserialize)]
struct File {
    config: serde_json::Value,
    lr: f64,
    weight_decay: f64,
    traces: BTreeMap<String, Trace>,
}

#[derive(Deserialize)]
struct Trace {
    losses: Vec<f64>,
    logits_after: Vec<Vec<f64>>,
    n_learning: usize,
}

fn file() -> File {
    serde_json::from_str(include_str!("traces/traces.json")).expect("the file is part of the project")
}

fn adapters(kind: &str, graph: &Graph) -> Vec<Adapter> {
    let lora = LoraSpec { rank: 4, alpha: 8.0, dropout: 0.0, rank_stabilised: false };
    let ending = |ends: &[&str]| -> Vec<String> {
        let paths = graph.nodes().iter().map(|n| n.path.clone());
        paths.filter(|p| ends.iter().any(|e| p.ends_with(e))).collect()
    };
    let one = |kind, ends: &[&str]| Adapter { kind, targets: ending(ends) };
    match kind {
        "lora" => vec![one(AdapterKind::Lora(lora), &[".query", ".value"])],
        "dora" => vec![one(AdapterKind::Dora(lora), &[".query", ".value"])],
        "ia3" => vec![
            one(AdapterKind::Ia3 { before: false }, &[".key", ".value"]),
            one(AdapterKind::Ia3 { before: true }, &[".output.dense"]),
        ],
        _ => Vec::new(),
    }
}

fn batch() -> Batch {
    let ids = uniform("ids", 48).into_iter().map(|u| (u * 500.0) as i64).collect();
    let mask = (0..48).map(|i| i64::from(!(21..24).contains(&i))).collect();
    let inputs = [("input_ids", ids), ("attention_mask", mask)];
    Batch { inputs: inputs.map(|(name, v)| (name.to_string(), Array::i64(&[4, 12], v))).to_vec() }
}

/// The network of a trace, with filled weights, before any step.
fn network(file: &File, kind: &str) -> (Graph, Weights, Vec<Adapter>) {
    let config: BertConfig = serde_json::from_value(file.config.clone()).expect("a configuration");
    let base = bert::sequence_classifier("trace", &config, "bert.", 3).expect("builds");
    let adapters = adapters(kind, &base);
    let graph = adapters.iter().fold(base, |graph, a| adapt(&graph, a).expect("adapts"));
    let mut weights = fill_missing(&graph, fill(&graph).expect("fills"), 0).expect("whole");
    let factors: Vec<(String, usize)> = graph
        .params()
        .filter(|(_, name, _)| name.ends_with("ia3_l"))
        .map(|(_, name, p)| (name.to_string(), p.shape[0]))
        .collect();
    for (name, n) in factors {
        let values: Vec<f32> = uniform(&name, n).into_iter().map(|u| (0.8 + 0.4 * u) as f32).collect();
        weights.insert(name, Tensor::from_f32(&[n], &values).expect("fits"));
    }
    for adapter in &adapters {
        start_magnitudes(&graph, adapter, &mut weights).expect("starts");
    }
    (graph, weights, adapters)
}

fn logits(net: &Network) -> Vec<f64> {
    let Values::F32(values) = net.infer(&batch()).expect("runs").values else { panic!("logits are f32") };
    values.into_iter().map(f64::from).collect()
}

#[test]
fn losses_follow_pytorch_and_peft() {
    let file = file();
    for (kind, trace) in &file.traces {
        let (graph, weights, adapters) = network(&file, kind);
        let learns = |name: &str| kind == "full" || is_adapters(name) || name.starts_with("classifier");
        let learning = graph.params().filter(|(_, name, _)| learns(name));
        let n_learning: usize = learning.map(|(_, _, p)| p.shape.iter().product::<usize>()).sum();
        assert_eq!(n_learning, trace.n_learning, "{kind}");
        let rates = graph
            .params()
            .map(|(_, name, p)| (name.to_string(), Rate { lr_scale: 1.0, decays: p.shape.len() > 1 }))
            .collect();
        let mut optimiser = AdamW::new(file.lr, file.weight_decay).with_rates(Rates(rates));
        let mut net = Network::load(graph.clone(), &weights, &Device::cpu()).expect("loads");
        for (step, want) in trace.losses.iter().enumerate() {
            let mut rng = Rng::new(0);
            let mode = TrainMode { rng: &mut rng, batch_norm: BatchNormPolicy::Frozen, n_segments: 1 };
            let loss = |made: headstart_engine::LossInput<'_>| {
                cross_entropy(made.output(), &[0, 1, 2, 1], made.device)
            };
            let (got, gradients) = net.train_gradients(&batch(), &learns, &loss, mode).expect("a step");
            net.update(gradients, &mut optimiser);
            assert!(
                (f64::from(got) - want).abs() < 2e-4 * want.abs(),
                "{kind}, step {step}: {got}, PyTorch {want}"
            );
        }
        let (got, want) = (logits(&net), trace.logits_after.concat());
        let worst = got.iter().zip(&want).fold(0.0f64, |m, (g, w)| m.max((g - w).abs()));
        assert!(worst < 2e-3, "{kind}: logits differ by {worst}");

        // Folded into the weights, the adapter answers the same.
        let (mut merged, mut folded) = (graph, net.weights().expect("reads back"));
        for adapter in adapters.iter().rev() {
            (merged, folded) = merge(&merged, &folded, adapter).expect("merges");
        }
        let merged = Network::load(merged, &folded, &Device::cpu()).expect("loads");
        let worst = logits(&merged).iter().zip(&got).fold(0.0f64, |m, (a, b)| m.max((a - b).abs()));
        assert!(worst < 1e-5, "{kind}: merged, logits differ by {worst}");
    }
}
