//! A graph with its weights on a device: runs forward, and backward through what learns.

use std::borrow::Cow;
use std::collections::HashMap;

use burn_backend::AutodiffBackend;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;
use headstart_core::{Array, Batch, Precision, Rng, Values};
use headstart_graph::{Dim, Graph, InputSpec, Node, Op, Shape, ValueId, ValueKind, Weights, output_shape};
use headstart_kernels::Precision as KernelPrecision;
use headstart_kernels::arena;
use headstart_kernels::gemm::Operands;

use crate::custom::{Norm, Then, begin_backward, packed_linear};
use crate::interpret::constant::constant;
use crate::interpret::fusion::{Follows, Fusion, Readers};
use crate::interpret::{BatchNormPolicy, BatchStatistics, Mode, apply, note};
use crate::leaves::Leaves;
use crate::packed::{Packed, pack};
use crate::tensor::{T, dims, from_array, from_f32, is_tracked, scale, to_array, to_weight, untracked};
use crate::{Device, EngineError, Gradients, Optimiser, kernel_precision};

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
    /// What nodes do beyond their own.
    fusion: Fusion,
    /// What factors of products are rounded to.
    operands: Operands,
    /// By node: linear layers that will not learn; empty in a network that may.
    packed: Packed,
}

/// Elements of one value in a run; more would not fit into any machine.
const ELEMENTS_MAX: usize = 1 << 33;

impl Drop for Network {
    /// What its values took is given back.
    fn drop(&mut self) {
        arena::give_back();
    }
}

impl Network {
    /// Puts weights on a device.  Every parameter must have weights of its shape.
    pub fn load(graph: Graph, weights: &Weights, device: &Device) -> Result<Self, EngineError> {
        Self::assemble(graph, weights, device, None)
    }

    /// A network for inference alone: weights of linear layers are packed, in `precision`, and not loaded otherwise.  In integers,
    /// products of activations with each other, as attention's are, take bf16.
    pub(crate) fn load_packed(
        graph: Graph,
        weights: &Weights,
        device: &Device,
        precision: KernelPrecision,
    ) -> Result<Self, EngineError> {
        Self::assemble(graph, weights, device, Some(precision))
    }

    fn assemble(
        graph: Graph,
        weights: &Weights,
        device: &Device,
        packs: Option<KernelPrecision>,
    ) -> Result<Self, EngineError> {
        check_weights(&graph, weights)?;
        let readers = Readers::of(&graph);
        let mut fusion = Fusion::of(&graph, &readers);
        let (packed, read) = match packs {
            Some(precision) => {
                let (packed, read) = pack(&graph, weights, &readers, &mut fusion, precision)?;
                (packed, Some(read))
            }
            None => {
                fusion = fusion.learning(&graph, &readers);
                (Vec::new(), None)
            }
        };
        let mut params = vec![None; graph.values().len()];
        for (id, name, param) in graph.params() {
            if read.as_ref().is_some_and(|read| !read.contains(&id)) {
                continue;
            }
            let tensor = weights.require(name)?;
            params[id.index()] = Some(from_f32(&param.shape, tensor.to_f32()?.into_owned(), device.plain()));
        }
        let done_after = last_uses(&graph);
        let constants = graph.nodes().iter().map(|n| match &n.op {
            Op::Constant { value } => Some(constant(value, device.plain())),
            _ => None,
        });
        let constants = constants.collect();
        let operands = packs.map_or(Operands::F32, Operands::of);
        let device = device.clone();
        Ok(Network { graph, device, params, constants, done_after, fusion, operands, packed })
    }

    /// Computes products in another precision from now on, in inference and in training.  Parameters, sums, gradients and values
    /// between operators stay f32, but for what a convolution makes for a batch norm that goes by the batch (mixed precision; Micikevicius et al., 2018; Kalamkar et al., 2019, whose
    /// bf16 needs no scaling of the loss).  Only the processor knows how; other devices stay with f32.  Integers have no
    /// gradients: a network that learns takes bf16 for them.
    pub fn products_in(&mut self, precision: Precision) {
        self.operands = Operands::of(kernel_precision(precision));
    }

    /// The graph it runs.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The main output in inference: batch norm by running statistics, no dropout.
    pub fn infer(&self, batch: &Batch) -> Result<Array, EngineError> {
        self.infer_output(batch, 0)
    }

