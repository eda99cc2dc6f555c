//! (IA)³: one learned factor a channel (Liu et al., 2022, *Few-Shot Parameter-Efficient Fine-Tuning is Better and Cheaper
//! than In-Context Learning*).
//!
//! ```text
//! after   y = l ⊙ (W·x + b),   l [out]: keys, values, convolutions
//! before  y = W·(l ⊙ x) + b,   l [in]:  the second layer of a feed-forward block
//! ```
//!
//! `l` starts at 1.

use super::{channel_axis, channels, not_adaptable, weight_of};
use crate::graph::Node;
use crate::rewrite::copy::Copy;
use crate::{Graph, GraphError, Init, Op, Tensor, ValueId, Weights};

/// Puts the factor before or behind a node.
pub(super) fn beside(copy: &mut Copy, node: &Node, owner: &str, before: bool) -> Result<ValueId, GraphError> {
    if !matches!(node.op, Op::Linear | Op::Conv2d { .. }) {
        return Err(not_adaptable(node, "(IA)³ stands beside linear layers and convolutions"));
    }
    if before && matches!(node.op, Op::Conv2d { groups: 2.., .. }) {
        return Err(not_adaptable(node, "a grouped convolution takes its factor behind it"));
    }
    let name = format!("{}.ia3_l", node.path);
    let base = format!("{}.base_layer", node.path);
    let mut inputs = copy.inputs(node)?;
    let scaled = if before { inputs[0] } else { copy.node_as(&base, node)? };
    let axis = channel_axis(&node.op, copy.builder.shape(scaled).rank());
    let n = channels(copy, scaled, axis, node)?;
    let builder = &mut copy.builder;
    let factor = builder.reserve(format!("{owner}.ia3_l"), &[n], Init::Constant(1.0))?;
    let scale = Op::ChannelScale { axis };
    if !before {
        return builder.node(&node.path, scale, &[scaled, factor]);
    }
    inputs[0] = builder.node(&format!("{name}.scaled"), scale, &[scaled, factor])?;
    let made = builder.node(&base, node.op.clone(), &inputs)?;
    // One more node under the target's own path, so that whoever looks for it finds the adapted value.
    builder.node(&node.path, Op::Scale { by: 1.0 }, &[made])
}

/// Multiplies the factor into the weight, and into the bias where it stands behind it.
pub(super) fn fold(
    graph: &Graph,
    node: &Node,
    owner: &str,
    before: bool,
    weights: &Weights,
    merged: &mut Weights,
) -> Result<(), GraphError> {
    let factor = weights.require(&format!("{owner}.ia3_l"))?.to_f32()?.into_owned();
    let name = weight_of(graph, node);
    let weight = weights.require(name)?;
    let shape = weight.shape();
    // A weight is [out, in, …].
    let (inner, outer) = (shape[2..].iter().product::<usize>().max(1), weight.len() / shape[0].max(1));
    let at = |i: usize| if before { (i / inner) % shape[1] } else { i / outer.max(1) };
    let values: Vec<f32> = weight
        .to_f32()?
        .iter()
        .enumerate()
        .map(|(i, &v)| (f64::from(v) * f64::from(factor[at(i)])) as f32)
        .collect();
    merged.insert(name, Tensor::from_f32(shape, &values)?);
    if let (false, Some(&bias)) = (before, node.inputs.get(2)) {
        let name = &graph.value(bias).name;
        let values: Vec<f32> =
            weights.require(name)?.to_f32()?.iter().zip(&factor).map(|(&b, &l)| b * l).collect();
        merged.insert(name, Tensor::from_f32(&[values.len()], &values)?);
    }
    Ok(())
}
