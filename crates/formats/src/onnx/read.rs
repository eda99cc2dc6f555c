//! From a file to a graph: decode, inline, order, lower.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use headstart_graph::{
    DType, Dim, ElementKind, Expr, InputSpec, Literal, Op, Shape, Tensor, Weights, rewrite,
};
use prost::Message as _;

use super::known::Known;
use super::node::Node;
use super::proto::{self, DimensionValue};
use super::reader::{Reader, Val, Weight};
use super::{FORMAT, OPSET_MIN, OnnxModel, OnnxOptions, PRODUCER, functions, limits, lower, order, tensor};
use crate::FormatError;

pub(super) fn read(path: &Path, bytes: Bytes, options: &OnnxOptions) -> Result<OnnxModel, FormatError> {
    limits::check(path, &bytes)?;
    let malformed = |what: String| FormatError::malformed(path, FORMAT, what);
    let model = proto::Model::decode(bytes).map_err(|e| malformed(e.to_string()))?;
    let mut graph = model.graph.ok_or_else(|| malformed("it has no graph".into()))?;
    let opset = model
        .opset_import
        .iter()
        .find(|o| matches!(o.domain.as_str(), "" | "ai.onnx"))
        .map_or(1, |o| o.version);
    if opset < OPSET_MIN {
        return Err(malformed(format!(
            "its operators are of opset {opset} (read are {OPSET_MIN} and later)"
        )));
    }
    functions::inline(&mut graph, &model.functions).map_err(malformed)?;
    let main = order::needed(&graph.node, graph.output.iter().map(|o| o.name.as_str())).map_err(malformed)?;
    let nodes: Vec<proto::Node> = main.iter().map(|&i| graph.node[i].clone()).collect();
    check_operators(path, &nodes)?;

    let name = if graph.name.is_empty() { "onnx" } else { &graph.name };
    let is_ours = model.producer_name == PRODUCER;
    let mut file = File {
        path,
        r: Reader::new(name, opset, !is_ours),
        external: tensor::External::beside(path),
        is_ours,
        types: HashMap::new(),
        open: Vec::new(),
        journal: None,
    };
    let uses = Uses::of(&nodes);
    file.initialisers(&graph.initializer, &uses)?;
    file.inputs(&graph, options)?;
    file.nodes(&nodes, &graph.output, &uses, 0)?;

    let mut outputs = Vec::new();
    for o in &graph.output {
        let val = file.r.values.get(&o.name).cloned();
        let val = val.ok_or_else(|| malformed(format!("nothing makes the output `{}`", o.name)))?;
        let id = file.r.value(&val).map_err(malformed)?;
        outputs.push((o.name.as_str(), id));
    }
    if outputs.is_empty() {
        return Err(malformed("it has no outputs".into()));
    }
    let Reader { builder, mut weights, .. } = file.r;
    let whole = builder.finish(outputs.iter().copied());
    let graph = whole.and_then(|whole| rewrite::cut_at(&whole, whole.outputs()));
    let graph = graph.map_err(|e| malformed(e.to_string()))?;
    let kept: Weights = graph
        .params()
        .map(|(_, name, _)| {
            let t = weights.remove(name).expect("every parameter was declared with its tensor");
            (name.to_string(), t)
        })
        .collect();
    Ok(OnnxModel {
        graph,
        weights: kept,
        metadata: model.metadata_props.into_iter().map(|p| (p.key, p.value)).collect(),
        opset,
        producer: format!("{} {}", model.producer_name, model.producer_version).trim().into(),
    })
}

/// Lists the operators that are not read, with the nodes that use them.
pub(super) fn check_operators(path: &Path, nodes: &[proto::Node]) -> Result<(), FormatError> {
    let mut found: Vec<(String, Vec<String>)> = Vec::new();
    fn visit(nodes: &[proto::Node], found: &mut Vec<(String, Vec<String>)>) {
        for node in nodes {
            let is_plain = matches!(node.domain.as_str(), "" | "ai.onnx" | "com.microsoft");
            // Graphs inside `If` are listed when it is known which one runs.
            if !is_plain || !lower::SUPPORTED.contains(&node.op_type.as_str()) {
                let op =
                    if is_plain { node.op_type.clone() } else { format!("{}.{}", node.domain, node.op_type) };
                match found.iter_mut().find(|(name, _)| *name == op) {
                    Some((_, nodes)) => nodes.push(order::label(node).into()),
                    None => found.push((op, vec![order::label(node).into()])),
                }
            }
        }
    }
    visit(nodes, &mut found);
    if found.is_empty() {
        Ok(())
    } else {
        Err(FormatError::UnsupportedOperators { path: path.into(), found })
    }
}

