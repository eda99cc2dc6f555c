//! Inputs for a network that nobody has data for: two networks are compared on them.

use std::collections::HashMap;

use headstart_core::{Array, Batch, Rng};
use headstart_graph::{DType, Dim, Graph, InputSpec, Op, ValueId};

/// Examples in the batch; one would hide what mixes examples up.
const N_EXAMPLES: usize = 2;
/// Sizes of axes that are free: tokens, pixels a side, samples.
const TOKENS: usize = 7;
const PIXELS: usize = 64;
const SAMPLES: usize = 1600;
/// Whole numbers below this go into an input that no table is seen to be read with.
const IDS_MAX: usize = 10;
/// Tokens at the end of the last text that are padding.
const N_PADDING: usize = 2;

/// One batch of everything a graph reads, the same for the same seed: numbers of a normal distribution, token ids of its
/// vocabulary, and masks that leave the last tokens of the last text out.
pub(crate) fn seeded_inputs(graph: &Graph, seed: u64) -> Batch {
    let mut rng = Rng::new(seed);
    let mut sizes: HashMap<&str, usize> = HashMap::new();
    let mut inputs = Vec::new();
    for (id, name, spec) in graph.inputs() {
        let shape: Vec<usize> = (0..spec.shape.rank()).map(|axis| size(spec, axis, &mut sizes)).collect();
        let n: usize = shape.iter().product();
        let array = if spec.dtype.is_float() {
            Array::f32(&shape, (0..n).map(|_| rng.normal() as f32).collect())
        } else {
            let is_padding = |i: usize| i + N_PADDING >= n && shape.last().is_some_and(|&s| s > N_PADDING);
            let rows = rows(graph, id).max(1);
            let mut draw = |i: usize| match name {
                "token_type_ids" => 0,
                "attention_mask" => i64::from(!is_padding(i)),
                _ if spec.dtype == DType::Bool => i64::from(!is_padding(i)),
                // Most vocabularies begin with special tokens; RoBERTa's padding is 1.
                _ if is_padding(i) => 1.min(rows as i64 - 1),
                _ => rng.below(rows) as i64,
            };
            Array::i64(&shape, (0..n).map(&mut draw).collect())
        };
        inputs.push((name.to_string(), array));
    }
    Batch { inputs }
}

fn size<'g>(spec: &'g InputSpec, axis: usize, sizes: &mut HashMap<&'g str, usize>) -> usize {
    match &spec.shape.0[axis] {
        Dim::Fixed(n) => *n,
        Dim::Symbol(symbol) => {
            let by_kind = match (axis, spec.dtype.is_float(), spec.shape.rank()) {
                (0, ..) => N_EXAMPLES,
                (_, true, 4) => PIXELS,
                (_, true, 2 | 3) => SAMPLES,
                _ => TOKENS,
            };
            *sizes.entry(symbol.as_str()).or_insert(by_kind)
        }
    }
}

/// Rows of the smallest table that is read at these ids.
fn rows(graph: &Graph, ids: ValueId) -> usize {
    let readers = graph.nodes().iter().filter(|n| n.inputs.contains(&ids));
    let tables = readers.filter_map(|n| {
        let table = *n.inputs.iter().find(|i| **i != ids)?;
        match n.op {
            Op::Embedding => graph.value(table).shape.known(0),
            Op::Gather { axis } => graph.value(table).shape.known(axis),
            _ => None,
        }
    });
    tables.min().unwrap_or(IDS_MAX)
}

#[cfg(test)]
mod tests {
    use headstart_core::Values;
    use headstart_zoo::from_config;

    use super::*;

    #[test]
    fn ids_are_of_the_vocabulary_and_seeds_decide() {
        let config = serde_json::json!({
            "model_type": "bert", "architectures": ["BertModel"], "num_hidden_layers": 1, "hidden_size": 8,
            "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20,
        });
        let graph = from_config(&config).expect("builds").graph;
        let batch = seeded_inputs(&graph, 1);
        let ids = batch.get("input_ids").expect("reads ids");
        assert_eq!(ids.shape, [N_EXAMPLES, TOKENS]);
        let Values::I64(values) = &ids.values else { panic!("ids are integers") };
        assert!(values.iter().all(|v| (0..20).contains(v)) && values.iter().any(|v| *v > 9), "{values:?}");
        assert_eq!(batch, seeded_inputs(&graph, 1));
        assert_ne!(batch, seeded_inputs(&graph, 2));
    }
}
