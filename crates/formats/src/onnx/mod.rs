//! [ONNX](https://onnx.ai): a network of any framework as a [`Graph`] with [`Weights`].
//!
//! Nodes and initialisers keep their names.  What exporters compute shapes with (`Shape → Gather → Concat → Reshape`) is
//! told while reading: it becomes sizes in terms of the inputs' symbols, so that batch and sequence stay free.  Float
//! initialisers become parameters; constants, integers and masks become part of the graph.
//!
//! **Deviation:** a product with a weight `[in, out]` that nothing else reads becomes `Linear`, whose weight is stored
//! `[out, in]` as PyTorch has it, under the same name; a bias that is added next joins it under the product's path.
//! Matrices of the same numbers are one parameter under the first one's name: exporters write a layer that is used twice as
//! two initialisers, and it must learn as one.

mod condition;
mod fold;
mod functions;
mod known;
mod limits;
mod lower;
mod node;
mod order;
mod proto;
mod read;
mod reader;
mod summary;
mod tensor;
mod write;

use std::path::Path;

use bytes::Bytes;
use headstart_graph::{Graph, Weights};

use crate::{FormatError, mapped};

pub use summary::{OnnxSummary, OnnxTensor, OnnxValue, summary, summary_of};
pub use write::{Normalise, WriteOptions, write};

const FORMAT: &str = "ONNX model";
/// What our files call their writer.
const PRODUCER: &str = "headstart";
/// Oldest operators that are read.
const OPSET_MIN: i64 = 7;

/// A network read from a file.
#[derive(Debug, Clone)]
pub struct OnnxModel {
    /// The operators; the outputs are the file's, the first one is the main one.
    pub graph: Graph,
    /// A tensor for every parameter of the graph.
    pub weights: Weights,
    /// Key-value pairs that the file carries along.
    pub metadata: Vec<(String, String)>,
    /// Version of the operators.
    pub opset: i64,
    /// The program that wrote it.
    pub producer: String,
}

/// What a file leaves open and the caller decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Numbers for symbols of the inputs' shapes (`batch`), and for scalar integer inputs (`sr`), which are inputs no more.
    pub fixed: Vec<(String, i64)>,
}

/// Reads a file and the files beside it that hold its tensors.
///
/// # Errors
/// Operators that are not read are listed all at once, with the nodes that use them.
pub fn load(path: impl AsRef<Path>, options: &OnnxOptions) -> Result<OnnxModel, FormatError> {
    let path = path.as_ref();
    read(path, mapped::map(path)?, options)
}

/// Reads the bytes of a file; `path` is named in errors, and external tensors are looked for beside it.
pub fn read(path: &Path, bytes: Bytes, options: &OnnxOptions) -> Result<OnnxModel, FormatError> {
    read::read(path, bytes, options)
}

/// A constant of an attribute, which must be small and in the file itself.
fn constant(t: &proto::Tensor) -> Result<known::Known, String> {
    let mut nowhere = tensor::External::beside(Path::new(""));
    let tensor = tensor::read(t, &mut nowhere).map_err(|e| e.to_string())?;
    let literal = headstart_graph::Literal::of(&tensor).map_err(|e| e.to_string())?;
    known::Known::of(&literal).ok_or_else(|| "a constant of many elements is used as a setting".into())
}

/// Whether bytes begin like an ONNX file; protobuf has no magic.
pub fn looks_like(bytes: &[u8]) -> bool {
    crate::detect::is_onnx(bytes)
}
