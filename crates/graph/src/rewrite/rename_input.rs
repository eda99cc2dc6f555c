//! `rename_input`: gives an input the name that preprocessing feeds.

use crate::{Graph, GraphError, ValueKind};

/// The same graph with input `from` called `to`.
///
/// ```
/// use headstart_graph::{GraphBuilder, rewrite};
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.image("pixel_values", [3, 8, 8]);
/// let y = b.global_avg_pool("pool", x)?;
/// let graph = b.finish([("features", y)])?;
/// let graph = rewrite::rename_input(&graph, "pixel_values", "image")?;
/// assert!(graph.inputs().all(|(_, name, _)| name == "image"));
/// assert!(rewrite::rename_input(&graph, "pixel_values", "image").is_err());
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn rename_input(graph: &Graph, from: &str, to: &str) -> Result<Graph, GraphError> {
    let mut graph = graph.clone();
    let is_it = |kind: &ValueKind| matches!(kind, ValueKind::Input(_));
    match graph.values.iter_mut().find(|v| is_it(&v.kind) && v.name == from) {
        Some(value) => value.name = to.into(),
        None => {
            return Err(GraphError::Unknown {
                kind: "input",
                name: from.into(),
                graph: graph.name.clone(),
                known: graph.inputs().map(|(_, name, _)| name.to_string()).collect(),
            });
        }
    }
    graph.check()?;
    Ok(graph)
}
