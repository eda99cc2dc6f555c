//! Gradient checkpointing (Chen et al., 2016, *Training Deep Nets with Sublinear Memory Cost*): only values that cross
//! from one part of the network to the next are kept in the forward pass; what lies inside a part is computed again when
//! its gradients are due.  The same gradients, for one more forward pass and a fraction of the memory.

use std::collections::HashMap;
use std::ops::Range;

use burn_backend::ops::FloatTensorOps;
use burn_backend::{AutodiffBackend, TensorMetadata};
use burn_dispatch::Dispatch as B;
use headstart_core::{Batch, Rng};
use headstart_graph::ValueId;

use crate::interpret::Mode;
use crate::leaves::Leaves;
use crate::network::{Alive, LossInput, Network, differentiate, recorded};
use crate::tensor::{T, dims, is_tracked, reshape};
use crate::{EngineError, Gradients};

/// A part of the network as the forward pass met it.
struct Segment {
    nodes: Range<usize>,
    /// Every value that is alive when the part begins.
    alive: Alive,
    /// The source of its dropout masks.
    rng: Rng,
}

impl Network {
    /// What `backward` returns, keeping only the values between `n_segments` parts.
    pub(crate) fn backward_in_segments(
        &self,
        batch: &Batch,
        learns: &dyn Fn(&str) -> bool,
        loss: &dyn Fn(LossInput<'_>) -> T,
        mode: &mut Mode<'_>,
        n_segments: usize,
    ) -> Result<(f32, Gradients), EngineError> {
        let Mode::Training { rng, statistics } = mode else {
            unreachable!("only training needs gradients kept small")
        };
        let n = self.graph().nodes().len();
        let bounds: Vec<usize> = (0..=n_segments.min(n)).map(|i| i * n / n_segments.min(n)).collect();
        let mut segments = Vec::new();
        let mut alive = self.inputs(batch)?;
        for range in bounds.windows(2) {
            let nodes = range[0]..range[1];
            segments.push(Segment { nodes: nodes.clone(), alive: alive.clone(), rng: rng.clone() });
            let statistics = statistics.as_deref_mut();
            let mut mode = Mode::Training { rng, statistics };
            self.run_nodes(nodes, &mut alive, &Leaves::none(self), &mut mode)?;
        }
        drop(alive);
        let batch_norm_by_batch = statistics.is_some();
        let mut gradients = Gradients::none();
        // By value: the gradient of the loss, once what reads the value has been differentiated.
        let mut upstream: HashMap<ValueId, T> = HashMap::new();
        let mut loss_value = f32::NAN;
        for (i, segment) in segments.into_iter().enumerate().rev() {
            let is_last = i + 2 == bounds.len();
            // What earlier parts made is differentiated too, as the inputs of this one.
            let made_before: Vec<ValueId> =
                self.graph().nodes()[..segment.nodes.start].iter().map(|n| n.output).collect();
            let mut alive = segment.alive;
            let mut leaves: HashMap<ValueId, T> = HashMap::new();
            for id in made_before {
                if let Some(value) = alive.values[id.index()].take() {
                    let leaf = if value.dtype().is_float() { recorded(value) } else { value };
                    alive.values[id.index()] = Some(leaf.clone());
                    if leaf.dtype().is_float() {
                        leaves.insert(id, leaf);
                    }
                }
            }
            // Statistics were measured in the forward pass; here they only have to be the same.
            let (mut rng, mut again) = (segment.rng, Vec::new());
            let mut mode =
                Mode::Training { rng: &mut rng, statistics: batch_norm_by_batch.then_some(&mut again) };
            let learning = Leaves::of(self, segment.nodes.clone(), learns, &alive);
            self.run_nodes(segment.nodes, &mut alive, &learning, &mut mode)?;
            let scalar = if is_last {
                let outputs = self.take_outputs(&alive);
                Some(loss(LossInput { outputs, device: self.device() }))
            } else {
                // d loss / d inputs = d ⟨outputs, d loss / d outputs⟩ / d inputs.
                let mut due: Vec<(ValueId, T)> = upstream.drain().collect();
                due.sort_by_key(|(id, _)| *id);
                due.into_iter()
                    .filter_map(|(id, g)| Some(dot(alive.values[id.index()].clone()?, g)))
                    .reduce(B::float_add)
            };
            drop(alive);
            // A part that only passes numbers on has nothing to find; a loss that nothing reaches is an error.
            let Some(scalar) = scalar.filter(|s| is_last || is_tracked(s)) else { continue };
            let (value, mut all) = differentiate(scalar)?;
            if is_last {
                loss_value = value;
            }
            gradients.add_scaled(Gradients { by_param: learning.gradients(&mut all) }, 1.0);
            upstream =
                leaves.iter().filter_map(|(id, t)| Some((*id, B::grad_remove(t, &mut all)?))).collect();
        }
        Ok((loss_value, gradients))
    }
}

/// `Σ a·b` as `[1]`.
fn dot(a: T, b: T) -> T {
    let n = dims(&a).iter().product();
    B::float_sum(B::float_mul(reshape(a, &[n]), reshape(b, &[n])))
}

#[cfg(test)]
mod tests {
    use headstart_core::{Array, Batch, Rng};
    use headstart_graph::{Conv, GraphBuilder, Op};

