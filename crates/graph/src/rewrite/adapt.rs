//! `adapt`: puts few new parameters beside chosen weights; `merge` folds them back in where that is possible.
//!
//! An adapted node keeps its path, so taps and heads find it as before; the layer below it is called
//! `<path>.base_layer`, and new parameters are named as in the PEFT library (`<path>.lora_A.weight`).  Nodes that share a
//! weight (ALBERT's layers) share what stands beside it, named after the first of them: so it can be merged.

mod bottleneck;
mod dora;
mod ia3;
mod lora;

use serde::{Deserialize, Serialize};

use crate::graph::{Node, ValueKind};
use crate::rewrite::copy::Copy;
use crate::{Graph, GraphError, Op, ValueId, Weights};

pub use dora::start_magnitudes;

/// Few new parameters beside frozen weights, and where they stand.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adapter {
    /// What they compute.
    pub kind: AdapterKind,
    /// Paths of the adapted nodes.
    pub targets: Vec<String>,
}

/// What an adapter computes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum AdapterKind {
    /// Low-rank update `W + s·B·A` (Hu et al., 2021).
    Lora(LoraSpec),
    /// The same with magnitude and direction apart (Liu et al., 2024, *DoRA*).
    Dora(LoraSpec),
    /// One learned factor a channel (Liu et al., 2022, *(IA)³*).
    Ia3 {
        /// The factor stands before the layer instead of after it, as for a feed-forward layer's second half.
        before: bool,
    },
    /// A small network with a residual connection behind the layer (Houlsby et al., 2019).
    Bottleneck {
        /// Width of its middle.
        width: usize,
    },
}

/// Settings of a low-rank update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LoraSpec {
    /// Rank of the update.
    pub rank: usize,
    /// The update is scaled by `alpha / rank`.
    pub alpha: f64,
    /// Dropout before `A`, in training.
    pub dropout: f64,
    /// Scale by `alpha / √rank` instead (Kalajdzievski, 2023, *rsLoRA*).
    pub rank_stabilised: bool,
}

impl LoraSpec {
    /// What `B·A` is multiplied by.
    pub fn scaling(&self) -> f64 {
        let rank = self.rank.max(1) as f64;
        self.alpha / if self.rank_stabilised { rank.sqrt() } else { rank }
    }
}

/// Puts an adapter beside each of its targets.  The new parameters start so that the network answers as before, given
/// the values that their [`crate::Init`] draws and, for DoRA, [`start_magnitudes`].
///
/// # Errors
/// [`GraphError::Unknown`] for a target that is no node, [`GraphError::NotAdaptable`] for one that the adapter cannot
/// stand beside.
///
/// ```
/// use headstart_graph::rewrite::{Adapter, AdapterKind, LoraSpec, adapt};
/// use headstart_graph::{Conv, GraphBuilder};
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.image("image", [3, 8, 8]);
/// let x = b.conv("conv", x, Conv::new(4, 3))?;
/// let x = b.global_avg_pool("pool", x)?;
/// let y = b.linear("fc", x, 10)?;
/// let graph = b.finish([("logits", y)])?;
/// let lora = LoraSpec { rank: 2, alpha: 4.0, dropout: 0.0, rank_stabilised: false };
/// let adapter = Adapter { kind: AdapterKind::Lora(lora), targets: vec!["conv".into()] };
/// let adapted = adapt(&graph, &adapter)?;
/// // A [2, 3, 3, 3] and B [4, 2, 1, 1].
/// assert_eq!(adapted.n_learned() - graph.n_learned(), 2 * 27 + 4 * 2);
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn adapt(graph: &Graph, adapter: &Adapter) -> Result<Graph, GraphError> {
    for target in &adapter.targets {
        graph.find(target)?;
    }
    let mut copy = Copy::of(graph, |_| true)?;
    for node in graph.nodes() {
        if !adapter.targets.contains(&node.path) {
            copy.node(node)?;
            continue;
        }
        let owner = owner(graph, adapter, node);
        let made = match adapter.kind {
            AdapterKind::Lora(spec) => lora::beside(&mut copy, graph, node, owner, &spec)?,
            AdapterKind::Dora(spec) => dora::beside(&mut copy, graph, node, owner, &spec)?,
            AdapterKind::Ia3 { before } => ia3::beside(&mut copy, node, owner, before)?,
            AdapterKind::Bottleneck { width } => bottleneck::behind(&mut copy, node, width)?,
        };
        copy.set(node.output, made);
    }
    copy.finish(graph)
}

/// Folds an adapter into the weights that it stands beside: the graph without it, and weights that answer the same to
/// rounding.
///
/// # Errors
/// [`GraphError::NotMergeable`] for a bottleneck, which no single layer computes.
pub fn merge(graph: &Graph, weights: &Weights, adapter: &Adapter) -> Result<(Graph, Weights), GraphError> {
    if let (AdapterKind::Bottleneck { .. }, Some(target)) = (adapter.kind, adapter.targets.first()) {
        return Err(GraphError::NotMergeable(target.clone()));
    }
    let base = remove(graph, adapter)?;
    let mut merged = weights.clone();
    for target in &adapter.targets {
        let node = node_at(&base, target)?;
        let owner = owner(&base, adapter, node);
        match adapter.kind {
            AdapterKind::Ia3 { before } => ia3::fold(&base, node, owner, before, weights, &mut merged)?,
            // Folded with the first node that reads the same weight.
            _ if owner != target => {}
            AdapterKind::Lora(spec) => lora::fold(&base, node, &spec, weights, &mut merged)?,
            AdapterKind::Dora(spec) => dora::fold(&base, node, &spec, weights, &mut merged)?,
            AdapterKind::Bottleneck { .. } => unreachable!("refused above"),
        }
    }
    let weights = base
        .params()
        .map(|(_, name, _)| Ok((name.to_string(), merged.require(name)?.clone())))
        .collect::<Result<Weights, GraphError>>()?;
    Ok((base, weights))
}

