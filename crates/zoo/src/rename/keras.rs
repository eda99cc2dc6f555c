//! Keras' files onto a chain of layers: VGG.
//!
//! Keras names layers as its user did, and keeps numbers in another order: a kernel is `[height, width, in, out]`, a dense layer
//! `[in, out]`, and pictures are flattened with channels last.  Layers are paired by kind and by the order of their names, which
//! is certain only where each layer feeds the next; what a file does not say (strides, the epsilon of a batch norm) must have one
//! usual value.  So networks with branches, strides or batch norm are refused, by the layer.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use headstart_graph::{Dim, Graph, Node, Op, Output, Padding, Tensor, Weights, rewrite};

use crate::{BuildOptions, ZooError, build};

/// Names of a layer's arrays, in Keras 2 (and older) and in Keras 3.
const KERNEL: [&str; 2] = ["kernel", "vars.0"];
const BIAS: [&str; 2] = ["bias", "vars.1"];

/// An architecture as a Keras file has it: as wide at its end as the file's last dense layer, or, where the file has none
/// (`include_top=False`), without its linear layers.
///
/// # Errors
/// If the architecture is not known, or is no chain of layers.
///
/// ```
/// use headstart_graph::{Tensor, Weights};
/// let bare: Weights = [("conv.kernel".to_string(), Tensor::from_f32(&[1, 1, 1, 1], &[0.5])?)].into_iter().collect();
/// let graph = headstart_zoo::build_for_keras("vgg16", &bare)?;
/// assert_eq!(graph.value(graph.output()).name, "flatten");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn build_for_keras(name: &str, weights: &Weights) -> Result<Graph, ZooError> {
    let options = |n_classes| BuildOptions { n_classes, image_size_px: None };
    let graph = build(name, &options(Some(1000)))?;
    let wanted = layers(&graph)?;
    let dense: Vec<_> = groups(weights).into_iter().filter(|g| g.kernel.shape().len() == 2).collect();
    let first = wanted.iter().find(|l| l.is_linear());
    match (first, dense.last()) {
        (Some(_), Some(last)) => Ok(build(name, &options(Some(last.kernel.shape()[1])))?),
        (Some(first), None) => {
            let value = first.node.inputs[0];
            let features = Output { name: "features".into(), value };
            Ok(rewrite::cut_at(&graph, &[features])?)
        }
        (None, _) => Ok(graph),
    }
}

/// Gives the arrays of a Keras file the names, the shapes and the order that the graph's parameters have.  Layers beyond the graph's
/// keep their names.
pub(super) fn rename(
    graph: &Graph,
    weights: Vec<(String, Tensor)>,
) -> Result<Vec<(String, Tensor)>, ZooError> {
    let file: Weights = weights.iter().cloned().collect();
    let groups = groups(&file);
    let mut renamed: HashMap<String, (String, Tensor)> = HashMap::new();
    for is_linear in [false, true] {
        let rank = if is_linear { 2 } else { 4 };
        let wanted = layers(graph)?.into_iter().filter(|l| l.is_linear() == is_linear);
        for (layer, found) in wanted.zip(groups.iter().filter(|g| g.kernel.shape().len() == rank)) {
            let kernel = layer.kernel(graph, found)?;
            renamed.insert(found.kernel_name.clone(), (layer.param(graph, 1), kernel));
            if let (Some((name, bias)), 3) = (&found.bias, layer.node.inputs.len()) {
                renamed.insert(name.clone(), (layer.param(graph, 2), bias.clone()));
            }
        }
    }
    Ok(weights.into_iter().map(|(name, t)| renamed.remove(&name).unwrap_or((name, t))).collect())
}

/// A layer of the graph that has weights.
struct Layer<'g> {
    node: &'g Node,
    /// `[channels, height × width]` of what was flattened before a linear layer.
    flattened: Option<[usize; 2]>,
}

/// A layer of the file.
struct Group {
    kernel_name: String,
    kernel: Tensor,
    bias: Option<(String, Tensor)>,
}

