//! `adapter`: small networks with a residual connection learn, with the head (Houlsby et al., 2019; Rebuffi et al., 2018,
//! for pictures).
//!
//! They stand behind the last layer of every residual branch, before the sum, or behind every layer where a network has no
//! residual branches.

use headstart_graph::rewrite::AdapterKind;
use headstart_graph::{Graph, Node, Op, ValueId};

use crate::targets::{course_of, is_layer, layers, one};
use crate::training::{Course, Rates};
use crate::{Facts, RecipeError};

pub(crate) fn course(graph: &Graph, facts: &Facts<'_>) -> Result<Course, RecipeError> {
    let ends = branch_ends(graph);
    let suits = |n: &Node| match ends.is_empty() || !facts.targets.is_empty() {
        true => is_layer(graph, n) || matches!(n.op, Op::Conv2d { .. } | Op::BatchNorm { .. }),
        false => ends.contains(&n.output),
    };
    let targets = layers(graph, facts, "adapter", suits)?;
    let width = facts.settings.get("adapter_width") as usize;
    let image = Rates { network: 1e-3, head: 3e-3 };
    let text = Rates { network: 1e-3, head: 1e-3 };
    course_of(graph, facts, one(AdapterKind::Bottleneck { width }, targets), image, text)
}

/// The layers whose results a residual sum adds to what went round them.
fn branch_ends(graph: &Graph) -> Vec<ValueId> {
    let layer_below = |mut id: ValueId| {
        while let Some(node) = graph.producer(id) {
            match node.op {
                Op::Linear | Op::Conv2d { .. } | Op::BatchNorm { .. } => return Some(id),
                Op::Dropout { .. } | Op::DropPath { .. } => id = node.inputs[0],
                _ => return None,
            }
        }
        None
    };
    let mut ends: Vec<ValueId> = graph
        .nodes()
        .iter()
        .filter(|n| n.op == Op::Add)
        .filter_map(|n| n.inputs.iter().rev().find_map(|&id| layer_below(id)))
        .collect();
    ends.dedup();
    ends
}
