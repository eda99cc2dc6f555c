//! The loop that trains a network: shuffled passes of AdamW under one cycle of the learning rate.

use headstart_core::{Batch, Rng, Schedule, TargetRows};
use headstart_engine::{AdamW, EngineError, Loss, Network};
use headstart_graph::rewrite::FreezeMask;
use serde::{Deserialize, Serialize};

/// How long and how fast to train.
#[derive(Debug, Clone, PartialEq)]
pub struct NetworkSpec {
    /// Passes over the examples.
    pub n_passes: usize,
    /// Examples a step; the last step of a pass takes what is left, so none is dropped.
    pub batch_size: usize,
    /// Highest learning rate of the cycle.
    pub lr_max: f64,
    /// Weight decay of AdamW.
    pub weight_decay: f64,
    /// Seed of the order and of dropout.
    pub seed: u64,
}

/// One pass over the examples.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PassPoint {
    /// Counted from 1.
    pub pass: usize,
    /// Mean loss of its steps, before each step's update: nats, or the square of the standardised target.
    pub train_loss: f64,
}

/// Linear rise over the first fifth of the steps, then half a cosine down to 0 (after Smith and Topin, 2018).
const ONE_CYCLE: Schedule = Schedule::Cosine { warmup: 0.2 };

/// Trains what the mask lets learn.  `batch` makes the batch of the examples at some positions in `0..targets.len()`;
/// `on_step` hears `(steps done, all steps)`.
pub fn train_network(
    network: &mut Network,
    mask: &FreezeMask,
    targets: &TargetRows,
    loss: &Loss,
    batch: &dyn Fn(&[usize]) -> Batch,
    spec: &NetworkSpec,
    on_step: &dyn Fn(usize, usize),
) -> Result<Vec<PassPoint>, EngineError> {
    let mut order: Vec<usize> = (0..targets.len()).collect();
    let mut order_rng = Rng::named(spec.seed, "order");
    let mut dropout_rng = Rng::named(spec.seed, "dropout");
    let mut optimiser = AdamW::new(spec.lr_max, spec.weight_decay);
    let steps_a_pass = batches(targets.len(), spec.batch_size).len();
    let n_steps = steps_a_pass * spec.n_passes;
    let mut curve = Vec::with_capacity(spec.n_passes);
    let mut step = 0;
    for pass in 1..=spec.n_passes {
        order_rng.shuffle(&mut order);
        let mut loss_sum = 0.0;
        for range in batches(order.len(), spec.batch_size) {
            let idx = &order[range];
            let truth = targets.select(idx);
            optimiser.lr = spec.lr_max * ONE_CYCLE.at(step, n_steps);
            let value = network.step(
                &batch(idx),
                &|name| mask.learns(name),
                &|made| loss.value(made.output(), &truth, made.device),
                &mut optimiser,
                &mut dropout_rng,
            )?;
            loss_sum += f64::from(value) * idx.len() as f64;
            step += 1;
            on_step(step, n_steps);
        }
        curve.push(PassPoint { pass, train_loss: loss_sum / targets.len().max(1) as f64 });
    }
    Ok(curve)
}

/// Cuts an order of examples into batches; none is dropped, and a last batch of one joins the one before it.
pub fn in_batches(order: &[usize], batch_size: usize) -> Vec<Vec<usize>> {
    batches(order.len(), batch_size).into_iter().map(|range| order[range].to_vec()).collect()
}

/// Cuts `n` examples into batches.  A last batch of one joins the batch before it: batch norm needs two.
fn batches(n: usize, batch_size: usize) -> Vec<std::ops::Range<usize>> {
    let mut ranges: Vec<_> = (0..n).step_by(batch_size.max(1)).map(|a| a..(a + batch_size).min(n)).collect();
    if ranges.len() > 1 && ranges.last().is_some_and(|r| r.len() == 1) {
        ranges.pop();
        if let Some(last) = ranges.last_mut() {
            last.end = n;
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use headstart_core::{Array, Targets, Task};
    use headstart_engine::{Device, random_weights};
    use headstart_graph::{Conv, GraphBuilder};

    use super::*;

    #[test]
    fn no_example_is_dropped_and_no_batch_has_one() {
        assert_eq!(batches(9, 4), [0..4, 4..9]);
        assert_eq!(batches(10, 4), [0..4, 4..8, 8..10]);
        assert_eq!(batches(1, 4).as_slice(), std::slice::from_ref(&(0..1)));
    }

    /// Bright pictures against dark ones, with noise: a small network learns it, and twice the same.
    #[test]
    fn learns_a_separable_task_and_repeats_to_the_bit() {
        let mut b = GraphBuilder::new("tiny");
        let x = b.image("image", [3, 8, 8]);
        let x = b.conv("conv", x, Conv::new(8, 3).padding(1).no_bias()).unwrap();
        let x = b.batch_norm("bn", x, 1e-5, 0.1).unwrap();
        let x = b.relu("relu", x).unwrap();
        let x = b.global_avg_pool("pool", x).unwrap();
        let x = b.linear("fc", x, 2).unwrap();
        let graph = b.finish([("logits", x)]).unwrap();
        let mut rng = Rng::new(7);
        let labels: Vec<usize> = (0..40).map(|i| i % 2).collect();
        let images: Vec<Vec<f32>> = labels
            .iter()
            .map(|&l| (0..192).map(|_| (rng.normal() + 2.0 * l as f64 - 1.0) as f32).collect())
            .collect();
        let batch = |idx: &[usize]| {
            let values = idx.iter().flat_map(|&i| images[i].iter().copied()).collect();
            Batch::image(Array::f32(&[idx.len(), 3, 8, 8], values))
        };
        let spec = NetworkSpec { n_passes: 5, batch_size: 8, lr_max: 0.02, weight_decay: 0.01, seed: 3 };
        let run = || {
            let weights = random_weights(&graph, 1).unwrap();
            let mut net = Network::load(graph.clone(), &weights, &Device::cpu()).unwrap();
            let mask = FreezeMask::all_trained(&graph);
            let (rows, loss) = (Targets::Class(labels.clone()).rows(2), Loss::of_task(Task::Classification));
            let curve = train_network(&mut net, &mask, &rows, &loss, &batch, &spec, &|_, _| {}).unwrap();
            (curve, net.weights().unwrap().hash())
        };
        let (curve, hash) = run();
        assert!(curve[4].train_loss < 0.2 && curve[0].train_loss > curve[4].train_loss, "{curve:?}");
        assert_eq!(run(), (curve, hash));
    }
}
