//! `tap`: finds the feature vector of a network, which is what its classifier reads.

use crate::{Graph, GraphBuilder, GraphError, Op, Reduction, ValueId, ValueKind};

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
/// (linear or convolution) before the main output, dropout skipped; `last_hidden_state` taps itself.  A graph without such
/// a layer whose only output is a vector of known width, or tokens of one, is an encoder: its output is the tap.
pub fn tap(graph: &Graph) -> Result<Tap, GraphError> {
    let named = ["features", "embedding", "sentence_embedding", "last_hidden_state"];
    if let Some(o) = graph.outputs().iter().find(|o| named.contains(&o.name.as_str())) {
        return Ok(Tap { value: o.value });
    }
    let mut at = graph.output();
    loop {
        let Some(node) = graph.producer(at).filter(|n| !n.inputs.is_empty()) else {
            if let Some(tap) = embedding(graph) {
                return Ok(tap);
            }
            let why = "no linear layer or convolution lies before its output; name a node with --tap".into();
            return Err(GraphError::NoTap { graph: graph.name().into(), why });
        };
        at = node.inputs[0];
        if matches!(node.op, Op::Linear | Op::Conv2d { .. }) {
            break;
        }
        let is_param = |id: &ValueId| matches!(graph.value(*id).kind, ValueKind::Param(_));
        if node.inputs[1..].iter().any(|id| !is_param(id)) {
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
    /// tokens that `attention_mask` keeps for a text.  Returns the graph and the `[batch, width]` value.
    pub(crate) fn pooled(self, graph: Graph) -> Result<(GraphBuilder, ValueId), GraphError> {
        let mask = graph.inputs().find(|(_, name, _)| *name == "attention_mask").map(|(id, _, _)| id);
        let rank = graph.value(self.value).shape.rank();
        let mut b = GraphBuilder::resume(graph);
        let value = match (rank, mask) {
            (4, _) => b.global_avg_pool("tap.pool", self.value)?,
            (3, Some(mask)) => b.node("tap.mean", Op::MaskedMean, &[self.value, mask])?,
            // Patches of an image.
            (3, None) => {
                let mean = Op::Reduce { function: Reduction::Mean, axes: vec![1], keep_dims: false };
                b.node("tap.mean", mean, &[self.value])?
            }
            _ => self.value,
        };
        Ok((b, value))
    }
}
