//! What an ONNX file says of itself, without building its network: files with operators that are not read can be looked at too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use prost::Message as _;

use super::proto::{self, DimensionValue, elem};
use super::{FORMAT, functions, limits, lower};
use crate::sharded::inside;
use crate::{FormatError, mapped};

/// The content of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxSummary {
    /// Version of the format.
    pub ir_version: i64,
    /// Versions of the operators by domain; ONNX's own domain is empty.
    pub opsets: Vec<(String, i64)>,
    /// The program that wrote it, with its version.
    pub producer: String,
    /// Key-value pairs that the file carries along.
    pub metadata: Vec<(String, String)>,
    /// The graph's name.
    pub graph: String,
    /// What it reads; initialisers that old files list among the inputs are left out.
    pub inputs: Vec<OnnxValue>,
    /// What it makes.
    pub outputs: Vec<OnnxValue>,
    /// Initialisers, and constants of more than one float, in the order of the file; those of graphs inside graphs too.
    pub tensors: Vec<OnnxTensor>,
    /// Nodes by operator, the most frequent first; functions are counted by their nodes.
    pub operators: Vec<(String, usize)>,
    /// Those of them that are not read.
    pub unsupported: Vec<String>,
    /// Files beside it that hold tensors.
    pub external: Vec<PathBuf>,
}

/// An input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxValue {
    /// Its name.
    pub name: String,
    /// Its element type as ONNX calls it: `float`, `int64`.
    pub dtype: String,
    /// Its sizes; `?` where the file says nothing.
    pub shape: Vec<String>,
}

/// A tensor that the file holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OnnxTensor {
    /// Its name.
    pub name: String,
    /// Its element type as ONNX calls it.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// Reads what a file says of itself; tensors are not read.
///
/// # Errors
/// If it is not an ONNX file, is damaged, or names files outside its folder.
///
/// ```
/// use headstart_formats::onnx::{WriteOptions, summary, write};
/// use headstart_graph::GraphBuilder;
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.image("image", [3, 8, 8]);
/// let y = b.global_avg_pool("pool", x)?;
/// let graph = b.finish([("features", y)])?;
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("tiny.onnx");
/// std::fs::write(&path, write(&graph, &Default::default(), &WriteOptions::default())?)?;
/// let found = summary(&path)?;
/// assert_eq!(found.opsets, [(String::new(), 17)]);
/// assert_eq!(found.inputs[0].shape, ["batch", "3", "8", "8"]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn summary(path: impl AsRef<Path>) -> Result<OnnxSummary, FormatError> {
    let path = path.as_ref();
    summary_of(path, mapped::map(path)?)
}

/// The same of a file's bytes; `path` is for messages and for files beside it.
pub fn summary_of(path: &Path, bytes: Bytes) -> Result<OnnxSummary, FormatError> {
    limits::check(path, &bytes)?;
    let malformed = |what: String| FormatError::malformed(path, FORMAT, what);
    let model = proto::Model::decode(bytes).map_err(|e| malformed(e.to_string()))?;
    let mut graph = model.graph.ok_or_else(|| malformed("it has no graph".into()))?;
    functions::inline(&mut graph, &model.functions).map_err(malformed)?;

    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    count(&graph, &mut counts);
    let is_read = |op: &str| op == "If" || lower::SUPPORTED.contains(&op);
    let unsupported = counts.keys().filter(|op| !is_read(op)).cloned().collect();
    let mut operators: Vec<(String, usize)> = counts.into_iter().collect();
    operators.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));

    let initialisers: BTreeSet<&str> = graph.initializer.iter().map(|t| t.name.as_str()).collect();
    let locations: BTreeSet<&str> = graph
        .initializer
        .iter()
        .filter(|t| t.data_location == 1)
        .flat_map(|t| t.external_data.iter().filter(|p| p.key == "location").map(|p| p.value.as_str()))
        .collect();
    let external = locations.into_iter().map(|name| inside(path, name)).collect::<Result<_, _>>()?;
    let opsets = model.opset_import.into_iter().map(|o| {
        let domain = if o.domain == "ai.onnx" { String::new() } else { o.domain };
        (domain, o.version)
    });
    Ok(OnnxSummary {
        ir_version: model.ir_version,
        opsets: opsets.collect(),
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().into(),
        metadata: model.metadata_props.into_iter().map(|p| (p.key, p.value)).collect(),
        inputs: graph.input.iter().filter(|i| !initialisers.contains(i.name.as_str())).map(value).collect(),
        outputs: graph.output.iter().map(value).collect(),
        tensors: tensors(path, &graph)?,
        graph: graph.name,
        operators,
        unsupported,
        external,
    })
}

fn count(graph: &proto::Graph, counts: &mut BTreeMap<String, usize>) {
    for node in &graph.node {
        let is_onnx = matches!(node.domain.as_str(), "" | "ai.onnx" | "com.microsoft");
        let name = if is_onnx { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) };
        *counts.entry(name).or_default() += 1;
        node.attribute.iter().filter_map(|a| a.g.as_ref()).for_each(|g| count(g, counts));
    }
}

fn value(info: &proto::ValueInfo) -> OnnxValue {
    let tensor = info.kind.as_ref().and_then(|k| k.tensor.as_ref());
    let dims = tensor.and_then(|t| t.shape.as_ref()).map(|s| s.dim.as_slice()).unwrap_or_default();
    let size = |d: &proto::Dimension| match &d.value {
        Some(DimensionValue::Value(n)) => n.to_string(),
        Some(DimensionValue::Param(name)) if !name.is_empty() => name.clone(),
        _ => "?".into(),
    };
    OnnxValue {
        name: info.name.clone(),
        dtype: tensor.map_or_else(|| "not a tensor".into(), |t| elem::name(t.elem_type)),
        shape: dims.iter().map(size).collect(),
    }
}

fn tensors(path: &Path, graph: &proto::Graph) -> Result<Vec<OnnxTensor>, FormatError> {
    let mut all: Vec<OnnxTensor> =
        graph.initializer.iter().map(|t| tensor(path, t)).collect::<Result<_, _>>()?;
    for node in &graph.node {
        let value = node.attribute.iter().filter(|_| node.op_type == "Constant").find_map(|a| a.t.as_ref());
        if let (Some(t), Some(name)) = (value, node.output.first()) {
            let constant = OnnxTensor { name: name.clone(), ..tensor(path, t)? };
            if constant.dtype.contains("float") && constant.shape.iter().any(|&d| d > 1) {
                all.push(constant);
            }
        }
        for inner in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
            all.extend(tensors(path, inner)?);
        }
    }
    Ok(all)
}

fn tensor(path: &Path, t: &proto::Tensor) -> Result<OnnxTensor, FormatError> {
    let size = |d: &i64| usize::try_from(*d);
    let shape: Result<Vec<usize>, _> = t.dims.iter().map(size).collect();
    let shape = shape.map_err(|_| FormatError::TensorBounds {
        path: path.into(),
        tensor: t.name.clone(),
        what: format!("has the shape {:?}", t.dims),
    })?;
    Ok(OnnxTensor { name: t.name.clone(), dtype: elem::name(t.data_type), shape })
}
