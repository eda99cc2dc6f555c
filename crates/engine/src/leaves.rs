//! Parameters as a run reads them: those that learn record gradients, and of a table only the rows that the batch reads.
//!
//! A batch of 400 tokens reads some 200 of the 30,000 rows of a table.  Gradients of the others would be zeros: cleared, summed, scaled
//! and read by the optimiser in every step, which was a tenth of the fine-tuning of a small network.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use burn_backend::AutodiffBackend;
use burn_dispatch::Dispatch as B;
use headstart_graph::{Role, ValueId};

use crate::custom;
use crate::gradients::Gradient;
use crate::network::{Alive, AllGradients, Network, recorded};
use crate::tensor::{Kind, T, dims, from_i64, kind, reshape, to_i64};

/// The parameters of a run.
pub(crate) struct Leaves<'a> {
    network: &'a Network,
    whole: HashMap<ValueId, T>,
    /// By node.
    lookups: HashMap<usize, Lookup>,
}

/// What one node reads of a table.
struct Lookup {
    table: ValueId,
    /// Ascending.
    rows: Vec<i64>,
    /// Those rows, `[n, width]`.
    values: T,
    /// Which of them the node reads.
    ids: T,
}

impl<'a> Leaves<'a> {
    /// None records gradients.
    pub(crate) fn none(network: &'a Network) -> Self {
        Leaves { network, whole: HashMap::new(), lookups: HashMap::new() }
    }

    /// Those that learn and that some node of a range reads, or a batch norm that it does, record gradients.  `alive` is what the
    /// run begins with.
    pub(crate) fn of(
        network: &'a Network,
        range: Range<usize>,
        learns: &dyn Fn(&str) -> bool,
        alive: &Alive,
    ) -> Self {
        let nodes = network.graph().nodes();
        let norms = range.clone().filter_map(|i| network.fusion().follows(i).norm);
        let read: HashSet<ValueId> =
            range.clone().chain(norms).flat_map(|i| &nodes[i].inputs).copied().collect();
        let learned: HashSet<ValueId> = network
            .graph()
            .params()
            .filter(|(id, name, p)| p.role == Role::Learned && read.contains(id) && learns(name))
            .map(|(id, _, _)| id)
            .collect();
        let here = network.fusion().lookups().iter().copied().filter(|i| range.contains(i));
        let lookup = |i: usize| Some((i, Lookup::of(network, i, alive)?));
        let lookups: HashMap<usize, Lookup> =
            here.filter(|&i| learned.contains(&nodes[i].inputs[0])).filter_map(lookup).collect();
        let tables: HashSet<ValueId> = lookups.values().map(|lookup| lookup.table).collect();
        let whole = learned.difference(&tables).map(|&id| (id, recorded(network.plain(id)))).collect();
        Leaves { network, whole, lookups }
    }

    /// A parameter.
    pub(crate) fn param(&self, id: ValueId) -> T {
        self.whole.get(&id).cloned().unwrap_or_else(|| self.network.plain(id))
    }

    /// The rows that node `i` looks up and their numbers, instead of its inputs.
    pub(crate) fn lookup(&self, i: usize) -> Option<Vec<T>> {
        self.lookups.get(&i).map(|lookup| vec![lookup.values.clone(), lookup.ids.clone()])
    }

    /// What a backward pass found for them.
    pub(crate) fn gradients(self, all: &mut AllGradients) -> HashMap<ValueId, Gradient> {
        let mut found = HashMap::new();
        for (id, leaf) in self.whole {
            found.extend(B::grad_remove(&leaf, all).map(|g| (id, Gradient::Whole(g))));
        }
        for Lookup { table, rows, values, .. } in self.lookups.into_values() {
            let n_rows = dims(&self.network.plain(table))[0];
            found.extend(
                B::grad_remove(&values, all).map(|values| (table, Gradient::Rows { rows, values, n_rows })),
            );
        }
        found
    }
}

