//! `cut`: drops what lies downstream of a node, and every parameter nobody reads any more.

use std::collections::HashMap;

use crate::rewrite::Tap;
use crate::{Graph, GraphError, Node, Output, ValueId, ValueKind};

/// The part of a graph that computes one vector an example: pools at the tap and cuts the rest off.
/// The one output is called `features`, shape `[batch, width]`.
///
/// ```
/// use headstart_graph::{Conv, GraphBuilder, rewrite};
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.image("image", [3, 8, 8]);
/// let x = b.conv("conv", x, Conv::new(4, 3))?;
/// let x = b.global_avg_pool("pool", x)?;
/// let y = b.linear("fc", x, 10)?;
/// let graph = b.finish([("logits", y)])?;
/// let features = rewrite::cut(&graph, rewrite::tap(&graph)?)?;
/// assert_eq!(features.value(features.output()).shape.width(), Some(4));
/// assert!(features.params().all(|(_, name, _)| !name.starts_with("fc")));
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn cut(graph: &Graph, tap: Tap) -> Result<Graph, GraphError> {
    let (builder, value) = tap.pooled(graph.clone())?;
    let pooled = builder.finish([("features", value)])?;
    cut_at(&pooled, &[Output { name: "features".into(), value }])
}

/// The graph of the main output alone.
pub fn main_output(graph: &Graph) -> Result<Graph, GraphError> {
    cut_at(graph, &graph.outputs()[..1])
}

/// Keeps what the given outputs need.  Inputs that nothing reads go too; an error, if all do.
pub fn cut_at(graph: &Graph, outputs: &[Output]) -> Result<Graph, GraphError> {
    let mut needed = vec![false; graph.values.len()];
    for o in outputs {
        needed[o.value.index()] = true;
    }
    let mut kept: Vec<&Node> = Vec::new();
    for node in graph.nodes.iter().rev() {
        if needed[node.output.index()] {
            node.inputs.iter().for_each(|i| needed[i.index()] = true);
            kept.push(node);
        }
    }
    kept.reverse();
    let mut renumbered: HashMap<ValueId, ValueId> = HashMap::new();
    let mut values = Vec::new();
    for (i, v) in graph.values.iter().enumerate() {
        if needed[i] {
            renumbered.insert(ValueId(i as u32), ValueId(values.len() as u32));
            values.push(v.clone());
        }
    }
    let at = |id: ValueId| {
        renumbered
            .get(&id)
            .copied()
            .ok_or_else(|| GraphError::UndefinedValue { node: graph.name.clone(), value: id.index() })
    };
    let nodes = kept
        .into_iter()
        .map(|n| {
            let inputs = n.inputs.iter().map(|&i| at(i)).collect::<Result<Vec<_>, _>>()?;
            Ok(Node { path: n.path.clone(), op: n.op.clone(), inputs, output: at(n.output)? })
        })
        .collect::<Result<Vec<_>, GraphError>>()?;
    let outputs = outputs
        .iter()
        .map(|o| Ok(Output { name: o.name.clone(), value: at(o.value)? }))
        .collect::<Result<Vec<_>, GraphError>>()?;
    let cut = Graph { name: graph.name.clone(), values, nodes, outputs };
    if !cut.values.iter().any(|v| matches!(v.kind, ValueKind::Input(_))) {
        return Err(GraphError::NoInput(cut.name));
    }
    cut.check()?;
    Ok(cut)
}
