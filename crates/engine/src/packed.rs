//! Linear layers that will not learn any more: their weights are packed once, in the precision of their products, and an
//! activation that alone reads them is applied while their results are at hand.

use headstart_core::Values;
use headstart_graph::{Graph, Node, Op, ValueId, ValueKind};
use headstart_kernels::channels_last::Linear;
use headstart_kernels::{Activation, Precision};

use crate::tensor::{T, to_array};
use crate::{EngineError, custom};

/// What is done about a node instead of interpreting it.
#[derive(Debug)]
pub(crate) enum Instead {
    /// The layer makes this value.
    Layer { layer: Box<Linear>, output: ValueId },
    /// Nothing: a layer has made its value already.
    Nothing,
}

/// By node, what is done instead; parameters that nobody else reads are dropped.
pub(crate) fn pack(
    graph: &Graph,
    params: &mut [Option<T>],
    precision: Precision,
) -> Result<Vec<Option<Instead>>, EngineError> {
    let mut instead: Vec<Option<Instead>> = graph.nodes().iter().map(|_| None).collect();
    for (i, node) in graph.nodes().iter().enumerate() {
        let is_param = |&id: &ValueId| matches!(graph.value(id).kind, ValueKind::Param(_));
        // DeBERTa projects a table of its own, which is no value of a run.
        if node.op != Op::Linear || is_param(&node.inputs[0]) || !node.inputs[1..].iter().all(is_param) {
            continue;
        }
        let mut values = node.inputs[1..].iter().map(|id| params[id.index()].clone());
        let mut next = || values.next().flatten().map(floats).transpose();
        let (Some(weight), bias) = (next()?, next()?) else { continue };
        let Some(width) = graph.value(node.inputs[1]).shape.known(1) else { continue };
        let (at, activation) = activation_of(graph, node.output);
        let output = at.map_or(node.output, |at| graph.nodes()[at].output);
        // What is a result is not averaged by anything behind it.
        let is_result = graph.outputs().iter().any(|o| o.value == output);
        let precision = if is_result { Precision::F32 } else { precision };
        let layer = Box::new(Linear::new(precision, &weight, bias.as_deref(), width, activation));
        instead[i] = Some(Instead::Layer { layer, output });
        if let Some(at) = at {
            instead[at] = Some(Instead::Nothing);
        }
    }
    let interpreted = || graph.nodes().iter().zip(&instead).filter(|(_, way)| way.is_none());
    for (id, _, _) in graph.params() {
        if !interpreted().any(|(node, _)| node.inputs.contains(&id)) {
            params[id.index()] = None;
        }
    }
    Ok(instead)
}

impl Instead {
    /// The value that a layer makes of its input.
    pub(crate) fn run(&self, x: T) -> Option<(ValueId, T)> {
        match self {
            Instead::Layer { layer, output } => Some((*output, custom::packed_linear(layer, x))),
            Instead::Nothing => None,
        }
    }
}

fn floats(t: T) -> Result<Vec<f32>, EngineError> {
    match to_array(t)?.values {
        Values::F32(values) => Ok(values),
        Values::I64(_) => unreachable!("parameters are f32"),
    }
}

/// The activation that alone reads a value, and where it is.
fn activation_of(graph: &Graph, value: ValueId) -> (Option<usize>, Activation) {
    let reads = |node: &Node| node.inputs.contains(&value);
    let mut readers = graph.nodes().iter().enumerate().filter(|(_, node)| reads(node));
    let is_output = graph.outputs().iter().any(|o| o.value == value);
    let (Some((at, reader)), None, false) = (readers.next(), readers.next(), is_output) else {
        return (None, Activation::Identity);
    };
    match reader.op {
        Op::Relu => (Some(at), Activation::Relu),
        Op::Gelu { tanh: false } => (Some(at), Activation::Gelu),
        Op::Gelu { tanh: true } => (Some(at), Activation::GeluTanh),
        Op::Silu => (Some(at), Activation::Silu),
        Op::Sigmoid => (Some(at), Activation::Sigmoid),
        _ => (None, Activation::Identity),
    }
}
