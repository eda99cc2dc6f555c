//! `append`: adds one node after a value.

use crate::{Graph, GraphBuilder, GraphError, Op, ValueId};

/// Applies `op` to `value`, and to the graph's input called `second` if the operator wants one.  Returns the graph with
/// the new value; its outputs stay.
pub fn append(
    graph: &Graph,
    path: &str,
    op: Op,
    value: ValueId,
    second: Option<&str>,
) -> Result<(Graph, ValueId), GraphError> {
    let mut inputs = vec![value];
    if let Some(name) = second {
        let found = graph.inputs().find(|(_, n, _)| *n == name).map(|(id, _, _)| id);
        inputs.push(found.ok_or_else(|| GraphError::Unknown {
            kind: "input",
            name: name.into(),
            graph: graph.name().into(),
            known: graph.inputs().map(|(_, n, _)| n.to_string()).collect(),
        })?);
    }
    let outputs: Vec<(String, ValueId)> = graph.outputs().iter().map(|o| (o.name.clone(), o.value)).collect();
    let mut b = GraphBuilder::resume(graph.clone());
    let made = b.node(path, op, &inputs)?;
    let graph = b.finish(outputs.iter().map(|(name, value)| (name.as_str(), *value)))?;
    Ok((graph, made))
}
