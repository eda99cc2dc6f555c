//! A graph with its weights on a device: runs forward, and backward through what learns.

use std::borrow::Cow;
use std::collections::HashMap;

use burn_backend::AutodiffBackend;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::{Dispatch as B, DispatchDevice};
use headstart_core::{Array, Batch, Rng, Values};
use headstart_graph::{
    Dim, Graph, InputSpec, Node, Op, Role, Shape, Tensor, ValueId, ValueKind, Weights, output_shape,
};

use crate::interpret::constant::constant;
use crate::interpret::{BatchStatistics, Mode, apply};
use crate::tensor::{T, dims, from_array, from_f32, scale, to_array};
use crate::{Device, EngineError, Optimiser};

/// A graph that can run.
///
/// ```
/// use headstart_core::{Array, Batch};
/// use headstart_engine::{Device, Network, random_weights};
/// use headstart_graph::{Conv, GraphBuilder};
///
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.image("image", [3, 8, 8]);
/// let x = b.conv("conv", x, Conv::new(4, 3))?;
/// let x = b.global_avg_pool("pool", x)?;
/// let y = b.linear("fc", x, 2)?;
/// let graph = b.finish([("logits", y)])?;
/// let weights = random_weights(&graph, 0)?;
/// let net = Network::load(graph, &weights, &Device::cpu())?;
/// let logits = net.infer(&Batch::image(Array::f32(&[5, 3, 8, 8], vec![0.5; 5 * 192])))?;
/// assert_eq!(logits.shape, [5, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Network {
    graph: Graph,
    device: Device,
    /// By [`ValueId::index`]; none for what is not a parameter.
    params: Vec<Option<T>>,
    /// By node; none for what is not a constant.
    constants: Vec<Option<T>>,
    /// By node: the values that nobody reads after it.
    done_after: Vec<Vec<ValueId>>,
}

/// Elements of one value in a run; more would not fit into any machine.
const ELEMENTS_MAX: usize = 1 << 33;

/// Gradients of a loss by parameter.
#[derive(Debug)]
pub struct Gradients {
    by_param: HashMap<ValueId, T>,
}

impl Network {
    /// Puts weights on a device.  Every parameter must have weights of its shape.
    pub fn load(graph: Graph, weights: &Weights, device: &Device) -> Result<Self, EngineError> {
        let mut params = vec![None; graph.values().len()];
        for (id, name, param) in graph.params() {
            let tensor = weights.require(name)?;
            if tensor.shape() != param.shape {
                return Err(headstart_graph::GraphError::WeightShape {
                    name: name.into(),
                    want: param.shape.clone(),
                    got: tensor.shape().to_vec(),
                }
                .into());
            }
            params[id.index()] = Some(from_f32(&param.shape, tensor.to_f32()?.into_owned(), device.plain()));
        }
        let done_after = last_uses(&graph);
        let constants = graph.nodes().iter().map(|n| match &n.op {
            Op::Constant { value } => Some(constant(value, device.plain())),
            _ => None,
        });
        let constants = constants.collect();
        Ok(Network { graph, device: device.clone(), params, constants, done_after })
    }

    /// The graph it runs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The main output in inference: batch norm by running statistics, no dropout.
    pub fn infer(&self, batch: &Batch) -> Result<Array, EngineError> {
        to_array(self.run(batch, &|id| self.params[id.index()].clone(), &mut Mode::Inference, 0)?)
    }

    /// Output number `output_idx` in inference.
    pub fn infer_output(&self, batch: &Batch, output_idx: usize) -> Result<Array, EngineError> {
        to_array(self.run(batch, &|id| self.params[id.index()].clone(), &mut Mode::Inference, output_idx)?)
    }