/// How often each initialiser is read, and how often as a right factor.
pub(super) struct Uses(HashMap<String, (usize, usize)>);

impl Uses {
    fn of(nodes: &[proto::Node]) -> Self {
        let mut uses = Uses(HashMap::new());
        uses.count(nodes);
        uses
    }

    fn count(&mut self, nodes: &[proto::Node]) {
        for node in nodes {
            let turned = node.attribute.iter().any(|a| a.name == "transB" && a.i != 0);
            for (i, name) in node.input.iter().enumerate() {
                let (all, right) = self.0.entry(name.clone()).or_default();
                *all += 1;
                if i == 1 && (node.op_type == "MatMul" || node.op_type == "Gemm" && !turned) {
                    *right += 1;
                }
            }
            for g in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
                self.count(&g.node);
                for o in &g.output {
                    self.0.entry(o.name.clone()).or_default().0 += 1;
                }
            }
        }
    }

    fn is_right_factor(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|(all, right)| all == right)
    }
}

pub(super) struct File<'a> {
    path: &'a Path,
    pub(super) r: Reader,
    external: tensor::External,
    /// We write every learned tensor as an initialiser and every constant as a node.
    is_ours: bool,
    /// Element types of the tensors that the file holds.
    types: HashMap<String, i32>,
    /// Sizes and scalar inputs that have no number.
    open: Vec<String>,
    /// What names stood for before a graph that may not run was read.
    pub(super) journal: Option<Vec<(String, Option<Val>)>>,
}

