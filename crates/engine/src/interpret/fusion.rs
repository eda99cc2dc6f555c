//! Which batch norms, sums and activations are computed by the node before them, and which activations by the one behind.

use std::collections::HashMap;

use headstart_graph::{Graph, Op, ValueId, ValueKind};
use headstart_kernels::Activation;

use crate::custom::{activation_of, is_depthwise};

/// What a graph's nodes do beyond their own.
#[derive(Debug, Default)]
pub(crate) struct Fusion {
    /// By convolution, batch norm or linear layer: what it does besides.
    leaders: HashMap<usize, Follows>,
    /// By node that another has done: the input that holds its result.
    done: HashMap<usize, ValueId>,
    /// Nodes that look up rows of a table that nobody else reads.
    lookups: Vec<usize>,
}

/// What follows a convolution or batch norm, and what comes before a linear layer.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Follows {
    /// The batch norm behind a convolution.
    pub(crate) norm: Option<usize>,
    /// Is added.
    pub(crate) residual: Option<ValueId>,
    /// Least and greatest value.
    pub(crate) clip: Option<[f64; 2]>,
    /// Whether the node that reads the result, a convolution, lets only those gradients pass that clipping let pass.
    pub(crate) is_gated: bool,
    /// The range to which the convolution was clipped that made what this one reads, if it is gated by it.
    pub(crate) gate: Option<[f64; 2]>,
    /// The activation of what a linear layer reads.
    pub(crate) before: Activation,
}

impl Fusion {
    /// A sum joins the later of the two nodes whose results it adds, an activation what it alone reads, and a batch norm the
    /// convolution before it.  Where one convolution alone reads what another clips, its gradient
    /// takes the place of what it read, which says what may pass: neither is a pass over memory of its own.
    pub(crate) fn of(graph: &Graph, readers: &Readers) -> Self {
        let nodes = graph.nodes();
        let reader = |id: ValueId| readers.only(id);
        let (mut fusion, mut gates) = (Fusion::default(), HashMap::new());
        for (i, node) in nodes.iter().enumerate() {
            let Some(can) = Can::of(graph, i).filter(|_| fusion.done(i).is_none()) else { continue };
            let (mut follows, mut value) = (Follows::default(), node.output);
            if let Some(norm) = reader(value)
                && (can.fold && matches!(nodes[norm].op, Op::BatchNorm { .. }))
                && nodes[norm].inputs[0] == value
                // What is computed of other values may not be there yet.
                && nodes[norm].inputs[1..].iter().all(|&id| is_param(graph, id))
            {
                follows.norm = Some(norm);
                fusion.done.insert(norm, value);
                value = nodes[norm].output;
            }
            if can.add
                && let Some((add, other)) = readers.sum(graph, value, i)
            {
                follows.residual = Some(other);
                fusion.done.insert(add, value);
                value = nodes[add].output;
            }
            if let Some(next) = reader(value)
                && let Some(range) = clip_of(&nodes[next].op)
            {
                follows.clip = Some(range);
                fusion.done.insert(next, value);
                value = nodes[next].output;
            }
            // What one convolution makes for another.
            if let (Some(range), Op::Conv2d { .. }) = (follows.clip, &node.op)
                && let Some(next) = reader(value)
                && (matches!(nodes[next].op, Op::Conv2d { .. }) && nodes[next].inputs[0] == value)
                && Can::of(graph, next).is_some()
            {
                follows.is_gated = true;
                gates.insert(next, range);
            }
            follows.gate = gates.get(&i).copied();
            fusion.leaders.insert(i, follows);
        }
        fusion
    }

    /// The same for a network that may learn.  An activation that a linear layer alone reads is part of that, which in the backward pass
    /// makes it again: what the activation is of is kept for its own gradient, and a transformer would keep as much again for the layer.
    /// Where clipping is the activation, one value serves both.  And nodes that alone read a table are known.
    pub(crate) fn learning(mut self, graph: &Graph, readers: &Readers) -> Self {
        let nodes = graph.nodes();
        for (i, node) in nodes.iter().enumerate() {
            if node.op == Op::Embedding && readers.only(node.inputs[0]) == Some(i) {
                self.lookups.push(i);
            }
            if let Some(before) = activation_of(&node.op).filter(|a| *a != Activation::Relu)
                && self.done(i).is_none()
                && let Some(next) = readers.only(node.output)
                && (nodes[next].op == Op::Linear && nodes[next].inputs[0] == node.output)
            {
                self.leaders.insert(next, Follows { before, ..Follows::default() });
                self.done.insert(i, node.inputs[0]);
            }
        }
        self
    }

