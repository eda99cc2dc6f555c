//! What can be wrong with a graph or its weights.

use crate::{DType, Shape};

#[allow(missing_docs, reason = "the messages name their fields")]
/// An error that names the node, parameter or value it is about.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum GraphError {
    /// A node was given a number of inputs that its operator does not take.
    #[error("node `{node}` ({op}) takes {want} inputs, got {got}")]
    Arity { node: String, op: &'static str, want: String, got: usize },
    /// The shapes that reach a node do not fit its operator.
    #[error("node `{node}` ({op}) cannot take inputs of shape {got}: {why}")]
    ShapeMismatch { node: String, op: &'static str, got: String, why: String },
    /// What reaches a node is of a kind that its operator does not take.
    #[error("node `{node}` ({op}): {why}")]
    Kind { node: String, op: &'static str, why: String },
    /// A node refers to a value that does not exist or comes later: the graph is not in SSA order.
    #[error("node `{node}` refers to value {value}, which is not defined before it")]
    UndefinedValue { node: String, value: usize },
    /// Two parameters, or two node paths, have the same name.
    #[error("the name `{0}` is used twice in one graph")]
    DuplicateName(String),
    /// A name was looked up that the graph does not have.
    #[error("no {kind} `{name}` in graph `{graph}`{}", nearest(.known))]
    Unknown { kind: &'static str, name: String, graph: String, known: Vec<String> },
    /// No output that is kept depends on an input.
    #[error("what graph `{0}` makes depends on none of its inputs")]
    NoInput(String),
    /// No tap could be found from the graph alone.
    #[error("graph `{graph}` has no classifier to tap: {why}")]
    NoTap { graph: String, why: String },
    /// A weight is missing for a parameter.
    #[error("no weights for parameter `{0}`")]
    MissingWeight(String),
    /// A weight has another shape than its parameter.
    #[error("weights of `{name}` have shape {got:?}, the graph wants {want:?}")]
    WeightShape { name: String, want: Vec<usize>, got: Vec<usize> },
    /// A tensor's bytes do not match its shape and type.
    #[error("tensor of type {dtype} and shape {shape:?} needs {want} bytes, got {got}")]
    ByteLength { dtype: DType, shape: Vec<usize>, want: usize, got: usize },
    /// A tensor's element count exceeds what can be addressed.
    #[error("tensor of shape {0:?} is too large to address")]
    TooLarge(Vec<usize>),
    /// A tensor of two axes was expected.
    #[error("tensor of shape {0:?} is no matrix")]
    NotMatrix(Vec<usize>),
    /// A value was read as floating point that is not.
    #[error("tensor of type {0} cannot be read as f32")]
    NotFloat(DType),
    /// Two shapes that must be equal are not.
    #[error("expected shape {want}, got {got}")]
    Shape { want: Shape, got: Shape },
    /// An adapter cannot stand beside a node.
    #[error("node `{node}` ({op}) cannot be adapted: {why}")]
    NotAdaptable { node: String, op: &'static str, why: String },
    /// An adapter cannot be folded into the weights beside it.
    #[error("the bottleneck at `{0}` cannot be merged: no single layer computes the same")]
    NotMergeable(String),
    /// A selection pattern matched no parameter.
    #[error("pattern `{0}` matches no parameter group; groups are: {1}")]
    NoMatch(String, String),
}

fn nearest(known: &[String]) -> String {
    if known.is_empty() { String::new() } else { format!(" (there are: {})", known.join(", ")) }
}
