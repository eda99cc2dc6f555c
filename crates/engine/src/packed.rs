//! Linear layers that will not learn any more: their weights are packed once, in the precision of their products.  An activation
//! that alone reads a layer's results is applied while they are at hand, a layer that alone reads those takes them from the cache, and
//! a sum with what was there before is part of the last.

use std::collections::HashSet;

use headstart_graph::{Graph, Node, Op, ValueId, ValueKind, Weights};
use headstart_kernels::channels_last::Linear;
use headstart_kernels::{Activation, Precision};

use crate::EngineError;
use crate::custom::activation_of;
use crate::interpret::fusion::{Fusion, Readers};

/// By node, the layers that it begins, if it is one.  What else they do is done.
pub(crate) type Packed = Vec<Option<Box<Layers>>>;

/// A layer, what follows it, and what is added to the result.
#[derive(Debug)]
pub(crate) struct Layers {
    pub(crate) first: Linear,
    pub(crate) second: Option<Linear>,
    pub(crate) residual: Option<ValueId>,
}

/// Packs a graph's linear layers; and the parameters that are read by others.
pub(crate) fn pack(
    graph: &Graph,
    weights: &Weights,
    readers: &Readers,
    fusion: &mut Fusion,
    precision: Precision,
) -> Result<(Packed, HashSet<ValueId>), EngineError> {
    let nodes = graph.nodes();
    let (mut packed, mut within) = (Packed::with_capacity(nodes.len()), HashSet::new());
    for (i, node) in nodes.iter().enumerate() {
        packed.push(None);
        if within.contains(&i) || !is_packed(graph, node) {
            continue;
        }
        let mut value = node.output;
        let mut activation = follow(graph, readers, fusion, &mut value);
        // What is a result is not averaged by anything behind it.
        let precision_of = |value: ValueId| {
            let is_result = graph.outputs().iter().any(|o| o.value == value);
            if is_result { Precision::F32 } else { precision }
        };
        let mut first = layer(graph, weights, node, precision_of(value), activation)?;
        let mut second = None;
        if let Some(next) = readers.only(value)
            && is_packed(graph, &nodes[next])
            && nodes[next].inputs[0] == value
        {
            within.insert(next);
            fusion.is_done(next, value);
            value = nodes[next].output;
            activation = follow(graph, readers, fusion, &mut value);
            second = Some(layer(graph, weights, &nodes[next], precision_of(value), activation)?);
        }
        let mut residual = None;
        if activation == Activation::Identity
            && let Some((add, other)) = readers.sum(graph, value, i)
        {
            fusion.is_done(add, value);
            residual = Some(other);
            match second.take() {
                Some(layer) => second = Some(layer.adding()),
                None => first = first.adding(),
            }
        }
        packed[i] = Some(Box::new(Layers { first, second, residual }));
    }
    let interpreted = (0..nodes.len()).filter(|i| packed[*i].is_none() && !within.contains(i));
    let read = interpreted.flat_map(|i| &nodes[i].inputs).copied().collect();
    Ok((packed, read))
}

/// Whether it is a linear layer whose weights are parameters.
fn is_packed(graph: &Graph, node: &Node) -> bool {
    let is_param = |id: &ValueId| matches!(graph.value(*id).kind, ValueKind::Param(_));
    node.op == Op::Linear
        && node.inputs[1..].iter().all(is_param)
        // DeBERTa projects a table of its own, which is no value of a run.
        && !is_param(&node.inputs[0])
        && graph.value(node.inputs[1]).shape.known(1).is_some()
}

/// The activation that alone reads a value, which becomes its result.
fn follow(graph: &Graph, readers: &Readers, fusion: &mut Fusion, value: &mut ValueId) -> Activation {
    let Some(reader) = readers.only(*value) else { return Activation::Identity };
    let Some(activation) = activation_of(&graph.nodes()[reader].op) else { return Activation::Identity };
    fusion.is_done(reader, *value);
    *value = graph.nodes()[reader].output;
    activation
}

fn layer(
    graph: &Graph,
    weights: &Weights,
    node: &Node,
    precision: Precision,
    activation: Activation,
) -> Result<Linear, EngineError> {
    let tensor = |id: &ValueId| weights.require(&graph.value(*id).name)?.to_f32();
    let weight = tensor(&node.inputs[1])?;
    let bias = node.inputs.get(2).map(tensor).transpose()?;
    let width = graph.value(node.inputs[1]).shape.known(1).expect("only asked of packed layers");
    Ok(Linear::new(precision, &weight, bias.as_deref(), width, activation))
}
