//! What can be wrong with a model's files: one enum, with data, and a next thing to type.

use std::path::{Path, PathBuf};

use headstart_graph::GraphError;

use crate::LoadReport;

/// A file that cannot be read as a model, or weights that do not fit their graph.
///
/// ```
/// use headstart_formats::FormatError;
/// let error = FormatError::NotWeights { path: "net.onnx".into(), found: "an ONNX model" };
/// assert_eq!(
///     error.to_string(),
///     "net.onnx is an ONNX model; weights are read from safetensors, PyTorch and Keras files (.safetensors, .pt, .pth, .bin, .h5, .keras)"
/// );
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs, reason = "the messages name their fields")]
pub enum FormatError {
    /// The operating system said no.
    #[error("cannot {doing} {}: {source}", .path.display())]
    Io { doing: &'static str, path: PathBuf, source: std::io::Error },
    /// The content is not one of the formats that hold weights.
    #[error(
        "{} is {found}; weights are read from safetensors, PyTorch and Keras files (.safetensors, .pt, .pth, .bin, .h5, .keras)",
        .path.display()
    )]
    NotWeights { path: PathBuf, found: &'static str },
    /// The file breaks the rules of its format.
    #[error("{} is not a valid {format}: {what}", .path.display())]
    Malformed { path: PathBuf, format: &'static str, what: String },
    /// The file asks for more than a file of its kind needs.
    #[error("{}: {what} is more than the {max} that are read", .path.display())]
    Limit { path: PathBuf, what: String, max: u64 },
    /// An element type, layout or kind of tensor that is not supported.
    #[error(
        "{}: tensor `{tensor}` is {got}; read are dense tensors of f64, f32, f16, bf16, i64, i32, i16, i8, u8, bool",
        .path.display()
    )]
    UnsupportedTensor { path: PathBuf, tensor: String, got: String },
    /// A tensor reaches outside the data that the file has for it.
    #[error("{}: tensor `{tensor}` {what}", .path.display())]
    TensorBounds { path: PathBuf, tensor: String, what: String },
    /// A pickle holds something else than a dictionary of tensors.
    #[error("{} holds no dictionary of tensors but {found}", .path.display())]
    NoTensors { path: PathBuf, found: String },
    /// A folder lacks a file.
    #[error("{} has no {} (there are: {})", .dir.display(), .wanted.join(" or "), or_none(.there))]
    MissingFile { dir: PathBuf, wanted: Vec<String>, there: Vec<String> },
    /// A file names another one that lies outside its folder.
    #[error("{} refers to `{name}`, which is not a path inside its folder", .path.display())]
    EscapingPath { path: PathBuf, name: String },
    /// An index of shards does not agree with its shards.
    #[error("{}: {what}", .path.display())]
    Shards { path: PathBuf, what: String },
    /// Operators of a network that are not read, each with the nodes that use it.
    #[error("{}: operators that are not read: {}", .path.display(), operators(.found))]
    UnsupportedOperators { path: PathBuf, found: Vec<(String, Vec<String>)> },
    /// A node that cannot be read.
    #[error("{}: node `{node}` ({op}): {why}", .path.display())]
    Node { path: PathBuf, node: String, op: String, why: String },
    /// A node that cannot be written.
    #[error("node `{node}` ({op}) cannot be written as ONNX: {why}")]
    Unwritable { node: String, op: &'static str, why: String },
    /// A version of ONNX's operators that is not written.
    #[error("opset {got} is not written (13 to 23)")]
    Opset { got: i64 },
    /// A number was given for a size or input that the network does not have.
    #[error("{} has no size or scalar input `{name}` (there are: {})", .path.display(), or_nothing(.known))]
    UnknownSize { path: PathBuf, name: String, known: Vec<String> },
    /// An adapter that is not supported, or that contradicts itself.
    #[error("{}: {what}", .path.display())]
    Peft { path: PathBuf, what: String },
    /// A tensor's name cannot be written.
    #[error("a tensor cannot be called `{0}`: safetensors reserves the name")]
    ReservedName(String),
    /// Weights and graph differ in what nobody announced.
    #[error("the weights do not fit: {}", .0.problems())]
    Unannounced(Box<LoadReport>),
    /// Two tensors of the file would become the same parameter.
    #[error("tensors `{first}` and `{second}` would both become `{name}`")]
    Collision { name: String, first: String, second: String },
    /// A weight is not a finite number.
    #[error("tensor `{tensor}` holds {n_bad} of {n} values that are NaN or infinite as f32")]
    NotFinite { tensor: String, n_bad: usize, n: usize },
    /// A tensor could not be made or read.
    #[error(transparent)]
    Graph(#[from] GraphError),
}

impl FormatError {
    /// The next thing to do, where there is one.
    ///
    /// ```
    /// use headstart_formats::FormatError;
    /// let error = FormatError::NotWeights { path: "w.bin".into(), found: "a Git LFS pointer" };
    /// assert_eq!(error.hint().as_deref(), Some("run `git lfs pull` where the file came from"));
    /// ```
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            FormatError::NotWeights { found, .. } if found.contains("LFS") => {
                "run `git lfs pull` where the file came from".into()
            }
            FormatError::NotWeights { found, .. } if found.contains("web page") => {
                "fetch the file again: a login or error page was saved in its place".into()
            }
            FormatError::NoTensors { .. } => {
                "save the weights alone with `torch.save(model.state_dict(), path)`".into()
            }
            FormatError::NotFinite { .. } => {
                "the checkpoint is damaged or its training diverged: take another".into()
            }
            FormatError::Unannounced(report) => return report.hint(),
            _ => return None,
        })
    }

    pub(crate) fn malformed(path: &Path, format: &'static str, what: impl Into<String>) -> Self {
        FormatError::Malformed { path: path.into(), format, what: what.into() }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| FormatError::Io { doing: "read", path, source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| FormatError::Io { doing: "write", path, source }
    }
}

/// At most five nodes an operator.
fn operators(found: &[(String, Vec<String>)]) -> String {
    let one = |(op, nodes): &(String, Vec<String>)| {
        let named: Vec<&str> = nodes.iter().take(5).map(String::as_str).collect();
        let more = nodes.len().saturating_sub(5);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        format!("{op} ({}{more})", named.join(", "))
    };
    found.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn or_nothing(names: &[String]) -> String {
    if names.is_empty() { "none".into() } else { names.join(", ") }
}

fn or_none(names: &[String]) -> String {
    if names.is_empty() { "no files".into() } else { crate::listing::list(names) }
}