/// The graph's layers with weights, if each feeds the next.
fn layers(graph: &Graph) -> Result<Vec<Layer<'_>>, ZooError> {
    let (mut layers, mut flattened) = (Vec::new(), None);
    let mut last = None;
    for node in graph.nodes() {
        let refuse = |what: &str| {
            let (graph, layer) = (graph.name().into(), node.path.clone());
            Err(ZooError::Keras { graph, layer, what: what.into() })
        };
        if last.is_some_and(|last| node.inputs.first() != Some(&last)) {
            return refuse("does not read the layer before it");
        }
        last = Some(node.output);
        match &node.op {
            Op::Conv2d { stride: [1, 1], padding: Padding::Explicit(pads), dilation: [1, 1], groups: 1 }
                if is_same(&graph.value(node.inputs[1]).shape.0, pads) =>
            {
                layers.push(Layer { node, flattened: None });
            }
            Op::Conv2d { .. } => {
                return refuse("is a convolution whose stride or padding the file does not tell");
            }
            Op::Linear => layers.push(Layer { node, flattened: flattened.take() }),
            Op::Flatten { start: 1 } => {
                let dims: Option<Vec<usize>> =
                    graph.value(node.inputs[0]).shape.0[1..].iter().map(Dim::fixed).collect();
                if let Some([c, h, w]) = dims.as_deref() {
                    flattened = Some([*c, h * w]);
                }
            }
            Op::Relu | Op::Dropout { .. } | Op::MaxPool2d { .. } | Op::AdaptiveAvgPool2d { .. } => {}
            _ => return refuse("has no counterpart that a Keras file tells for certain"),
        }
    }
    Ok(layers)
}

/// Whether a kernel keeps the picture's size.
fn is_same(kernel: &[Dim], pads: &[usize; 4]) -> bool {
    let half = |d: &Dim| d.fixed().filter(|n| n % 2 == 1).map(|n| n / 2);
    match (half(&kernel[2]), half(&kernel[3])) {
        (Some(h), Some(w)) => *pads == [h, w, h, w],
        _ => false,
    }
}

impl Layer<'_> {
    fn is_linear(&self) -> bool {
        self.node.op == Op::Linear
    }

    fn param(&self, graph: &Graph, input: usize) -> String {
        graph.value(self.node.inputs[input]).name.clone()
    }

    /// The file's kernel as the graph has it.
    fn kernel(&self, graph: &Graph, found: &Group) -> Result<Tensor, ZooError> {
        let want: Vec<usize> =
            graph.value(self.node.inputs[1]).shape.0.iter().filter_map(Dim::fixed).collect();
        let got = found.kernel.shape();
        let turned = match (got, self.flattened) {
            (&[n_in, out], Some([channels, places])) if n_in == channels * places => found
                .kernel
                .reshaped(&[places, channels, out])?
                .permuted(&[2, 1, 0])?
                .reshaped(&[out, n_in])?,
            (&[_, _], _) => found.kernel.transposed()?,
            (&[_, _, _, _], _) => found.kernel.permuted(&[3, 2, 0, 1])?,
            _ => found.kernel.clone(),
        };
        if turned.shape() == want {
            return Ok(turned);
        }
        let (file, got) = (found.kernel_name.clone(), got.to_vec());
        Err(ZooError::Order { file, got, param: self.param(graph, 1), want })
    }
}

/// The file's layers that have a kernel, in the order of their names.
fn groups(weights: &Weights) -> Vec<Group> {
    let mut by_layer: BTreeMap<&str, Group> = BTreeMap::new();
    for (name, tensor) in weights.iter() {
        if let Some(layer) = without(name, &KERNEL).filter(|_| matches!(tensor.shape().len(), 2 | 4)) {
            let group = Group { kernel_name: name.into(), kernel: tensor.clone(), bias: None };
            by_layer.insert(layer, group);
        }
    }
    for (name, tensor) in weights.iter() {
        if let Some(group) = without(name, &BIAS).and_then(|layer| by_layer.get_mut(layer)) {
            group.bias = Some((name.into(), tensor.clone()));
        }
    }
    let mut all: Vec<(&str, Group)> = by_layer.into_iter().collect();
    all.sort_by(|(a, _), (b, _)| by_number(a, b));
    all.into_iter().map(|(_, group)| group).collect()
}

fn without<'n>(name: &'n str, ends: &[&str]) -> Option<&'n str> {
    ends.iter().find_map(|end| name.strip_suffix(end)?.strip_suffix('.'))
}

/// `conv2d` before `conv2d_2` before `conv2d_10`.
fn by_number(a: &str, b: &str) -> Ordering {
    fn parts(name: &str) -> Vec<(&str, u64)> {
        let mut parts = Vec::new();
        let mut rest = name;
        while !rest.is_empty() {
            let text = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
            let digits = rest[text..].find(|c: char| !c.is_ascii_digit()).map_or(rest.len(), |n| text + n);
            parts.push((&rest[..text], rest[text..digits].parse().unwrap_or(0)));
            rest = &rest[digits..];
        }
        parts
    }
    parts(a).cmp(&parts(b)).then_with(|| a.cmp(b))
}

