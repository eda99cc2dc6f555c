//! Functions that a file brings along: calls are replaced by their nodes.

use std::collections::HashMap;

use super::proto::{Attribute, Function, Graph, Node};

/// Nodes after expansion; calls in calls double quickly.
const NODES_MAX: usize = 500_000;
const DEPTH_MAX: usize = 16;

/// Replaces calls of `functions` everywhere in a graph.
pub(super) fn inline(graph: &mut Graph, functions: &[Function]) -> Result<(), String> {
    let by_name: HashMap<(&str, &str), &Function> =
        functions.iter().map(|f| ((f.domain.as_str(), f.name.as_str()), f)).collect();
    if by_name.is_empty() {
        return Ok(());
    }
    let mut calls = 0;
    graph.node = expand(std::mem::take(&mut graph.node), &by_name, 0, &mut calls)?;
    Ok(())
}

type Functions<'a> = HashMap<(&'a str, &'a str), &'a Function>;

fn expand(
    nodes: Vec<Node>,
    by_name: &Functions<'_>,
    depth: usize,
    calls: &mut usize,
) -> Result<Vec<Node>, String> {
    let mut all = Vec::new();
    for mut node in nodes {
        for a in &mut node.attribute {
            if let Some(g) = &mut a.g {
                g.node = expand(std::mem::take(&mut g.node), by_name, depth, calls)?;
            }
        }
        let Some(function) = by_name.get(&(node.domain.as_str(), node.op_type.as_str())) else {
            all.push(node);
            continue;
        };
        if depth >= DEPTH_MAX {
            return Err(format!(
                "function `{}` calls functions {DEPTH_MAX} deep, perhaps itself",
                function.name
            ));
        }
        *calls += 1;
        let body = instance(function, &node, *calls);
        all.extend(expand(body, by_name, depth + 1, calls)?);
        if all.len() > NODES_MAX {
            return Err(format!("its functions expand to more than {NODES_MAX} nodes"));
        }
    }
    Ok(all)
}

/// The function's nodes with the caller's values and attributes.
fn instance(function: &Function, call: &Node, number: usize) -> Vec<Node> {
    let mut names: HashMap<&str, String> = HashMap::new();
    for (i, formal) in function.input.iter().enumerate() {
        names.insert(formal, call.input.get(i).cloned().unwrap_or_default());
    }
    for (i, formal) in function.output.iter().enumerate() {
        let actual = call.output.get(i).filter(|n| !n.is_empty()).cloned();
        names.insert(formal, actual.unwrap_or_else(|| format!("{formal}@{number}")));
    }
    let label = if call.name.is_empty() { function.name.as_str() } else { call.name.as_str() };
    function
        .node
        .iter()
        .map(|node| {
            let rename = |name: &String| match names.get(name.as_str()) {
                Some(actual) => actual.clone(),
                None if name.is_empty() => String::new(),
                None => format!("{name}@{number}"),
            };
            let mut node = node.clone();
            node.input = node.input.iter().map(rename).collect();
            node.output = node.output.iter().map(rename).collect();
            node.name = format!("{label}/{}", if node.name.is_empty() { &node.op_type } else { &node.name });
            node.attribute = node.attribute.iter().filter_map(|a| attribute(a, function, call)).collect();
            for a in &mut node.attribute {
                if let Some(g) = &mut a.g {
                    rename_graph(g, &rename);
                }
            }
            node
        })
        .collect()
}

/// An attribute, or the caller's that it stands for; none where the caller gives none.
fn attribute(a: &Attribute, function: &Function, call: &Node) -> Option<Attribute> {
    if a.ref_attr_name.is_empty() {
        return Some(a.clone());
    }
    let given = call.attribute.iter().chain(&function.attribute_proto).find(|b| b.name == a.ref_attr_name)?;
    Some(Attribute { name: a.name.clone(), ..given.clone() })
}

/// Names of a graph inside a function, those it makes itself included: numbers keep calls apart.
fn rename_graph(g: &mut Graph, rename: &dyn Fn(&String) -> String) {
    for node in &mut g.node {
        node.input = node.input.iter().map(rename).collect();
        node.output = node.output.iter().map(rename).collect();
        for inner in node.attribute.iter_mut().filter_map(|a| a.g.as_mut()) {
            rename_graph(inner, rename);
        }
    }
    g.output.iter_mut().for_each(|o| o.name = rename(&o.name));
    g.initializer.iter_mut().for_each(|t| t.name = rename(&t.name));
}
