//! LoRA: a low-rank update beside a frozen weight (Hu et al., 2021, *LoRA: Low-Rank Adaptation of Large Language
//! Models*).
//!
//! ```text
//! linear       y = W·x + b + s·B·(A·dropout(x)),   A [rank, in], B [out, rank]
//! convolution  the same, A [rank, in, kh, kw] with the layer's window, B [out, rank, 1, 1]
//! embedding    y = E[i] + s·B·(A[i]),              A [vocabulary, rank], B [width, rank]
//! ```
//!
//! `s = alpha / rank`.  `A` starts uniform in ±1/√fan_in and `B` at 0 (an embedding's the other way round), so the
//! network answers as before.

use super::{not_adaptable, weight_of};
use crate::graph::Node;
use crate::rewrite::LoraSpec;
use crate::rewrite::copy::Copy;
use crate::{Graph, GraphError, Init, Op, Padding, Tensor, ValueId, Weights};

/// Puts the update beside a node; what the two make together.
pub(super) fn beside(
    copy: &mut Copy,
    graph: &Graph,
    node: &Node,
    owner: &str,
    spec: &LoraSpec,
) -> Result<ValueId, GraphError> {
    let base = copy.node_as(&format!("{}.base_layer", node.path), node)?;
    let update = update(copy, graph, node, owner, spec)?.value;
    copy.builder.node(&node.path, Op::Add, &[base, update])
}

/// The scaled update with its parameters.
pub(super) struct Update {
    pub(super) value: ValueId,
    pub(super) a: ValueId,
    pub(super) b: ValueId,
}

/// Adds `s·B·A·x` for a node's `x`; `A` and `B` are named after `owner`.
pub(super) fn update(
    copy: &mut Copy,
    graph: &Graph,
    node: &Node,
    owner: &str,
    spec: &LoraSpec,
) -> Result<Update, GraphError> {
    let (names, at) = (Names::of(&node.op, owner), Names::of(&node.op, &node.path));
    let shape = weight_shape(graph, node)?;
    let shapes = factor_shapes(node, &shape, spec.rank)?;
    let inputs = copy.inputs(node)?;
    let (a_init, b_init) = match node.op {
        Op::Embedding => (Init::Constant(0.0), Init::Normal(1.0)),
        _ => (Init::fan_in_uniform(shape[1..].iter().product()), Init::Constant(0.0)),
    };
    let builder = &mut copy.builder;
    let a = builder.reserve(names.a, &shapes.0, a_init)?;
    let b = builder.reserve(names.b, &shapes.1, b_init)?;
    let stem = |name: &str| name.trim_end_matches(".weight").to_string();
    let dropped = |builder: &mut crate::GraphBuilder, x| match spec.dropout {
        p if p > 0.0 => builder.node(&format!("{}.lora_dropout", node.path), Op::Dropout { p }, &[x]),
        _ => Ok(x),
    };
    let (down, up) = match &node.op {
        Op::Embedding => (builder.node(&stem(&at.a), Op::Embedding, &[a, inputs[1]])?, Op::Linear),
        Op::Linear => {
            let x = dropped(builder, inputs[0])?;
            (builder.node(&stem(&at.a), Op::Linear, &[x, a])?, Op::Linear)
        }
        conv => {
            let x = dropped(builder, inputs[0])?;
            let one = Op::Conv2d { stride: [1, 1], padding: Padding::all(0), dilation: [1, 1], groups: 1 };
            (builder.node(&stem(&at.a), conv.clone(), &[x, a])?, one)
        }
    };
    let up = builder.node(&stem(&at.b), up, &[down, b])?;
    let scaled = Op::Scale { by: spec.scaling() };
    let value = builder.node(&format!("{}.lora_scaled", node.path), scaled, &[up])?;
    Ok(Update { value, a, b })
}

/// Adds `s·B·A` to the weight.
pub(super) fn fold(
    graph: &Graph,
    node: &Node,
    spec: &LoraSpec,
    weights: &Weights,
    merged: &mut Weights,
) -> Result<(), GraphError> {
    let name = weight_of(graph, node);
    let sum = updated(graph, node, spec, weights)?;
    let values: Vec<f32> = sum.iter().map(|&v| v as f32).collect();
    merged.insert(name, Tensor::from_f32(weights.require(name)?.shape(), &values)?);
    Ok(())
}

/// `W + s·B·A` in f64, in the weight's order.
pub(super) fn updated(
    graph: &Graph,
    node: &Node,
    spec: &LoraSpec,
    weights: &Weights,
) -> Result<Vec<f64>, GraphError> {
    let names = Names::of(&node.op, &node.path);
    let w = weights.require(weight_of(graph, node))?;
    let (a, b) = (weights.require(&names.a)?, weights.require(&names.b)?);
    let (rows, rank) = (w.shape()[0], spec.rank);
    let columns = w.len() / rows.max(1);
    let (wv, av, bv) = (w.to_f32()?, a.to_f32()?, b.to_f32()?);
    // An embedding's rows are the vocabulary, whose factor is A; elsewhere they are the outputs, whose factor is B.
    let (left, right): (Vec<f64>, Vec<f64>) = match node.op {
        Op::Embedding => (
            av.iter().map(|&v| f64::from(v)).collect(),
            (0..rank * columns).map(|i| f64::from(bv[(i % columns) * rank + i / columns])).collect(),
        ),
        _ => (bv.iter().map(|&v| f64::from(v)).collect(), av.iter().map(|&v| f64::from(v)).collect()),
    };
    let mut sum: Vec<f64> = wv.iter().map(|&v| f64::from(v)).collect();
    for (row, left) in sum.chunks_exact_mut(columns.max(1)).zip(left.chunks_exact(rank)) {
        for (l, right) in left.iter().zip(right.chunks_exact(columns.max(1))) {
            row.iter_mut().zip(right).for_each(|(s, r)| *s += spec.scaling() * l * r);
        }
    }
    Ok(sum)
}

struct Names {
    a: String,
    b: String,
}

impl Names {
    fn of(op: &Op, path: &str) -> Self {
        let kind = if *op == Op::Embedding { "lora_embedding" } else { "lora" };
        let name = |x: &str| format!("{path}.{kind}_{x}.weight");
        Names { a: name("A"), b: name("B") }
    }
}

fn weight_shape(graph: &Graph, node: &Node) -> Result<Vec<usize>, GraphError> {
    match node.op {
        Op::Linear | Op::Embedding => {}
        Op::Conv2d { groups: 1, .. } => {}
        Op::Conv2d { .. } => return Err(not_adaptable(node, "a grouped convolution has no low-rank update")),
        _ => {
            return Err(not_adaptable(node, "LoRA stands beside linear layers, convolutions and embeddings"));
        }
    }
    let at = if node.op == Op::Embedding { 0 } else { 1 };
    let shape = &graph.value(node.inputs[at]).shape;
    let dims: Option<Vec<usize>> = shape.0.iter().map(crate::Dim::fixed).collect();
    dims.ok_or_else(|| not_adaptable(node, "its weight has no known shape"))
}

/// Shapes of `A` and `B` for a weight.
fn factor_shapes(node: &Node, weight: &[usize], rank: usize) -> Result<(Vec<usize>, Vec<usize>), GraphError> {
    if rank == 0 {
        return Err(not_adaptable(node, "a rank of 0"));
    }
    Ok(match node.op {
        Op::Embedding => (vec![weight[0], rank], vec![weight[1], rank]),
        Op::Linear => (vec![rank, weight[1]], vec![weight[0], rank]),
        _ => ([&[rank], &weight[1..]].concat(), vec![weight[0], rank, 1, 1]),
    })
}
