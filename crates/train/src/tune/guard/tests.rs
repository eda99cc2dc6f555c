//! Guards at the source and away from it.

use headstart_core::{Array, Regulariser, TargetRows};
use headstart_engine::{BatchNormPolicy, Device, Loss, Network, TrainMode, random_weights};
use headstart_graph::{Conv, Graph, GraphBuilder, Tensor, Weights};

use super::*;

/// Outputs: logits, features, a map, the source's logits.
fn network() -> (Graph, Weights) {
    let mut b = GraphBuilder::new("guarded");
    let x = b.image("image", [3, 6, 6]);
    let map = b.conv("conv", x, Conv::new(5, 3).padding(1)).unwrap();
    let features = b.global_avg_pool("pool", map).unwrap();
    let old = b.linear("fc", features, 4).unwrap();
    let new = b.linear("head", features, 2).unwrap();
    let outputs = [("logits", new), ("features", features), ("map", map), ("source_logits", old)];
    let graph = b.finish(outputs).unwrap();
    let weights = random_weights(&graph, 3).unwrap();
    (graph, weights)
}

/// Loss and the norm of the first convolution's gradient.
fn with(guards: &[Regulariser], moved: bool) -> (f64, f64) {
    let (graph, weights) = network();
    let mut net = Network::load(graph, &weights, &Device::cpu()).unwrap();
    let outputs = Outputs { features: Some(1), maps: vec![2], source_logits: Some(3) };
    let relation = TargetRows { width: 4, values: vec![0.25; 8] };
    let guards = Guards::new(guards, outputs, &net, Some(relation)).unwrap();
    if moved {
        let w = weights.require("conv.weight").unwrap();
        let values: Vec<f32> = w.to_f32().unwrap().iter().map(|v| v + 0.1).collect();
        let tensor = Tensor::from_f32(w.shape(), &values).unwrap();
        net.set(&[("conv.weight".to_string(), tensor)].into_iter().collect()).unwrap();
    }
    // Each example and channel has a level of its own, so that features differ between examples.
    let level = |plane: usize| ((plane * plane) as f32 * 0.9).sin() + 0.5;
    let pixels = (0..3 * 3 * 36).map(|i| level(i / 36) + 0.3 * (i as f32 * 0.37).sin()).collect();
    let batch = Batch::image(Array::f32(&[3, 3, 6, 6], pixels));
    let rows = TargetRows { width: 2, values: vec![1.0, 0.0, 0.0, 1.0, 1.0, 0.0] };
    let prepared = guards.prepare(&batch, &rows).unwrap();
    let cross_entropy = Loss::CrossEntropy { label_smoothing: 0.0, class_weights: None };
    let loss = |made: LossInput<'_>| {
        guards.add(cross_entropy.value(made.output(), &rows, made.device), &made, &prepared)
    };
    let mode = TrainMode {
        rng: &mut headstart_core::Rng::new(0),
        batch_norm: BatchNormPolicy::Frozen,
        n_segments: 1,
    };
    let (value, mut gradients) = net.train_gradients(&batch, &|_| true, &loss, mode).unwrap();
    let value = f64::from(value) + guards.pull(&net, &mut gradients).unwrap();
    let norms = gradients.norms(net.graph()).unwrap();
    (value, norms.iter().find(|(n, _)| n == "conv.weight").unwrap().1)
}

#[test]
fn guards_cost_nothing_at_the_source() {
    let plain = with(&[], false);
    for guard in [
        Regulariser::L2Sp { strength: 1.0 },
        Regulariser::Delta { strength: 1.0 },
        Regulariser::Distillation { strength: 1.0 },
    ] {
        let guarded = with(&[guard], false);
        assert!((guarded.0 - plain.0).abs() < 1e-6 && (guarded.1 - plain.1).abs() < 1e-6, "{guard:?}");
        let (away, away_plain) = (with(&[guard], true), with(&[], true));
        assert!(away.0 > away_plain.0 + 1e-3, "{guard:?} costs nothing away from the source");
        assert!((away.1 - away_plain.1).abs() > 1e-3, "{guard:?} has no gradient");
    }
}

/// `α/2·‖w − w₀‖²` with all 135 weights of the convolution moved by 0.1.
#[test]
fn l2_sp_costs_half_the_squared_distance() {
    let (guarded, plain) = (with(&[Regulariser::L2Sp { strength: 2.0 }], true), with(&[], true));
    assert!((guarded.0 - plain.0 - 135.0 * 0.01).abs() < 1e-4, "{guarded:?} {plain:?}");
}

#[test]
fn spectral_shrinkage_and_co_tuning_add_to_the_loss_and_combine() {
    let plain = with(&[], false).0;
    let bss = with(&[Regulariser::Bss { strength: 1.0, k: 1 }], false).0;
    let co_tuning = with(&[Regulariser::CoTuning { strength: 1.0 }], false).0;
    let both =
        with(&[Regulariser::Bss { strength: 1.0, k: 1 }, Regulariser::CoTuning { strength: 1.0 }], false).0;
    assert!(bss > plain && co_tuning > plain + 1.0, "{plain} {bss} {co_tuning}");
    assert!((both - bss - co_tuning + plain).abs() < 1e-5);
}

#[test]
fn what_a_guard_lacks_is_said() {
    let (graph, weights) = network();
    let net = Network::load(graph, &weights, &Device::cpu()).unwrap();
    let error = Guards::new(&[Regulariser::CoTuning { strength: 1.0 }], Outputs::default(), &net, None);
    assert_eq!(
        error.unwrap_err().to_string(),
        "co_tuning needs a source with a classifier, and a task of classes"
    );
}
