//! Activations and their derivatives, by formulas without branches that the compiler vectorises.
//!
//! ```text
//! ReLU   max(x, 0)                     ReLU6  min(max(x, 0), 6)
//! GELU   x·Φ(x)                        Φ by the error function, or ½·(1 + tanh(√(2/π)·(x + 0.044715·x³)))
//! SiLU   x·σ(x)                        σ(x) = 1/(1 + e⁻ˣ)
//! ```
//!
//! GELU and SiLU are those of Hendrycks and Gimpel (2016).  Values are within 2·10⁻⁷ of the formula, relative to
//! max(1, |x|).

use rayon::prelude::*;

use crate::CHUNK;
use crate::simd::widest_fn;

/// What is applied to every element.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Activation {
    /// Nothing.
    #[default]
    Identity,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x·Φ(x)` with the error function.
    Gelu,
    /// `x·Φ(x)` with its approximation by tanh.
    GeluTanh,
    /// `x·σ(x)`.
    Silu,
    /// `σ(x)`.
    Sigmoid,
}

impl Activation {
    /// Replaces every value, on this thread.
    pub(crate) fn apply(self, values: &mut [f32]) {
        match self {
            Activation::Identity => {}
            Activation::Relu => each(values, |x| if x < 0.0 { 0.0 } else { x }),
            Activation::Relu6 => each(values, |x| x.clamp(0.0, 6.0)),
            Activation::Gelu => each(values, gelu),
            Activation::GeluTanh => each(values, gelu_tanh),
            Activation::Silu => each(values, silu),
            Activation::Sigmoid => each(values, sigmoid),
        }
    }

    /// `y = activation(x)`.
    ///
    /// ```
    /// use headstart_kernels::Activation;
    /// let mut y = [0.0; 3];
    /// Activation::Gelu.forward(&[-1.0, 0.0, 1.0], &mut y);
    /// assert!((y[0] + 0.158_655_25).abs() < 1e-6 && y[1] == 0.0 && (y[2] - 0.841_344_75).abs() < 1e-6);
    /// ```
    pub fn forward(self, x: &[f32], y: &mut [f32]) {
        assert_eq!(x.len(), y.len(), "an element of y for each of x");
        y.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(y, x)| {
            y.copy_from_slice(x);
            self.apply(y);
        });
    }

    /// `grad` becomes `dx = g·activation′(x)`.  At the corners of ReLU and ReLU6 the derivative is 0, as PyTorch has it.
    ///
    /// ```
    /// use headstart_kernels::Activation;
    /// let mut grad = [2.0, 3.0];
    /// Activation::Silu.backward(&[0.0, 20.0], &mut grad);
    /// assert!((grad[0] - 1.0).abs() < 1e-6 && (grad[1] - 3.0).abs() < 1e-6);
    /// ```
    pub fn backward(self, x: &[f32], grad: &mut [f32]) {
        assert_eq!(x.len(), grad.len(), "an element of the gradient for each of x");
        grad.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(grad, x)| match self {
            Activation::Identity => {}
            Activation::Relu => slopes(x, grad, |x| if x > 0.0 { 1.0 } else { 0.0 }),
            Activation::Relu6 => slopes(x, grad, |x| if (x > 0.0) & (x < 6.0) { 1.0 } else { 0.0 }),
            Activation::Gelu => slopes(x, grad, gelu_slope),
            Activation::GeluTanh => slopes(x, grad, gelu_tanh_slope),
            Activation::Silu => slopes(x, grad, silu_slope),
            Activation::Sigmoid => slopes(x, grad, |x| sigmoid(x) * (1.0 - sigmoid(x))),
        });
    }
}

widest_fn! {
    fn each(values: &mut [f32], f: impl Fn(f32) -> f32) {
        for v in values {
            *v = f(*v);
        }
    }
}

widest_fn! {
    fn slopes(x: &[f32], grad: &mut [f32], f: impl Fn(f32) -> f32) {
        for (g, &x) in grad.iter_mut().zip(x) {
            *g *= f(x);
        }
    }
}

/// eˣ within 2 units in the last place; 0 below −87.3, where the result would be subnormal, and e^88.3 above 88.3, where
/// it would soon be infinite.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    // x = n·ln 2 + r.  Adding 1.5·2²³ rounds to an integer, which is then in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let clamped = x.clamp(-87.3, 88.3);
    let shifted = clamped.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(2.121_944_4e-4, n.mul_add(-0.693_359_4, clamped));
    let mut p = 1.0 / 720.0;
    for c in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0_f32] {
        p = r.mul_add(p, c);
    }
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    if x < -87.3 { 0.0 } else { p * power }
}

