//! A graph as an ONNX file: nodes and parameters keep their names, sizes that only a run gives are computed in the file.

mod emit;
mod lower;

use headstart_graph::{DType, Dim, ElementKind, Graph, Shape, Weights, value_kinds};
use prost::Message as _;

use self::emit::Emitter;
use super::proto::{self, elem};
use crate::FormatError;

/// How a graph is written.
#[derive(Debug, Clone, PartialEq)]
pub struct WriteOptions {
    /// Version of the operators, 13 to 23.
    pub opset: i64,
    /// Key-value pairs for the file: labels, preprocessing, origin.
    pub metadata: Vec<(String, String)>,
    /// Normalisation that becomes part of the file.
    pub normalise: Option<Normalise>,
}

impl Default for WriteOptions {
    fn default() -> Self {
        WriteOptions { opset: 17, metadata: Vec::new(), normalise: None }
    }
}

/// `(x − mean)/std` by channel on an image input, which then takes numbers from 0 to 1.
#[derive(Debug, Clone, PartialEq)]
pub struct Normalise {
    /// The input's name.
    pub input: String,
    /// Subtracted from each channel.
    pub mean: Vec<f32>,
    /// Divides each channel.
    pub std: Vec<f32>,
}

/// The bytes of a file: same input, same bytes.
///
/// Parameters are written as f32.  Operators that ONNX lacks become several nodes, the last of which has the node's name.
///
/// # Errors
/// Names a node that the opset has no words for, or a parameter without weights.
///
/// ```
/// use headstart_formats::onnx::{OnnxOptions, WriteOptions, read, write};
/// use headstart_graph::{Conv, GraphBuilder, Tensor};
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.image("image", [3, 8, 8]);
/// let x = b.conv("conv", x, Conv::new(4, 3))?;
/// let y = b.global_avg_pool("pool", x)?;
/// let graph = b.finish([("features", y)])?;
/// let weights = graph
///     .params()
///     .map(|(_, name, p)| Ok((name.to_string(), Tensor::from_f32(&p.shape, &vec![0.5; p.shape.iter().product()])?)))
///     .collect::<Result<_, headstart_graph::GraphError>>()?;
/// let bytes = write(&graph, &weights, &WriteOptions::default())?;
/// let again = read("tiny.onnx".as_ref(), bytes.into(), &OnnxOptions::default())?;
/// assert_eq!(again.weights, weights);
/// assert!(again.graph.find("conv").is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write(graph: &Graph, weights: &Weights, options: &WriteOptions) -> Result<Vec<u8>, FormatError> {
    if !(13..=23).contains(&options.opset) {
        return Err(FormatError::Opset { got: options.opset });
    }
    let kinds = value_kinds(graph)?;
    let mut e = Emitter::new(options.opset);
    let mut inputs = Vec::new();
    for (id, name, spec) in graph.inputs() {
        e.reserve(name);
        e.bind(id, name.into());
        for (axis, dim) in spec.shape.0.iter().enumerate() {
            if let Dim::Symbol(symbol) = dim {
                e.symbol(symbol, name, axis);
            }
        }
        inputs.push(value_info(name, kind_of(spec.dtype), &spec.shape));
    }
    for (id, name, param) in graph.params() {
        let tensor = weights.require(name)?;
        if tensor.shape() != param.shape {
            let (want, got) = (param.shape.clone(), tensor.shape().to_vec());
            return Err(headstart_graph::GraphError::WeightShape { name: name.into(), want, got }.into());
        }
        e.reserve(name);
        e.bind(id, name.into());
        e.initialiser(name, &param.shape, &tensor.to_f32()?);
    }
    if let Some(n) = &options.normalise {
        normalise(graph, n, &mut e)?;
    }
    for o in graph.outputs() {
        e.reserve(&o.name);
    }
    for node in graph.nodes() {
        lower::node(&mut e, graph, &kinds, node).map_err(|why| FormatError::Unwritable {
            node: node.path.clone(),
            op: node.op.name(),
            why,
        })?;
    }
    let mut outputs = Vec::new();
    for o in graph.outputs() {
        let value = e.name(o.value);
        e.push("Identity", &format!("{}.output", o.name), &[&value], &[&o.name], Vec::new());
        let mut shape = graph.value(o.value).shape.clone();
        // Names of dimensions are free text, but an expression is no name.
        for d in &mut shape.0 {
            if matches!(d, Dim::Symbol(s) if !s.chars().all(|c| c.is_alphanumeric() || c == '_')) {
                *d = Dim::Symbol(String::new());
            }
        }
        outputs.push(value_info(&o.name, kinds[o.value.index()], &shape));
    }
    let (node, initializer) = e.finish();
    let model = proto::Model {
        ir_version: if options.opset >= 21 { 10 } else { 8 },
        producer_name: super::PRODUCER.into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(proto::Graph {
            node,
            name: graph.name().into(),
            initializer,
            input: inputs,
            output: outputs,
        }),
        opset_import: vec![proto::Opset { domain: String::new(), version: options.opset }],
        metadata_props: options
            .metadata
            .iter()
            .map(|(key, value)| proto::Pair { key: key.clone(), value: value.clone() })
            .collect(),
        functions: Vec::new(),
    };
    Ok(model.encode_to_vec())
}

fn normalise(graph: &Graph, n: &Normalise, e: &mut Emitter) -> Result<(), FormatError> {
    let refused =
        |why: &str| FormatError::Unwritable { node: n.input.clone(), op: "Normalise", why: why.into() };
    let found = graph.inputs().find(|(_, name, _)| *name == n.input);
    let (id, _, spec) = found.ok_or_else(|| refused("there is no such input"))?;
    let c = spec.shape.known(1).filter(|_| spec.shape.rank() == 4);
    let c = c.ok_or_else(|| refused("it is not an image [batch, channels, height, width]"))?;
    if n.mean.len() != c || n.std.len() != c || n.std.iter().any(|s| *s <= 0.0 || !s.is_finite()) {
        return Err(refused("mean and standard deviation must be one number a channel, the latter positive"));
    }
    let shape = [1, c, 1, 1];
    let (mean, std) = (e.floats(&shape, &n.mean), e.floats(&shape, &n.std));
    let centred = e.one("Sub", "normalise.centred", &[&n.input, &mean], Vec::new());
    let scaled = e.one("Div", "normalise", &[&centred, &std], Vec::new());
    e.bind(id, scaled);
    Ok(())
}

fn kind_of(dtype: DType) -> ElementKind {
    if dtype.is_float() { ElementKind::Float } else { ElementKind::Int }
}

/// The number of a kind.
fn number(kind: ElementKind) -> i32 {
    match kind {
        ElementKind::Float => elem::FLOAT,
        ElementKind::Int => elem::INT64,
        ElementKind::Bool => elem::BOOL,
    }
}

pub(super) fn value_info(name: &str, kind: ElementKind, shape: &Shape) -> proto::ValueInfo {
    let dim = |d: &Dim| proto::Dimension {
        value: Some(match d {
            Dim::Fixed(n) => proto::DimensionValue::Value(*n as i64),
            Dim::Symbol(s) => proto::DimensionValue::Param(s.clone()),
        }),
    };
    let shape = proto::TensorShape { dim: shape.0.iter().map(dim).collect() };
    let tensor = proto::TensorType { elem_type: number(kind), shape: Some(shape) };
    proto::ValueInfo { name: name.into(), kind: Some(proto::Type { tensor: Some(tensor) }) }
}
