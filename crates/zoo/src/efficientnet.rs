//! EfficientNet B0 to B4 (torchvision's).
//!
//! Tan and Le, "EfficientNet: rethinking model scaling for convolutional neural networks", 2019.
//! `image [batch, 3, 224, 224]` (B0) → inverted residuals with squeeze and excitation → `[batch, 1280, 7, 7]` →
//! `[batch, 1280]` → `logits`; B1 to B4 are wider and deeper and read larger images.

use headstart_graph::{Filter, Graph, GraphBuilder, GraphError, Init, Op, Preprocess, ValueId};

use crate::architecture::{Architecture, BuildOptions, imagenet};
use crate::mobile::{Activation::Silu, SqueezeNames, conv_norm, round_depth, round_width, squeeze_excite};

pub(crate) const PAPER: &str =
    "Tan and Le 2019, EfficientNet: rethinking model scaling for convolutional neural networks";

pub(crate) const ARCHITECTURES: &[Architecture] = &[
    efficientnet("efficientnet_b0", 224, imagenet(224, 256, Filter::Bicubic), |o| build(&B[0], o)),
    efficientnet("efficientnet_b1", 240, imagenet(240, 256, Filter::Bicubic), |o| build(&B[1], o)),
    efficientnet("efficientnet_b2", 288, imagenet(288, 288, Filter::Bicubic), |o| build(&B[2], o)),
    efficientnet("efficientnet_b3", 300, imagenet(300, 320, Filter::Bicubic), |o| build(&B[3], o)),
    efficientnet("efficientnet_b4", 380, imagenet(380, 384, Filter::Bicubic), |o| build(&B[4], o)),
];

/// What grows from one member of the family to the next.
struct Scale {
    name: &'static str,
    size_px: usize,
    width: f64,
    depth: f64,
    dropout: f64,
}

const B: [Scale; 5] = [
    Scale { name: "efficientnet_b0", size_px: 224, width: 1.0, depth: 1.0, dropout: 0.2 },
    Scale { name: "efficientnet_b1", size_px: 240, width: 1.0, depth: 1.1, dropout: 0.2 },
    Scale { name: "efficientnet_b2", size_px: 288, width: 1.1, depth: 1.2, dropout: 0.3 },
    Scale { name: "efficientnet_b3", size_px: 300, width: 1.2, depth: 1.4, dropout: 0.3 },
    Scale { name: "efficientnet_b4", size_px: 380, width: 1.4, depth: 1.8, dropout: 0.4 },
];

/// The paper's table 1: expansion, kernel, stride of the first block, width, blocks.
const STAGES: [[usize; 5]; 7] = [
    [1, 3, 1, 16, 1],
    [6, 3, 2, 24, 2],
    [6, 5, 2, 40, 2],
    [6, 3, 2, 80, 3],
    [6, 5, 1, 112, 3],
    [6, 5, 2, 192, 4],
    [6, 3, 1, 320, 1],
];

/// Probability to drop the last block; it grows linearly from 0 at the first.
const DROP_PATH: f64 = 0.2;

const fn efficientnet(
    name: &'static str,
    size_px: usize,
    preprocess: Preprocess,
    build: fn(&BuildOptions) -> Result<Graph, GraphError>,
) -> Architecture {
    Architecture { name, family: "efficientnet", size_px: Some(size_px), paper: PAPER, preprocess, build }
}

fn build(scale: &Scale, options: &BuildOptions) -> Result<Graph, GraphError> {
    let (mut b, x) = options.start(scale.name, scale.size_px);
    let width = |w: usize| round_width(w as f64 * scale.width);
    let n_blocks: usize = STAGES.iter().map(|s| round_depth(s[4], scale.depth)).sum();
    let mut block = 0;
    let mut x = conv_norm(&mut b, "features.0", x, width(32), [3, 2, 1], Some(Silu))?;
    for (stage, [expansion, kernel, stride, out, depth]) in STAGES.into_iter().enumerate() {
        for i in 0..round_depth(depth, scale.depth) {
            let path = format!("features.{}.{i}", stage + 1);
            let stride = if i == 0 { stride } else { 1 };
            let p = DROP_PATH * block as f64 / n_blocks as f64;
            x = mbconv(&mut b, &path, x, [expansion, kernel, stride, width(out)], p)?;
            block += 1;
        }
    }
    let head = 4 * b.channels(x);
    let x = conv_norm(&mut b, "features.8", x, head, [1, 1, 1], Some(Silu))?;
    let x = b.global_avg_pool("avgpool", x)?;
    let x = b.node("classifier.0", Op::Dropout { p: scale.dropout }, &[x])?;
    let n = options.n_logits();
    let weight = Init::Uniform(1.0 / (n as f64).sqrt());
    let logits = b.linear_init("classifier.1", x, n, weight, Init::Constant(0.0))?;
    options.finish(b, logits)
}

const SQUEEZE: SqueezeNames = SqueezeNames {
    pool: "avgpool",
    reduce: "fc1",
    activation: "activation",
    expand: "fc2",
    gate: "scale_activation",
};

/// Widens, filters each channel, weighs the channels, narrows; adds the input where the shapes agree.
fn mbconv(
    b: &mut GraphBuilder,
    path: &str,
    x: ValueId,
    [expansion, kernel, stride, out]: [usize; 4],
    drop_path: f64,
) -> Result<ValueId, GraphError> {
    let channels = b.channels(x);
    let inner = round_width((channels * expansion) as f64);
    let mut at = 0; // position in torchvision's `block`
    let mut y = x;
    if inner != channels {
        y = conv_norm(b, &format!("{path}.block.{at}"), y, inner, [1, 1, 1], Some(Silu))?;
        at += 1;
    }
    y = conv_norm(b, &format!("{path}.block.{at}"), y, inner, [kernel, stride, inner], Some(Silu))?;
    y = squeeze_excite(b, &format!("{path}.block.{}", at + 1), &SQUEEZE, y, (channels / 4).max(1))?;
    y = conv_norm(b, &format!("{path}.block.{}", at + 2), y, out, [1, 1, 1], None)?;
    if stride != 1 || channels != out {
        return Ok(y);
    }
    if drop_path > 0.0 {
        y = b.node(&format!("{path}.stochastic_depth"), Op::DropPath { p: drop_path }, &[y])?;
    }
    b.node(path, Op::Add, &[y, x])
}
