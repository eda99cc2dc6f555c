//! Which layers adapters stand beside: by pattern, or all that suit.

use headstart_core::HeadStart;
use headstart_graph::rewrite::{Adapter, AdapterKind, Part, adapt};
use headstart_graph::{Graph, Node, Op};

use crate::training::{Course, HEAD, Rates, group_names, n_passes, phase};
use crate::{Facts, RecipeError};

/// The layers that a recipe suits and the user's patterns match, in the graph's order.
pub(crate) fn layers(
    graph: &Graph,
    facts: &Facts<'_>,
    recipe: &'static str,
    suits: impl Fn(&Node) -> bool,
) -> Result<Vec<String>, RecipeError> {
    let fit: Vec<&str> =
        graph.nodes().iter().filter(|n| n.path != HEAD && suits(n)).map(|n| n.path.as_str()).collect();
    for pattern in facts.targets {
        if !fit.iter().any(|path| matches(pattern, path)) {
            let known = fit.iter().rev().take(4).copied().collect::<Vec<_>>().join(", ");
            return Err(RecipeError::NoTarget { pattern: pattern.clone(), recipe, known });
        }
    }
    let chosen = |path: &&&str| facts.targets.is_empty() || facts.targets.iter().any(|p| matches(p, path));
    let chosen: Vec<String> = fit.iter().filter(chosen).map(|p| p.to_string()).collect();
    if chosen.is_empty() {
        let why = "finds no layer in this network that it can stand beside".into();
        return Err(RecipeError::Unsuitable { recipe, why });
    }
    Ok(chosen)
}

/// Linear layers and whole convolutions that have trained weights.
pub(crate) fn is_layer(graph: &Graph, node: &Node) -> bool {
    let layer = match node.op {
        Op::Linear => true,
        Op::Conv2d { groups, .. } => groups == 1,
        _ => false,
    };
    layer && is_param(graph, node, 1)
}

/// Whether a node's input is a parameter.
pub(crate) fn is_param(graph: &Graph, node: &Node, input: usize) -> bool {
    matches!(graph.value(node.inputs[input]).kind, headstart_graph::ValueKind::Param(_))
}

/// A course in which the parameters of these adapters, and the head, learn from the probe's head.
pub(crate) fn course_of(
    graph: &Graph,
    facts: &Facts<'_>,
    adapters: Vec<Adapter>,
    image: Rates,
    text: Rates,
) -> Result<Course, RecipeError> {
    let mut adapted = graph.clone();
    for adapter in &adapters {
        adapted = adapt(&adapted, adapter)?;
    }
    let has_new = |g: &String| !headstart_graph::rewrite::params_of(&adapted, g, Part::Adapters).is_empty();
    let of: Vec<String> = group_names(&adapted).into_iter().filter(has_new).collect();
    let decay = facts.settings.get("lr_decay");
    let rates = Rates::of(facts, image, text);
    let phases = vec![phase("the adapters", n_passes(facts), &of, Part::Adapters, rates, decay)];
    Ok(Course { phases, head_start: HeadStart::Probe, adapters })
}

/// One adapter of a kind beside these layers.
pub(crate) fn one(kind: AdapterKind, targets: Vec<String>) -> Vec<Adapter> {
    vec![Adapter { kind, targets }]
}

/// Whether a path matches a pattern in which `*` stands for anything; a bare name matches the path's last part, as in
/// PEFT's `target_modules`.
fn matches(pattern: &str, path: &str) -> bool {
    if !pattern.contains('*') {
        return path == pattern || path.strip_suffix(pattern).is_some_and(|rest| rest.ends_with('.'));
    }
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| path.strip_prefix(first)) else { return false };
    let mut last = "";
    for part in parts {
        last = part;
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    path.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_as_in_peft() {
        assert!(matches("query", "encoder.layer.0.attention.self.query"));
        assert!(!matches("uery", "encoder.layer.0.attention.self.query"));
        assert!(matches("*.self.*", "encoder.layer.0.attention.self.query"));
        assert!(matches("encoder.*.query", "encoder.layer.0.attention.self.query"));
        assert!(!matches("decoder.*", "encoder.layer.0"));
        assert!(matches("*", "anything"));
    }
}
