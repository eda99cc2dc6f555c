//! Functions that general operators apply: of one number, of two, of many; and their settings.

use serde::{Deserialize, Serialize};

use crate::Dim;

/// A function of one number, applied to each element.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the mathematical ones")]
pub enum Unary {
    /// Of integers too.
    Neg,
    /// Of integers too.
    Abs,
    /// Of integers too: −1, 0 or 1.
    Sign,
    /// Of truth values.
    Not,
    Exp,
    Log,
    Sqrt,
    Reciprocal,
    /// `x` to this power.
    Pow(f64),
    /// `2/√π·∫₀ˣ e⁻ᵗ² dt`.
    Erf,
    Sin,
    Cos,
    Tan,
    Asin,
    Acos,
    Atan,
    Sinh,
    Cosh,
    Asinh,
    Acosh,
    Atanh,
    Floor,
    Ceil,
    /// To the nearest whole number, halves to the even one.
    Round,
    /// The same, with the gradient of the identity: the straight-through estimator (Bengio et al., 2013).
    RoundThrough,
    IsNan,
    IsInf,
    /// `ln(1 + eˣ)`.
    Softplus,
    /// `x / (1 + |x|)`.
    Softsign,
    /// `x·tanh(softplus(x))`.
    Mish,
    /// `x·min(max(x/6 + ½, 0), 1)`.
    HardSwish,
    /// `min(max(alpha·x + beta, 0), 1)`.
    HardSigmoid {
        alpha: f64,
        beta: f64,
    },
    /// `x` where positive, `alpha·(eˣ − 1)` else.
    Elu {
        alpha: f64,
    },
    /// `gamma·(x where positive, alpha·(eˣ − 1) else)`.
    Selu {
        alpha: f64,
        gamma: f64,
    },
    /// `max(x, 0) + min(alpha·(e^(x/alpha) − 1), 0)`.
    Celu {
        alpha: f64,
    },
    /// `x` where positive, `alpha·x` else.
    LeakyRelu {
        alpha: f64,
    },
    /// `x` where greater than `alpha`, 0 else.
    ThresholdedRelu {
        alpha: f64,
    },
}

/// A function of two values, element by element, broadcasting as numpy does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the mathematical ones")]
pub enum Binary {
    Sub,
    /// Of integers: rounded towards 0.
    Div,
    Pow,
    Min,
    Max,
    /// Remainder with the sign of the divisor (Python's `%`).
    Mod,
    /// Remainder with the sign of the dividend (C's `fmod`).
    Fmod,
    /// `x` where positive, `slope·x` else.
    PRelu,
    And,
    Or,
    Xor,
    Equal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Binary {
    /// True where the result is a truth value whatever the inputs are.
    pub fn makes_bool(self) -> bool {
        use Binary::{And, Equal, Greater, GreaterOrEqual, Less, LessOrEqual, Or, Xor};
        matches!(self, And | Or | Xor | Equal | Less | LessOrEqual | Greater | GreaterOrEqual)
    }
}

/// A function of many numbers along axes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names are the mathematical ones")]
pub enum Reduction {
    Sum,
    Mean,
    Max,
    Min,
    Prod,
    /// Sum of absolute values.
    L1,
    /// Root of the sum of squares.
    L2,
    SumSquare,
    LogSum,
    LogSumExp,
}

/// What elements are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ElementKind {
    /// f32.
    Float,
    /// i64.
    Int,
    /// Truth values.
    Bool,
}

/// A stretch of one axis: `length` positions from `start` on, `step` apart (backwards if negative).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AxisRange {
    /// The axis.
    pub axis: usize,
    /// The first position.
    pub start: Dim,
    /// How many positions.
    pub length: Dim,
    /// From one position to the next.
    pub step: i64,
}

/// What stands around a padded value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PadMode {
    /// This number.
    Constant(f64),
    /// The value mirrored, its border not repeated.
    Reflect,
    /// Its border repeated.
    Edge,
    /// Its other end.
    Wrap,
}

/// How a value is interpolated to another size.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpolation {
    /// The nearest element, halves as told.
    Nearest(Rounding),
    /// Two neighbours an axis.
    Linear,
    /// Four neighbours an axis, with this `a` (Keys, 1981).
    Cubic(f64),
}

/// Which element is nearest to a position between two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Rounding {
    Floor,
    Ceil,
    HalfDown,
    HalfUp,
}

/// Where a position of the result lies in what is resized.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coordinates {
    /// `(x + ½)/scale − ½`.
    HalfPixel,
    /// The same, with the middles of both meeting where a size is not the other times the scale.
    HalfPixelSymmetric,
    /// The same, but 0 where the result has one position.
    PytorchHalfPixel,
    /// `x/scale`.
    Asymmetric,
    /// The corners meet: `x·(n_in − 1)/(n_out − 1)`.
    AlignCorners,
}

/// Axes at other sizes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resampling {
    /// The axes that change.
    pub axes: Vec<usize>,
    /// Their sizes.
    pub sizes: Vec<Dim>,
    /// The scales that positions go by, one an axis; none where they are the ratios of the sizes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scales: Vec<f64>,
    /// How elements between positions are found.
    pub interpolation: Interpolation,
    /// Where positions lie.
    pub coordinates: Coordinates,
    /// Where an axis shrinks, neighbours are so many more as the scale is below 1.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub antialias: bool,
    /// Neighbours beyond the border count for nothing, instead of as the border.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub exclude_outside: bool,
}

/// Which way a recurrent network reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the first step to the last.
    Forward,
    /// From the last step to the first.
    Reverse,
    /// Both, each with weights of its own.
    Bidirectional,
}

impl Direction {
    /// 2 for both, else 1.
    pub fn count(self) -> usize {
        if self == Direction::Bidirectional { 2 } else { 1 }
    }
}

/// A kind of recurrent cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cell {
    /// Long short-term memory (Hochreiter and Schmidhuber, 1997); gates in the order input, output, forget, cell.
    Lstm,
    /// One layer of neurons that reads itself (Elman, 1990).
    Rnn {
        /// Whether it rectifies; else it is a tanh.
        relu: bool,
    },
    /// Gated recurrent unit (Cho et al., 2014); gates in the order update, reset, hidden.
    Gru {
        /// Whether the reset gate multiplies the recurrent product (cuDNN) or its input.
        linear_before_reset: bool,
    },
}

impl Cell {
    /// Gates by hidden unit.
    pub fn gates(self) -> usize {
        match self {
            Cell::Lstm => 4,
            Cell::Gru { .. } => 3,
            Cell::Rnn { .. } => 1,
        }
    }

    /// Numbers a hidden unit hands to the next step: hidden state, and the cell's of an LSTM.
    pub fn states(self) -> usize {
        match self {
            Cell::Lstm => 2,
            Cell::Gru { .. } | Cell::Rnn { .. } => 1,
        }
    }
}
