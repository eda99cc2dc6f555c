//! What a forward pass costs.

use crate::{Dim, Expr, Graph, Op, Shape};

/// Multiply-adds of one forward pass for one example; `sequence` stands for every symbolic length.
///
/// Counts convolutions, linear layers, matrix products and attention: what the time of a pass is made of.
///
/// ```
/// use headstart_graph::{Conv, GraphBuilder, Shape, multiply_adds};
/// let mut b = GraphBuilder::new("one-convolution");
/// let x = b.image("image", [3, 8, 8]);
/// let y = b.conv("conv", x, Conv::new(4, 3).padding(1))?;
/// let graph = b.finish([("y", y)])?;
/// assert_eq!(multiply_adds(&graph, 1), 8 * 8 * 4 * 3 * 9);
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn multiply_adds(graph: &Graph, sequence: usize) -> u64 {
    let size = |d: &Dim| match d {
        Dim::Fixed(n) => *n as u64,
        // One example; a length that is computed from others is computed.
        symbolic => {
            let symbol = |s: &str| Some(if s.starts_with("batch") { 1 } else { sequence as i64 });
            Expr::from(symbolic).evaluate(&symbol).map_or(0, |n| n.max(0) as u64)
        }
    };
    let count = |s: &Shape| s.0.iter().map(size).product::<u64>();
    graph
        .nodes()
        .iter()
        .map(|node| {
            let shape = |i: usize| &graph.value(node.inputs[i]).shape;
            let out = count(&graph.value(node.output).shape);
            match &node.op {
                Op::Conv2d { .. } | Op::ConvNd { .. } => {
                    out * shape(1).0[1..].iter().map(size).product::<u64>()
                }
                Op::Linear => out * size(&shape(1).0[1]),
                Op::MatMul => out * shape(0).0.last().map_or(1, size),
                Op::Recurrent { .. } => {
                    let steps = size(&shape(0).0[0]) * size(&shape(0).0[1]);
                    steps * (count(shape(1)) + count(shape(2)))
                }
                Op::Attention(_) => 2 * out * size(&shape(1).0[1]),
                Op::DisentangledScores { .. } => count(shape(0)) * size(&shape(1).0[0]),
                _ => 0,
            }
        })
        .sum()
}
