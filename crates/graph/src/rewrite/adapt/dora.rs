//! DoRA: a low-rank update of a weight's direction beside a learned magnitude (Liu et al., 2024, *DoRA: Weight-Decomposed
//! Low-Rank Adaptation*).
//!
//! ```text
//! y = m ⊙ (W·x + s·B·A·dropout(x)) / ‖W + s·B·A‖ + b,   m [out] starts at ‖W‖, norms by output
//! ```
//!
//! The norm is a constant for gradients, as the paper's section 4.3 proposes.

use super::lora;
use super::{channel_axis, not_adaptable, weight_of};
use crate::graph::{Node, ValueKind};
use crate::rewrite::copy::Copy;
use crate::rewrite::{Adapter, AdapterKind, LoraSpec};
use crate::{Graph, GraphError, Init, Op, Tensor, ValueId, Weights};

/// Puts magnitude and update beside a node; what they make together.
pub(super) fn beside(
    copy: &mut Copy,
    graph: &Graph,
    node: &Node,
    owner: &str,
    spec: &LoraSpec,
) -> Result<ValueId, GraphError> {
    if node.op == Op::Embedding {
        return Err(not_adaptable(node, "DoRA stands beside linear layers and convolutions"));
    }
    let update = lora::update(copy, graph, node, owner, spec)?;
    let inputs = copy.inputs(node)?;
    let out =
        copy.builder.shape(inputs[1]).known(0).ok_or_else(|| not_adaptable(node, "no known outputs"))?;
    let builder = &mut copy.builder;
    let m = builder.reserve(magnitude_name(owner), &[out], Init::Constant(1.0))?;
    let gain = Op::DoraGain { scaling: spec.scaling() };
    let gain =
        builder.node(&format!("{}.dora_gain", node.path), gain, &[m, inputs[1], update.a, update.b])?;
    let base = builder.node(&format!("{}.base_layer", node.path), node.op.clone(), &inputs[..2])?;
    let sum = builder.node(&format!("{}.dora_sum", node.path), Op::Add, &[base, update.value])?;
    let axis = channel_axis(&node.op, builder.shape(sum).rank());
    let mut scaled = vec![sum, gain];
    scaled.extend(inputs.get(2));
    builder.node(&node.path, Op::ChannelScale { axis }, &scaled)
}

/// Gives every magnitude of an adapted graph the norm of its weight, where DoRA starts.
pub fn start_magnitudes(graph: &Graph, adapter: &Adapter, weights: &mut Weights) -> Result<(), GraphError> {
    if !matches!(adapter.kind, AdapterKind::Dora(_)) {
        return Ok(());
    }
    for target in &adapter.targets {
        if graph.params().all(|(_, name, _)| name != magnitude_name(target)) {
            // It shares the magnitudes of another target.
            continue;
        }
        let base = graph.find(&format!("{target}.base_layer"))?;
        let node = graph.producer(base).expect("find returns what a node makes");
        let weight = weights.require(weight_of(graph, node))?;
        let rows = weight.shape()[0];
        let values = weight.to_f32()?;
        let wide: Vec<f64> = values.iter().map(|&v| f64::from(v)).collect();
        let norms: Vec<f32> = row_norms(&wide, rows).map(|n| n as f32).collect();
        weights.insert(magnitude_name(target), Tensor::from_f32(&[rows], &norms)?);
    }
    Ok(())
}

/// The weight becomes `m / ‖W + s·B·A‖ · (W + s·B·A)`.
pub(super) fn fold(
    graph: &Graph,
    node: &Node,
    spec: &LoraSpec,
    weights: &Weights,
    merged: &mut Weights,
) -> Result<(), GraphError> {
    let name = weight_of(graph, node);
    debug_assert!(matches!(graph.value(node.inputs[1]).kind, ValueKind::Param(_)), "a layer has weights");
    let shape = weights.require(name)?.shape().to_vec();
    let sum = lora::updated(graph, node, spec, weights)?;
    let m = weights.require(&magnitude_name(&node.path))?;
    let gains: Vec<f64> =
        m.to_f32()?.iter().zip(row_norms(&sum, shape[0])).map(|(&m, norm)| f64::from(m) / norm).collect();
    let columns = (sum.len() / shape[0].max(1)).max(1);
    let values: Vec<f32> = sum.iter().enumerate().map(|(i, v)| (v * gains[i / columns]) as f32).collect();
    merged.insert(name, Tensor::from_f32(&shape, &values)?);
    Ok(())
}

fn magnitude_name(path: &str) -> String {
    format!("{path}.lora_magnitude_vector.weight")
}

/// Euclidean norm of each row; a row of zeros counts as 1, so that nothing divides by 0.
fn row_norms(values: &[f64], rows: usize) -> impl Iterator<Item = f64> {
    values.chunks_exact((values.len() / rows.max(1)).max(1)).map(|row| {
        let norm = row.iter().map(|v| v * v).sum::<f64>().sqrt();
        if norm > 0.0 { norm } else { 1.0 }
    })
}
