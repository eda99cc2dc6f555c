//! `tap`: finds the feature vector of a network, which is what its classifier reads.

use crate::{Dim, Graph, GraphBuilder, GraphError, Op, ValueId, ValueKind};

/// Where features are taken from a graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tap {
    /// The value that is tapped: `[batch, width]`, an image `[batch, channels, h, w]`, or tokens
    /// `[batch, sequence, width]`.
    pub value: ValueId,
}

/// Finds the tap from the graph alone.
///
/// An output called `features` or `embedding` is the tap.  Else it is the input of the last layer with weights
/// (linear or convolution) before the main output, dropout skipped; what is constant or one number joins no branch on the
/// way; `last_hidden_state` taps itself.  A graph without such a layer whose only output is a vector of known width, or
/// tokens of one, is an encoder: its output is the tap.
pub fn tap(graph: &Graph) -> Result<Tap, GraphError> {
    let named = ["features", "embedding", "sentence_embedding", "last_hidden_state"];
    if let Some(o) = graph.outputs().iter().find(|o| named.contains(&o.name.as_str())) {
        return Ok(Tap { value: o.value });
    }
    let mut at = graph.output();
    let carries = carries_features(graph);
    loop {
        let Some(node) = graph.producer(at).filter(|n| !n.inputs.is_empty()) else {
            if let Some(tap) = embedding(graph) {
                return Ok(tap);
            }
            let why = "no linear layer or convolution lies before its output; name a node with --tap".into();
            return Err(GraphError::NoTap { graph: graph.name().into(), why });
        };
        let branches: Vec<ValueId> = node.inputs.iter().copied().filter(|id| carries[id.index()]).collect();
        let is_layer = matches!(node.op, Op::Linear | Op::Conv2d { .. });
        at = if is_layer { node.inputs[0] } else { branches.first().copied().unwrap_or(node.inputs[0]) };
        if is_layer {
            break;
        }
        if branches.len() > 1 {
            if let Some(tap) = embedding(graph) {
                return Ok(tap);
            }
            let why =
                format!("`{}` joins several branches before a classifier; name a node with --tap", node.path);
            return Err(GraphError::NoTap { graph: graph.name().into(), why });
        }
    }
    while let Some(node) = graph.producer(at) {
        if !node.op.is_identity_in_inference() {
            break;
        }
        at = node.inputs[0];
    }
    Ok(Tap { value: at })
}

/// By value, whether it depends on an input and is more than one number: what a scale or a zero point is not.
fn carries_features(graph: &Graph) -> Vec<bool> {
    let mut depends: Vec<bool> =
        graph.values().iter().map(|v| matches!(v.kind, ValueKind::Input(_))).collect();
    for node in graph.nodes() {
        depends[node.output.index()] = node.inputs.iter().any(|id| depends[id.index()]);
    }
    let is_number = |i: usize| graph.values()[i].shape.0.iter().all(|d| *d == Dim::Fixed(1));
    (0..depends.len()).map(|i| depends[i] && !is_number(i)).collect()
}

/// The only output, if it is a vector an example, or tokens, of a known width.
fn embedding(graph: &Graph) -> Option<Tap> {
    let [output] = graph.outputs() else { return None };
    let shape = &graph.value(output.value).shape;
    (matches!(shape.rank(), 2 | 3) && shape.width().is_some()).then_some(Tap { value: output.value })
}

/// Taps what the node at `path` makes.
pub fn tap_at(graph: &Graph, path: &str) -> Result<Tap, GraphError> {
    graph.find(path).map(|value| Tap { value })
}

impl Tap {
    /// Adds what makes one vector an example out of the tap: mean over height and width for an image, mean over the
    /// tokens that `attention_mask` keeps (all, where the graph has no mask) for a sequence.  Returns the graph and the `[batch, width]` value.
    pub(crate) fn pooled(self, graph: Graph) -> Result<(GraphBuilder, ValueId), GraphError> {
        let mask = graph.inputs().find(|(_, name, _)| *name == "attention_mask").map(|(id, _, _)| id);
        let rank = graph.value(self.value).shape.rank();
        let mut b = GraphBuilder::resume(graph);
        let value = match (rank, mask) {
            (4, _) => b.global_avg_pool("tap.pool", self.value)?,
            (3, Some(mask)) => b.node("tap.mean", Op::MaskedMean, &[self.value, mask])?,
            (3, None) => b.node("tap.mean", Op::MaskedMean, &[self.value])?,
            _ => self.value,
        };
        Ok((b, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Reduction, Unary};

    /// A quantised classifier ends in roundings and in products with scales that a run may give.
    #[test]
    fn scales_and_roundings_behind_the_classifier_are_seen_through() -> Result<(), GraphError> {
        let mut b = GraphBuilder::new("quantised");
        let x = b.image("image", [3, 4, 4]);
        let pooled = b.global_avg_pool("pool", x)?;
        let logits = b.linear("fc", pooled, 5)?;
        let all = Op::Reduce { function: Reduction::Max, axes: Vec::new(), keep_dims: false };
        let scale = b.node("scale", all, &[x])?;
        let scaled = b.node("scaled", Op::Mul, &[scale, logits])?;
        let rounded = b.node("rounded", Op::Unary { function: Unary::RoundThrough }, &[scaled])?;
        let graph = b.finish([("y", rounded)])?;
        assert_eq!(tap(&graph)?.value, pooled);
        Ok(())
    }
}