impl Lookup {
    /// Of node `i`, which looks up rows of a table, if that has more rows than ids, and these are there before the run.
    fn of(network: &Network, i: usize, alive: &Alive) -> Option<Self> {
        let &[table, ids] = &network.graph().nodes()[i].inputs[..] else { return None };
        let (ids, weight) = (alive.values[ids.index()].clone()?, network.plain(table));
        let (shape, n_rows) = (dims(&ids), dims(&weight)[0]);
        if kind(&ids) != Kind::Int || shape.iter().product::<usize>() >= n_rows {
            return None;
        }
        let ids = to_i64(ids).ok().filter(|ids| ids.iter().all(|id| (0..n_rows as i64).contains(id)))?;
        let mut rows = ids.clone();
        rows.sort_unstable();
        rows.dedup();
        let device = network.device().plain();
        let (n, width) = (rows.len(), dims(&weight)[1]);
        let values = custom::embedding(weight, from_i64(&[1, n], rows.clone(), device));
        let values = recorded(reshape(values, &[n, width]));
        let among = |id: &i64| rows.binary_search(id).map_or(0, |at| at as i64);
        let ids = from_i64(&shape, ids.iter().map(among).collect(), device);
        Some(Lookup { table, rows, values, ids })
    }
}

#[cfg(test)]
mod tests {
    use headstart_core::{Array, Batch, Rng};
    use headstart_graph::{GraphBuilder, Init, Op};

    use crate::{AdamW, BatchNormPolicy, Device, Network, TrainMode, cross_entropy, random_weights};

    /// Trains a table of 40 rows on batches that read a few: with another reader, all rows have gradients, and without, those that are
    /// read.  A linear layer of GELU comes behind.
    fn trained(has_other_reader: bool, n_segments: usize) -> Vec<f32> {
        let mut b = GraphBuilder::new("small");
        let ids = b.ids("ids", None);
        let table = b.param("table.weight".into(), &[40, 6], Init::Normal(1.0)).unwrap();
        let x = b.node("table", Op::Embedding, &[table, ids]).unwrap();
        let mut x = b.node("mean", Op::MaskedMean, &[x]).unwrap();
        if has_other_reader {
            let other = b.node("other", Op::Embedding, &[table, ids]).unwrap();
            let other = b.node("other.mean", Op::MaskedMean, &[other]).unwrap();
            let nothing = b.node("nothing", Op::Scale { by: 0.0 }, &[other]).unwrap();
            x = b.node("sum", Op::Add, &[x, nothing]).unwrap();
        }
        let x = b.node("gelu", Op::Gelu { tanh: false }, &[x]).unwrap();
        let y = b.linear("fc", x, 3).unwrap();
        let graph = b.finish([("logits", y)]).unwrap();
        let weights = random_weights(&graph, 0).unwrap();
        let mut net = Network::load(graph.clone(), &weights, &Device::cpu()).unwrap();
        let mut optimiser = AdamW::new(0.05, 0.1);
        for step in 0..4 {
            let ids = (0..8).map(|i| (i * 7 + step * 3) % 40).collect();
            let mut batch = Batch::default();
            batch.inputs.push(("ids".into(), Array::i64(&[2, 4], ids)));
            let loss = |i: crate::LossInput<'_>| cross_entropy(i.output(), &[0, 2], i.device);
            let mode = TrainMode { rng: &mut Rng::new(5), batch_norm: BatchNormPolicy::Frozen, n_segments };
            let (_, mut gradients) = net.train_gradients(&batch, &|_| true, &loss, mode).unwrap();
            gradients.clip(&graph, 0.1).unwrap();
            net.update(gradients, &mut optimiser);
        }
        net.weights().unwrap().get("table.weight").unwrap().to_f32().unwrap().into_owned()
    }

    #[test]
    fn rows_learn_as_the_whole_table_would() {
        let whole = trained(true, 1);
        for n_segments in [1, 2] {
            let rows = trained(false, n_segments);
            assert!(rows.iter().zip(&whole).all(|(a, b)| (a - b).abs() < 1e-6), "{n_segments} parts");
        }
    }
}
