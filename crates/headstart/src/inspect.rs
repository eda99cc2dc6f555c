//! `inspect`: what a file or folder of any format holds.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use headstart_formats::onnx::OnnxValue;
use headstart_graph::{Graph, Op, ValueId, rewrite};
use headstart_source::sha256_file;
use headstart_zoo::recognise;
use serde::Serialize;

use crate::model_file::{self, ModelFile, ModelFileOptions, ModelFormat, catalogued_licence};
use crate::source::locate;
use crate::{Error, Session};

/// Candidates for a tap that are listed.
const TAPS_MAX: usize = 8;

/// What a file or folder holds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// What was looked at.
    pub path: PathBuf,
    /// What it is.
    pub format: ModelFormat,
    /// Its files of tensors and operators.
    pub files: Vec<FileFacts>,
    /// SPDX licence expression, where the file, its folder or the catalogue names one.
    pub licence: Option<String>,
    /// Numbers in all tensors.
    pub n_parameters: u64,
    /// Bytes of all tensors.
    pub n_bytes: u64,
    /// How many tensors are of which element type, and the numbers in them.
    pub dtypes: BTreeMap<String, DTypeFacts>,
    /// Tensors that belong together, in the order of the file.
    pub groups: Vec<GroupFacts>,
    /// Every tensor.
    pub tensors: Vec<TensorFacts>,
    /// The architecture: as the file says, or recognised by names and shapes.
    pub architecture: Option<ArchitectureFacts>,
    /// The network, where there is one.
    pub graph: Option<GraphFacts>,
    /// Why there is no network.
    pub no_graph: Option<String>,
    /// Versions and operators of an ONNX file.
    pub onnx: Option<OnnxFacts>,
    /// Names of the classes.
    pub labels: Vec<String>,
    /// Key-value pairs that the file carries along.
    pub metadata: BTreeMap<String, String>,
    /// What a person should know of how it was read.
    pub notes: Vec<String>,
}

/// A file on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileFacts {
    /// Where it lies.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256, 64 hexadecimal digits.
    pub sha256: String,
}

/// Tensors of one element type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct DTypeFacts {
    /// Tensors.
    pub n_tensors: usize,
    /// Numbers in them.
    pub n_parameters: u64,
}

/// Tensors of one layer or block.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GroupFacts {
    /// What their names begin with.
    pub name: String,
    /// Tensors.
    pub n_tensors: usize,
    /// Numbers in them.
    pub n_parameters: u64,
    /// Their bytes.
    pub n_bytes: u64,
}

/// One tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorFacts {
    /// Its name in the file.
    pub name: String,
    /// Its element type.
    pub dtype: String,
    /// Its shape.
    pub shape: Vec<usize>,
}

/// Which network it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ArchitectureFacts {
    /// Its name.
    pub name: String,
    /// `file` if the file or the catalogue says so, `names` if names and shapes of the tensors are its.
    pub by: &'static str,
    /// Width of the classifier, where that was recognised.
    pub n_classes: Option<usize>,
    /// Other architectures that names and shapes fit as well.
    pub others: Vec<String>,
}

/// The network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GraphFacts {
    /// Nodes after reading.
    pub n_nodes: usize,
    /// Numbers that can learn.
    pub n_learned: usize,
    /// What it reads: name, element type, shape.
    pub inputs: Vec<(String, String, String)>,
    /// What it makes: name, shape.
    pub outputs: Vec<(String, String)>,
    /// Where features can be taken, the default first.
    pub taps: Vec<TapFacts>,
}

/// A place to take features.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TapFacts {
    /// The node, as `--tap` takes it.
    pub node: String,
    /// Its shape.
    pub shape: String,
    /// Whether it is the one taken if nobody names another.
    pub is_default: bool,
}

/// An ONNX file's own words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OnnxFacts {
    /// Version of the format.
    pub ir_version: i64,
    /// Versions of the operators by domain; ONNX's own domain is empty.
    pub opsets: BTreeMap<String, i64>,
    /// The program that wrote it.
    pub producer: String,
    /// Nodes in the file by operator, the most frequent first.
    pub operators: Vec<(String, usize)>,
    /// Operators that are not read.
    pub unsupported: Vec<String>,
    /// What it says it reads: name, element type, shape with `?` for what it leaves open.
    pub inputs: Vec<(String, String, String)>,
}

