//! `ia3`: one learned factor a channel (Liu et al., 2022): behind keys, values and convolutions, before the second layer
//! of a feed-forward block.

use headstart_graph::rewrite::{Adapter, AdapterKind};
use headstart_graph::{Graph, Node, Op};

use crate::targets::{course_of, is_layer, layers};
use crate::training::{Course, Rates};
use crate::{Facts, RecipeError};

pub(crate) fn course(graph: &Graph, facts: &Facts<'_>) -> Result<Course, RecipeError> {
    let targets = layers(graph, facts, "ia3", |n| is_layer(graph, n) || matches!(n.op, Op::Conv2d { .. }))?;
    let node = |path: &String| graph.nodes().iter().find(|n| n.path == *path);
    let by_role = |role: Role| -> Vec<String> {
        targets.iter().filter(|t| node(t).is_some_and(|n| role_of(graph, n) == role)).cloned().collect()
    };
    let behind = if facts.targets.is_empty() {
        by_role(Role::Behind)
    } else {
        // Whom the user names stands behind the layer, unless it is a feed-forward block's second half.
        [by_role(Role::Behind), by_role(Role::None)].concat()
    };
    let all = [(false, behind), (true, by_role(Role::Before))];
    let adapters: Vec<Adapter> = all
        .into_iter()
        .filter(|(_, targets)| !targets.is_empty())
        .map(|(before, targets)| Adapter { kind: AdapterKind::Ia3 { before }, targets })
        .collect();
    let image = Rates { network: 1e-2, head: 3e-3 };
    let text = Rates { network: 5e-3, head: 1e-3 };
    course_of(graph, facts, adapters, image, text)
}

#[derive(PartialEq)]
enum Role {
    Behind,
    Before,
    None,
}

/// Keys and values feed attention's second and third input; a feed-forward block's second half reads an activation.
fn role_of(graph: &Graph, node: &Node) -> Role {
    if matches!(node.op, Op::Conv2d { .. }) {
        return Role::Behind;
    }
    let is_key_or_value = graph
        .nodes()
        .iter()
        .any(|n| matches!(n.op, Op::Attention { .. }) && n.inputs[1..3].contains(&node.output));
    let reads_activation =
        graph.producer(node.inputs[0]).is_some_and(|n| matches!(n.op, Op::Gelu { .. } | Op::Relu | Op::Silu));
    match (is_key_or_value, reads_activation) {
        (true, _) => Role::Behind,
        (_, true) => Role::Before,
        _ => Role::None,
    }
}
