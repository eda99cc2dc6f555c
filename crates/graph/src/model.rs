//! A model: everything needed to turn an example into an answer.

use crate::{Card, Graph, GraphError, Preprocess, Weights};

/// `Model = Graph + Weights + Preprocess + Labels + Card`.
#[derive(Debug, Clone)]
pub struct Model {
    /// The operators.
    pub graph: Graph,
    /// The tensors, one for every parameter of the graph.
    pub weights: Weights,
    /// From a file to the graph's inputs.
    pub preprocess: Preprocess,
    /// `tokenizer.json`, for texts.
    pub tokenizer: Option<bytes::Bytes>,
    /// Names of the classes, by position of the logit; empty for a backbone.
    pub labels: Vec<String>,
    /// Origin, licence, limits.
    pub card: Card,
}

impl Model {
    /// Checks that every parameter of the graph has weights of its shape.
    pub fn check(&self) -> Result<(), GraphError> {
        for (_, name, param) in self.graph.params() {
            let t = self.weights.require(name)?;
            if t.shape() != param.shape {
                return Err(GraphError::WeightShape {
                    name: name.into(),
                    want: param.shape.clone(),
                    got: t.shape().to_vec(),
                });
            }
        }
        Ok(())
    }
}