/// Looks at a path, a specifier (`pypi:name@version!path`) or a catalogue id.
///
/// A file whose network cannot be read (an operator or family that is not known) is described all the same; the answer says
/// why there is no network.
///
/// # Errors
/// If it is not a model file, is damaged, or breaks the limits of its format.
///
/// ```
/// use headstart::{ModelFileOptions, ModelFormat, Session, SessionOptions, Silent, inspect};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("w.safetensors");
/// # std::fs::write(&path, [&60u64.to_le_bytes()[..], br#"{"a.w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}    "#, &[0; 8]].concat())?;
/// let session = Session::new(SessionOptions::new(dir.path().join("cache")), Box::new(Silent));
/// let found = inspect(&session, &path.to_string_lossy(), &ModelFileOptions::default())?;
/// assert_eq!((found.format, found.n_parameters, found.n_bytes), (ModelFormat::Safetensors, 2, 8));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn inspect(session: &Session, name: &str, options: &ModelFileOptions) -> Result<Inspection, Error> {
    let path = locate(session, name)?;
    let file = model_file::named(session, name, &path, options)?;
    let files = file.files.iter().map(|f| facts(f)).collect::<Result<Vec<_>, _>>()?;
    let stored = tensors(&file);
    let licence = Some(file.card.licence.clone()).filter(|l| !l.is_empty() && l != "unknown");
    let licence = licence.or_else(|| files.iter().find_map(|f| catalogued_licence(&f.sha256)));
    let mut answer = Inspection {
        path,
        format: file.format,
        files,
        licence,
        n_parameters: 0,
        n_bytes: 0,
        dtypes: BTreeMap::new(),
        groups: Vec::new(),
        tensors: Vec::new(),
        architecture: architecture(&file),
        graph: file.network.as_ref().ok().map(|(graph, _)| graph_facts(graph)),
        no_graph: file.network.as_ref().err().map(with_hint),
        onnx: file.onnx.map(|o| OnnxFacts {
            ir_version: o.ir_version,
            opsets: o.opsets.into_iter().collect(),
            producer: o.producer,
            operators: o.operators,
            unsupported: o.unsupported,
            inputs: o.inputs.into_iter().map(declared).collect(),
        }),
        labels: file.labels,
        metadata: file.metadata.into_iter().collect(),
        notes: file.notes,
    };
    let mut places = HashMap::new();
    for (tensor, size) in stored {
        answer.add(tensor, size, &mut places);
    }
    Ok(answer)
}

impl Inspection {
    /// Counts a tensor in, its elements of `size` bytes; `places` are positions of the groups.
    fn add(&mut self, tensor: TensorFacts, size: u64, places: &mut HashMap<String, usize>) {
        // A header may claim any shape: what it claims is counted, not believed.
        let n = tensor.shape.iter().fold(1u64, |n, &d| n.saturating_mul(d as u64));
        let bytes = n.saturating_mul(size);
        self.n_parameters = self.n_parameters.saturating_add(n);
        self.n_bytes = self.n_bytes.saturating_add(bytes);
        let of_type = self.dtypes.entry(tensor.dtype.clone()).or_default();
        of_type.n_tensors += 1;
        of_type.n_parameters = of_type.n_parameters.saturating_add(n);
        let name = rewrite::group_of(&tensor.name);
        let at = *places.entry(name.into()).or_insert(self.groups.len());
        if at == self.groups.len() {
            self.groups.push(GroupFacts { name: name.into(), n_tensors: 0, n_parameters: 0, n_bytes: 0 });
        }
        let group = &mut self.groups[at];
        group.n_tensors += 1;
        group.n_parameters = group.n_parameters.saturating_add(n);
        group.n_bytes = group.n_bytes.saturating_add(bytes);
        self.tensors.push(tensor);
    }
}

fn with_hint(error: &Error) -> String {
    error.hint().map_or_else(|| error.to_string(), |hint| format!("{error}; {hint}"))
}

