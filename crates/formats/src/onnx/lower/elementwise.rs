//! Functions of each element, of two values, choices and conversions.

use headstart_graph::{Binary, ElementKind, Op, Unary};

use super::super::known::Known;
use super::super::node::Node;
use super::super::proto::elem;
use super::super::reader::{Reader, Val};

pub(super) fn lower(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    if let Some(function) = unary(n) {
        return r.apply(n.path, Op::Unary { function }, &[n.input(0)?]);
    }
    if let Some(function) = binary(n) {
        return r.apply(n.path, Op::Binary { function }, &[n.input(0)?, n.input(1)?]);
    }
    match n.op {
        "Identity" => n.input(0).cloned(),
        "Relu" => r.apply(n.path, Op::Relu, &[n.input(0)?]),
        "Sigmoid" => r.apply(n.path, Op::Sigmoid, &[n.input(0)?]),
        "Tanh" => r.apply(n.path, Op::Tanh, &[n.input(0)?]),
        "Gelu" => {
            let tanh = n.string("approximate") == Some("tanh");
            r.apply(n.path, Op::Gelu { tanh }, &[n.input(0)?])
        }
        "Swish" => swish(r, n),
        "IsInf" => is_inf(r, n),
        "Add" => r.apply(n.path, Op::Add, &[n.input(0)?, n.input(1)?]),
        "Mul" => r.apply(n.path, Op::Mul, &[n.input(0)?, n.input(1)?]),
        "Pow" => pow(r, n),
        "Sum" | "Max" | "Min" | "Mean" => many(r, n),
        "Clip" => clip(r, n),
        "Softmax" | "LogSoftmax" => softmax(r, n),
        "Dropout" => dropout(r, n),
        "Where" => r.apply(n.path, Op::Where, &[n.input(0)?, n.input(1)?, n.input(2)?]),
        "Shrink" => shrink(r, n),
        "SwiGLU" => {
            let gate = swish(r, n)?;
            r.apply(&n.part("gated"), Op::Mul, &[&gate, n.input(1)?])
        }
        "Cast" => {
            let to = kind(n.int("to", 0) as i32)?;
            r.apply(n.path, Op::Cast { to }, &[n.input(0)?])
        }
        "CastLike" => {
            let to = r.kind(n.input(1)?);
            r.apply(n.path, Op::Cast { to }, &[n.input(0)?])
        }
        other => Err(format!("`{other}` is not read")),
    }
}

/// What elements of an ONNX type are here.
pub(in super::super) fn kind(number: i32) -> Result<ElementKind, String> {
    Ok(match number {
        elem::FLOAT | elem::FLOAT16 | elem::DOUBLE | elem::BFLOAT16 => ElementKind::Float,
        elem::BOOL => ElementKind::Bool,
        elem::INT64 | elem::INT32 | elem::INT16 | elem::INT8 => ElementKind::Int,
        elem::UINT8 | elem::UINT16 | elem::UINT32 | elem::UINT64 => ElementKind::Int,
        other => return Err(format!("values of type {} are not read", elem::name(other))),
    })
}

