//! What the elements of each value are.

use crate::{ElementKind, Graph, Op, Unary, ValueKind};

/// What an operator makes of inputs of these kinds.
///
/// ```
/// use headstart_graph::{Binary, ElementKind, Op, output_kind};
/// let equal = Op::Binary { function: Binary::Equal };
/// assert_eq!(output_kind(&equal, &[ElementKind::Int, ElementKind::Int]), ElementKind::Bool);
/// assert_eq!(output_kind(&Op::Add, &[ElementKind::Int, ElementKind::Int]), ElementKind::Int);
/// ```
pub fn output_kind(op: &Op, inputs: &[ElementKind]) -> ElementKind {
    let first = inputs.first().copied().unwrap_or(ElementKind::Float);
    match op {
        Op::Constant { value } => match value.dtype() {
            crate::DType::I64 => ElementKind::Int,
            crate::DType::Bool => ElementKind::Bool,
            _ => ElementKind::Float,
        },
        Op::Sizes { .. } | Op::Range { .. } | Op::ArgMax { .. } | Op::PositionIds { .. } => ElementKind::Int,
        Op::Cast { to } => *to,
        Op::Unary { function: Unary::IsNan | Unary::IsInf | Unary::Not } => ElementKind::Bool,
        Op::Binary { function } if function.makes_bool() && first != ElementKind::Int => ElementKind::Bool,
        Op::Binary { function } if function.makes_bool() => match function {
            // Of integers they are bit by bit.
            crate::Binary::And | crate::Binary::Or | crate::Binary::Xor => ElementKind::Int,
            _ => ElementKind::Bool,
        },
        Op::Where => inputs.get(1).copied().unwrap_or(first),
        _ => first,
    }
}

/// The kind of every value of a graph, by [`crate::ValueId::index`].
pub fn value_kinds(graph: &Graph) -> Vec<ElementKind> {
    let mut kinds: Vec<ElementKind> = graph
        .values()
        .iter()
        .map(|v| match &v.kind {
            ValueKind::Input(spec) if !spec.dtype.is_float() => ElementKind::Int,
            _ => ElementKind::Float,
        })
        .collect();
    for node in graph.nodes() {
        let inputs: Vec<ElementKind> = node.inputs.iter().map(|id| kinds[id.index()]).collect();
        kinds[node.output.index()] = output_kind(&node.op, &inputs);
    }
    kinds
}