fn declared(input: OnnxValue) -> (String, String, String) {
    let dtype = short(&input.dtype).0.to_string();
    (input.name, dtype, format!("[{}]", input.shape.join(", ")))
}

fn facts(path: &Path) -> Result<FileFacts, Error> {
    let bytes = std::fs::metadata(path).map_err(Error::io(path))?.len();
    Ok(FileFacts { path: path.into(), bytes, sha256: sha256_file(path)? })
}

/// Tensors as the file lists them, each with the size of an element.
fn tensors(file: &ModelFile) -> Vec<(TensorFacts, u64)> {
    let Some(onnx) = &file.onnx else {
        let facts = file.tensors.iter().map(|(name, t)| {
            let dtype = t.dtype().to_string();
            (TensorFacts { name: name.into(), dtype, shape: t.shape().to_vec() }, t.dtype().size() as u64)
        });
        return facts.collect();
    };
    let facts = onnx.tensors.iter().map(|t| {
        let (dtype, size) = short(&t.dtype);
        (TensorFacts { name: t.name.clone(), dtype: dtype.into(), shape: t.shape.clone() }, size)
    });
    facts.collect()
}

/// ONNX's name of an element type as ours, and the bytes of an element.
fn short(onnx: &str) -> (&str, u64) {
    match onnx {
        "float" => ("f32", 4),
        "double" => ("f64", 8),
        "float16" => ("f16", 2),
        "bfloat16" => ("bf16", 2),
        "int64" => ("i64", 8),
        "int32" => ("i32", 4),
        "int16" => ("i16", 2),
        "int8" => ("i8", 1),
        "uint64" => ("u64", 8),
        "uint32" => ("u32", 4),
        "uint16" => ("u16", 2),
        "uint8" => ("u8", 1),
        "bool" => ("bool", 1),
        other => (other, 0),
    }
}

fn architecture(file: &ModelFile) -> Option<ArchitectureFacts> {
    if !file.card.architecture.is_empty() {
        let name = file.card.architecture.clone();
        return Some(ArchitectureFacts { name, by: "file", n_classes: None, others: Vec::new() });
    }
    let mut found = recognise(&file.tensors).into_iter();
    let first = found.next()?;
    Some(ArchitectureFacts {
        name: first.name.into(),
        by: "names",
        n_classes: first.n_classes,
        others: found.filter(|r| r.n_unused == first.n_unused).map(|r| r.name.into()).collect(),
    })
}

fn graph_facts(graph: &Graph) -> GraphFacts {
    let inputs = graph.inputs().map(|(_, name, s)| (name.into(), s.dtype.to_string(), s.shape.to_string()));
    let outputs = graph.outputs().iter().map(|o| (o.name.clone(), graph.value(o.value).shape.to_string()));
    GraphFacts {
        n_nodes: graph.nodes().len(),
        n_learned: graph.n_learned(),
        inputs: inputs.collect(),
        outputs: outputs.collect(),
        taps: taps(graph),
    }
}

/// The default tap, then what the last blocks make, from the end.
fn taps(graph: &Graph) -> Vec<TapFacts> {
    let mut taps: Vec<TapFacts> = Vec::new();
    let mut add = |id: ValueId, is_default: bool| {
        let value = graph.value(id);
        if taps.len() < TAPS_MAX && taps.iter().all(|t| t.node != value.name) {
            taps.push(TapFacts { node: value.name.clone(), shape: value.shape.to_string(), is_default });
        }
    };
    if let Ok(tap) = rewrite::tap(graph) {
        add(tap.value, true);
    }
    let mut blocks: Vec<&str> = Vec::new();
    for node in graph.nodes().iter().rev() {
        let block = rewrite::group_of(&node.path);
        let is_numbered =
            block.rsplit(['.', '/']).next().is_some_and(|p| p.bytes().any(|b| b.is_ascii_digit()));
        let shape = &graph.value(node.output).shape;
        let is_features =
            matches!(shape.rank(), 2..=4) && !matches!(node.op, Op::Constant { .. } | Op::Sizes { .. });
        if is_numbered && is_features && !blocks.contains(&block) {
            blocks.push(block);
            add(node.output, false);
        }
    }
    taps
}