#[cfg(test)]
mod tests {
    use headstart_graph::{Conv, GraphBuilder};

    use super::*;

    fn counting(shape: &[usize]) -> Tensor {
        let values: Vec<f32> = (0..shape.iter().product()).map(|i| i as f32).collect();
        Tensor::from_f32(shape, &values).expect("fits")
    }

    /// Two convolutions, a picture of 1 × 2 flattened, a linear layer.
    fn tiny() -> Graph {
        let mut b = GraphBuilder::new("tiny");
        let x = b.image("image", [3, 1, 2]);
        let x = b.conv("features.0", x, Conv::new(2, 3).padding(1)).expect("fits");
        let x = b.relu("features.1", x).expect("fits");
        let x = b.conv("features.2", x, Conv::new(4, 1)).expect("fits");
        let x = b.node("flatten", Op::Flatten { start: 1 }, &[x]).expect("fits");
        let y = b.linear("fc", x, 5).expect("fits");
        b.finish([("logits", y)]).expect("is whole")
    }

    fn file() -> Weights {
        let shapes: [(&str, &[usize]); 6] = [
            ("layers.conv2d_10.vars.0", &[1, 1, 2, 4]),
            ("layers.conv2d_10.vars.1", &[4]),
            ("layers.conv2d_9.vars.0", &[3, 3, 3, 2]),
            ("layers.conv2d_9.vars.1", &[2]),
            ("layers.dense.vars.0", &[8, 5]),
            ("layers.dense.vars.1", &[5]),
        ];
        shapes.into_iter().map(|(n, s)| (n.to_string(), counting(s))).collect()
    }

    #[test]
    fn layers_are_paired_by_number_and_kernels_turned() {
        let graph = tiny();
        let all = file().iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
        let named: Weights = rename(&graph, all).expect("fits").into_iter().collect();
        for (_, name, param) in graph.params() {
            assert_eq!(named.get(name).map(Tensor::shape), Some(&param.shape[..]), "{name}");
        }
        // [height, width, in, out] → [out, in, height, width].
        let kernel = named.require("features.0.weight").expect("is there").to_f32().expect("is f32").to_vec();
        for (o, i, h, w) in [(0, 0, 0, 0), (1, 0, 2, 1), (0, 2, 1, 2)] {
            assert_eq!(kernel[((o * 3 + i) * 3 + h) * 3 + w], (((h * 3 + w) * 3 + i) * 2 + o) as f32);
        }
        // The picture was flattened with its four channels last, and is now with its two places last.
        let linear = named.require("fc.weight").expect("is there").to_f32().expect("is f32").to_vec();
        for (o, c, place) in [(0, 0, 0), (3, 1, 0), (4, 3, 1)] {
            assert_eq!(linear[o * 8 + c * 2 + place], ((place * 4 + c) * 5 + o) as f32);
        }
    }

    #[test]
    fn a_kernel_of_another_shape_is_named() {
        let mut file = file();
        file.insert("layers.conv2d_9.vars.0", counting(&[3, 3, 1, 2]));
        let all = file.iter().map(|(n, t)| (n.to_string(), t.clone())).collect();
        let error = rename(&tiny(), all).expect_err("does not fit").to_string();
        assert!(error.contains("`layers.conv2d_9.vars.0` [3, 3, 1, 2]"), "{error}");
    }

    #[test]
    fn networks_that_are_no_chain_are_refused_by_layer() {
        let refused = |name| build_for_keras(name, &Weights::new()).expect_err("is refused").to_string();
        assert!(refused("resnet18").contains("`conv1`"), "{}", refused("resnet18"));
        assert!(refused("vgg11_bn").contains("`features.1`"), "{}", refused("vgg11_bn"));
        assert!(refused("bert").contains("no architecture"), "{}", refused("bert"));
    }

    #[test]
    fn a_file_without_dense_layers_is_a_trunk() {
        let graph = build_for_keras("vgg11", &Weights::new()).expect("is known");
        assert_eq!(graph.params().count(), 16);
        let classes: Weights = [("fc.kernel".to_string(), counting(&[2, 7]))].into_iter().collect();
        let graph = build_for_keras("vgg11", &classes).expect("is known");
        assert_eq!(graph.value(graph.output()).shape.to_string(), "[batch, 7]");
    }
}
