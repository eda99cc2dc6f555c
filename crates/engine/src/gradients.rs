//! Gradients of a step, and what is done to them before the optimiser sees them.

use std::collections::HashMap;

use burn_backend::TensorMetadata;
use burn_backend::ops::FloatTensorOps;
use burn_backend::tensor::IndexingUpdateOp;
use burn_dispatch::Dispatch as B;
use headstart_graph::{Graph, Role, ValueId};

use crate::custom::{scaled, square_sum};
use crate::tensor::{T, dims, from_f32, from_i64};
use crate::{EngineError, Network};

/// Gradients of a loss by parameter.
#[derive(Debug)]
pub struct Gradients {
    pub(crate) by_param: HashMap<ValueId, Gradient>,
}

/// The gradient of one parameter.
#[derive(Debug)]
pub enum Gradient {
    /// Of all its numbers.
    Whole(T),
    /// Of a table of which the batch read some rows: that of all others is 0.
    Rows {
        /// Which, ascending.
        rows: Vec<i64>,
        /// `[rows, width]`.
        values: T,
        /// Of the table.
        n_rows: usize,
    },
}

impl Gradient {
    /// The numbers of which it is not known that they are 0.
    pub(crate) fn values(&self) -> &T {
        match self {
            Gradient::Whole(values) | Gradient::Rows { values, .. } => values,
        }
    }

    fn scaled(self, by: f64) -> Self {
        match self {
            Gradient::Whole(values) => Gradient::Whole(scaled(values, by)),
            Gradient::Rows { rows, values, n_rows } => {
                Gradient::Rows { rows, values: scaled(values, by), n_rows }
            }
        }
    }

    /// All its numbers.
    pub(crate) fn whole(self) -> T {
        match self {
            Gradient::Whole(values) => values,
            Gradient::Rows { rows, values, n_rows } => {
                let (width, device) = (dims(&values)[1], values.device());
                let zeros = from_f32(&[n_rows, width], vec![0.0; n_rows * width], &device);
                let rows = from_i64(&[rows.len()], rows, &device);
                B::float_select_assign(zeros, 0, rows, values, IndexingUpdateOp::Add)
            }
        }
    }
}

impl Gradients {
    /// Adds another step's gradients times a factor: how a large batch is accumulated of small ones.
    pub fn add_scaled(&mut self, other: Gradients, by: f64) {
        for (id, g) in other.by_param {
            let g = g.scaled(by);
            let sum = match self.by_param.remove(&id) {
                Some(known) => Gradient::Whole(B::float_add(known.whole(), g.whole())),
                None => g,
            };
            self.by_param.insert(id, sum);
        }
    }

    /// No gradients yet.
    pub fn none() -> Self {
        Gradients { by_param: HashMap::new() }
    }

    /// Adds `by·(parameter − anchor)` for every parameter that has a gradient and an anchor: the gradient of
    /// `by/2·‖w − anchor‖²`.  Returns that penalty.
    pub fn pull_towards(&mut self, network: &Network, anchor: &Anchor, by: f64) -> Result<f64, EngineError> {
        let mut penalty = 0.0;
        for (id, _, _) in network.graph().params() {
            let Some(anchor) = anchor.0.get(&id) else { continue };
            let Some(g) = self.by_param.remove(&id) else { continue };
            let away = B::float_sub(network.plain(id), anchor.clone());
            penalty += 0.5 * by * square_sum(&away)?;
            let sum = B::float_add(g.whole(), scaled(away, by));
            self.by_param.insert(id, Gradient::Whole(sum));
        }
        Ok(penalty)
    }

    /// Scales all gradients down so that their common Euclidean norm is at most `norm_max`; the norm before.
    pub fn clip(&mut self, graph: &Graph, norm_max: f64) -> Result<f64, EngineError> {
        let norm = self.norms(graph)?.iter().map(|(_, n)| n * n).sum::<f64>().sqrt();
        if norm > norm_max {
            // PyTorch's `clip_grad_norm_` adds 1e-6 too.
            let by = norm_max / (norm + 1e-6);
            let all = std::mem::take(&mut self.by_param);
            self.by_param = all.into_iter().map(|(id, g)| (id, g.scaled(by))).collect();
        }
        Ok(norm)
    }

    /// The Euclidean norm of each parameter's gradient, by name, in the graph's order.
    pub fn norms(&self, graph: &Graph) -> Result<Vec<(String, f64)>, EngineError> {
        graph
            .params()
            .filter_map(|(id, name, _)| Some((name, self.by_param.get(&id)?)))
            .map(|(name, g)| Ok((name.to_string(), square_sum(g.values())?.sqrt())))
            .collect()
    }
}

/// Values that parameters are pulled towards: those of a network at some moment.
#[derive(Debug)]
pub struct Anchor(HashMap<ValueId, T>);

impl Network {
    /// The present values of those parameters for which `wanted` holds.
    pub fn anchor(&self, wanted: &dyn Fn(&str) -> bool) -> Anchor {
        let params = self.graph().params().filter(|(_, name, p)| p.role == Role::Learned && wanted(name));
        Anchor(params.map(|(id, _, _)| (id, self.plain(id))).collect())
    }
}
