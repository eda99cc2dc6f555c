//! `append` and `extend`: add nodes behind a value.

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
    extend(graph, |b| b.node(path, op, &inputs))
}

/// Goes on building: `build` adds nodes and parameters.  Returns the graph with what `build` returned; its outputs stay.
///
/// ```
/// use headstart_graph::{GraphBuilder, Op, rewrite};
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.image("image", [3, 8, 8]);
/// let x = b.global_avg_pool("pool", x)?;
/// let graph = b.finish([("features", x)])?;
/// let (longer, y) = rewrite::extend(&graph, |b| b.linear("dense", graph.output(), 5))?;
/// assert_eq!(longer.value(y).shape.to_string(), "[batch, 5]");
/// assert_eq!(longer.output(), graph.output());
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn extend<T>(
    graph: &Graph,
    build: impl FnOnce(&mut GraphBuilder) -> Result<T, GraphError>,
) -> Result<(Graph, T), GraphError> {
    let outputs: Vec<(String, ValueId)> = graph.outputs().iter().map(|o| (o.name.clone(), o.value)).collect();
    let mut b = GraphBuilder::resume(graph.clone());
    let made = build(&mut b)?;
    let graph = b.finish(outputs.iter().map(|(name, value)| (name.as_str(), *value)))?;
    Ok((graph, made))
}
