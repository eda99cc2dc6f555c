//! The graph: values in static single assignment form, and the named nodes that make them.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

use crate::kind::value_kinds;
use crate::shape::{self, Shape};
use crate::{DType, GraphError, Op};

/// Position of a value in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValueId(pub(crate) u32);

impl ValueId {
    /// The position as an index into [`Graph::values`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Something that flows through a graph: an input, a parameter, or what a node made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Value {
    /// The input's or parameter's name, or the path of the node that makes it.
    pub name: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub kind: ValueKind,
    /// Its shape; batch and sequence stay symbolic.
    pub shape: Shape,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ValueKind {
    /// Given at every run.
    Input(InputSpec),
    /// A named tensor of the weights.
    Param(Param),
    /// Made by a node.
    Node,
}

/// What a graph wants to be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InputSpec {
    /// Element type.
    pub dtype: DType,
    /// Shape, batch and sequence symbolic.
    #[serde(rename = "input_shape")]
    pub shape: Shape,
    /// Filled with this number where a caller leaves the input out (`token_type_ids` of one sentence are all 0).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<i64>,
}

/// A named tensor that a network learned (or measured: running statistics).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// Its shape.
    #[serde(rename = "param_shape")]
    pub shape: Vec<usize>,
    /// Learned by gradients or measured along the way.
    pub role: Role,
    /// How a network that starts from nothing draws it.
    pub init: Init,
}

/// How a parameter changes in training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// By gradients.
    Learned,
    /// By running averages (batch norm), or never.
    Buffer,
}

/// Distribution of a parameter before any training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Init {
    /// All equal.
    Constant(f64),
    /// Normal with mean 0 and this standard deviation.
    Normal(f64),
    /// Uniform in ± this bound.
    Uniform(f64),
}

impl Init {
    /// Normal with variance `2/fan_out` (He et al., 2015), for a convolution `[out, in/groups, kh, kw]`.
    pub fn kaiming_fan_out(shape: &[usize], groups: usize) -> Self {
        let fan_out = shape[0] * shape[2..].iter().product::<usize>() / groups.max(1);
        Init::Normal((2.0 / fan_out.max(1) as f64).sqrt())
    }

    /// Uniform in ±1/√fan_in: what a linear layer starts from in PyTorch.
    pub fn fan_in_uniform(fan_in: usize) -> Self {
        Init::Uniform(1.0 / (fan_in.max(1) as f64).sqrt())
    }
}

/// One application of an operator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Where it stands in the network, as people name it: `layer3.1.conv2`.
    pub path: String,
    /// What it does.
    pub op: Op,
    /// What it reads.
    pub inputs: Vec<ValueId>,
    /// What it makes.
    pub output: ValueId,
}

/// A named result of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Output {
    /// `logits`, `features`, `last_hidden_state`, …
    pub name: String,
    /// The value.
    pub value: ValueId,
}

/// Operators in the order they run, each reading only what was made before it.
///
/// Build one with [`crate::GraphBuilder`]; read one from JSON with serde, which checks it anew.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "RawGraph")]
pub struct Graph {
    pub(crate) name: String,
    pub(crate) values: Vec<Value>,
    pub(crate) nodes: Vec<Node>,
    pub(crate) outputs: Vec<Output>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawGraph {
    name: String,
    values: Vec<Value>,
    nodes: Vec<Node>,
    outputs: Vec<Output>,
}

impl TryFrom<RawGraph> for Graph {
    type Error = GraphError;

    fn try_from(raw: RawGraph) -> Result<Self, GraphError> {
        let graph = Graph { name: raw.name, values: raw.values, nodes: raw.nodes, outputs: raw.outputs };
        graph.check()?;
        Ok(graph)
    }
}

impl Graph {
    /// The network's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The nodes, in the order in which they run.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// All values, by [`ValueId::index`].
    pub fn values(&self) -> &[Value] {
        &self.values
    }

    /// The named results; the first one is the main one.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// One value.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.index()]
    }

    /// The main result.
    pub fn output(&self) -> ValueId {
        self.outputs[0].value
    }

    /// The inputs with their ids.
    pub fn inputs(&self) -> impl Iterator<Item = (ValueId, &str, &InputSpec)> {
        self.ids().filter_map(|(id, v)| match &v.kind {
            ValueKind::Input(spec) => Some((id, v.name.as_str(), spec)),
            _ => None,
        })
    }

    /// The parameters with their ids, in the order of their making, which is the reference's.
    pub fn params(&self) -> impl Iterator<Item = (ValueId, &str, &Param)> {
        self.ids().filter_map(|(id, v)| match &v.kind {
            ValueKind::Param(p) => Some((id, v.name.as_str(), p)),
            _ => None,
        })
    }

