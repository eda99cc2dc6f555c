//! What can stop a training.

use headstart_engine::EngineError;
use headstart_graph::GraphError;

use crate::TrainError;

/// Why a training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TuneError {
    /// The network could not run, or its loss is not a number any more.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Weights do not fit.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A head or a sample could not be made.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Examples could not be had, or a checkpoint not be kept.
    #[error(transparent)]
    Outside(Box<dyn std::error::Error + Send + Sync>),
    /// A kept state is not one of this training.
    #[error("the checkpoint cannot be gone on from: {0}")]
    BadState(&'static str),
    /// A guard wants something that this training has not.
    #[error("{guard} needs {what}")]
    Guard {
        /// The guard.
        guard: &'static str,
        /// What is lacking.
        what: &'static str,
    },
}
