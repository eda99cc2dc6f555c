//! Linear layers that will not learn any more: their weights are packed once, in the precision of their products, and an
//! activation that alone reads them is applied while their results are at hand.

use headstart_core::Values;
use headstart_graph::{Graph, Op, ValueId, ValueKind};
use headstart_kernels::channels_last::Linear;
use headstart_kernels::{Activation, Precision};

use crate::EngineError;
use crate::custom::activation_of;
use crate::interpret::fusion::{Fusion, Readers};
use crate::tensor::{T, to_array};

/// By node, its layer, if it is one.  Parameters that nobody else reads are dropped; activations that layers apply are done.
pub(crate) fn pack(
    graph: &Graph,
    params: &mut [Option<T>],
    fusion: &mut Fusion,
    precision: Precision,
) -> Result<Vec<Option<Box<Linear>>>, EngineError> {
    let readers = Readers::of(graph);
    let mut layers: Vec<Option<Box<Linear>>> = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        layers.push(None);
        let is_param = |&id: &ValueId| matches!(graph.value(id).kind, ValueKind::Param(_));
        // DeBERTa projects a table of its own, which is no value of a run.
        if node.op != Op::Linear || !node.inputs[1..].iter().all(is_param) || is_param(&node.inputs[0]) {
            continue;
        }
        let mut values = node.inputs[1..].iter().map(|id| params[id.index()].clone());
        let mut next = || values.next().flatten().map(floats).transpose();
        let (Some(weight), bias) = (next()?, next()?) else { continue };
        let Some(width) = graph.value(node.inputs[1]).shape.known(1) else { continue };
        let mut made = (Activation::Identity, node.output);
        if let Some(reader) = readers.only(node.output)
            && let Some(activation) = activation_of(&graph.nodes()[reader].op)
        {
            fusion.is_done(reader, node.output);
            made = (activation, graph.nodes()[reader].output);
        }
        // What is a result is not averaged by anything behind it.
        let is_result = graph.outputs().iter().any(|o| o.value == made.1);
        let precision = if is_result { Precision::F32 } else { precision };
        let layer = Linear::new(precision, &weight, bias.as_deref(), width, made.0);
        *layers.last_mut().expect("one was pushed") = Some(Box::new(layer));
    }
    let interpreted = || graph.nodes().iter().zip(&layers).filter(|(_, layer)| layer.is_none());
    for (id, _, _) in graph.params() {
        if !interpreted().any(|(node, _)| node.inputs.contains(&id)) {
            params[id.index()] = None;
        }
    }
    Ok(layers)
}

fn floats(t: T) -> Result<Vec<f32>, EngineError> {
    match to_array(t)?.values {
        Values::F32(values) => Ok(values),
        Values::I64(_) => unreachable!("parameters are f32"),
    }
}