    use crate::{BatchNormPolicy, Device, Network, TrainMode, cross_entropy, random_weights};

    /// Residuals that span parts, dropout, and batch norm by either statistics: the same loss and gradients as without.
    #[test]
    fn computing_again_changes_nothing() {
        compute_again(BatchNormPolicy::Batch);
        compute_again(BatchNormPolicy::Frozen);
    }

    fn compute_again(batch_norm: BatchNormPolicy) {
        let mut b = GraphBuilder::new("small");
        let mut x = b.image("image", [3, 12, 12]);
        x = b.conv("stem", x, Conv::new(8, 3).padding(1)).unwrap();
        for i in 0..3 {
            let y = b.conv(&format!("b{i}.conv"), x, Conv::new(8, 3).padding(1).no_bias()).unwrap();
            let y = b.batch_norm(&format!("b{i}.norm"), y, 1e-5, 0.1).unwrap();
            let y = b.node(&format!("b{i}.relu"), Op::Relu, &[y]).unwrap();
            let y = b.conv(&format!("b{i}.conv2"), y, Conv::new(8, 3).padding(1).no_bias()).unwrap();
            let y = b.batch_norm(&format!("b{i}.norm2"), y, 1e-5, 0.1).unwrap();
            let y = b.node(&format!("b{i}.act"), Op::Silu, &[y]).unwrap();
            let y = b.node(&format!("b{i}.drop"), Op::Dropout { p: 0.2 }, &[y]).unwrap();
            let y = b.conv(&format!("b{i}.conv3"), y, Conv::new(8, 3).padding(1)).unwrap();
            let y = b.node(&format!("b{i}.add"), Op::Add, &[x, y]).unwrap();
            x = b.node(&format!("b{i}.clip"), Op::Clip { min: -1.0, max: 1.0 }, &[y]).unwrap();
        }
        let x = b.global_avg_pool("pool", x).unwrap();
        let y = b.linear("fc", x, 4).unwrap();
        let graph = b.finish([("logits", y)]).unwrap();
        let weights = random_weights(&graph, 0).unwrap();
        let mut rng = Rng::new(1);
        let pixels = (0..6 * 3 * 144).map(|_| rng.normal() as f32).collect();
        let batch = Batch::image(Array::f32(&[6, 3, 12, 12], pixels));
        let labels = [0, 1, 2, 3, 0, 1];
        let run = |n_segments| {
            let mut net = Network::load(graph.clone(), &weights, &Device::cpu()).unwrap();
            let mode = TrainMode { rng: &mut Rng::new(5), batch_norm, n_segments };
            let loss = |i: crate::LossInput<'_>| cross_entropy(i.output(), &labels, i.device);
            let (value, gradients) = net.train_gradients(&batch, &|_| true, &loss, mode).unwrap();
            let mean =
                net.weights().unwrap().get("b1.norm.running_mean").unwrap().to_f32().unwrap().into_owned();
            (value, gradients.norms(net.graph()).unwrap(), mean)
        };
        let (loss, norms, statistics) = run(1);
        for n_segments in [2, 5, 100] {
            let (loss_again, norms_again, statistics_again) = run(n_segments);
            assert!((loss_again - loss).abs() < 1e-6, "{loss} and {loss_again} in {n_segments} parts");
            let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-6;
            assert!(statistics_again.iter().zip(&statistics).all(near), "{n_segments} parts");
            let moved = statistics.iter().any(|m| *m != 0.0);
            assert_eq!(moved, batch_norm == BatchNormPolicy::Batch, "running statistics move, or do not");
            let names = |n: &[(String, f64)]| n.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>();
            assert_eq!(names(&norms_again), names(&norms), "{n_segments} parts, {batch_norm:?}");
            for ((name, a), (_, b)) in norms.iter().zip(&norms_again) {
                assert!((a - b).abs() <= 1e-5 * a.max(1e-6), "{name}: {a} and {b} in {n_segments} parts");
            }
        }
    }
}