fn unary(n: &Node<'_>) -> Option<Unary> {
    Some(match n.op {
        "Neg" => Unary::Neg,
        "Abs" => Unary::Abs,
        "Sign" => Unary::Sign,
        "Not" => Unary::Not,
        "Exp" => Unary::Exp,
        "Log" => Unary::Log,
        "Sqrt" => Unary::Sqrt,
        "Reciprocal" => Unary::Reciprocal,
        "Erf" => Unary::Erf,
        "Sin" => Unary::Sin,
        "Cos" => Unary::Cos,
        "Tan" => Unary::Tan,
        "Asin" => Unary::Asin,
        "Acos" => Unary::Acos,
        "Atan" => Unary::Atan,
        "Sinh" => Unary::Sinh,
        "Cosh" => Unary::Cosh,
        "Asinh" => Unary::Asinh,
        "Acosh" => Unary::Acosh,
        "Atanh" => Unary::Atanh,
        "Floor" => Unary::Floor,
        "Ceil" => Unary::Ceil,
        "Round" => Unary::Round,
        "IsNaN" => Unary::IsNan,
        "Softplus" => Unary::Softplus,
        "Softsign" => Unary::Softsign,
        "Mish" => Unary::Mish,
        "HardSwish" => Unary::HardSwish,
        "HardSigmoid" => Unary::HardSigmoid { alpha: n.float("alpha", 0.2), beta: n.float("beta", 0.5) },
        "Elu" => Unary::Elu { alpha: n.float("alpha", 1.0) },
        "Celu" => Unary::Celu { alpha: n.float("alpha", 1.0) },
        "Selu" => Unary::Selu { alpha: n.float("alpha", 1.673_263_2), gamma: n.float("gamma", 1.050_701) },
        "LeakyRelu" => Unary::LeakyRelu { alpha: n.float("alpha", 0.01) },
        "ThresholdedRelu" => Unary::ThresholdedRelu { alpha: n.float("alpha", 1.0) },
        _ => return None,
    })
}

fn binary(n: &Node<'_>) -> Option<Binary> {
    Some(match n.op {
        "Sub" => Binary::Sub,
        "Div" => Binary::Div,
        "Mod" if n.flag("fmod", false) => Binary::Fmod,
        "Mod" => Binary::Mod,
        "PRelu" => Binary::PRelu,
        "And" | "BitwiseAnd" => Binary::And,
        "Or" | "BitwiseOr" => Binary::Or,
        "Xor" | "BitwiseXor" => Binary::Xor,
        "Equal" => Binary::Equal,
        "Less" => Binary::Less,
        "LessOrEqual" => Binary::LessOrEqual,
        "Greater" => Binary::Greater,
        "GreaterOrEqual" => Binary::GreaterOrEqual,
        _ => return None,
    })
}

/// A power that is one number is a function of its base; an integer exponent of floats converts.
fn pow(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (base, exponent) = (n.input(0)?, n.input(1)?);
    if !matches!(base, Val::Known(..))
        && let Val::Known(known, _) = exponent
        && let Some(p) = known.single_float()
    {
        let raised = r.apply(n.path, Op::Unary { function: Unary::Pow(p) }, &[base])?;
        // An exponent of higher rank adds axes.
        return if known.shape.len() <= r.rank(base) {
            Ok(raised)
        } else {
            Err("the exponent has more axes than the base".into())
        };
    }
    // The result is of the base's kind.
    let (kind, of) = (r.kind(base), r.kind(exponent));
    if kind == of {
        return r.apply(n.path, Op::Binary { function: Binary::Pow }, &[base, exponent]);
    }
    let float = Op::Cast { to: ElementKind::Float };
    let base = r.apply(&n.part("base"), float.clone(), &[base])?;
    let exponent = r.apply(&n.part("exponent"), float, &[exponent])?;
    let y = r.apply(&n.part("power"), Op::Binary { function: Binary::Pow }, &[&base, &exponent])?;
    r.apply(n.path, Op::Cast { to: kind }, &[&y])
}

/// Of one sign alone, where the other is not asked for.
fn is_inf(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let asked = (n.flag("detect_negative", true), n.flag("detect_positive", true));
    let op = Op::Unary { function: Unary::IsInf };
    let function = match asked {
        (true, true) => return r.apply(n.path, op, &[x]),
        (false, true) => Binary::Greater,
        (true, false) => Binary::Less,
        (false, false) => return Err("it detects infinities of no sign".into()),
    };
    let both = r.apply(&n.part("both"), op, &[x])?;
    let signed = r.apply(&n.part("signed"), Op::Binary { function }, &[x, &scalar(0.0)])?;
    r.apply(n.path, Op::Binary { function: Binary::And }, &[&both, &signed])
}

fn swish(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (x, alpha) = (n.input(0)?, n.float("alpha", 1.0));
    if alpha == 1.0 {
        return r.apply(n.path, Op::Silu, &[x]);
    }
    let inner = r.times(&n.part("alpha"), x, alpha)?;
    let gate = r.apply(&n.part("sigmoid"), Op::Sigmoid, &[&inner])?;
    r.apply(n.path, Op::Mul, &[x, &gate])
}