impl File<'_> {
    pub(super) fn path(&self) -> &Path {
        self.path
    }

    fn malformed(&self, what: String) -> FormatError {
        FormatError::malformed(self.path, FORMAT, what)
    }

    pub(super) fn initialisers(&mut self, tensors: &[proto::Tensor], uses: &Uses) -> Result<(), FormatError> {
        for t in tensors {
            self.types.insert(t.name.clone(), t.data_type);
            let tensor = tensor::read(t, &mut self.external)?;
            let val = meaning(
                &t.name,
                tensor,
                uses.is_right_factor(&t.name),
                Origin::Initialiser { is_ours: self.is_ours },
            )?;
            if self.set(&t.name, val).is_some() {
                return Err(self.malformed(format!("two initialisers are called `{}`", t.name)));
            }
        }
        Ok(())
    }

    fn inputs(&mut self, graph: &proto::Graph, options: &OnnxOptions) -> Result<(), FormatError> {
        let mut fixed: HashMap<&str, i64> = options.fixed.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        let symbols = options.fixed.clone();
        let mut seen = HashSet::new();
        for input in &graph.input {
            // Until ir_version 4 initialisers were listed as inputs too.
            if self.r.values.contains_key(&input.name) {
                continue;
            }
            let Some(kind) = input.kind.as_ref().and_then(|k| k.tensor.as_ref()) else {
                return Err(self.malformed(format!("input `{}` is not a tensor", input.name)));
            };
            let element = lower::kind(kind.elem_type)
                .map_err(|why| self.malformed(format!("input `{}`: {why}", input.name)))?;
            let dims = kind.shape.as_ref().map(|s| s.dim.as_slice()).unwrap_or_default();
            if dims.is_empty() && element == ElementKind::Int {
                if let Some(n) = fixed.remove(input.name.as_str()) {
                    self.set(&input.name, Val::Known(Known::int(Expr::number(n)), None));
                    continue;
                }
                self.open.push(input.name.clone());
            }
            let shape: Vec<Dim> = dims
                .iter()
                .enumerate()
                .map(|(i, d)| dimension(d.value.as_ref(), &input.name, i))
                .inspect(|d| {
                    if let Dim::Symbol(s) = d {
                        seen.insert(s.clone());
                    }
                })
                .map(|d| match &d {
                    Dim::Symbol(s) => match symbols.iter().find(|(name, _)| name == s) {
                        Some((_, n)) => usize::try_from(*n).map(Dim::Fixed).unwrap_or(d),
                        None => {
                            self.open.push(s.clone());
                            d
                        }
                    },
                    Dim::Fixed(_) => d,
                })
                .collect();
            let dtype = if element == ElementKind::Float { DType::F32 } else { DType::I64 };
            // One sentence alone is of type 0 throughout.
            let default = (input.name == "token_type_ids").then_some(0);
            let id = self.r.input(&input.name, InputSpec { dtype, shape: Shape(shape), default });
            let val = if element == ElementKind::Bool {
                let path = format!("{}.bool", input.name);
                let cast = self.r.node(&path, Op::Cast { to: ElementKind::Bool }, &[id]);
                Val::Value(cast.map_err(|why| self.malformed(why))?)
            } else {
                Val::Value(id)
            };
            self.set(&input.name, val);
        }
        self.open.sort();
        self.open.dedup();
        fixed.retain(|name, _| !seen.contains(*name));
        if let Some(name) = fixed.keys().min() {
            return Err(FormatError::UnknownSize {
                path: self.path.into(),
                name: (*name).into(),
                known: self.open.clone(),
            });
        }
        Ok(())
    }

    pub(super) fn nodes(
        &mut self,
        nodes: &[proto::Node],
        outputs: &[proto::ValueInfo],
        uses: &Uses,
        depth: usize,
    ) -> Result<(), FormatError> {
        let mut done: HashSet<usize> = HashSet::new();
        let readers = readers(nodes);
        for (i, node) in nodes.iter().enumerate() {
            if done.contains(&i) {
                continue;
            }
            if node.op_type == "If" {
                self.condition(node, uses, depth)?;
                continue;
            }
            let mut n = self.node(node, uses)?;
            if n.op == "Constant" {
                let val = self.constant_node(&n, node, uses)?;
                self.bind(node, vec![val])?;
                continue;
            }
            let mut taken = node;
            let lowered = match self.bias_after(nodes, &readers, &n, outputs) {
                Some((add, bias)) => {
                    done.insert(add);
                    taken = &nodes[add];
                    n.inputs.push(None);
                    lower::matmul(&mut self.r, &n, Some(&bias)).map(|v| vec![v])
                }
                None => lower::lower(&mut self.r, &n),
            };
            let vals = lowered.map_err(|why| self.refusal(node, why))?;
            self.bind(taken, vals)?;
        }
        Ok(())
    }

    pub(super) fn refusal(&self, node: &proto::Node, mut why: String) -> FormatError {
        if why.ends_with(lower::FIX) && !self.open.is_empty() {
            why = format!("{why} (there are: {})", self.open.join(", "));
        }
        FormatError::Node {
            path: self.path.into(),
            node: order::label(node).into(),
            op: node.op_type.clone(),
            why,
        }
    }

    pub(super) fn node<'n>(&self, node: &'n proto::Node, uses: &Uses) -> Result<Node<'n>, FormatError> {
        let inputs = node
            .input
            .iter()
            .map(|name| match self.r.values.get(name) {
                _ if name.is_empty() => Ok(None),
                Some(val) => Ok(Some(val.clone())),
                None => Err(self.refusal(node, format!("nothing makes its input `{name}`"))),
            })
            .collect::<Result<_, _>>()?;
        Ok(Node {
            path: order::label(node),
            op: &node.op_type,
            attributes: &node.attribute,
            inputs,
            types: node.input.iter().map(|name| self.types.get(name).copied()).collect(),
            makes_right_factor: node.output.first().is_some_and(|name| uses.is_right_factor(name)),
            outputs: &node.output,
        })
    }

    /// What a name stands for from now on; what it stood for.
    fn set(&mut self, name: &str, val: Val) -> Option<Val> {
        let before = self.r.values.insert(name.into(), val);
        if let Some(journal) = &mut self.journal {
            journal.push((name.into(), before.clone()));
        }
        before
    }

    pub(super) fn bind(&mut self, node: &proto::Node, vals: Vec<Val>) -> Result<(), FormatError> {
        // An output that is not made is missed where it is read: exporters name outputs that nothing reads.
        for (name, val) in node.output.iter().zip(vals).filter(|(name, _)| !name.is_empty()) {
            self.set(name, val);
        }
        Ok(())
    }

    /// Where a product that becomes a linear layer is read by one sum with a vector: the sum's position, and the vector.
    fn bias_after(
        &self,
        nodes: &[proto::Node],
        readers: &HashMap<&str, Vec<usize>>,
        n: &Node<'_>,
        outputs: &[proto::ValueInfo],
    ) -> Option<(usize, Val)> {
        if n.op != "MatMul" {
            return None;
        }
        let width = lower::linear_width(&self.r, n.optional(1)?)?;
        let name = n.outputs.first()?;
        let [add] = readers.get(name.as_str())?.as_slice() else { return None };
        let (add, node) = (*add, &nodes[*add]);
        let is_alone = outputs.iter().all(|o| o.name != *name);
        if !is_alone || node.op_type != "Add" || node.input.len() != 2 {
            return None;
        }
        let other = node.input.iter().find(|i| *i != name)?;
        match self.r.values.get(other) {
            Some(val @ Val::Weight(w)) if w.tensor.shape() == [width] => Some((add, val.clone())),
            _ => None,
        }
    }

    fn constant_node(&mut self, n: &Node<'_>, node: &proto::Node, uses: &Uses) -> Result<Val, FormatError> {
        if let Some(t) = n.tensor("value") {
            let tensor = tensor::read(t, &mut self.external)?;
            let name = node.output.first().map(String::as_str).unwrap_or_default();
            self.types.insert(name.into(), t.data_type);
            let origin = Origin::Node { is_ours: self.is_ours };
            return meaning(n.path, tensor, uses.is_right_factor(name), origin);
        }
        let floats = |v: &[f32]| v.iter().map(|&v| super::known::Elem::Float(v.into())).collect::<Vec<_>>();
        let known = if n.has("value_int") {
            Known::int(Expr::number(n.int("value_int", 0)))
        } else if n.has("value_float") {
            Known::float(n.float("value_float", 0.0))
        } else if let Some(ints) = n.ints("value_ints") {
            Known::numbers(ints)
        } else if let Some(v) = n.floats("value_floats") {
            Known { shape: vec![v.len()], elems: floats(v) }
        } else {
            return Err(self.refusal(node, "it is neither a tensor nor numbers".into()));
        };
        Ok(Val::Known(known, Some(n.path.into())))
    }
}

