//! Optimisers as PyTorch defines them, one a file.

mod adamw;
mod sgd;

use std::collections::HashMap;

use headstart_graph::Weights;

use crate::tensor::{T, from_f32, to_weight};
use crate::{Device, EngineError, Gradient};

pub use adamw::AdamW;
pub use sgd::Sgd;

/// Turns gradients into updates.
pub trait Optimiser {
    /// Sets the learning rate of the next steps.
    fn set_lr(&mut self, lr: f64);
    /// Called once before the updates of a step.
    fn begin_step(&mut self);
    /// The new value of a parameter.
    fn update(&mut self, name: &str, param: T, gradient: Gradient) -> T;
    /// Everything that the next step depends on, as named tensors: what a checkpoint keeps.
    fn state(&self) -> Result<Weights, EngineError>;
    /// Goes on from a kept state.
    ///
    /// # Errors
    /// [`EngineError::State`] for a state of another optimiser.
    fn restore(&mut self, state: &Weights, device: &Device) -> Result<(), EngineError>;
}

/// How one parameter learns beside the others.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Multiplies the learning rate.
    pub lr_scale: f64,
    /// Whether weight decay applies; biases and norms usually go without.
    pub decays: bool,
}

/// Rates by parameter; one that is not named learns at the whole rate, with decay.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rates(pub HashMap<String, Rate>);

impl Rates {
    fn of(&self, name: &str) -> Rate {
        self.0.get(name).copied().unwrap_or(Rate { lr_scale: 1.0, decays: true })
    }
}

/// Reads tensors back under `<prefix><parameter>`, in order of name.
fn keep<'a>(
    prefix: &str,
    tensors: impl Iterator<Item = (&'a String, &'a T)>,
    into: &mut Weights,
) -> Result<(), EngineError> {
    let mut all: Vec<(&String, &T)> = tensors.collect();
    all.sort_by_key(|(name, _)| *name);
    for (name, tensor) in all {
        into.insert(format!("{prefix}{name}"), to_weight(tensor.clone())?);
    }
    Ok(())
}

/// The tensors under `<prefix><parameter>`, by parameter.
fn kept(prefix: &str, state: &Weights, device: &Device) -> Result<HashMap<String, T>, EngineError> {
    state
        .iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(prefix)?, tensor)))
        .map(|(name, t)| {
            Ok((name.to_string(), from_f32(t.shape(), t.to_f32()?.into_owned(), device.plain())))
        })
        .collect()
}
