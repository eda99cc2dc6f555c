//! Nonlinearities by the names that transformers gives them.

use headstart_graph::Op;
use serde::{Deserialize, Serialize};

/// The nonlinearity by transformers' name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenAct {
    /// `x·Φ(x)`.
    #[serde(alias = "gelu_python")]
    Gelu,
    /// The tanh approximation of it.
    #[serde(alias = "gelu_fast", alias = "gelu_pytorch_tanh")]
    GeluNew,
    /// `max(x, 0)`.
    Relu,
    /// `x·sigmoid(x)`.
    #[serde(alias = "swish")]
    Silu,
    /// Hyperbolic tangent.
    Tanh,
}

impl HiddenAct {
    pub(crate) fn op(self) -> Op {
        match self {
            HiddenAct::Gelu => Op::Gelu { tanh: false },
            HiddenAct::GeluNew => Op::Gelu { tanh: true },
            HiddenAct::Relu => Op::Relu,
            HiddenAct::Silu => Op::Silu,
            HiddenAct::Tanh => Op::Tanh,
        }
    }
}
