//! `split_at_frontier`: divides a graph at its freeze frontier, so that what never learns runs once an example.

use std::collections::HashSet;

use crate::graph::{InputSpec, ValueKind};
use crate::rewrite::cut_at;
use crate::{DType, Graph, GraphBuilder, GraphError, Output, Role, ValueId};

/// A graph in two parts.
#[derive(Debug, Clone, PartialEq)]
pub struct Divided {
    /// What lies before the first parameter that learns; its outputs are the frontier.  None if something learns
    /// directly behind the inputs.
    pub prefix: Option<Graph>,
    /// The rest.  Its inputs are the frontier's values, by the paths of the nodes that make them, and those of the
    /// graph's own inputs that it reads.
    pub suffix: Graph,
}

/// Divides a graph where the first parameter that learns stands.
///
/// A value is *frozen* if no parameter that learns lies before it.  The frontier is made of the frozen values that
/// the rest reads.  A frozen value that depends on no parameter at all (position numbers, a mask) is not worth keeping, and
/// one that depends on no input (a table of relative positions, normalised) is no example's: the suffix computes both again.
///
/// ```
/// use headstart_graph::{GraphBuilder, rewrite};
/// let mut b = GraphBuilder::new("two-layers");
/// let x = b.image("image", [3, 8, 8]);
/// let x = b.global_avg_pool("pool", x)?;
/// let x = b.linear("first", x, 5)?;
/// let y = b.linear("second", x, 2)?;
/// let graph = b.finish([("logits", y)])?;
/// let parts = rewrite::split_at_frontier(&graph, &|name| name.starts_with("second"))?;
/// let prefix = parts.prefix.expect("`first` is frozen");
/// assert_eq!(prefix.outputs()[0].name, "first");
/// assert!(parts.suffix.inputs().any(|(_, name, _)| name == "first"));
/// assert!(rewrite::split_at_frontier(&graph, &|_| true)?.prefix.is_none());
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn split_at_frontier(graph: &Graph, learns: &dyn Fn(&str) -> bool) -> Result<Divided, GraphError> {
    let n = graph.values().len();
    let (mut hot, mut reads_param, mut reads_input) = (vec![false; n], vec![false; n], vec![false; n]);
    for (id, _, _) in graph.inputs() {
        reads_input[id.index()] = true;
    }
    for (id, name, param) in graph.params() {
        hot[id.index()] = param.role == Role::Learned && learns(name);
        reads_param[id.index()] = true;
    }
    for node in graph.nodes() {
        let any = |of: &[bool]| node.inputs.iter().any(|i| of[i.index()]);
        (hot[node.output.index()], reads_param[node.output.index()]) = (any(&hot), any(&reads_param));
        reads_input[node.output.index()] = any(&reads_input);
    }
    // A plan that trains nothing still ends in its outputs.
    let is_output: HashSet<ValueId> = graph.outputs().iter().map(|o| o.value).collect();
    let crosses = |id: ValueId| {
        let is_of_examples = reads_param[id.index()] && reads_input[id.index()];
        matches!(graph.value(id).kind, ValueKind::Node) && !hot[id.index()] && is_of_examples
    };
    let mut frontier: Vec<ValueId> = Vec::new();
    let mut cross = |id: ValueId| {
        if crosses(id) && !frontier.contains(&id) {
            frontier.push(id);
        }
    };
    for node in graph.nodes().iter().filter(|n| hot[n.output.index()]) {
        node.inputs.iter().for_each(|&id| cross(id));
    }
    is_output.iter().for_each(|&id| cross(id));
    frontier.sort();
    if frontier.is_empty() {
        return Ok(Divided { prefix: None, suffix: graph.clone() });
    }
    let outputs: Vec<Output> =
        frontier.iter().map(|&value| Output { name: graph.value(value).name.clone(), value }).collect();
    let prefix = cut_at(graph, &outputs)?;
    Ok(Divided { prefix: Some(prefix), suffix: behind(graph, &frontier)? })
}