    /// Node `i` is done by the one that makes `input`, the only value it reads.
    pub(crate) fn is_done(&mut self, i: usize, input: ValueId) {
        self.done.insert(i, input);
    }

    /// What node `i` does beyond its own.
    pub(crate) fn follows(&self, i: usize) -> Follows {
        self.leaders.get(&i).copied().unwrap_or_default()
    }

    /// Nodes that look up rows of a table that nobody else reads, in a network that may learn.
    pub(crate) fn lookups(&self) -> &[usize] {
        &self.lookups
    }

    /// The value that is the result of node `i` already.
    pub(crate) fn done(&self, i: usize) -> Option<ValueId> {
        self.done.get(&i).copied()
    }
}

fn clip_of(op: &Op) -> Option<[f64; 2]> {
    match op {
        Op::Relu => Some([0.0, f64::INFINITY]),
        Op::Clip { min, max } => Some([*min, *max]),
        _ => None,
    }
}

/// What a node can do besides its own; all of them can clip.
struct Can {
    /// The batch norm behind it.
    fold: bool,
    /// The sum with an image.
    add: bool,
}

impl Can {
    fn of(graph: &Graph, i: usize) -> Option<Self> {
        let node = &graph.nodes()[i];
        match node.op {
            Op::BatchNorm { .. } => Some(Can { fold: false, add: true }),
            // With a bias of its own, it would have two.
            Op::Conv2d { groups, .. } => {
                let weight = &graph.value(node.inputs[1]).shape;
                let sizes = weight.known(0).zip(weight.known(1));
                let is_depthwise =
                    sizes.is_some_and(|(out, per_group)| is_depthwise(groups, [out, per_group]));
                Some(Can { fold: node.inputs.len() == 2, add: !is_depthwise })
            }
            _ => None,
        }
    }
}

fn is_param(graph: &Graph, id: ValueId) -> bool {
    matches!(graph.value(id).kind, ValueKind::Param(_))
}

/// Who makes and who reads which value.
pub(crate) struct Readers {
    makers: HashMap<ValueId, usize>,
    by_value: HashMap<ValueId, Vec<usize>>,
    outputs: Vec<ValueId>,
}

impl Readers {
    pub(crate) fn of(graph: &Graph) -> Self {
        let (mut makers, mut by_value) = (HashMap::new(), HashMap::<_, Vec<_>>::new());
        for (i, node) in graph.nodes().iter().enumerate() {
            makers.insert(node.output, i);
            node.inputs.iter().for_each(|id| by_value.entry(*id).or_default().push(i));
        }
        Readers { makers, by_value, outputs: graph.outputs().iter().map(|o| o.value).collect() }
    }

    /// The one node that reads a value, which is no result of the graph.
    pub(crate) fn only(&self, id: ValueId) -> Option<usize> {
        match self.by_value.get(&id).map(Vec::as_slice) {
            Some(&[i]) if !self.outputs.contains(&id) => Some(i),
            _ => None,
        }
    }

    /// The sum that alone reads a value, and what it adds, which has the value's shape and which a node before `i` makes.
    pub(crate) fn sum(&self, graph: &Graph, value: ValueId, i: usize) -> Option<(usize, ValueId)> {
        let add = self.only(value)?;
        let (Op::Add, &[a, b]) = (&graph.nodes()[add].op, &graph.nodes()[add].inputs[..]) else {
            return None;
        };
        let other = if a == value { b } else { a };
        let is_there = self.makers.get(&other).is_some_and(|&maker| maker < i);
        (is_there && graph.value(other).shape == graph.value(value).shape).then_some((add, other))
    }
}
