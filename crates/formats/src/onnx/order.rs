//! The nodes that the outputs need, in an order in which each reads only what was made before it.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::proto::{Graph, Node};

/// Positions of the needed nodes, in the file's order where that is one.
///
/// # Errors
/// Names a node on a cycle, or a value that two nodes make.
pub(super) fn needed<'a>(
    nodes: &'a [Node],
    outputs: impl Iterator<Item = &'a str>,
) -> Result<Vec<usize>, String> {
    let mut makers: HashMap<&str, usize> = HashMap::new();
    for (i, node) in nodes.iter().enumerate() {
        for name in node.output.iter().filter(|n| !n.is_empty()) {
            if makers.insert(name, i).is_some() {
                return Err(format!("two nodes make the value `{name}`"));
            }
        }
    }
    let sources: Vec<Vec<usize>> = nodes
        .iter()
        .map(|n| {
            let mut names = HashSet::new();
            reads(n, &mut names);
            let mut from: Vec<usize> =
                names.into_iter().filter_map(|name| makers.get(name).copied()).collect();
            from.sort_unstable();
            from.dedup();
            from
        })
        .collect();
    let mut is_needed = vec![false; nodes.len()];
    let mut open: Vec<usize> = outputs.filter_map(|name| makers.get(name).copied()).collect();
    while let Some(i) = open.pop() {
        if !std::mem::replace(&mut is_needed[i], true) {
            open.extend(&sources[i]);
        }
    }
    // Kahn's algorithm; of those that are ready, the first in the file.
    let mut waits: Vec<usize> = sources.iter().map(Vec::len).collect();
    let mut readers: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (i, from) in sources.iter().enumerate().filter(|(i, _)| is_needed[*i]) {
        from.iter().for_each(|&s| readers[s].push(i));
    }
    let mut ready: BTreeSet<usize> = (0..nodes.len()).filter(|&i| is_needed[i] && waits[i] == 0).collect();
    let mut order = Vec::new();
    while let Some(i) = ready.pop_first() {
        order.push(i);
        for &reader in &readers[i] {
            waits[reader] -= 1;
            if waits[reader] == 0 {
                ready.insert(reader);
            }
        }
    }
    match (0..nodes.len()).find(|&i| is_needed[i] && waits[i] > 0) {
        Some(i) => {
            Err(format!("node `{}` depends on its own result: the graph has a cycle", label(&nodes[i])))
        }
        None => Ok(order),
    }
}

/// What a person calls a node.
pub(super) fn label(node: &Node) -> &str {
    match (node.name.as_str(), node.output.iter().find(|n| !n.is_empty())) {
        ("", Some(output)) => output,
        ("", None) => &node.op_type,
        (name, _) => name,
    }
}

/// Values that a node reads, the graphs inside it included.
pub(super) fn reads<'a>(node: &'a Node, names: &mut HashSet<&'a str>) {
    names.extend(node.input.iter().map(String::as_str).filter(|n| !n.is_empty()));
    for g in node.attribute.iter().filter_map(|a| a.g.as_ref()) {
        inner_reads(g, names);
    }
}

fn inner_reads<'a>(g: &'a Graph, names: &mut HashSet<&'a str>) {
    g.node.iter().for_each(|n| reads(n, names));
    names.extend(g.output.iter().map(|o| o.name.as_str()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(input: &str, output: &str) -> Node {
        Node { input: vec![input.into()], output: vec![output.into()], ..Node::default() }
    }

    #[test]
    fn nodes_out_of_order_are_brought_into_order_and_idle_ones_left_out() {
        let nodes = [node("b", "c"), node("x", "idle"), node("a", "b"), node("x", "a")];
        assert_eq!(needed(&nodes, ["c"].into_iter()), Ok(vec![3, 2, 0]));
    }

    #[test]
    fn a_cycle_is_refused_by_name() {
        let nodes = [node("b", "a"), node("a", "b")];
        assert!(needed(&nodes, ["b"].into_iter()).expect_err("a cycle").contains("`a`"));
        assert!(needed(&[node("x", "y"), node("x", "y")], ["y"].into_iter()).is_err());
    }
}