    /// How many numbers the network learned.
    pub fn n_learned(&self) -> usize {
        self.params()
            .filter(|(_, _, p)| p.role == Role::Learned)
            .map(|(_, _, p)| p.shape.iter().product::<usize>())
            .sum()
    }

    /// The node that makes a value, if one does.
    pub fn producer(&self, id: ValueId) -> Option<&Node> {
        self.nodes.iter().find(|n| n.output == id)
    }

    /// The value that the node at `path` makes.
    pub fn find(&self, path: &str) -> Result<ValueId, GraphError> {
        self.nodes.iter().find(|n| n.path == path).map(|n| n.output).ok_or_else(|| GraphError::Unknown {
            kind: "node",
            name: path.into(),
            graph: self.name.clone(),
            known: self.nodes.iter().rev().take(12).map(|n| n.path.clone()).collect(),
        })
    }

    /// A hash of the structure (not of the weights), stable across runs and versions of the same graph.
    pub fn hash(&self) -> blake3::Hash {
        // Debug output is not a stable format; the fields are hashed as they stand.
        let mut h = blake3::Hasher::new();
        for v in &self.values {
            h.update(format!("v {} {} {}\n", v.name, v.shape, kind_tag(&v.kind)).as_bytes());
        }
        for n in &self.nodes {
            h.update(format!("n {:?} {:?} {:?}\n", n.op, n.inputs, n.output).as_bytes());
        }
        for o in &self.outputs {
            h.update(format!("o {} {}\n", o.name, o.value.0).as_bytes());
        }
        h.finalize()
    }

    fn ids(&self) -> impl Iterator<Item = (ValueId, &Value)> {
        self.values.iter().enumerate().map(|(i, v)| (ValueId(i as u32), v))
    }

    /// Checks that values are defined once and before use, that every shape is what its operator makes, and that operators take
    /// what elements their inputs have.
    pub(crate) fn check(&self) -> Result<(), GraphError> {
        let mut names = HashSet::new();
        let mut defined = vec![false; self.values.len()];
        for (i, v) in self.values.iter().enumerate() {
            if !names.insert((matches!(v.kind, ValueKind::Node), v.name.as_str())) {
                return Err(GraphError::DuplicateName(v.name.clone()));
            }
            if let Some(want) = shape::declared(&v.kind) {
                if want != v.shape {
                    return Err(GraphError::Shape { want, got: v.shape.clone() });
                }
                defined[i] = true;
            }
        }
        for node in &self.nodes {
            for &input in &node.inputs {
                if !defined.get(input.index()).copied().unwrap_or(false) {
                    return Err(GraphError::UndefinedValue { node: node.path.clone(), value: input.index() });
                }
            }
            let undefined =
                GraphError::UndefinedValue { node: node.path.clone(), value: node.output.index() };
            match (self.values.get(node.output.index()), defined.get(node.output.index())) {
                (Some(v), Some(false)) if matches!(v.kind, ValueKind::Node) => {
                    let want = self.infer(&node.path, &node.op, &node.inputs)?;
                    if want != v.shape {
                        return Err(GraphError::Shape { want, got: v.shape.clone() });
                    }
                }
                _ => return Err(undefined),
            }
            defined[node.output.index()] = true;
        }
        for o in &self.outputs {
            if !defined.get(o.value.index()).copied().unwrap_or(false) {
                return Err(GraphError::UndefinedValue { node: o.name.clone(), value: o.value.index() });
            }
        }
        if self.outputs.is_empty() {
            return Err(GraphError::NoTap { graph: self.name.clone(), why: "it has no outputs".into() });
        }
        value_kinds(self).map(|_| ())
    }

    /// The shape a new node would make, checked against the operator's contract.
    pub(crate) fn infer(&self, path: &str, op: &Op, inputs: &[ValueId]) -> Result<Shape, GraphError> {
        let (least, most) = op.arity();
        if inputs.len() < least || inputs.len() > most {
            let want = match (least, most) {
                (n, m) if n == m => n.to_string(),
                (n, usize::MAX) => format!("at least {n}"),
                (n, m) => format!("{n} to {m}"),
            };
            return Err(GraphError::Arity { node: path.into(), op: op.name(), want, got: inputs.len() });
        }
        let shapes: Vec<&Shape> = inputs.iter().map(|&i| &self.value(i).shape).collect();
        shape::output_shape(op, &shapes).map_err(|why| GraphError::ShapeMismatch {
            node: path.into(),
            op: op.name(),
            got: shapes.iter().map(|s| s.to_string()).collect::<Vec<_>>().join(", "),
            why,
        })
    }
}

fn kind_tag(kind: &ValueKind) -> &'static str {
    match kind {
        ValueKind::Input(_) => "input",
        ValueKind::Param(_) => "param",
        ValueKind::Node => "node",
    }
}
