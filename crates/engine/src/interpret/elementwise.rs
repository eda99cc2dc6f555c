//! General functions of one and of two values, choices between values, and conversions of their kind.

use burn_backend::ops::{ActivationOps, BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_backend::{BoolDType, FloatDType, IntDType, Scalar};
use burn_dispatch::Dispatch as B;
use headstart_graph::{Binary, ElementKind, Unary};

use crate::custom;
use crate::tensor::{Kind, T, aligned, broadcast, dims, kind, scale};

const BOOL: BoolDType = BoolDType::Native;

/// A function of each element.
pub(super) fn unary(x: T, function: Unary) -> Result<T, String> {
    match (kind(&x), function) {
        (Kind::Bool, Unary::Not) => return Ok(B::bool_not(x)),
        (Kind::Int, Unary::Neg) => return Ok(B::int_neg(x)),
        (Kind::Int, Unary::Abs) => return Ok(B::int_abs(x)),
        (Kind::Int, Unary::Sign) => return Ok(B::int_sign(x)),
        (Kind::Float, Unary::Not) => return Err("a negation takes truth values".into()),
        (Kind::Float, _) => {}
        (got, _) => return Err(format!("{function:?} takes floats, not {got:?}")),
    }
    let number = Scalar::Float;
    Ok(match function {
        Unary::Neg => scale(x, -1.0),
        Unary::Abs => B::float_abs(x),
        Unary::Sign => B::float_sign(x),
        Unary::Exp => B::float_exp(x),
        Unary::Log => B::float_log(x),
        Unary::Sqrt => B::float_sqrt(x),
        Unary::Reciprocal => B::float_recip(x),
        Unary::Pow(2.0) => B::float_mul(x.clone(), x),
        Unary::Pow(p) => B::float_powf_scalar(x, number(p)),
        Unary::Erf => B::float_erf(x),
        Unary::Sin => B::float_sin(x),
        Unary::Cos => B::float_cos(x),
        Unary::Tan => B::float_tan(x),
        Unary::Asin => B::float_asin(x),
        Unary::Acos => B::float_acos(x),
        Unary::Atan => B::float_atan(x),
        Unary::Sinh => B::float_sinh(x),
        Unary::Cosh => B::float_cosh(x),
        Unary::Asinh => B::float_asinh(x),
        Unary::Acosh => B::float_acosh(x),
        Unary::Atanh => B::float_atanh(x),
        Unary::Floor => B::float_floor(x),
        Unary::Ceil => B::float_ceil(x),
        Unary::Round => B::float_round(x),
        Unary::RoundThrough => {
            // The difference is exact, so that the sum is the whole number.
            let rest = B::float_sub(B::float_round(x.clone()), x.clone());
            B::float_add(x, B::float_detach(rest))
        }
        Unary::IsNan => B::float_is_nan(x, BOOL),
        Unary::IsInf => B::float_is_inf(x, BOOL),
        Unary::Softplus => softplus(x),
        Unary::Softsign => B::float_div(x.clone(), B::float_add_scalar(B::float_abs(x), number(1.0))),
        Unary::Mish => B::float_mul(x.clone(), B::float_tanh(softplus(x))),
        Unary::HardSwish => B::float_mul(x.clone(), hard_sigmoid(x, 1.0 / 6.0, 0.5)),
        Unary::HardSigmoid { alpha, beta } => hard_sigmoid(x, alpha, beta),
        Unary::Elu { alpha } => elu(x, alpha),
        Unary::Selu { alpha, gamma } => scale(elu(x, alpha), gamma),
        Unary::Celu { alpha } => {
            let negative = scale(x.clone(), 1.0 / alpha);
            let below = scale(exp_minus_one(negative), alpha);
            B::float_add(custom::relu(x), below)
        }
        Unary::LeakyRelu { alpha } => {
            let below = scale(custom::clip(x.clone(), f64::NEG_INFINITY, 0.0), alpha);
            B::float_add(custom::relu(x), below)
        }
        Unary::ThresholdedRelu { alpha } => {
            let below = B::float_lower_equal_elem(x.clone(), number(alpha), BOOL);
            B::float_mask_fill(x, below, number(0.0))
        }
        Unary::Not => unreachable!("answered above"),
    })
}

/// `max(x, 0) + ln(1 + e^−|x|)`: no overflow.
fn softplus(x: T) -> T {
    let tail = B::float_log1p(B::float_exp(scale(B::float_abs(x.clone()), -1.0)));
    B::float_add(B::relu(x), tail)
}

fn hard_sigmoid(x: T, alpha: f64, beta: f64) -> T {
    custom::clip(B::float_add_scalar(scale(x, alpha), Scalar::Float(beta)), 0.0, 1.0)
}

fn elu(x: T, alpha: f64) -> T {
    B::float_add(custom::relu(x.clone()), scale(exp_minus_one(x), alpha))
}

/// `e^min(x, 0) − 1`: no overflow where the other branch is taken.
fn exp_minus_one(x: T) -> T {
    B::float_add_scalar(B::float_exp(custom::clip(x, f64::NEG_INFINITY, 0.0)), Scalar::Float(-1.0))
}

/// A function of two values, broadcasting.
pub(super) fn binary(a: T, b: T, function: Binary) -> Result<T, String> {
    let [a, b] = aligned([a, b]);
    let (ka, kb) = (kind(&a), kind(&b));
    if ka != kb {
        return Err(format!("{function:?} takes two values of one kind, not {ka:?} and {kb:?}"));
    }
    match ka {
        Kind::Float => float_binary(a, b, function),
        Kind::Int => int_binary(a, b, function),
        Kind::Bool => bool_binary(a, b, function),
    }
}

fn float_binary(a: T, b: T, function: Binary) -> Result<T, String> {
    Ok(match function {
        Binary::Sub => B::float_sub(a, b),
        Binary::Div => B::float_div(a, b),
        Binary::Pow => B::float_powf(a, b),
        Binary::Mod => {
            let floor = B::float_floor(B::float_div(a.clone(), b.clone()));
            B::float_sub(a, B::float_mul(floor, b))
        }
        Binary::Fmod => {
            let whole = B::float_trunc(B::float_div(a.clone(), b.clone()));
            B::float_sub(a, B::float_mul(whole, b))
        }
        Binary::PRelu => {
            let below = B::float_mul(custom::clip(a.clone(), f64::NEG_INFINITY, 0.0), b);
            B::float_add(custom::relu(a), below)
        }
        Binary::Min | Binary::Max => {
            let [a, b] = broadcast([a, b]);
            let other = if function == Binary::Min {
                B::float_lower(b.clone(), a.clone(), BOOL)
            } else {
                B::float_greater(b.clone(), a.clone(), BOOL)
            };
            B::float_mask_where(a, other, b)
        }
        _ => {
            let [a, b] = broadcast([a, b]);
            match function {
                Binary::Equal => B::float_equal(a, b, BOOL),
                Binary::Less => B::float_lower(a, b, BOOL),
                Binary::LessOrEqual => B::float_lower_equal(a, b, BOOL),
                Binary::Greater => B::float_greater(a, b, BOOL),
                Binary::GreaterOrEqual => B::float_greater_equal(a, b, BOOL),
                _ => return Err(format!("{function:?} takes truth values")),
            }
        }
    })
}

fn int_binary(a: T, b: T, function: Binary) -> Result<T, String> {
    let [a, b] = broadcast([a, b]);
    if matches!(function, Binary::Div | Binary::Mod | Binary::Fmod)
        && any(B::int_equal_elem(b.clone(), 0.into(), BOOL))?
    {
        return Err("an integer is divided by 0".into());
    }
    Ok(match function {
        Binary::Sub => B::int_sub(a, b),
        Binary::Div => B::int_div(a, b),
        Binary::Pow => B::int_powi(a, b),
        Binary::Mod => B::int_remainder(a, b),
        Binary::Fmod => B::int_sub(a.clone(), B::int_mul(B::int_div(a, b.clone()), b)),
        Binary::Min => {
            let other = B::int_lower(b.clone(), a.clone(), BOOL);
            B::int_mask_where(a, other, b)
        }
        Binary::Max => {
            let other = B::int_greater(b.clone(), a.clone(), BOOL);
            B::int_mask_where(a, other, b)
        }
        Binary::And => B::bitwise_and(a, b),
        Binary::Or => B::bitwise_or(a, b),
        Binary::Xor => B::bitwise_xor(a, b),
        Binary::Equal => B::int_equal(a, b, BOOL),
        Binary::Less => B::int_lower(a, b, BOOL),
        Binary::LessOrEqual => B::int_lower_equal(a, b, BOOL),
        Binary::Greater => B::int_greater(a, b, BOOL),
        Binary::GreaterOrEqual => B::int_greater_equal(a, b, BOOL),
        Binary::PRelu => return Err("a rectifier takes floats".into()),
    })
}

fn bool_binary(a: T, b: T, function: Binary) -> Result<T, String> {
    let [a, b] = broadcast([a, b]);
    Ok(match function {
        Binary::And => B::bool_and(a, b),
        Binary::Or => B::bool_or(a, b),
        Binary::Xor => B::bool_xor(a, b),
        Binary::Equal => B::bool_equal(a, b),
        _ => return Err(format!("{function:?} takes numbers, not truth values")),
    })
}

fn any(t: T) -> Result<bool, String> {
    let n = dims(&t).iter().product::<usize>();
    if n == 0 {
        return Ok(false);
    }
    let count = crate::tensor::to_i64(B::bool_into_int(t, IntDType::I64)).map_err(|e| e.to_string())?;
    Ok(count.iter().any(|&v| v != 0))
}

/// `a` where the condition holds, `b` else.
pub(super) fn choose(condition: T, a: T, b: T) -> Result<T, String> {
    let [condition, a, b] = broadcast(aligned([condition, a, b]));
    match (kind(&condition), kind(&a), kind(&b)) {
        (Kind::Bool, Kind::Float, Kind::Float) => Ok(B::float_mask_where(b, condition, a)),
        (Kind::Bool, Kind::Int, Kind::Int) => Ok(B::int_mask_where(b, condition, a)),
        (Kind::Bool, Kind::Bool, Kind::Bool) => Ok(B::bool_mask_where(b, condition, a)),
        (c, a, b) => Err(format!("a choice by {c:?} between {a:?} and {b:?}")),
    }
}

/// Elements as another kind.
pub(super) fn cast(x: T, to: ElementKind) -> T {
    match (kind(&x), to) {
        (Kind::Float, ElementKind::Int) => B::float_into_int(x, IntDType::I64),
        (Kind::Float, ElementKind::Bool) => B::float_not_equal_elem(x, Scalar::Float(0.0), BOOL),
        (Kind::Int, ElementKind::Float) => B::int_into_float(x, FloatDType::F32),
        (Kind::Int, ElementKind::Bool) => B::int_not_equal_elem(x, Scalar::Int(0), BOOL),
        (Kind::Bool, ElementKind::Float) => B::bool_into_float(x, FloatDType::F32),
        (Kind::Bool, ElementKind::Int) => B::bool_into_int(x, IntDType::I64),
        _ => x,
    }
}
