//! Bottleneck adapters: a small network with a residual connection behind a layer (Houlsby et al., 2019,
//! *Parameter-Efficient Transfer Learning for NLP*; for pictures as 1×1 convolutions, Rebuffi et al., 2018).
//!
//! ```text
//! y = h + U·gelu(D·h + d) + u,   h the layer's result, D [width, c], U [c, width]
//! ```
//!
//! `U` starts at 0, so the network answers as before.

use super::{channels, not_adaptable};
use crate::graph::Node;
use crate::rewrite::copy::Copy;
use crate::{Conv, GraphError, Init, Op, ValueId};

/// Puts the small network behind a node.
pub(super) fn behind(copy: &mut Copy, node: &Node, width: usize) -> Result<ValueId, GraphError> {
    if width == 0 {
        return Err(not_adaptable(node, "a bottleneck of width 0"));
    }
    let h = copy.node_as(&format!("{}.base_layer", node.path), node)?;
    let rank = copy.builder.shape(h).rank();
    let is_image = rank == 4;
    let c = channels(copy, h, if is_image { 1 } else { rank.saturating_sub(1) }, node)?;
    let [down, up] = ["down", "up"].map(|s| format!("{}.adapter_{s}", node.path));
    let b = &mut copy.builder;
    let zero = Init::Constant(0.0);
    let gelu = Op::Gelu { tanh: false };
    let act = format!("{}.adapter_act", node.path);
    let change = if is_image {
        let x = b.conv(&down, h, Conv::new(width, 1))?;
        let x = b.node(&act, gelu, &[x])?;
        b.conv(&up, x, Conv::new(c, 1).init(zero))?
    } else {
        let x = b.linear(&down, h, width)?;
        let x = b.node(&act, gelu, &[x])?;
        b.linear_init(&up, x, c, zero, zero)?
    };
    b.node(&node.path, Op::Add, &[h, change])
}