/// Φ(x) and e^(−x²/2), which share their work.
///
/// Φ(−|x|) = ½·erfc(z) with z = |x|/√2, and erfc(z)·e^(z²) is a polynomial in t = 1/(1 + 0.4·z): eight coefficients by
/// least squares, off by 2·10⁻⁹ before rounding.
#[inline(always)]
fn normal(x: f32) -> (f32, f32) {
    const ERFC: [f32; 8] = [
        0.080_072_605,
        -0.422_151_85,
        0.739_760_34,
        -0.434_277_48,
        0.447_145_4,
        0.125_502_4,
        0.239_218_55,
        0.224_730_07,
    ];
    let bell = exp(-0.5 * x * x);
    let t = 1.0 / x.abs().mul_add(0.4 * std::f32::consts::FRAC_1_SQRT_2, 1.0);
    let mut p = 0.0;
    for c in ERFC {
        p = t.mul_add(p, c);
    }
    let tail = 0.5 * t * p * bell;
    (if x < 0.0 { tail } else { 1.0 - tail }, bell)
}

#[inline(always)]
fn gelu(x: f32) -> f32 {
    x * normal(x).0
}

/// Φ(x) + x·φ(x).
#[inline(always)]
fn gelu_slope(x: f32) -> f32 {
    let (phi, bell) = normal(x);
    phi + x * bell * 0.398_942_3
}

#[inline(always)]
pub(crate) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// ½·(1 + tanh u) is σ(2u).
#[inline(always)]
fn gelu_tanh(x: f32) -> f32 {
    x * sigmoid(2.0 * SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x))
}

#[inline(always)]
fn gelu_tanh_slope(x: f32) -> f32 {
    let s = sigmoid(2.0 * SQRT_2_OVER_PI * (x + 0.044_715 * x * x * x));
    let slope = 2.0 * SQRT_2_OVER_PI * (1.0 + 3.0 * 0.044_715 * x * x);
    s + x * s * (1.0 - s) * slope
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x * sigmoid(x)
}

#[inline(always)]
fn silu_slope(x: f32) -> f32 {
    let s = sigmoid(x);
    s * (1.0 + x * (1.0 - s))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `x, GELU(x), GELU′(x), GELU by tanh(x), its derivative, SiLU(x), SiLU′(x)` by PyTorch 2.15 in f64 with autograd.
    const TORCH: &[[f64; 7]] = &include!("activation_torch.in");

    #[test]
    fn agrees_with_pytorch() {
        for row in TORCH {
            let x = [row[0] as f32];
            for (act, at) in [(Activation::Gelu, 1), (Activation::GeluTanh, 3), (Activation::Silu, 5)] {
                let (mut y, mut dx) = ([0.0], [1.0]);
                act.forward(&x, &mut y);
                act.backward(&x, &mut dx);
                let bound = 3e-7 * row[0].abs().max(1.0);
                assert!((f64::from(y[0]) - row[at]).abs() < bound, "{act:?}({}) = {}", x[0], y[0]);
                assert!(
                    (f64::from(dx[0]) - row[at + 1]).abs() < 2.0 * bound,
                    "{act:?}′({}) = {}",
                    x[0],
                    dx[0]
                );
            }
        }
    }

    #[test]
    fn exp_is_exact_to_rounding() {
        for i in -8700..=8830 {
            let x = i as f32 * 0.01;
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) - want).abs() <= 2.5e-7 * want, "exp({x})");
        }
        assert_eq!((exp(0.0), exp(-1e9), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan());
    }

    #[test]
    fn corners_have_no_slope() {
        let mut dx = [1.0; 4];
        Activation::Relu6.backward(&[0.0, 3.0, 6.0, f32::NAN], &mut dx);
        assert_eq!(dx, [0.0, 1.0, 0.0, 0.0]);
        let mut y = [0.0; 3];
        Activation::Relu.forward(&[-1.0, 2.0, f32::NAN], &mut y);
        assert!(y[0] == 0.0 && y[1] == 2.0 && y[2].is_nan(), "NaN stays");
    }
}
