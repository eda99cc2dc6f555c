//! Where each value lies: its margin, what it shares memory with, and for how long it is needed.

use std::collections::HashMap;

use headstart_graph::ValueId;
use headstart_kernels::channels_last::View;

use super::arena::{Lifetime, offsets};
use super::fusion::{Fused, FusedGraph, ImageShape, Kind};

/// Memory of one or several values: the parts of a concatenation lie side by side in it.
#[derive(Debug, Clone)]
struct Storage {
    shape: ImageShape,
    margin: [usize; 4],
    lifetime: Lifetime,
}

/// Part of a storage: which, and its first channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    storage: usize,
    first: usize,
}

/// Views of all values, and of the storages.
#[derive(Debug)]
pub(super) struct Placement {
    views: HashMap<ValueId, View>,
    /// Storages whose margin has to be cleared before a step writes them, by step.
    pub(super) cleared: Vec<Vec<View>>,
    /// Elements of the arena for one example.
    pub(super) len: usize,
}

impl Placement {
    /// Where a value lies.
    pub(super) fn view(&self, id: ValueId) -> View {
        self.views[&id]
    }
}

/// Elements of one example at most; more would not fit into any machine.
const ELEMENTS_MAX: usize = 1 << 33;

/// Places every value, or says that they are too large.
pub(super) fn place(graph: &FusedGraph) -> Result<Placement, String> {
    let last_read = last_reads(graph);
    let (mut places, mut storages) = (HashMap::new(), Vec::new());
    // Backwards: who reads a value decides where it is made.
    for (i, f) in graph.fused.iter().enumerate().rev() {
        let to = *places.entry(f.output).or_insert_with(|| new_storage(graph, f.output, &mut storages));
        for (input, place) in joined(graph, f, i, to, &last_read) {
            let is_free = !places.contains_key(&input) && input != graph.input;
            if is_free {
                places.insert(input, place);
            }
        }
    }
    places.entry(graph.input).or_insert_with(|| new_storage(graph, graph.input, &mut storages));
    let made_at = graph.made_at();
    for (&id, place) in &places {
        let storage = &mut storages[place.storage];
        let made = made_at[&id];
        storage.lifetime.first = storage.lifetime.first.min(made);
        storage.lifetime.last = storage.lifetime.last.max(last_read.get(&id).copied().unwrap_or(made));
    }
    for f in &graph.fused {
        if let Kind::Convolution { window, .. } = &f.kind {
            let margin = &mut storages[places[&f.inputs[0]].storage].margin;
            *margin = std::array::from_fn(|i| margin[i].max(window.margin()[i]));
        }
    }
    let elements = storages.iter().try_fold(0usize, |sum, s| {
        let ([c, h, w], [top, left, bottom, right]) = (s.shape, s.margin);
        let image = (h + top + bottom).checked_mul(w + left + right)?.checked_mul(c)?;
        sum.checked_add(image).filter(|&n| n <= ELEMENTS_MAX)
    });
    elements.ok_or(format!("its values are more than {ELEMENTS_MAX} elements"))?;
    let whole = |start: usize, s: &Storage| View::new(start, [s.shape[1], s.shape[2]], s.shape[0], s.margin);
    let lifetimes: Vec<Lifetime> = storages.iter().map(|s| s.lifetime).collect();
    let sizes: Vec<usize> = storages.iter().map(|s| whole(0, s).image).collect();
    let (starts, len) = offsets(&sizes, &lifetimes);
    let mut cleared = vec![Vec::new(); graph.fused.len() + 1];
    for (storage, &start) in storages.iter().zip(&starts) {
        if storage.margin != [0; 4] {
            cleared[storage.lifetime.first].push(whole(start, storage));
        }
    }
    let views = places.iter().map(|(&id, place)| {
        let view = whole(starts[place.storage], &storages[place.storage]);
        (id, view.channels(place.first..place.first + graph.shapes[&id][0]))
    });
    Ok(Placement { views: views.collect(), cleared, len })
}

/// By value: the step that reads it last.  Results are read after all.
fn last_reads(graph: &FusedGraph) -> HashMap<ValueId, usize> {
    let mut last: HashMap<ValueId, usize> = HashMap::new();
    for (i, f) in graph.fused.iter().enumerate() {
        last.extend(f.reads().map(|id| (id, i + 1)));
    }
    last.extend(graph.outputs.iter().map(|&id| (id, graph.fused.len() + 1)));
    last
}

fn new_storage(graph: &FusedGraph, id: ValueId, storages: &mut Vec<Storage>) -> Place {
    let lifetime = Lifetime { first: usize::MAX, last: 0 };
    storages.push(Storage { shape: graph.shapes[&id], margin: [0; 4], lifetime });
    Place { storage: storages.len() - 1, first: 0 }
}

/// Inputs that can lie where the operator's result lies: parts of a concatenation, and what is read here for the last time
/// by an operator that works in place.
fn joined(
    graph: &FusedGraph,
    f: &Fused,
    i: usize,
    to: Place,
    last_read: &HashMap<ValueId, usize>,
) -> Vec<(ValueId, Place)> {
    let once = |id: ValueId| f.inputs.iter().filter(|&&other| other == id).count() == 1;
    match f.kind {
        Kind::Concat => {
            let mut first = to.first;
            let mut parts = Vec::new();
            // What is overwritten when the whole is read no more must not be read on its own any more.
            let until = |id: ValueId| last_read.get(&id).copied().unwrap_or(0);
            for &id in &f.inputs {
                if once(id) && until(id) <= until(f.output) {
                    parts.push((id, Place { storage: to.storage, first }));
                }
                first += graph.shapes[&id][0];
            }
            parts
        }
        Kind::Copy | Kind::Gate | Kind::Add | Kind::BatchNorm { .. } => {
            let n = if f.kind == Kind::Add { 2 } else { 1 };
            let free = |id: &ValueId| last_read.get(id) == Some(&(i + 1)) && once(*id);
            f.inputs[..n].iter().copied().filter(free).take(1).map(|id| (id, to)).collect()
        }
        _ => Vec::new(),
    }
}