/// `x + bias` below `−lambd`, `x − bias` above `lambd`, 0 between.
fn shrink(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let (bias, edge) = (n.float("bias", 0.0), n.float("lambd", 0.5));
    let mut y = scalar(0.0);
    // The last one counts where both hold, which a negative threshold lets them.
    for (name, function, at, by) in
        [("above", Binary::Greater, edge, -bias), ("below", Binary::Less, -edge, bias)]
    {
        let is_there = r.apply(&n.part(&format!("is_{name}")), Op::Binary { function }, &[x, &scalar(at)])?;
        let moved = r.plus(&n.part(name), x, by)?;
        y = r.apply(&n.part(&format!("or_{name}")), Op::Where, &[&is_there, &moved, &y])?;
    }
    Ok(y)
}

/// Functions of any number of values.
fn many(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let op = match n.op {
        "Max" => Op::Binary { function: Binary::Max },
        "Min" => Op::Binary { function: Binary::Min },
        _ => Op::Add,
    };
    let count = n.inputs.len();
    let mut y = n.input(0)?.clone();
    for i in 1..count {
        let last = i + 1 == count && n.op != "Mean";
        let path = if last { n.path.to_string() } else { n.part(&i.to_string()) };
        y = r.apply(&path, op.clone(), &[&y, n.input(i)?])?;
    }
    if n.op == "Mean" { r.times(n.path, &y, 1.0 / count as f64) } else { Ok(y) }
}

fn clip(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let bound = |r: &Reader, i: usize, name: &str, default: f64| match n.optional(i) {
        Some(Val::Known(known, _)) => known.single_float(),
        Some(val) => r.floats(val).ok().filter(|v| v.len() == 1).map(|v| v[0]),
        None if n.has(name) => Some(n.float(name, 0.0)),
        None => Some(default),
    };
    let (min, max) = (bound(r, 1, "min", f64::NEG_INFINITY), bound(r, 2, "max", f64::INFINITY));
    let is_int =
        [1, 2].iter().any(|&i| matches!(n.optional(i), Some(Val::Known(k, _)) if k.exprs().is_some()));
    let is_int = is_int || r.kind(x) == ElementKind::Int;
    if let (Some(min), Some(max), false) = (min, max, is_int) {
        return r.apply(n.path, Op::Clip { min, max }, &[x]);
    }
    let mut y = x.clone();
    if let Some(low) = n.optional(1) {
        y = r.apply(&n.part("min"), Op::Binary { function: Binary::Max }, &[&y, low])?;
    }
    match n.optional(2) {
        Some(high) => r.apply(n.path, Op::Binary { function: Binary::Min }, &[&y, high]),
        None => Ok(y),
    }
}

/// Until opset 13, everything from the axis on was one axis.
fn softmax(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let rank = r.rank(x);
    let is_joint = r.opset < 13;
    let axis = n.axis("axis", if is_joint { 1 } else { -1 }, rank)?;
    let op = |axis| if n.op == "Softmax" { Op::Softmax { axis } } else { Op::LogSoftmax { axis } };
    if !is_joint || axis + 1 == rank {
        return r.apply(n.path, op(axis), &[x]);
    }
    let shape = r.dims(x);
    let flat = super::shape::joined(r, &n.part("rows"), x, axis)?;
    let y = r.apply(&n.part("softmax"), op(1), &[&flat])?;
    r.apply(n.path, Op::Reshape { shape }, &[&y])
}

fn dropout(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let p = match n.optional(1) {
        Some(ratio) => r.floats(ratio)?.first().copied().unwrap_or(0.5),
        None => n.float("ratio", 0.5),
    };
    if !(0.0..1.0).contains(&p) {
        return Err(format!("its probability is {p}"));
    }
    r.apply(n.path, Op::Dropout { p }, &[n.input(0)?])
}

/// A scalar that is known.
pub(super) fn scalar(value: f64) -> Val {
    Val::Known(Known::float(value), None)
}
