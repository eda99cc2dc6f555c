//! The unlabelled part of the loss and its gradient against PyTorch's (`tests/make_fixmatch_reference.py` made the numbers).

use headstart_engine::{Device, Sgd};
use headstart_graph::{GraphBuilder, Tensor};
use serde::Deserialize;

use super::*;

#[derive(Deserialize)]
struct Reference {
    n_classes: usize,
    threshold: f64,
    weight: f64,
    weak: Vec<f32>,
    strong: Vec<f32>,
    loss: f64,
    gradient: Vec<f32>,
}

/// A network that hands its input on: pictures of one pixel, and weights of one.
fn identity(n_classes: usize) -> Network {
    let mut b = GraphBuilder::new("identity");
    let x = b.image("image", [n_classes, 1, 1]);
    let x = b.global_avg_pool("pool", x).unwrap();
    let x = b.linear("fc", x, n_classes).unwrap();
    let graph = b.finish([("logits", x)]).unwrap();
    let ones = (0..n_classes * n_classes).map(|i| if i % (n_classes + 1) == 0 { 1.0 } else { 0.0 });
    let weight = Tensor::from_f32(&[n_classes, n_classes], &ones.collect::<Vec<f32>>()).unwrap();
    let bias = Tensor::from_f32(&[n_classes], &vec![0.0; n_classes]).unwrap();
    let weights = [("fc.weight".to_string(), weight), ("fc.bias".to_string(), bias)].into_iter().collect();
    Network::load(graph, &weights, &Device::cpu()).unwrap()
}

struct Views([Batch; 2]);

impl Unlabelled for Views {
    fn views(&self, _step: usize) -> Result<[Batch; 2], TuneError> {
        Ok(self.0.clone())
    }
}

fn consistency(r: &Reference, threshold: f64, network: &mut Network) -> Option<(f64, Gradients)> {
    let k = r.n_classes;
    let batch = |values: Vec<f32>| Batch::image(Array::f32(&[values.len() / k, k, 1, 1], values));
    // The softmax of a logarithm is the probability itself.
    let weak = r.weak.iter().map(|p| p.ln()).collect();
    let views = Views([batch(weak), batch(r.strong.clone())]);
    let objective = Objective::Consistency {
        loss: Loss::CrossEntropy { label_smoothing: 0.0, class_weights: None },
        unlabelled: &views,
        spec: FixMatchSpec { threshold, unlabelled_weight: r.weight, ..FixMatchSpec::default() },
    };
    objective.unlabelled(network, &|_| true, 0, 0).unwrap()
}

#[test]
fn fixmatch_s_loss_and_gradient_are_pytorch_s() {
    let r: Reference = serde_json::from_str(include_str!("../../../tests/fixmatch_reference.json")).unwrap();
    let (k, mut network) = (r.n_classes, identity(r.n_classes));
    let (loss, gradients) = consistency(&r, r.threshold, &mut network).unwrap();
    assert!((loss - r.loss).abs() < 1e-5, "{loss}, not {}", r.loss);
    // One step of plain descent at rate 1 shows the gradients: of the bias the columns' sums, of the weight gᵀ·x.
    network.update(gradients, &mut Sgd::new(1.0, 0.0, 0.0));
    let after = network.weights().unwrap();
    let value = |name: &str| after.require(name).unwrap().to_f32().unwrap();
    let (weight, bias) = (value("fc.weight"), value("fc.bias"));
    for c in 0..k {
        let wanted: f32 = -r.gradient.iter().skip(c).step_by(k).sum::<f32>();
        assert!((bias[c] - wanted).abs() < 1e-5, "{bias:?}");
        for j in 0..k {
            let rows = r.gradient.chunks(k).zip(r.strong.chunks(k));
            let moved: f32 = rows.map(|(g, x)| g[c] * x[j]).sum();
            let wanted = if c == j { 1.0 } else { 0.0 } - moved;
            assert!((weight[c * k + j] - wanted).abs() < 1e-5, "{weight:?}");
        }
    }
}

#[test]
fn where_nothing_is_confident_nothing_is_learned() {
    let r: Reference = serde_json::from_str(include_str!("../../../tests/fixmatch_reference.json")).unwrap();
    assert!(consistency(&r, 1.0, &mut identity(r.n_classes)).is_none());
}
