//! Copies a graph node by node, so that a rewrite can put something else in a node's place.

use std::collections::HashMap;

use crate::graph::{Node, ValueKind};
use crate::{Graph, GraphBuilder, GraphError, ValueId};

/// A copy in the making: inputs and parameters are there, in the original's order; nodes follow one by one.
pub(crate) struct Copy {
    pub(crate) builder: GraphBuilder,
    becomes: HashMap<ValueId, ValueId>,
}

impl Copy {
    /// Declares every input, and every parameter for which `keeps` holds.
    pub(crate) fn of(graph: &Graph, keeps: impl Fn(&str) -> bool) -> Result<Self, GraphError> {
        let mut copy = Copy { builder: GraphBuilder::new(graph.name()), becomes: HashMap::new() };
        for (i, value) in graph.values().iter().enumerate() {
            let made = match &value.kind {
                ValueKind::Input(spec) => copy.builder.input(&value.name, spec.clone()),
                ValueKind::Param(p) if keeps(&value.name) => {
                    copy.builder.declare(value.name.clone(), p.clone())?
                }
                _ => continue,
            };
            copy.becomes.insert(ValueId(i as u32), made);
        }
        Ok(copy)
    }

    /// What a value of the original is in the copy.
    pub(crate) fn at(&self, id: ValueId) -> Result<ValueId, GraphError> {
        self.becomes
            .get(&id)
            .copied()
            .ok_or_else(|| GraphError::UndefinedValue { node: "a copied node".into(), value: id.index() })
    }

    /// What a node reads, in the copy.
    pub(crate) fn inputs(&self, node: &Node) -> Result<Vec<ValueId>, GraphError> {
        node.inputs.iter().map(|&id| self.at(id)).collect()
    }

    /// Copies a node under another path; nobody reads it yet.
    pub(crate) fn node_as(&mut self, path: &str, node: &Node) -> Result<ValueId, GraphError> {
        let inputs = self.inputs(node)?;
        self.builder.node(path, node.op.clone(), &inputs)
    }

    /// Copies a node as it is.
    pub(crate) fn node(&mut self, node: &Node) -> Result<(), GraphError> {
        let made = self.node_as(&node.path, node)?;
        self.set(node.output, made);
        Ok(())
    }

    /// Whoever read `old` in the original reads `new` in the copy.
    pub(crate) fn set(&mut self, old: ValueId, new: ValueId) {
        self.becomes.insert(old, new);
    }

    /// Names the original's outputs and checks the whole.
    pub(crate) fn finish(self, graph: &Graph) -> Result<Graph, GraphError> {
        let outputs: Vec<(String, ValueId)> = graph
            .outputs()
            .iter()
            .map(|o| Ok((o.name.clone(), self.at(o.value)?)))
            .collect::<Result<_, GraphError>>()?;
        self.builder.finish(outputs.iter().map(|(name, value)| (name.as_str(), *value)))
    }
}
