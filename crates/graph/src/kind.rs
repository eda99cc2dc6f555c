//! What the elements of each value are.

use std::fmt;

use crate::{Binary, DType, ElementKind, Graph, GraphError, Interpolation, Op, Reduction, Unary, ValueKind};

/// What an operator makes of inputs of these kinds, or why it cannot take them.
///
/// # Errors
/// A reason without a place, if an input is of a kind that the operator does not take.
///
/// ```
/// use headstart_graph::{Binary, ElementKind, Op, output_kind};
/// let equal = Op::Binary { function: Binary::Equal };
/// assert_eq!(output_kind(&equal, &[ElementKind::Int, ElementKind::Int])?, ElementKind::Bool);
/// assert_eq!(output_kind(&Op::Add, &[ElementKind::Int, ElementKind::Int])?, ElementKind::Int);
/// assert!(output_kind(&Op::Sigmoid, &[ElementKind::Int]).is_err());
/// # Ok::<(), String>(())
/// ```
pub fn output_kind(op: &Op, inputs: &[ElementKind]) -> Result<ElementKind, String> {
    use ElementKind::{Bool, Float, Int};
    let first = inputs.first().copied().unwrap_or(Float);
    match op {
        Op::Constant { value } => Ok(match value.dtype() {
            DType::I64 => Int,
            DType::Bool => Bool,
            _ => Float,
        }),
        Op::Sizes { .. } | Op::Range { .. } => Ok(Int),
        Op::Cast { to } => Ok(*to),
        // These move elements, whatever they are.
        Op::Reshape { .. } | Op::Expand { .. } | Op::Slice { .. } | Op::Pad { .. } | Op::Triangle { .. } => {
            Ok(first)
        }
        Op::Flatten { .. } | Op::Transpose { .. } | Op::Select { .. } => Ok(first),
        Op::Resize(r) if matches!(r.interpolation, Interpolation::Nearest(_)) => Ok(first),
        Op::Concat { .. } => wants(inputs, &vec![first; inputs.len()]).map(|()| first),
        Op::Gather { .. } | Op::GatherElements { .. } | Op::GatherNd => {
            wants(inputs, &[first, Int]).map(|()| first)
        }
        Op::ScatterNd { .. } => wants(inputs, &[first, Int, first]).map(|()| first),
        Op::Where => {
            let chosen = inputs.get(1).copied().unwrap_or(Float);
            wants(inputs, &[Bool, chosen, chosen]).map(|()| chosen)
        }
        Op::PositionIds { .. } => wants(inputs, &[Int]).map(|()| Int),
        Op::Embedding | Op::MaskedMean | Op::MaskedMax | Op::MaskTokens => {
            wants(inputs, &[Float, Int]).map(|()| Float)
        }
        Op::Attention(a) => {
            let is_masked = inputs.len() > 3 + usize::from(a.bias);
            let mask = if is_masked { &[Int][..] } else { &[] };
            wants(inputs, &[&[Float; 3], mask, &[Float][..usize::from(a.bias)]].concat()).map(|()| Float)
        }
        // Of the others it reads the lengths alone.
        Op::RelativePositionBias { .. } => wants(inputs, &[Float]).map(|()| Float),
        Op::Unary { function } => unary(*function, first),
        Op::Binary { function } => {
            wants(inputs, &[first; 2])?;
            binary(*function, first)
        }
        Op::Add | Op::Mul | Op::MatMul => {
            wants(inputs, &[first; 2])?;
            number(first)
        }
        Op::Reduce { function, .. } => reduction(*function, first),
        Op::ArgMax { .. } | Op::ArgSort { .. } => number(first).map(|_| Int),
        Op::CumSum { .. } => number(first),
        _ => wants(inputs, &vec![Float; inputs.len()]).map(|()| Float),
    }
}

/// Whether inputs are of these kinds; how many there are is checked elsewhere.
fn wants(inputs: &[ElementKind], kinds: &[ElementKind]) -> Result<(), String> {
    match inputs.iter().zip(kinds).enumerate().find(|(_, (got, want))| got != want) {
        Some((i, (got, want))) => Err(format!("input {i} must be {want}, not {got}")),
        None => Ok(()),
    }
}

fn number(kind: ElementKind) -> Result<ElementKind, String> {
    if kind == ElementKind::Bool { Err("it takes numbers, not truth values".into()) } else { Ok(kind) }
}

fn unary(function: Unary, of: ElementKind) -> Result<ElementKind, String> {
    use ElementKind::{Bool, Float};
    match function {
        Unary::Not => wants(&[of], &[Bool]).map(|()| Bool),
        Unary::Neg | Unary::Abs | Unary::Sign => number(of),
        Unary::IsNan | Unary::IsInf => wants(&[of], &[Float]).map(|()| Bool),
        _ => wants(&[of], &[Float]).map(|()| Float),
    }
}

/// Of two values of one kind.
fn binary(function: Binary, of: ElementKind) -> Result<ElementKind, String> {
    use ElementKind::{Bool, Float, Int};
    match function {
        // Of integers they are bit by bit.
        Binary::And | Binary::Or | Binary::Xor if of == Float => {
            Err("it takes truth values or integers, not floats".into())
        }
        Binary::And | Binary::Or | Binary::Xor => Ok(of),
        Binary::Equal => Ok(Bool),
        Binary::Less | Binary::LessOrEqual | Binary::Greater | Binary::GreaterOrEqual => {
            number(of).map(|_| Bool)
        }
        Binary::PRelu if of == Int => Err("a rectifier takes floats".into()),
        _ => number(of),
    }
}

fn reduction(function: Reduction, of: ElementKind) -> Result<ElementKind, String> {
    match function {
        Reduction::Sum
        | Reduction::Max
        | Reduction::Min
        | Reduction::Prod
        | Reduction::L1
        | Reduction::SumSquare => number(of),
        Reduction::Mean | Reduction::L2 | Reduction::LogSum | Reduction::LogSumExp => {
            wants(&[of], &[ElementKind::Float]).map(|()| of)
        }
    }
}

/// The kind of every value of a graph, by [`crate::ValueId::index`].
///
/// # Errors
/// If a node's inputs are of kinds that its operator does not take; graphs that were built or read have been checked.
pub fn value_kinds(graph: &Graph) -> Result<Vec<ElementKind>, GraphError> {
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
        let made = output_kind(&node.op, &inputs).map_err(|why| GraphError::Kind {
            node: node.path.clone(),
            op: node.op.name(),
            why,
        })?;
        kinds[node.output.index()] = made;
    }
    Ok(kinds)
}

impl fmt::Display for ElementKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ElementKind::Float => "floats",
            ElementKind::Int => "integers",
            ElementKind::Bool => "truth values",
        })
    }
}
