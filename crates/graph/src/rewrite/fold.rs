//! `fold`: prepares a frozen part for inference: batch norm goes into the convolution before it, operators that do
//! nothing in inference go away.

use std::collections::HashMap;

use crate::rewrite::cut_at;
use crate::{
    Graph, GraphError, Init, Node, Op, Output, Param, Role, Shape, Tensor, Value, ValueId, ValueKind, Weights,
};

/// Folds a whole graph that will never learn again.
///
/// `BN(conv(x)) = γ/σ · (W·x + b − μ) + β`, so `W' = W·γ/σ` and `b' = (b − μ)·γ/σ + β` with `σ = √(var + ε)`,
/// computed in f64.  A convolution is folded only if nothing but the batch norm reads it.  The new bias is called
/// `<convolution>.bias`; all other names stay.
pub fn fold(graph: &Graph, weights: &Weights) -> Result<(Graph, Weights), GraphError> {
    let mut readers: HashMap<ValueId, usize> = HashMap::new();
    for id in graph.nodes.iter().flat_map(|n| &n.inputs).chain(graph.outputs.iter().map(|o| &o.value)) {
        *readers.entry(*id).or_default() += 1;
    }
    let is_param =
        |id: ValueId| graph.values.get(id.index()).is_some_and(|v| matches!(v.kind, ValueKind::Param(_)));
    let taken = |name: &str| graph.params().any(|(_, n, _)| n == name);
    let mut values = graph.values.clone();
    let mut folded = weights.clone();
    let mut nodes: Vec<Node> = Vec::new();
    // What a value became: dropout's output is its input, a folded batch norm's is its convolution's.
    let mut becomes: HashMap<ValueId, ValueId> = HashMap::new();
    for node in &graph.nodes {
        let mut node = node.clone();
        for input in &mut node.inputs {
            *input = becomes.get(input).copied().unwrap_or(*input);
        }
        if node.op.is_identity_in_inference() {
            becomes.insert(node.output, node.inputs[0]);
            continue;
        }
        if let Op::BatchNorm { eps, .. } = node.op
            && let Some(conv) = nodes.iter_mut().find(|n| n.output == node.inputs[0])
            && matches!(conv.op, Op::Conv2d { .. })
            && readers.get(&conv.output) == Some(&1)
            && readers.get(&conv.inputs[1]) == Some(&1)
            // What a graph computes of other values, or shares between layers, is not folded.
            && conv.inputs[1..].iter().chain(&node.inputs[1..]).all(|&id| is_param(id))
            && conv.inputs.get(2).is_none_or(|bias| readers.get(bias) == Some(&1))
            && (conv.inputs.len() == 3 || !taken(&format!("{}.bias", conv.path)))
        {
            let names: Vec<&str> = node.inputs[1..].iter().map(|&i| graph.value(i).name.as_str()).collect();
            let weight = values[conv.inputs[1].index()].name.clone();
            let bias = conv.inputs.get(2).map(|b| values[b.index()].name.clone());
            let (w, b) = folded_pair(weights, &weight, bias.as_deref(), &names, eps)?;
            let name = bias.unwrap_or_else(|| format!("{}.bias", conv.path));
            if conv.inputs.len() == 2 {
                let shape = b.shape().to_vec();
                let kind = ValueKind::Param(Param {
                    shape: shape.clone(),
                    role: Role::Learned,
                    init: Init::Constant(0.0),
                });
                values.push(Value { name: name.clone(), kind, shape: Shape::fixed(&shape) });
                conv.inputs.push(ValueId((values.len() - 1) as u32));
            }
            folded.insert(weight, w);
            folded.insert(name, b);
            becomes.insert(node.output, conv.output);
            continue;
        }
        nodes.push(node);
    }
    let outputs: Vec<Output> = graph
        .outputs
        .iter()
        .map(|o| Output { name: o.name.clone(), value: becomes.get(&o.value).copied().unwrap_or(o.value) })
        .collect();
    let whole = Graph { name: graph.name.clone(), values, nodes, outputs: outputs.clone() };
    let graph = cut_at(&whole, &outputs)?;
    let weights = graph
        .params()
        .map(|(_, name, _)| Ok((name.to_string(), folded.require(name)?.clone())))
        .collect::<Result<Weights, GraphError>>()?;
    Ok((graph, weights))
}

fn folded_pair(
    weights: &Weights,
    weight: &str,
    bias: Option<&str>,
    bn: &[&str],
    eps: f64,
) -> Result<(Tensor, Tensor), GraphError> {
    let w = weights.require(weight)?;
    let (wv, shape) = (w.to_f32()?, w.shape());
    let stats = bn.iter().map(|n| weights.require(n)?.to_f32()).collect::<Result<Vec<_>, _>>()?;
    let (gamma, beta, mean, var) = (&stats[0], &stats[1], &stats[2], &stats[3]);
    let b0 = bias.map(|b| weights.require(b)?.to_f32()).transpose()?;
    let out = shape[0];
    let per_out = wv.len() / out.max(1);
    let mut w2 = Vec::with_capacity(wv.len());
    let mut b2 = Vec::with_capacity(out);
    for o in 0..out {
        let scale = f64::from(gamma[o]) / (f64::from(var[o]) + eps).sqrt();
        w2.extend(wv[o * per_out..(o + 1) * per_out].iter().map(|&v| (f64::from(v) * scale) as f32));
        let before = b0.as_ref().map_or(0.0, |b| f64::from(b[o]));
        b2.push(((before - f64::from(mean[o])) * scale + f64::from(beta[o])) as f32);
    }
    Ok((Tensor::from_f32(shape, &w2)?, Tensor::from_f32(&[out], &b2)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Conv, GraphBuilder};

    /// A 1×1 convolution on one channel is a number, so the fold can be checked by hand.
    #[test]
    fn batch_norm_folds_into_the_convolution_before_it() -> Result<(), GraphError> {
        let mut b = GraphBuilder::new("one");
        let x = b.image("image", [1, 1, 1]);
        let y = b.conv("conv", x, Conv::new(1, 1).no_bias())?;
        let y = b.batch_norm("bn", y, 0.0, 0.1)?;
        let y = b.node("drop", Op::Dropout { p: 0.5 }, &[y])?;
        let graph = b.finish([("y", y)])?;
        let one = |shape: &[usize], v: f32| Tensor::from_f32(shape, &[v]).expect("one element");
        let weights: Weights = [
            ("conv.weight".to_string(), one(&[1, 1, 1, 1], 3.0)),
            ("bn.weight".to_string(), one(&[1], 2.0)),
            ("bn.bias".to_string(), one(&[1], 5.0)),
            ("bn.running_mean".to_string(), one(&[1], 1.0)),
            ("bn.running_var".to_string(), one(&[1], 4.0)),
        ]
        .into_iter()
        .collect();
        let (g, w) = fold(&graph, &weights)?;
        assert_eq!(g.nodes().iter().map(|n| n.path.as_str()).collect::<Vec<_>>(), ["conv"]);
        // γ/σ = 2/2 = 1: weight 3·1, bias (0 − 1)·1 + 5.
        assert_eq!(w.require("conv.weight")?.to_f32()?[0], 3.0);
        assert_eq!(w.require("conv.bias")?.to_f32()?[0], 4.0);
        assert_eq!(w.len(), 2);
        Ok(())
    }
}