    /// Gradients of `loss(main output)` with respect to every learned parameter for which `learns` holds, in inference
    /// mode: batch norm by running statistics, no dropout.  Returns the loss and the gradients.
    pub fn gradients(
        &self,
        batch: &Batch,
        learns: &dyn Fn(&str) -> bool,
        loss: &dyn Fn(LossInput<'_>) -> T,
    ) -> Result<(f32, Gradients), EngineError> {
        self.backward(batch, learns, loss, &mut Mode::Inference)
    }

    /// One step of training: forward with batch statistics and dropout, backward, running statistics, update.
    /// Returns the loss before the update.
    pub fn step(
        &mut self,
        batch: &Batch,
        learns: &dyn Fn(&str) -> bool,
        loss: &dyn Fn(LossInput<'_>) -> T,
        optimiser: &mut dyn Optimiser,
        rng: &mut Rng,
    ) -> Result<f32, EngineError> {
        let mut statistics = Vec::new();
        let mut mode = Mode::Training { rng, statistics: &mut statistics };
        let (value, gradients) = self.backward(batch, learns, loss, &mut mode)?;
        if !value.is_finite() {
            return Err(EngineError::NotFinite(value));
        }
        self.update_statistics(statistics);
        optimiser.begin_step();
        // In the graph's order, so that the same step does the same work everywhere.
        let ids: Vec<ValueId> = self.graph.params().map(|(id, _, _)| id).collect();
        for id in ids {
            if let Some(gradient) = gradients.by_param.get(&id)
                && let Some(param) = self.params[id.index()].take()
            {
                self.params[id.index()] = Some(optimiser.update(id, param, gradient.clone()));
            }
        }
        Ok(value)
    }

    /// The weights as they are now, in the graph's order.
    pub fn weights(&self) -> Result<Weights, EngineError> {
        self.graph
            .params()
            .map(|(id, name, param)| {
                let tensor = self.params[id.index()].clone().expect("every parameter was loaded");
                let Values::F32(values) = to_array(tensor)?.values else {
                    unreachable!("parameters are f32")
                };
                Ok((name.to_string(), Tensor::from_f32(&param.shape, &values)?))
            })
            .collect()
    }

    fn backward(
        &self,
        batch: &Batch,
        learns: &dyn Fn(&str) -> bool,
        loss: &dyn Fn(LossInput<'_>) -> T,
        mode: &mut Mode<'_>,
    ) -> Result<(f32, Gradients), EngineError> {
        let tracked: HashMap<ValueId, T> = self
            .graph
            .params()
            .filter(|(_, name, p)| p.role == Role::Learned && learns(name))
            .map(|(id, _, _)| {
                let plain = self.params[id.index()].clone().expect("every parameter was loaded");
                (id, B::float_set_require_grad(<B as AutodiffBackend>::from_inner(plain), true))
            })
            .collect();
        let param = |id: ValueId| tracked.get(&id).cloned().or_else(|| self.params[id.index()].clone());
        let output = self.run(batch, &param, mode, 0)?;
        let loss = loss(LossInput { output, device: &self.device });
        let value = to_array(<B as AutodiffBackend>::inner(loss.clone()))?;
        let Values::F32(value) = value.values else { unreachable!("a loss is f32") };
        let mut all = <B as AutodiffBackend>::backward(loss);
        let by_param = tracked
            .iter()
            .filter_map(|(id, t)| Some((*id, <B as AutodiffBackend>::grad_remove(t, &mut all)?)))
            .collect();
        Ok((value.first().copied().unwrap_or(f32::NAN), Gradients { by_param }))
    }

    fn update_statistics(&mut self, statistics: Vec<BatchStatistics>) {
        for s in statistics {
            let node: &Node = &self.graph.nodes()[s.node_idx];
            for (&id, measured) in node.inputs[3..].iter().zip([s.mean, s.variance]) {
                let measured = untracked(measured);
                if let Some(running) = self.params[id.index()].take() {
                    let kept = scale(running, 1.0 - s.momentum);
                    self.params[id.index()] = Some(B::float_add(kept, scale(measured, s.momentum)));
                }
            }
        }
    }

    fn run(
        &self,
        batch: &Batch,
        param: &dyn Fn(ValueId) -> Option<T>,
        mode: &mut Mode<'_>,
        output_idx: usize,
    ) -> Result<T, EngineError> {
        let device: &DispatchDevice = self.device.plain();
        let mut values: Vec<Option<T>> = vec![None; self.graph.values().len()];
        let mut symbols: HashMap<&str, usize> = HashMap::new();
        for (id, name, spec) in self.graph.inputs() {
            let array = input(batch, name, spec)?;
            for (dim, &n) in spec.shape.0.iter().zip(&array.shape) {
                if let Dim::Symbol(symbol) = dim {
                    symbols.entry(symbol).or_insert(n);
                }
            }
            values[id.index()] = Some(from_array(&array, device));
        }
        for (i, node) in self.graph.nodes().iter().enumerate() {
            if let Some(constant) = &self.constants[i] {
                values[node.output.index()] = Some(constant.clone());
                continue;
            }
            let inputs: Vec<T> = node
                .inputs
                .iter()
                .map(|&id| match &self.graph.value(id).kind {
                    ValueKind::Param(_) => param(id).expect("every parameter was loaded"),
                    _ => values[id.index()].clone().expect("values are defined before use"),
                })
                .collect();
            let done = &self.done_after[i];
            for id in done {
                values[id.index()] = None;
            }
            let at = |why| EngineError::Node { node: node.path.clone(), op: node.op.name(), why };
            let op = bound(&node.op, &symbols, &inputs).map_err(at)?;
            let made = apply(i, &op, inputs, mode, device).map_err(at)?;
            values[node.output.index()] = Some(made);
        }
        let wanted = self.graph.outputs()[output_idx].value;
        Ok(values[wanted.index()].take().expect("outputs are defined"))
    }
}

/// What a loss is computed from.
pub struct LossInput<'a> {
    /// The main output, `[batch, …]`.
    pub output: T,
    /// Where it lies.
    pub device: &'a Device,
}

impl Gradients {
    /// The Euclidean norm of each parameter's gradient, by name, in the graph's order.
    pub fn norms(&self, graph: &Graph) -> Result<Vec<(String, f64)>, EngineError> {
        graph
            .params()
            .filter_map(|(id, name, _)| Some((name, self.by_param.get(&id)?)))
            .map(|(name, g)| {
                let Values::F32(values) = to_array(g.clone())?.values else {
                    unreachable!("gradients are f32")
                };
                Ok((name.to_string(), values.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt()))
            })
            .collect()
    }
}

fn untracked(t: T) -> T {
    if t.autodiff == burn_dispatch::DispatchAutodiffContext::Disabled {
        t
    } else {
        <B as AutodiffBackend>::inner(t)
    }
}

/// An input of the batch, checked against what the graph wants, or filled with its default.
fn input(batch: &Batch, name: &str, spec: &InputSpec) -> Result<Array, EngineError> {
    let want = || format!("{} {}", spec.dtype, spec.shape);
    match (batch.get(name), spec.default) {
        (Some(array), _) => {
            let fits = array.shape.len() == spec.shape.rank()
                && array.shape.iter().zip(&spec.shape.0).all(|(&n, d)| d.fixed().is_none_or(|m| m == n))
                && matches!(array.values, Values::F32(_)) == spec.dtype.is_float();
            if !fits {
                let kind = if matches!(array.values, Values::F32(_)) { "f32" } else { "i64" };
                let got = format!("{kind} {:?}", array.shape);
                return Err(EngineError::Input { name: name.into(), want: want(), got });
            }
            Ok(array.clone())
        }
        (None, Some(fill)) => {
            // Symbols take the numbers that the batch's first input gives them.
            let (_, like) = batch.inputs.first().ok_or_else(|| EngineError::MissingInput(name.into()))?;
            let shape: Vec<usize> = spec
                .shape
                .0
                .iter()
                .enumerate()
                .map(|(i, d)| match d {
                    Dim::Fixed(n) => *n,
                    Dim::Symbol(_) => like.shape.get(i).copied().unwrap_or(1),
                })
                .collect();
            Ok(Array::i64(&shape, vec![fill; shape.iter().product()]))
        }
        (None, None) => Err(EngineError::MissingInput(name.into())),
    }
}

/// The operator with the sizes of this run, checked against the shapes that reach it: what symbols left open when the graph
/// was built is decided here, before the device is asked.
fn bound<'a>(op: &'a Op, symbols: &HashMap<&str, usize>, inputs: &[T]) -> Result<Cow<'a, Op>, String> {
    let symbol = |name: &str| symbols.get(name).and_then(|&n| i64::try_from(n).ok());
    let op = op.bound(&symbol).map_err(|size| format!("no input of the batch gives the size `{size}`"))?;
    let shapes: Vec<Shape> = inputs.iter().map(|t| Shape::fixed(&dims(t))).collect();
    let shape = output_shape(&op, &shapes.iter().collect::<Vec<_>>())
        .map_err(|why| format!("cannot take inputs of shape {}: {why}", listed(&shapes)))?;
    let n = shape.0.iter().filter_map(Dim::fixed).try_fold(1usize, usize::checked_mul);
    match n {
        Some(n) if n <= ELEMENTS_MAX => Ok(op),
        _ => Err(format!("would make {shape}, more than {ELEMENTS_MAX} elements")),
    }
}

fn listed(shapes: &[Shape]) -> String {
    shapes.iter().map(|s| s.to_string()).collect::<Vec<_>>().join(", ")
}

fn last_uses(graph: &Graph) -> Vec<Vec<ValueId>> {
    let kept: Vec<ValueId> = graph.outputs().iter().map(|o| o.value).collect();
    let mut last: HashMap<ValueId, usize> = HashMap::new();
    for (i, node) in graph.nodes().iter().enumerate() {
        last.insert(node.output, i);
        for &id in &node.inputs {
            if !matches!(graph.value(id).kind, ValueKind::Param(_)) {
                last.insert(id, i);
            }
        }
    }
    let mut done = vec![Vec::new(); graph.nodes().len()];
    for (id, i) in last {
        if !kept.contains(&id) {
            done[i].push(id);
        }
    }
    done
}
