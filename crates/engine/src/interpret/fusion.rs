//! Which sums and activations are computed by the node before them.

use std::collections::HashMap;

use headstart_graph::{Graph, Op, ValueId};

/// What a graph's nodes do beyond their own.
#[derive(Debug, Default)]
pub(crate) struct Fusion {
    /// By batch norm: what follows it.
    norms: HashMap<usize, Follows>,
    /// By node that another has done: the input that holds its result.
    done: HashMap<usize, ValueId>,
}

/// What follows a batch norm.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Follows {
    /// Is added.
    pub(crate) residual: Option<ValueId>,
    /// Least and greatest value.
    pub(crate) clip: Option<[f64; 2]>,
}

impl Fusion {
    /// A sum joins the later of the two nodes whose results it adds; an activation joins what it alone reads.
    pub(crate) fn of(graph: &Graph) -> Self {
        let readers = Readers::of(graph);
        let reader = |id: ValueId| readers.only(id);
        let producer: HashMap<ValueId, usize> =
            graph.nodes().iter().enumerate().map(|(i, node)| (node.output, i)).collect();
        let clip_of = |i: usize| match graph.nodes()[i].op {
            Op::Relu => Some([0.0, f64::INFINITY]),
            Op::Clip { min, max } => Some([min, max]),
            _ => None,
        };
        let mut fusion = Fusion::default();
        for (i, node) in graph.nodes().iter().enumerate() {
            if !matches!(node.op, Op::BatchNorm { .. }) {
                continue;
            }
            let (mut follows, mut value) = (Follows::default(), node.output);
            if let Some(add) = reader(value)
                && let (Op::Add, &[a, b]) = (&graph.nodes()[add].op, &graph.nodes()[add].inputs[..])
                && let other = if a == value { b } else { a }
                && producer.get(&other).is_some_and(|&p| p < i)
                && graph.value(other).shape == graph.value(value).shape
            {
                follows.residual = Some(other);
                fusion.done.insert(add, value);
                value = graph.nodes()[add].output;
            }
            if let Some(next) = reader(value)
                && let Some(range) = clip_of(next)
            {
                follows.clip = Some(range);
                fusion.done.insert(next, value);
            }
            fusion.norms.insert(i, follows);
        }
        fusion
    }

    /// Node `i` is done by the one that makes `input`, the only value it reads.
    pub(crate) fn is_done(&mut self, i: usize, input: ValueId) {
        self.done.insert(i, input);
    }

    /// What follows node `i`, if it is a batch norm.
    pub(crate) fn follows(&self, i: usize) -> Follows {
        self.norms.get(&i).copied().unwrap_or_default()
    }

    /// The value that is the result of node `i` already.
    pub(crate) fn done(&self, i: usize) -> Option<ValueId> {
        self.done.get(&i).copied()
    }
}

/// Who reads which value.
pub(crate) struct Readers {
    by_value: HashMap<ValueId, Vec<usize>>,
    outputs: Vec<ValueId>,
}

impl Readers {
    pub(crate) fn of(graph: &Graph) -> Self {
        let mut by_value: HashMap<ValueId, Vec<usize>> = HashMap::new();
        for (i, node) in graph.nodes().iter().enumerate() {
            node.inputs.iter().for_each(|id| by_value.entry(*id).or_default().push(i));
        }
        Readers { by_value, outputs: graph.outputs().iter().map(|o| o.value).collect() }
    }

    /// The one node that reads a value, which is no result of the graph.
    pub(crate) fn only(&self, id: ValueId) -> Option<usize> {
        match self.by_value.get(&id).map(Vec::as_slice) {
            Some(&[i]) if !self.outputs.contains(&id) => Some(i),
            _ => None,
        }
    }
}
