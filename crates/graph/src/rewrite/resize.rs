//! `resize`: the same network for pictures of another size.

use crate::{Dim, Graph, GraphError, Shape, ValueKind};

/// Gives every image input `[batch, channels, height, width]` another height and width and infers all shapes anew.
/// Fails where a window no longer fits, or a linear layer would need other weights.
///
/// ```
/// use headstart_graph::{Conv, GraphBuilder, rewrite};
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.image("image", [3, 32, 32]);
/// let x = b.conv("conv", x, Conv::new(4, 5))?;
/// let x = b.global_avg_pool("pool", x)?;
/// let graph = b.finish([("features", x)])?;
/// assert!(rewrite::resize(&graph, [8, 8]).is_ok());
/// assert!(rewrite::resize(&graph, [4, 4]).is_err());
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn resize(graph: &Graph, size_px: [usize; 2]) -> Result<Graph, GraphError> {
    let mut graph = graph.clone();
    for value in &mut graph.values {
        if let ValueKind::Input(spec) = &mut value.kind
            && spec.shape.rank() == 4
        {
            let mut dims = spec.shape.0.clone();
            dims[2..].clone_from_slice(&size_px.map(Dim::Fixed));
            spec.shape = Shape(dims);
            value.shape = spec.shape.clone();
        }
    }
    for i in 0..graph.nodes.len() {
        let node = &graph.nodes[i];
        let (output, shape) = (node.output, graph.infer(&node.path, &node.op, &node.inputs)?);
        graph.values[output.index()].shape = shape;
    }
    graph.check()?;
    Ok(graph)
}
