//! What can go wrong when a graph runs.

use headstart_graph::GraphError;

/// An error that names the device, input or node it is about.
#[allow(missing_docs, reason = "the messages name their fields")]
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The device is unknown, or this build lacks it.
    #[error("device `{got}` is not available (this build has: {allowed})")]
    Device { got: String, allowed: String },
    /// The graph or its weights are at fault.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A batch lacks an input that the graph wants.
    #[error("the batch has no input `{0}`")]
    MissingInput(String),
    /// An input has another type or shape than the graph wants.
    #[error("input `{name}` is {got}, the graph wants {want}")]
    Input { name: String, want: String, got: String },
    /// A node met values that it cannot take, found only when the graph ran.
    #[error("node `{node}` ({op}): {why}")]
    Node { node: String, op: &'static str, why: String },
    /// The device could not hand a result back.
    #[error("reading from the device: {0}")]
    Read(String),
    /// A kept state of an optimiser does not fit.
    #[error("{0}")]
    State(String),
    /// A loss does not depend on anything that may learn.
    #[error("nothing that may learn reaches the loss")]
    NothingLearns,
    /// A loss or gradient is not a number any more.
    #[error("the loss became {0}; a lower learning rate may help")]
    NotFinite(f32),
}
