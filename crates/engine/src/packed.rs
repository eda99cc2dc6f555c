//! Linear layers that will not learn any more: their weights are packed once, in the precision of their products, and an
//! activation that alone reads them is applied while their results are at hand.

use std::collections::HashSet;

use headstart_graph::{Graph, Op, ValueId, ValueKind, Weights};
use headstart_kernels::channels_last::Linear;
use headstart_kernels::{Activation, Precision};

use crate::EngineError;
use crate::custom::activation_of;
use crate::interpret::fusion::{Fusion, Readers};

/// By node, its layer, if it is one.  Activations that layers apply are done.
pub(crate) type Packed = Vec<Option<Box<Linear>>>;

/// Packs a graph's linear layers; and the parameters that are read by others.
pub(crate) fn pack(
    graph: &Graph,
    weights: &Weights,
    fusion: &mut Fusion,
    precision: Precision,
) -> Result<(Packed, HashSet<ValueId>), EngineError> {
    let readers = Readers::of(graph);
    let mut layers: Packed = Vec::with_capacity(graph.nodes().len());
    for node in graph.nodes() {
        layers.push(None);
        let is_param = |&id: &ValueId| matches!(graph.value(id).kind, ValueKind::Param(_));
        // DeBERTa projects a table of its own, which is no value of a run.
        if node.op != Op::Linear || !node.inputs[1..].iter().all(is_param) || is_param(&node.inputs[0]) {
            continue;
        }
        let Some(width) = graph.value(node.inputs[1]).shape.known(1) else { continue };
        let tensor = |id: &ValueId| weights.require(&graph.value(*id).name)?.to_f32();
        let weight = tensor(&node.inputs[1])?;
        let bias = node.inputs.get(2).map(tensor).transpose()?;
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
    let interpreted = graph.nodes().iter().zip(&layers).filter(|(_, layer)| layer.is_none());
    let read = interpreted.flat_map(|(node, _)| &node.inputs).copied().collect();
    Ok((layers, read))
}