    /// Output number `output_idx` in inference.
    pub fn infer_output(&self, batch: &Batch, output_idx: usize) -> Result<Array, EngineError> {
        to_array(self.infer_raw(batch)?.swap_remove(output_idx))
    }

    /// All outputs in inference, in the graph's order.
    pub fn infer_all(&self, batch: &Batch) -> Result<Vec<Array>, EngineError> {
        self.infer_raw(batch)?.into_iter().map(to_array).collect()
    }

    fn infer_raw(&self, batch: &Batch) -> Result<Vec<T>, EngineError> {
        let mut values = self.inputs(batch)?;
        let nodes = 0..self.graph.nodes().len();
        self.run_nodes(nodes, &mut values, &Leaves::none(self), &mut Mode::Inference)?;
        Ok(self.take_outputs(&values))
    }

    /// Gradients of `loss(outputs)` with respect to every learned parameter for which `learns` holds, in inference
    /// mode: batch norm by running statistics, no dropout.  Returns the loss and the gradients.
    pub fn gradients(
        &self,
        batch: &Batch,
        learns: &dyn Fn(&str) -> bool,
        loss: &dyn Fn(LossInput<'_>) -> T,
    ) -> Result<(f32, Gradients), EngineError> {
        self.backward(batch, learns, loss, &mut Mode::Inference)
    }

    /// Forward and backward in training mode: the loss and its gradients.  Running statistics are updated if `mode`
    /// says so; parameters are not.
    pub fn train_gradients(
        &mut self,
        batch: &Batch,
        learns: &dyn Fn(&str) -> bool,
        loss: &dyn Fn(LossInput<'_>) -> T,
        mode: TrainMode<'_>,
    ) -> Result<(f32, Gradients), EngineError> {
        let mut statistics = Vec::new();
        let measured = (mode.batch_norm == BatchNormPolicy::Batch).then_some(&mut statistics);
        let mut run = Mode::Training { rng: mode.rng, statistics: measured };
        let made = match mode.n_segments {
            0 | 1 => self.backward(batch, learns, loss, &mut run)?,
            n => self.backward_in_segments(batch, learns, loss, &mut run, n)?,
        };
        if !made.0.is_finite() {
            return Err(EngineError::NotFinite(made.0));
        }
        self.update_statistics(statistics);
        Ok(made)
    }

    /// Moves every parameter that has a gradient, in the graph's order, so that a step does the same work everywhere.
    pub fn update(&mut self, mut gradients: Gradients, optimiser: &mut dyn Optimiser) {
        optimiser.begin_step();
        for (id, name, _) in self.graph.params() {
            if let Some(gradient) = gradients.by_param.remove(&id)
                && let Some(param) = self.params[id.index()].take()
            {
                self.params[id.index()] = Some(optimiser.update(name, param, gradient));
            }
        }
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
        let mode = TrainMode { rng, batch_norm: BatchNormPolicy::Batch, n_segments: 1 };
        let (value, gradients) = self.train_gradients(batch, learns, loss, mode)?;
        self.update(gradients, optimiser);
        Ok(value)
    }

    /// Replaces the values of some parameters, by name; the others stay.
    pub fn set(&mut self, weights: &Weights) -> Result<(), EngineError> {
        for (name, tensor) in weights.iter() {
            let found =
                self.graph.params().find(|(_, n, _)| *n == name).map(|(id, _, p)| (id, p.shape.clone()));
            let (id, shape) = found.ok_or_else(|| headstart_graph::GraphError::MissingWeight(name.into()))?;
            if tensor.shape() != shape {
                let (want, got) = (shape, tensor.shape().to_vec());
                return Err(headstart_graph::GraphError::WeightShape { name: name.into(), want, got }.into());
            }
            let values = tensor.to_f32()?.into_owned();
            self.params[id.index()] = Some(from_f32(&shape, values, self.device.plain()));
        }
        Ok(())
    }

    /// The values of those parameters for which `wanted` holds, in the graph's order.
    pub fn weights_where(&self, wanted: &dyn Fn(&str) -> bool) -> Result<Weights, EngineError> {
        self.graph
            .params()
            .filter(|(_, name, _)| wanted(name))
            .map(|(id, name, _)| Ok((name.to_string(), to_weight(self.plain(id))?)))
            .collect()
    }

    /// The weights as they are now, in the graph's order.
    pub fn weights(&self) -> Result<Weights, EngineError> {
        self.weights_where(&|_| true)
    }

    fn backward(
        &self,
        batch: &Batch,
        learns: &dyn Fn(&str) -> bool,
        loss: &dyn Fn(LossInput<'_>) -> T,
        mode: &mut Mode<'_>,
    ) -> Result<(f32, Gradients), EngineError> {
        let (nodes, mut values) = (0..self.graph.nodes().len(), self.inputs(batch)?);
        let leaves = Leaves::of(self, nodes.clone(), learns, &values);
        self.run_nodes(nodes, &mut values, &leaves, mode)?;
        let outputs = self.take_outputs(&values);
        drop(values);
        let (value, mut all) = differentiate(loss(LossInput { outputs, device: &self.device }))?;
        Ok((value, Gradients { by_param: leaves.gradients(&mut all) }))
    }

    /// What its nodes do beyond their own.
    pub(crate) fn fusion(&self) -> &Fusion {
        &self.fusion
    }

    /// A parameter without gradients.
    pub(crate) fn plain(&self, id: ValueId) -> T {
        self.params[id.index()].clone().expect("every parameter was loaded")
    }

    /// Where it runs.
    pub fn device(&self) -> &Device {
        &self.device
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

    /// The batch's arrays on the device, by [`ValueId::index`].
    pub(crate) fn inputs(&self, batch: &Batch) -> Result<Alive, EngineError> {
        let mut values: Vec<Option<T>> = vec![None; self.graph.values().len()];
        let mut symbols: HashMap<String, usize> = HashMap::new();
        for (id, name, spec) in self.graph.inputs() {
            let array = input(batch, name, spec)?;
            for (dim, &n) in spec.shape.0.iter().zip(&array.shape) {
                if let Dim::Symbol(symbol) = dim {
                    symbols.entry(symbol.clone()).or_insert(n);
                }
            }
            values[id.index()] = Some(from_array(&array, self.device.plain()));
        }
        Ok(Alive { values, symbols })
    }

    /// Runs some nodes; values that nobody reads any more are dropped.
    pub(crate) fn run_nodes(
        &self,
        nodes: std::ops::Range<usize>,
        alive: &mut Alive,
        leaves: &Leaves<'_>,
        mode: &mut Mode<'_>,
    ) -> Result<(), EngineError> {
        let Alive { values, symbols } = alive;
        for i in nodes {
            let node = &self.graph.nodes()[i];
            if let Some(constant) = &self.constants[i] {
                values[node.output.index()] = Some(constant.clone());
                continue;
            }
            if let Some(Some(layers)) = self.packed.get(i) {
                let read = |id: ValueId| values[id.index()].clone().expect("values are defined before use");
                let (x, residual) = (read(node.inputs[0]), layers.residual.map(read));
                self.done_after[i].iter().for_each(|id| values[id.index()] = None);
                values[node.output.index()] = Some(packed_linear(layers, x, residual));
                continue;
            }
            if let Some(id) = self.fusion.done(i) {
                let made = values[id.index()].clone();
                self.done_after[i].iter().for_each(|id| values[id.index()] = None);
                values[node.output.index()] = made;
                continue;
            }
            let read = |&id: &ValueId| match &self.graph.value(id).kind {
                ValueKind::Param(_) => leaves.param(id),
                _ => values[id.index()].clone().expect("values are defined before use"),
            };
            let inputs = leaves.lookup(i).unwrap_or_else(|| node.inputs.iter().map(read).collect());
            for id in &self.done_after[i] {
                values[id.index()] = None;
            }
            let at = |why| EngineError::Node { node: node.path.clone(), op: node.op.name(), why };
            let op = bound(&node.op, symbols, &inputs).map_err(at)?;
            let Follows { norm, residual, clip, is_gated, gate, before } = self.fusion.follows(i);
            let residual = residual.and_then(|id| values[id.index()].clone());
            let norm_idx = norm.unwrap_or(i);
            let norm = norm.and_then(|i| batch_norm(&self.graph.nodes()[i], leaves, mode.measures()));
            let then = Then { norm, residual, clip, is_gated, gate, before };
            let (made, measured) =
                apply(&op, inputs, mode, self.operands, then, self.device.plain()).map_err(at)?;
            if let (Some(measured), Op::BatchNorm { momentum, .. }) =
                (measured, &self.graph.nodes()[norm_idx].op)
            {
                note(norm_idx, *momentum, &made, measured, mode);
            }
            values[node.output.index()] = Some(made);
        }
        Ok(())
    }

    pub(crate) fn take_outputs(&self, alive: &Alive) -> Vec<T> {
        let outputs = self.graph.outputs();
        outputs.iter().map(|o| alive.values[o.value.index()].clone().expect("outputs are defined")).collect()
    }
}

/// Values of a run that somebody still reads.
#[derive(Clone)]
pub(crate) struct Alive {
    /// By [`ValueId::index`].
    pub(crate) values: Vec<Option<T>>,
    /// The sizes that the batch gives the graph's symbols.
    symbols: HashMap<String, usize>,
}

/// How to run in training.
pub struct TrainMode<'a> {
    /// Draws the masks of dropout.
    pub rng: &'a mut Rng,
    /// What batch norm does.
    pub batch_norm: BatchNormPolicy,
    /// Parts of the network whose inner values are computed again in the backward pass instead of kept (gradient
    /// checkpointing; Chen et al., 2016).  1 keeps everything; about √nodes needs least memory, for one more forward pass.
    pub n_segments: usize,
}

/// A value that gradients are recorded of.
pub(crate) fn recorded(plain: T) -> T {
    B::float_set_require_grad(<B as AutodiffBackend>::from_inner(plain), true)
}

/// The value of a scalar and the gradients of all that it was made of.
pub(crate) fn differentiate(scalar: T) -> Result<(f32, AllGradients), EngineError> {
    if !is_tracked(&scalar) {
        return Err(EngineError::NothingLearns);
    }
    let Values::F32(value) = to_array(untracked(scalar.clone()))?.values else {
        unreachable!("a loss is f32")
    };
    begin_backward();
    Ok((value.first().copied().unwrap_or(f32::NAN), B::backward(scalar)))
}

pub(crate) type AllGradients = <B as AutodiffBackend>::Gradients;

/// What a loss is computed from.
pub struct LossInput<'a> {
    /// All outputs in the graph's order, the main one first.
    pub outputs: Vec<T>,
    /// Where they lie.
    pub device: &'a Device,
}

impl LossInput<'_> {
    /// The main output, `[batch, …]`.
    pub fn output(&self) -> T {
        self.outputs[0].clone()
    }
}

/// Every parameter must have weights of its shape.
pub(crate) fn check_weights(graph: &Graph, weights: &Weights) -> Result<(), EngineError> {
    for (_, name, param) in graph.params() {
        let (want, got) = (param.shape.clone(), weights.require(name)?.shape().to_vec());
        if want != got {
            return Err(headstart_graph::GraphError::WeightShape { name: name.into(), want, got }.into());
        }
    }
    Ok(())
}

/// An input of the batch, checked against what the graph wants, or filled with its default.
pub(crate) fn input<'a>(
    batch: &'a Batch,
    name: &str,
    spec: &InputSpec,
) -> Result<Cow<'a, Array>, EngineError> {
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
            Ok(Cow::Borrowed(array))
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
            Ok(Cow::Owned(Array::i64(&shape, vec![fill; shape.iter().product()])))
        }
        (None, None) => Err(EngineError::MissingInput(name.into())),
    }
}

/// A batch norm with its parameters.
fn batch_norm(node: &Node, leaves: &Leaves<'_>, by_batch: bool) -> Option<Norm> {
    let (Op::BatchNorm { eps, .. }, [_, params @ ..]) = (&node.op, &node.inputs[..]) else { return None };
    let params = <[ValueId; 4]>::try_from(params).ok()?;
    Some(Norm { params: params.map(|id| leaves.param(id)), eps: *eps, by_batch })
}

/// The operator with the sizes of this run, checked against the shapes that reach it: what symbols left open when the graph
/// was built is decided here, before the device is asked.
fn bound<'a>(op: &'a Op, symbols: &HashMap<String, usize>, inputs: &[T]) -> Result<Cow<'a, Op>, String> {
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
