//! What can be wrong with a request to the zoo.

use headstart_graph::GraphError;

#[allow(missing_docs, reason = "the messages name their fields")]
/// An error that names what was asked for and what there is.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ZooError {
    /// No architecture has this name.
    #[error("no architecture `{name}` in the zoo; the nearest names are {}", .nearest.join(", "))]
    UnknownArchitecture { name: String, nearest: Vec<String> },
    /// No catalogue entry has this id.
    #[error("no source `{id}` in the catalogue; the nearest ids are {}", .nearest.join(", "))]
    UnknownEntry { id: String, nearest: Vec<String> },
    /// A classifier needs at least one class, an image at least one pixel.
    #[error("`{option}` must be at least 1")]
    Zero { option: &'static str },
    /// An option that this architecture has no use for.
    #[error("`{name}` reads texts and has no image size")]
    NoImageSize { name: String },
    /// A field of a `config.json` is missing, or its value is not supported.
    #[error("config.json: `{field}` is {got}; supported: {allowed}")]
    Config { field: &'static str, got: String, allowed: String },
    /// The tensors of a file cannot be laid onto a graph in their order.
    #[error(
        "the file holds {got} tensors, graph `{graph}` has {want} parameters: their order cannot be matched"
    )]
    Count { graph: String, want: usize, got: usize },
    /// Two tensors that the order pairs have different shapes, or are of different kinds.
    #[error("by order, tensor `{file}` {got:?} would become `{param}` {want:?}")]
    Order { file: String, got: Vec<usize>, param: String, want: Vec<usize> },
    /// A network onto which the layers of a Keras file cannot be laid for certain.
    #[error(
        "a Keras file does not say enough to be laid onto `{graph}` (it can be onto VGG): its layer `{layer}` {what}"
    )]
    Keras { graph: String, layer: String, what: String },
    /// Two tensors of a file would get the same name.
    #[error("two tensors of the file would both become `{name}`")]
    Collision { name: String },
    /// No class of transformers, nor modules of sentence-transformers behind it, compute a network.
    #[error("no class of transformers' `{model_type}` computes this network ({tried})")]
    NoClass { model_type: String, tried: String },
    /// The graph itself could not be built.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

/// The three known names most like `name`, likest first.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut scored: Vec<(f64, &str)> = known.map(|k| (strsim::jaro_winkler(name, k), k)).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(3).map(|(_, k)| k.to_string()).collect()
}
