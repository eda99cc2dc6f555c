//! Optimisers and learning-rate schedules, as PyTorch defines them.

use std::collections::HashMap;

use burn_backend::Scalar;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;
use headstart_graph::ValueId;
use headstart_kernels::adamw::Step;

use crate::custom;
use crate::tensor::{T, scale};

/// Turns gradients into updates.
pub trait Optimiser {
    /// Called once before the updates of a step.
    fn begin_step(&mut self);
    /// The new value of a parameter.
    fn update(&mut self, id: ValueId, param: T, gradient: T) -> T;
}

/// Stochastic gradient descent with momentum: `g ← g + wd·w; v ← m·v + g; w ← w − lr·v`.
#[derive(Debug)]
pub struct Sgd {
    /// Learning rate.
    pub lr: f64,
    /// Share of the last step that goes on.
    pub momentum: f64,
    /// Weight decay, as an L2 penalty on the gradient.
    pub weight_decay: f64,
    velocity: HashMap<ValueId, T>,
}

impl Sgd {
    /// Starts at rest.
    pub fn new(lr: f64, momentum: f64, weight_decay: f64) -> Self {
        Sgd { lr, momentum, weight_decay, velocity: HashMap::new() }
    }
}

impl Optimiser for Sgd {
    fn begin_step(&mut self) {}

    fn update(&mut self, id: ValueId, param: T, gradient: T) -> T {
        let g = B::float_add(gradient, scale(param.clone(), self.weight_decay));
        let v = match self.velocity.remove(&id) {
            Some(v) => B::float_add(scale(v, self.momentum), g),
            None => g,
        };
        self.velocity.insert(id, v.clone());
        B::float_sub(param, scale(v, self.lr))
    }
}

/// AdamW (Loshchilov and Hutter, 2019): Adam with weight decay on the weights themselves.
#[derive(Debug)]
pub struct AdamW {
    /// Learning rate; set it before each step to follow a schedule.
    pub lr: f64,
    /// Decay of the weights by `lr·weight_decay` a step.
    pub weight_decay: f64,
    step: i32,
    moments: HashMap<ValueId, (T, T)>,
}

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;

impl AdamW {
    /// Moments start at 0; β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
    pub fn new(lr: f64, weight_decay: f64) -> Self {
        AdamW { lr, weight_decay, step: 0, moments: HashMap::new() }
    }
}

impl Optimiser for AdamW {
    fn begin_step(&mut self) {
        self.step += 1;
    }

    fn update(&mut self, id: ValueId, param: T, gradient: T) -> T {
        if custom::on_processor(&param) && custom::on_processor(&gradient) {
            let betas = [BETA1, BETA2];
            let step =
                Step { lr: self.lr, weight_decay: self.weight_decay, betas, eps: EPS, step: self.step };
            let (param, moments) = custom::adamw(&step, param, gradient, self.moments.remove(&id));
            self.moments.insert(id, moments);
            return param;
        }
        let squared = B::float_mul(gradient.clone(), gradient.clone());
        let (m, v) = match self.moments.remove(&id) {
            Some((m, v)) => (
                B::float_add(scale(m, BETA1), scale(gradient, 1.0 - BETA1)),
                B::float_add(scale(v, BETA2), scale(squared, 1.0 - BETA2)),
            ),
            None => (scale(gradient, 1.0 - BETA1), scale(squared, 1.0 - BETA2)),
        };
        self.moments.insert(id, (m.clone(), v.clone()));
        let m_hat = scale(m, 1.0 / (1.0 - BETA1.powi(self.step)));
        let v_hat = scale(v, 1.0 / (1.0 - BETA2.powi(self.step)));
        let denominator = B::float_add_scalar(B::float_sqrt(v_hat), Scalar::Float(EPS));
        let decayed = scale(param, 1.0 - self.lr * self.weight_decay);
        B::float_sub(decayed, scale(B::float_div(m_hat, denominator), self.lr))
    }
}

/// One cycle (Smith and Topin, 2018): linear warm-up over the first 20 % of the steps, then half a cosine down to 0.
///
/// ```
/// use headstart_engine::one_cycle;
/// assert!((one_cycle(20, 100, 0.1) - 0.1).abs() < 1e-12);
/// assert!(one_cycle(0, 100, 0.1) < 0.01);
/// assert!(one_cycle(99, 100, 0.1) < 0.001);
/// ```
pub fn one_cycle(step: usize, n_steps: usize, lr_max: f64) -> f64 {
    let steps_warmup = (n_steps / 5).max(1);
    if step < steps_warmup {
        return lr_max * (step + 1) as f64 / (steps_warmup + 1) as f64;
    }
    let t = (step - steps_warmup) as f64 / (n_steps - steps_warmup).max(1) as f64;
    lr_max * 0.5 * (1.0 + (std::f64::consts::PI * t).cos())
}
