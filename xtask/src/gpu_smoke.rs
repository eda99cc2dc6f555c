//! `cargo xtask gpu-smoke`: the same small network on the processor and on the GPU must answer the same, forward,
//! backward and after training steps.  Needs a build with `--features gpu`, which the chore starts itself.

use headstart_core::{Array, Batch, Rng, Values};
use headstart_engine::{Device, EngineError, Network, Sgd, cross_entropy, random_weights};
use headstart_graph::{Conv, Graph, GraphBuilder, GraphError, Padding};

/// Largest difference allowed, relative to the largest number compared.
const DIFFERENCE_MAX: f64 = 1e-3;

/// What both devices said.
#[derive(Debug, serde::Serialize)]
pub struct Outcome {
    /// Worst relative difference of the logits.
    pub logits: f64,
    /// Worst relative difference of a gradient's norm.
    pub gradients: f64,
    /// Worst relative difference of three training losses.
    pub losses: f64,
    /// Within the bound.
    pub ok: bool,
}

/// Compares the GPU with the processor.
pub fn run() -> Result<Outcome, EngineError> {
    let (cpu, gpu) = (numbers(&Device::cpu())?, numbers(&Device::parse("gpu")?)?);
    let worst = |a: &[f64], b: &[f64]| {
        let largest = a.iter().fold(1e-12f64, |m, v| m.max(v.abs()));
        a.iter().zip(b).fold(0.0f64, |m, (x, y)| m.max((x - y).abs())) / largest
    };
    let [logits, gradients, losses] = [0, 1, 2].map(|i| worst(&cpu[i], &gpu[i]));
    let ok = [logits, gradients, losses].into_iter().all(|d| d <= DIFFERENCE_MAX);
    Ok(Outcome { logits, gradients, losses, ok })
}

/// Logits, gradient norms and training losses of a small convolutional network.
fn numbers(device: &Device) -> Result<[Vec<f64>; 3], EngineError> {
    let graph = network()?;
    let mut network = Network::load(graph.clone(), &random_weights(&graph, 1)?, device)?;
    let mut rng = Rng::new(2);
    let (n, size) = (4, 16);
    let pixels = (0..n * 3 * size * size).map(|_| rng.normal() as f32).collect();
    let batch = Batch::image(Array::f32(&[n, 3, size, size], pixels));
    let labels = [0, 1, 2, 0];
    let Values::F32(logits) = network.infer(&batch)?.values else { unreachable!("logits are f32") };
    let loss = |made: headstart_engine::LossInput<'_>| cross_entropy(made.output(), &labels, made.device);
    let (_, gradients) = network.gradients(&batch, &|_| true, &loss)?;
    let norms = gradients.norms(&graph)?.into_iter().map(|(_, n)| n).collect();
    let mut sgd = Sgd::new(0.05, 0.9, 1e-4);
    let losses = (0..3)
        .map(|_| network.step(&batch, &|_| true, &loss, &mut sgd, &mut rng).map(f64::from))
        .collect::<Result<_, _>>()?;
    Ok([logits.into_iter().map(f64::from).collect(), norms, losses])
}

fn network() -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new("smoke");
    let x = b.image("image", [3, 16, 16]);
    let x = b.conv("conv1", x, Conv::new(8, 3).stride(2).pad(Padding::SameUpper).no_bias())?;
    let x = b.batch_norm("bn1", x, 1e-5, 0.1)?;
    let x = b.relu("relu1", x)?;
    let y = b.conv("conv2", x, Conv::new(8, 3).padding(1).groups(8).no_bias())?;
    let y = b.batch_norm("bn2", y, 1e-5, 0.1)?;
    let x = b.node("add", headstart_graph::Op::Add, &[x, y])?;
    let x = b.global_avg_pool("pool", x)?;
    let x = b.linear("fc", x, 3)?;
    b.finish([("logits", x)])
}
