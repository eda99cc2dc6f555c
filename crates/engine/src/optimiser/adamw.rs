//! AdamW.

use std::collections::HashMap;

use burn_backend::Scalar;
use burn_backend::ops::FloatTensorOps;
use burn_dispatch::Dispatch as B;
use headstart_graph::{Tensor, Weights};
use headstart_kernels::adamw::Step;

use super::{Optimiser, Rates, keep, kept};
use crate::custom::{self, Moments};
use crate::tensor::{T, scale};
use crate::{Device, EngineError, Gradient};

/// AdamW (Loshchilov and Hutter, 2019): Adam with weight decay on the weights themselves.
#[derive(Debug)]
pub struct AdamW {
    /// Learning rate; set it before each step to follow a schedule.
    pub lr: f64,
    /// Decay of the weights by `lr·weight_decay` a step.
    pub weight_decay: f64,
    /// Rates by parameter.
    pub rates: Rates,
    /// Steps taken by each parameter: one that joined later starts its own bias correction.
    steps: HashMap<String, i32>,
    moments: HashMap<String, Moments>,
}

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPS: f64 = 1e-8;
const MOMENT: [&str; 2] = ["adamw.m.", "adamw.v."];
const STEPS: &str = "adamw.steps.";

impl AdamW {
    /// Moments start at 0; β₁ = 0.9, β₂ = 0.999, ε = 1e-8.
    pub fn new(lr: f64, weight_decay: f64) -> Self {
        let rates = Rates::default();
        AdamW { lr, weight_decay, rates, steps: HashMap::new(), moments: HashMap::new() }
    }

    /// The same with rates by parameter.
    pub fn with_rates(self, rates: Rates) -> Self {
        Self { rates, ..self }
    }
}

impl Optimiser for AdamW {
    fn set_lr(&mut self, lr: f64) {
        self.lr = lr;
    }

    fn begin_step(&mut self) {}

    fn update(&mut self, name: &str, param: T, gradient: Gradient) -> T {
        let rate = self.rates.of(name);
        let lr = self.lr * rate.lr_scale;
        let weight_decay = if rate.decays { self.weight_decay } else { 0.0 };
        let step = self.steps.entry(name.into()).or_insert(0);
        *step += 1;
        let step = *step;
        let known = self.moments.remove(name);
        if custom::on_processor(&param) && custom::on_processor(gradient.values()) {
            let step = Step { lr, weight_decay, betas: [BETA1, BETA2], eps: EPS, step };
            let (param, moments) = custom::adamw(&step, param, gradient, known);
            self.moments.insert(name.into(), moments);
            return param;
        }
        let gradient = gradient.whole();
        let squared = B::float_mul(gradient.clone(), gradient.clone());
        let (m, v) = match known {
            Some(Moments { first: m, second: v, .. }) => (
                B::float_add(scale(m, BETA1), scale(gradient, 1.0 - BETA1)),
                B::float_add(scale(v, BETA2), scale(squared, 1.0 - BETA2)),
            ),
            None => (scale(gradient, 1.0 - BETA1), scale(squared, 1.0 - BETA2)),
        };
        self.moments.insert(name.into(), Moments::new(m.clone(), v.clone()));
        let m_hat = scale(m, 1.0 / (1.0 - BETA1.powi(step)));
        let v_hat = scale(v, 1.0 / (1.0 - BETA2.powi(step)));
        let denominator = B::float_add_scalar(B::float_sqrt(v_hat), Scalar::Float(EPS));
        let decayed = scale(param, 1.0 - lr * weight_decay);
        B::float_sub(decayed, scale(B::float_div(m_hat, denominator), lr))
    }

    fn state(&self) -> Result<Weights, EngineError> {
        let mut state = Weights::new();
        keep(MOMENT[0], self.moments.iter().map(|(name, m)| (name, &m.first)), &mut state)?;
        keep(MOMENT[1], self.moments.iter().map(|(name, m)| (name, &m.second)), &mut state)?;
        let mut steps: Vec<_> = self.steps.iter().collect();
        steps.sort();
        for (name, &step) in steps {
            // Exact in f32 up to 16 million steps.
            state.insert(format!("{STEPS}{name}"), Tensor::from_f32(&[1], &[step as f32])?);
        }
        Ok(state)
    }

    fn restore(&mut self, state: &Weights, device: &Device) -> Result<(), EngineError> {
        let [m, mut v] = [kept(MOMENT[0], state, device)?, kept(MOMENT[1], state, device)?];
        self.moments.clear();
        self.steps.clear();
        for (name, m) in m {
            let (Some(v), Some(step)) = (v.remove(&name), state.get(&format!("{STEPS}{name}"))) else {
                return Err(EngineError::State(format!("AdamW's state of `{name}` is not whole")));
            };
            let step = step.to_f32()?.first().copied().unwrap_or(0.0);
            self.steps.insert(name.clone(), step as i32);
            self.moments.insert(name, Moments::new(m, v));
        }
        Ok(())
    }
}
