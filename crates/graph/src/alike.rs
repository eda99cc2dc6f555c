//! Whether two graphs compute the same in inference, and which parameters of one stand where in the other.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::{Graph, Node, Op, ValueId, ValueKind};

/// Where two graphs begin to differ, walking from their outputs to their inputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unlike {
    /// The value of the first graph.
    pub left: String,
    /// The value of the second graph.
    pub right: String,
}

impl fmt::Display for Unlike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} where the other has {}", self.left, self.right)
    }
}

/// Names of parameters, the first graph's and the second's.
pub type Pairs = Vec<(String, String)>;

/// Pairs the parameters of two values that are computed alike: by the same operators, settings, shapes and inputs, whatever
/// nodes and parameters are called.  Operators that do nothing in inference are stepped over.
///
/// # Errors
/// Where they differ.
///
/// ```
/// use headstart_graph::{GraphBuilder, Op, pair_parameters};
/// let tiny = |names: [&str; 2], p: f64| {
///     let mut b = GraphBuilder::new("tiny");
///     let x = b.image("image", [3, 8, 8]);
///     let x = b.global_avg_pool("pool", x)?;
///     let x = b.node(names[0], Op::Dropout { p }, &[x])?;
///     let y = b.linear(names[1], x, 2)?;
///     b.finish([("logits", y)])
/// };
/// let (ours, theirs) = (tiny(["drop", "head"], 0.0)?, tiny(["dropout", "classifier"], 0.1)?);
/// let pairs = pair_parameters((&ours, ours.output()), (&theirs, theirs.output())).expect("they are alike");
/// assert_eq!(pairs[0], ("head.weight".into(), "classifier.weight".into()));
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn pair_parameters(
    (left, left_value): (&Graph, ValueId),
    (right, right_value): (&Graph, ValueId),
) -> Result<Pairs, Unlike> {
    let (left_made, right_made) = (producers(left), producers(right));
    let mut pairs: HashMap<ValueId, ValueId> = HashMap::new();
    let mut taken: HashSet<ValueId> = HashSet::new();
    let mut due = vec![(left_value, right_value)];
    while let Some((a, b)) = due.pop() {
        let (a, b) = (effective(&left_made, a), effective(&right_made, b));
        let unlike =
            || Unlike { left: described(left, &left_made, a), right: described(right, &right_made, b) };
        match pairs.get(&a) {
            Some(before) if *before == b => continue,
            Some(_) => return Err(unlike()),
            // No value of the second graph stands for two of the first.
            None if !taken.insert(b) => return Err(unlike()),
            None => pairs.insert(a, b),
        };
        match (&left.value(a).kind, &right.value(b).kind) {
            (ValueKind::Input(_), ValueKind::Input(_)) if left.value(a).name == right.value(b).name => {}
            (ValueKind::Param(p), ValueKind::Param(q)) if p.shape == q.shape => {}
            (ValueKind::Node, ValueKind::Node) => {
                let (Some(m), Some(n)) = (left_made.get(&a), right_made.get(&b)) else {
                    return Err(unlike());
                };
                if in_inference(&m.op) != in_inference(&n.op) || m.inputs.len() != n.inputs.len() {
                    return Err(unlike());
                }
                due.extend(m.inputs.iter().copied().zip(n.inputs.iter().copied()));
            }
            _ => return Err(unlike()),
        }
    }
    // In the first graph's order.
    Ok(left
        .params()
        .filter_map(|(id, name, _)| Some((name.to_string(), right.value(*pairs.get(&id)?).name.clone())))
        .collect())
}

fn producers(graph: &Graph) -> HashMap<ValueId, &Node> {
    graph.nodes().iter().map(|n| (n.output, n)).collect()
}

/// The value that is the same in inference, before any dropout.
fn effective(made: &HashMap<ValueId, &Node>, mut value: ValueId) -> ValueId {
    while let Some(node) = made.get(&value).filter(|n| n.op.is_identity_in_inference()) {
        value = node.inputs[0];
    }
    value
}

/// An operator without what matters in training only.
fn in_inference(op: &Op) -> Op {
    match op {
        Op::Attention(a) => Op::Attention(a.dropout(0.0)),
        Op::BatchNorm { eps, .. } => Op::BatchNorm { eps: *eps, momentum: 0.0 },
        other => other.clone(),
    }
}

fn described(graph: &Graph, made: &HashMap<ValueId, &Node>, value: ValueId) -> String {
    let v = graph.value(value);
    match made.get(&value) {
        Some(node) => format!("`{}` ({} {})", node.path, node.op.name(), v.shape),
        None => format!("`{}` {}", v.name, v.shape),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GraphBuilder, GraphError};

    fn two(swapped: bool, shared: bool) -> Result<Graph, GraphError> {
        let mut b = GraphBuilder::new("two");
        let x = b.image("image", [4, 2, 2]);
        let x = b.global_avg_pool("pool", x)?;
        let p = b.linear("p", x, 4)?;
        let q = if shared { p } else { b.linear("q", x, 4)? };
        let (p, q) = if swapped { (q, p) } else { (p, q) };
        let p = b.node("tanh", Op::Tanh, &[p])?;
        let y = b.node("add", Op::Add, &[p, q])?;
        b.finish([("y", y)])
    }

    #[test]
    fn sharing_is_part_of_the_structure() -> Result<(), GraphError> {
        let (plain, swapped, shared) = (two(false, false)?, two(true, false)?, two(false, true)?);
        let pairs = |a: &Graph, b: &Graph| pair_parameters((a, a.output()), (b, b.output()));
        let found = pairs(&plain, &swapped).expect("only names differ");
        assert_eq!(found[0], ("p.weight".into(), "q.weight".into()));
        assert!(pairs(&plain, &shared).is_err());
        assert!(pairs(&shared, &plain).is_err());
        let other = plain.find("tanh")?;
        let unlike = pair_parameters((&plain, plain.output()), (&plain, other)).expect_err("differ at once");
        assert_eq!(unlike.to_string(), "`add` (Add [batch, 4]) where the other has `tanh` (Tanh [batch, 4])");
        Ok(())
    }
}
