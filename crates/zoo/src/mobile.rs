//! The pieces that MobileNet and EfficientNet are made of: activation, squeeze and excitation, rounded widths.

use headstart_graph::{Conv, GraphBuilder, GraphError, Init, Op, ValueId};

/// The network's nonlinearity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `min(max(x, 0), 6)`.
    Relu6,
    /// `x·sigmoid(x)`.
    Silu,
}

impl Activation {
    pub(crate) fn apply(self, b: &mut GraphBuilder, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let op = match self {
            Activation::Relu6 => Op::Clip { min: 0.0, max: 6.0 },
            Activation::Silu => Op::Silu,
        };
        b.node(path, op, &[x])
    }
}

/// Names that an implementation gives the parts of a squeeze-and-excitation block.
pub(crate) struct SqueezeNames {
    pub(crate) pool: &'static str,
    pub(crate) reduce: &'static str,
    pub(crate) activation: &'static str,
    pub(crate) expand: &'static str,
    pub(crate) gate: &'static str,
}

/// Scales each channel by what the means of all channels say (Hu, Shen and Sun, 2017):
/// `x·σ(W₂·silu(W₁·mean(x)))`, `x [batch, channels, height, width]`, W₁ to `reduced` channels.
pub(crate) fn squeeze_excite(
    b: &mut GraphBuilder,
    path: &str,
    names: &SqueezeNames,
    x: ValueId,
    reduced: usize,
) -> Result<ValueId, GraphError> {
    let channels = b.channels(x);
    let at = |part: &str| format!("{path}.{part}");
    let s = b.node(&at(names.pool), Op::AdaptiveAvgPool2d { size: [1, 1] }, &[x])?;
    let s = b.conv(&at(names.reduce), s, Conv::new(reduced, 1))?;
    let s = Activation::Silu.apply(b, &at(names.activation), s)?;
    let s = b.conv(&at(names.expand), s, Conv::new(channels, 1))?;
    let s = b.node(&at(names.gate), Op::Sigmoid, &[s])?;
    b.node(path, Op::Mul, &[x, s])
}

/// `width` rounded to a multiple of 8, at least 8, never more than a tenth below.
pub(crate) fn round_width(width: f64) -> usize {
    let rounded = (((width + 4.0) / 8.0) as usize * 8).max(8);
    if (rounded as f64) < 0.9 * width { rounded + 8 } else { rounded }
}

/// A stage's number of blocks under a depth multiplier.
pub(crate) fn round_depth(depth: usize, multiplier: f64) -> usize {
    (depth as f64 * multiplier).ceil() as usize
}

/// torchvision's [`conv_norm`] draws by torch's fan-out, which takes no account of groups.
fn torch_fan_out(out: usize, kernel: usize) -> Init {
    Init::kaiming_fan_out(&[out, 1, kernel, kernel], 1)
}

/// torchvision's `Conv2dNormActivation`: `<path>.0` convolution, `<path>.1` batch norm, `<path>.2` activation.
/// `[kernel, stride, groups]`; the image keeps its size at stride 1.
pub(crate) fn conv_norm(
    b: &mut GraphBuilder,
    path: &str,
    x: ValueId,
    out: usize,
    [kernel, stride, groups]: [usize; 3],
    activation: Option<Activation>,
) -> Result<ValueId, GraphError> {
    let c = Conv::new(out, kernel).stride(stride).padding(kernel / 2).groups(groups).no_bias();
    let x = b.conv(&format!("{path}.0"), x, c.init(torch_fan_out(out, kernel)))?;
    let x = b.batch_norm(&format!("{path}.1"), x, 1e-5, 0.1)?;
    match activation {
        Some(activation) => activation.apply(b, &format!("{path}.2"), x),
        None => Ok(x),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn widths_round_as_the_reference_does() {
        assert_eq!([22.4, 33.6, 8.0, 3.0, 17.6].map(round_width), [24, 32, 8, 8, 16]);
    }
}
