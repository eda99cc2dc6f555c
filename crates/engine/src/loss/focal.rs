//! Focal loss (Lin, Goyal, Girshick, He and Dollár, 2017, *Focal Loss for Dense Object Detection*): cross-entropy times
//! `(1 − pₜ)^γ`, so that what is known already counts little and the rare and hard is heard.

use burn_backend::Scalar;
use burn_backend::ops::{ActivationOps, FloatTensorOps};
use burn_dispatch::Dispatch as B;
use headstart_core::TargetRows;

use super::binary_cross_entropy::log_likelihood;
use super::{constant, mean, weight_of};
use crate::Device;
use crate::tensor::{T, scale};

/// What `1 − p` is at least: below it, the slope of a power less than 1 would be infinite.
const REST_MIN: f64 = 1e-7;

/// `−Σᵢ Σ_c w_c·tᵢ_c·(1 − pᵢ_c)^γ·log pᵢ_c / Σᵢ Σ_c w_c·tᵢ_c` with `p = softmax(z)`.
pub(super) fn of_rows(
    logits: T,
    rows: &TargetRows,
    gamma: f64,
    class_weights: Option<&[f32]>,
    device: &Device,
) -> T {
    let total: f64 = rows
        .values
        .iter()
        .enumerate()
        .map(|(i, t)| f64::from(weight_of(class_weights, i % rows.width) * t))
        .sum();
    let log_p = B::log_softmax(logits, 1);
    let rest = one_less(B::float_exp(log_p.clone()));
    let cells = constant(rows, device, |c, t| weight_of(class_weights, c) * t);
    let picked = B::float_mul(B::float_mul(power(rest, gamma), log_p), cells);
    scale(B::float_sum(picked), -1.0 / if total > 0.0 { total } else { 1.0 })
}

/// Mean over all cells of `−αₜ·(1 − pₜ)^γ·log pₜ` with `p = σ(z)`, `pₜ = p·t + (1 − p)·(1 − t)` and
/// `αₜ = α·t + (1 − α)·(1 − t)`; torchvision's `sigmoid_focal_loss(reduction="mean")`.
pub(super) fn binary(logits: T, rows: &TargetRows, gamma: f64, alpha: Option<f64>, device: &Device) -> T {
    let p = B::sigmoid(logits.clone());
    // 1 − pₜ = t + p·(1 − 2t).
    let t = constant(rows, device, |_, t| t);
    let sign = constant(rows, device, |_, t| 1.0 - 2.0 * t);
    let rest = B::float_add(B::float_mul(p, sign), t);
    let picked = B::float_mul(power(rest, gamma), log_likelihood(logits, rows, None, device));
    let attention =
        constant(rows, device, |_, t| alpha.map_or(1.0, |a| a as f32 * t + (1.0 - a as f32) * (1.0 - t)));
    scale(mean(B::float_mul(picked, attention), rows.values.len()), -1.0)
}

fn one_less(p: T) -> T {
    B::float_add_scalar(B::float_neg(p), Scalar::Float(1.0))
}

fn power(rest: T, gamma: f64) -> T {
    B::float_powf_scalar(B::float_clamp_min(rest, Scalar::Float(REST_MIN)), Scalar::Float(gamma))
}