/// Positions of the nodes that read each value.
fn readers(nodes: &[proto::Node]) -> HashMap<&str, Vec<usize>> {
    let mut readers: HashMap<&str, Vec<usize>> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        let mut names = HashSet::new();
        order::reads(node, &mut names);
        names.into_iter().for_each(|name| readers.entry(name).or_default().push(i));
    }
    readers
}

/// Where a tensor of the file stands.
#[derive(Clone, Copy)]
enum Origin {
    Initialiser {
        is_ours: bool,
    },
    /// In a node `Constant`.
    Node {
        is_ours: bool,
    },
}

/// What a tensor of the file stands for.
///
/// Integers, truth values and single numbers are structure.  Of floats, those that only a mask would hold (infinities,
/// numbers like −10⁹, or two values throughout) and small ones written as `Constant` nodes are structure too; the rest
/// were learned.  Files that we wrote say it plainly.
fn meaning(name: &str, tensor: Tensor, is_right_factor: bool, origin: Origin) -> Result<Val, FormatError> {
    let is_structure = match origin {
        _ if !tensor.dtype().is_float() => true,
        Origin::Initialiser { is_ours: true } => false,
        Origin::Node { is_ours: true } => true,
        _ if tensor.shape().is_empty() || tensor.is_empty() => true,
        Origin::Initialiser { .. } => tensor.len() == 1 && !name.contains('.') || is_mask(&tensor)?,
        Origin::Node { .. } => {
            let is_small = tensor.len() <= super::known::ELEMENTS_MAX && tensor.shape().len() < 3;
            tensor.len() == 1 || is_small || is_mask(&tensor)?
        }
    };
    if !is_structure {
        return Ok(Val::Weight(Arc::new(Weight { name: name.into(), tensor, is_right_factor })));
    }
    let literal = Literal::of(&tensor)?;
    Ok(match Known::of(&literal) {
        Some(known) => Val::Known(known, Some(name.into())),
        None => Val::Literal(Arc::new(literal), name.into()),
    })
}

fn is_mask(tensor: &Tensor) -> Result<bool, FormatError> {
    let values = tensor.to_f32()?;
    let lowest = values.iter().copied().fold(f32::INFINITY, f32::min);
    if lowest <= -1e4 || values.iter().any(|v| !v.is_finite()) {
        return Ok(true);
    }
    let other = values.iter().find(|v| **v != values[0]);
    Ok(values.len() >= 16
        && tensor.shape().len() >= 2
        && other.is_some_and(|o| values.iter().all(|v| v == o || *v == values[0])))
}

/// A dimension of an input.  One without a number gets a name: `batch` for the first, else after the input.
fn dimension(value: Option<&DimensionValue>, input: &str, axis: usize) -> Dim {
    let clean = |text: &str| -> String {
        text.chars().map(|c| if c.is_alphanumeric() || c == '_' { c } else { '_' }).collect()
    };
    let named = |text: String| {
        let starts_badly = text.is_empty() || text.starts_with(|c: char| c.is_ascii_digit());
        Dim::Symbol(if starts_badly { format!("_{text}") } else { text })
    };
    match value {
        Some(DimensionValue::Value(n)) if *n > 0 => Dim::Fixed(usize::try_from(*n).unwrap_or(usize::MAX)),
        // Some write `?` for every axis that they do not know.
        Some(DimensionValue::Param(text)) if text.contains(char::is_alphanumeric) => named(clean(text)),
        _ if axis == 0 => Dim::batch(),
        _ => named(format!("{}_{axis}", clean(input))),
    }
}
