//! `graft`: joins a new head to a tap.

use crate::rewrite::{Tap, cut_at};
use crate::{Graph, GraphError, Init, Output};

/// What a new head computes.  Its parameters are called `head.…`.
#[derive(Debug, Clone, PartialEq)]
pub enum HeadSpec {
    /// `logits = W·features + b`, `W [n_classes, width]`.
    Linear {
        /// Number of classes.
        n_classes: usize,
    },
}

/// Pools at the tap, cuts off the old head and joins the new one; the output is `logits [batch, n_classes]`.
pub fn graft(graph: &Graph, tap: Tap, head: &HeadSpec) -> Result<Graph, GraphError> {
    let HeadSpec::Linear { n_classes } = head;
    // An old head that is called as the new one will be goes first.
    let is_head = |name: &str| name == "head" || name.starts_with("head.");
    let taken = graph.params().any(|(_, name, _)| is_head(name)) || graph.find("head").is_ok();
    let (graph, tap) = if taken {
        let mask = graph.inputs().find(|(_, name, _)| *name == "attention_mask").map(|(id, _, _)| id);
        let kept = [Some(tap.value), mask].into_iter().flatten();
        let outputs: Vec<Output> = kept.map(|value| Output { name: "kept".into(), value }).collect();
        let graph = cut_at(graph, &outputs)?;
        let value = graph.output();
        (graph, Tap { value })
    } else {
        (graph.clone(), tap)
    };
    let (mut b, features) = tap.pooled(graph)?;
    // A head of zeros says nothing about any class before it has learned something.
    let zero = Init::Constant(0.0);
    let value = b.linear_init("head", features, *n_classes, zero, zero)?;
    let whole = b.finish([("logits", value)])?;
    cut_at(&whole, &[Output { name: "logits".into(), value }])
}

/// The same beside the old head, whose answers stay as the second output, `source_logits`.
///
/// # Errors
/// [`GraphError::NoTap`] if the graph's main output is not one vector an example.
pub fn graft_beside(graph: &Graph, tap: Tap, head: &HeadSpec) -> Result<Graph, GraphError> {
    let old = graph.output();
    if graph.value(old).shape.rank() != 2 || old == tap.value {
        let why = "the source has no classifier whose answers could be kept".into();
        return Err(GraphError::NoTap { graph: graph.name().into(), why });
    }
    let HeadSpec::Linear { n_classes } = head;
    let (mut b, features) = tap.pooled(graph.clone())?;
    let zero = Init::Constant(0.0);
    let value = b.linear_init("head", features, *n_classes, zero, zero)?;
    let whole = b.finish([("logits", value)])?;
    let outputs = [("logits", value), ("source_logits", old)];
    cut_at(&whole, &outputs.map(|(name, value)| Output { name: name.into(), value }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rewrite::tap;
    use crate::{Conv, GraphBuilder, Op};

    #[test]
    fn a_head_replaces_the_classifier() -> Result<(), GraphError> {
        let mut b = GraphBuilder::new("squeezenet-like");
        let x = b.image("image", [3, 8, 8]);
        let x = b.conv("features", x, Conv::new(4, 3))?;
        let x = b.node("classifier.0", Op::Dropout { p: 0.5 }, &[x])?;
        let x = b.conv("classifier.1", x, Conv::new(1000, 1))?;
        let x = b.relu("classifier.2", x)?;
        let x = b.global_avg_pool("classifier.3", x)?;
        let graph = b.finish([("logits", x)])?;
        let t = tap(&graph)?;
        assert_eq!(graph.value(t.value).name, "features");
        let new = graft(&graph, t, &HeadSpec::Linear { n_classes: 5 })?;
        let names: Vec<_> = new.params().map(|(_, name, _)| name).collect();
        assert_eq!(names, ["features.weight", "features.bias", "head.weight", "head.bias"]);
        assert_eq!(new.value(new.output()).shape.to_string(), "[batch, 5]");
        Ok(())
    }

    /// A bundle's network, exported and read again, is a source like others.
    #[test]
    fn a_new_head_takes_the_place_of_one_of_its_name() -> Result<(), GraphError> {
        let mut b = GraphBuilder::new("fitted");
        let x = b.image("image", [3, 8, 8]);
        let x = b.conv("features", x, Conv::new(4, 3))?;
        let x = b.global_avg_pool("pool", x)?;
        let x = b.linear("head", x, 2)?;
        let graph = b.finish([("logits", x)])?;
        let new = graft(&graph, tap(&graph)?, &HeadSpec::Linear { n_classes: 5 })?;
        let names: Vec<_> = new.params().map(|(_, name, _)| name).collect();
        assert_eq!(names, ["features.weight", "features.bias", "head.weight", "head.bias"]);
        assert_eq!(new.value(new.output()).shape.to_string(), "[batch, 5]");
        Ok(())
    }
}