/// The part of a graph that reads `frontier` as inputs.
fn behind(graph: &Graph, frontier: &[ValueId]) -> Result<Graph, GraphError> {
    // What the outputs need, looking no further back than the frontier.
    let mut needed = vec![false; graph.values().len()];
    graph.outputs().iter().for_each(|o| needed[o.value.index()] = true);
    for node in graph.nodes().iter().rev() {
        if needed[node.output.index()] && !frontier.contains(&node.output) {
            node.inputs.iter().for_each(|i| needed[i.index()] = true);
        }
    }
    let mut b = GraphBuilder::new(graph.name());
    let mut becomes = vec![None; graph.values().len()];
    for &id in frontier.iter().filter(|id| needed[id.index()]) {
        let value = graph.value(id);
        let spec = InputSpec { dtype: DType::F32, shape: value.shape.clone(), default: None };
        becomes[id.index()] = Some(b.input(&value.name, spec));
    }
    for (i, value) in graph.values().iter().enumerate().filter(|(i, _)| needed[*i]) {
        match &value.kind {
            ValueKind::Input(spec) => becomes[i] = Some(b.input(&value.name, spec.clone())),
            ValueKind::Param(p) => becomes[i] = Some(b.declare(value.name.clone(), p.clone())?),
            ValueKind::Node => {}
        }
    }
    let at = |becomes: &[Option<ValueId>], id: ValueId| {
        becomes[id.index()]
            .ok_or_else(|| GraphError::UndefinedValue { node: graph.name().into(), value: id.index() })
    };
    for node in graph.nodes() {
        if needed[node.output.index()] && becomes[node.output.index()].is_none() {
            let inputs =
                node.inputs.iter().map(|&id| at(&becomes, id)).collect::<Result<Vec<_>, GraphError>>()?;
            becomes[node.output.index()] = Some(b.node(&node.path, node.op.clone(), &inputs)?);
        }
    }
    let outputs = graph
        .outputs()
        .iter()
        .map(|o| Ok((o.name.as_str(), at(&becomes, o.value)?)))
        .collect::<Result<Vec<_>, GraphError>>()?;
    b.finish(outputs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv, Op};

    /// A residual block: what the frontier cuts crosses twice and is kept once; the mask is not kept at all.
    #[test]
    fn a_residual_crosses_once() -> Result<(), GraphError> {
        let mut b = GraphBuilder::new("residual");
        let x = b.image("image", [3, 8, 8]);
        let x = b.conv("stem", x, Conv::new(4, 3).padding(1))?;
        let y = b.conv("block.conv", x, Conv::new(4, 3).padding(1))?;
        let y = b.node("block.add", Op::Add, &[x, y])?;
        let y = b.global_avg_pool("pool", y)?;
        let y = b.linear("fc", y, 2)?;
        let graph = b.finish([("logits", y)])?;
        let parts = split_at_frontier(&graph, &|name| name.starts_with("block") || name.starts_with("fc"))?;
        let prefix = parts.prefix.expect("the stem is frozen");
        assert_eq!(prefix.outputs().iter().map(|o| o.name.as_str()).collect::<Vec<_>>(), ["stem"]);
        let inputs: Vec<&str> = parts.suffix.inputs().map(|(_, name, _)| name).collect();
        assert_eq!(inputs, ["stem"]);
        let names = |g: &Graph| g.params().map(|(_, n, _)| n.to_string()).collect::<Vec<_>>();
        assert_eq!([names(&prefix), names(&parts.suffix)].concat(), names(&graph));
        Ok(())
    }

    #[test]
    fn a_text_network_keeps_tokens_and_passes_its_mask_on() -> Result<(), GraphError> {
        let mut b = GraphBuilder::new("text");
        let ids = b.ids("input_ids", None);
        let mask = b.ids("attention_mask", Some(1));
        let table = b.param("words.weight".into(), &[50, 8], crate::Init::Normal(0.02))?;
        let x = b.node("words", Op::Embedding, &[table, ids])?;
        let x = b.linear("layer.0", x, 8)?;
        let x = b.linear("layer.1", x, 8)?;
        let x = b.node("pool", Op::MaskedMean, &[x, mask])?;
        let graph = b.finish([("features", x)])?;
        let parts = split_at_frontier(&graph, &|name| name.starts_with("layer.1"))?;
        let inputs: Vec<(String, String)> =
            parts.suffix.inputs().map(|(_, n, s)| (n.to_string(), s.shape.to_string())).collect();
        assert_eq!(
            inputs,
            [
                ("layer.0".into(), "[batch, sequence, 8]".into()),
                ("attention_mask".into(), "[batch, sequence]".to_string())
            ]
        );
        Ok(())
    }
}
