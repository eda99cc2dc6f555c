//! The weights of a network that starts from nothing.

use headstart_core::Rng;
use headstart_graph::{Graph, GraphError, Init, Tensor, Weights};

/// Draws every parameter from the distribution its graph declares.  A parameter's numbers depend on the seed and its
/// name only.
pub fn random_weights(graph: &Graph, seed: u64) -> Result<Weights, GraphError> {
    fill_missing(graph, Weights::new(), seed)
}

/// Draws every parameter that `weights` lacks, as [`random_weights`] does; those it has stay, in the graph's order.
pub fn fill_missing(graph: &Graph, weights: Weights, seed: u64) -> Result<Weights, GraphError> {
    graph
        .params()
        .map(|(_, name, param)| {
            if let Some(known) = weights.get(name) {
                return Ok((name.to_string(), known.clone()));
            }
            let n = param.shape.iter().product::<usize>();
            let mut rng = Rng::named(seed, name);
            let values: Vec<f32> = match param.init {
                Init::Constant(c) => vec![c as f32; n],
                Init::Normal(std) => (0..n).map(|_| (rng.normal() * std) as f32).collect(),
                Init::Uniform(b) => (0..n).map(|_| ((2.0 * rng.uniform() - 1.0) * b) as f32).collect(),
            };
            Ok((name.to_string(), Tensor::from_f32(&param.shape, &values)?))
        })
        .collect()
}
