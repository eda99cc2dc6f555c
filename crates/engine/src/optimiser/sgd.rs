//! Stochastic gradient descent with momentum.

use std::collections::HashMap;

use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;
use headstart_graph::Weights;
use headstart_kernels::sgd::Step;

use super::{Optimiser, Rates, keep, kept};
use crate::custom::{self, on_processor};
use crate::tensor::{T, scale};
use crate::{Device, EngineError, Gradient};

/// `g ← g + wd·w; v ← m·v + g; w ← w − lr·v`.
#[derive(Debug)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Share of the last step that goes on.
    pub momentum: f64,
    /// Weight decay, as an L2 penalty on the gradient.
    pub weight_decay: f64,
    /// Rates by parameter.
    pub rates: Rates,
    velocity: HashMap<String, T>,
}

const VELOCITY: &str = "sgd.velocity.";

impl Sgd {
    /// Starts at rest.
    pub fn new(lr: f64, momentum: f64, weight_decay: f64) -> Self {
        Sgd { lr, momentum, weight_decay, rates: Rates::default(), velocity: HashMap::new() }
    }

    /// The same with rates by parameter.
    pub fn with_rates(self, rates: Rates) -> Self {
        Self { rates, ..self }
    }
}

impl Optimiser for Sgd {
    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn begin_step(&mut self) {}

    fn update(&mut self, name: &str, param: T, gradient: Gradient) -> T {
        let gradient = gradient.whole();
        let rate = self.rates.of(name);
        let decay = if rate.decays { self.weight_decay } else { 0.0 };
        if on_processor(&param) && on_processor(&gradient) {
            let step = Step { lr: self.lr * rate.lr_scale, momentum: self.momentum, weight_decay: decay };
            let (param, velocity) = custom::sgd(&step, param, gradient, self.velocity.remove(name));
            self.velocity.insert(name.into(), velocity);
            return param;
        }
        let g = if decay == 0.0 { gradient } else { B::float_add(gradient, scale(param.clone(), decay)) };
        let v = match self.velocity.remove(name) {
            Some(v) => B::float_add(scale(v, self.momentum), g),
            None => g,
        };
        self.velocity.insert(name.into(), v.clone());
        B::float_sub(param, scale(v, self.lr * rate.lr_scale))
    }

    fn state(&self) -> Result<Weights, EngineError> {
        let mut state = Weights::new();
        keep(VELOCITY, self.velocity.iter(), &mut state)?;
        Ok(state)
    }

    fn restore(&mut self, state: &Weights, device: &Device) -> Result<(), EngineError> {
        self.velocity = kept(VELOCITY, state, device)?;
        Ok(())
    }
}