/// The graph without an adapter: every target is its base layer again.
pub fn remove(graph: &Graph, adapter: &Adapter) -> Result<Graph, GraphError> {
    let is_new = |name: &str| {
        adapter.targets.iter().any(|t| {
            name.strip_prefix(t.as_str()).is_some_and(|rest| NEW.iter().any(|n| rest.starts_with(n)))
        })
    };
    let mut copy = Copy::of(graph, |name| !is_new(name))?;
    for node in graph.nodes() {
        if is_new(&node.path) {
            continue;
        }
        if adapter.targets.contains(&node.path) {
            // The base layer took its place already.
            let base = node_at(graph, &format!("{}.base_layer", node.path))?;
            let made = copy.at(base.output)?;
            copy.set(node.output, made);
        } else if let Some(target) = node.path.strip_suffix(".base_layer")
            && adapter.targets.iter().any(|t| t == target)
        {
            let node = base_node(graph, node, target, adapter.kind)?;
            let made = copy.node_as(target, &node)?;
            copy.set(node.output, made);
        } else {
            copy.node(node)?;
        }
    }
    copy.finish(graph)
}

/// What the names of an adapter's own nodes and parameters go on with after the target's path.
const NEW: [&str; 5] = [".lora_", ".ia3_l", ".adapter_", ".adapted", ".dora_"];

/// The base layer as it was before the adapter came: with the input and the bias that the adapter took over.
fn base_node(graph: &Graph, node: &Node, target: &str, kind: AdapterKind) -> Result<Node, GraphError> {
    let mut node = node.clone();
    match kind {
        AdapterKind::Ia3 { before: true } => {
            let scaled = node_at(graph, &format!("{target}.ia3_l.scaled"))?;
            node.inputs[0] = scaled.inputs[0];
        }
        AdapterKind::Dora(_) => {
            let whole = node_at(graph, target)?;
            node.inputs.extend(whole.inputs.get(2));
        }
        _ => {}
    }
    Ok(node)
}

fn node_at<'a>(graph: &'a Graph, path: &str) -> Result<&'a Node, GraphError> {
    let value = graph.find(path)?;
    Ok(graph.producer(value).expect("find returns what a node makes"))
}

/// Name of the weight that a layer multiplies by.
fn weight_of<'a>(graph: &'a Graph, node: &Node) -> &'a str {
    let at = if node.op == Op::Embedding { 0 } else { 1 };
    &graph.value(node.inputs[at]).name
}

/// Name of the parameter that an adapter beside a node changes: a layer's weight, an embedding's table.  None if the node
/// has none.
pub fn adapted_weight<'a>(graph: &'a Graph, node: &Node) -> Option<&'a str> {
    let at = if node.op == Op::Embedding { 0 } else { 1 };
    let value = graph.value(*node.inputs.get(at)?);
    matches!(value.kind, ValueKind::Param(_)).then_some(value.name.as_str())
}

/// Path of the first target that reads the weight which a target reads: what stands beside it is named after that one.
///
/// ```
/// use headstart_graph::rewrite::{Adapter, AdapterKind, adapter_owner};
/// use headstart_graph::{GraphBuilder, Init, Op};
/// let mut b = GraphBuilder::new("shared");
/// let x = b.image("image", [2, 1, 1]);
/// let x = b.global_avg_pool("pool", x)?;
/// let w = b.param("w".into(), &[2, 2], Init::Constant(0.0))?;
/// let x = b.node("one", Op::Linear, &[x, w])?;
/// let y = b.node("two", Op::Linear, &[x, w])?;
/// let graph = b.finish([("y", y)])?;
/// let adapter = Adapter { kind: AdapterKind::Ia3 { before: false }, targets: vec!["one".into(), "two".into()] };
/// assert_eq!(adapter_owner(&graph, &adapter, "two")?, "one");
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn adapter_owner<'a>(
    graph: &'a Graph,
    adapter: &'a Adapter,
    target: &'a str,
) -> Result<&'a str, GraphError> {
    Ok(owner(graph, adapter, node_at(graph, target)?))
}

fn owner<'a>(graph: &'a Graph, adapter: &Adapter, node: &'a Node) -> &'a str {
    let Some(weight) = adapted_weight(graph, node) else { return &node.path };
    let is_first = |n: &&Node| adapted_weight(graph, n) == Some(weight) && adapter.targets.contains(&n.path);
    graph.nodes().iter().find(is_first).map_or(&node.path, |n| &n.path)
}

/// The axis that a layer's outputs lie on: the second of an image, the last of anything else.
fn channel_axis(op: &Op, rank: usize) -> usize {
    if matches!(op, Op::Conv2d { .. }) { 1 } else { rank.saturating_sub(1) }
}

fn not_adaptable(node: &Node, why: impl Into<String>) -> GraphError {
    GraphError::NotAdaptable { node: node.path.clone(), op: node.op.name(), why: why.into() }
}

/// Width of what a value holds along its channel axis.
fn channels(copy: &Copy, value: ValueId, axis: usize, node: &Node) -> Result<usize, GraphError> {
    copy.builder
        .shape(value)
        .known(axis)
        .ok_or_else(|| not_adaptable(node, "its width is not a known number"))
}

#[cfg(test)]
mod tests;
