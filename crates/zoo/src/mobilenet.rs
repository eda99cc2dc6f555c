//! MobileNet v2 (torchvision's; timm's stands with [`crate::efficientnet_timm`], whose blocks it shares).
//!
//! Sandler, Howard, Zhu, Zhmoginov and Chen, "MobileNetV2: inverted residuals and linear bottlenecks", 2018.
//! `image [batch, 3, 224, 224]` → inverted residuals → `[batch, 1280, 7, 7]` → `[batch, 1280]` → `logits`.

use headstart_graph::{Conv, Filter, Graph, GraphBuilder, GraphError, Init, Op, ValueId};

use crate::architecture::{Architecture, BuildOptions, imagenet};
use crate::mobile::{Activation::Relu6, conv_norm};

pub(crate) const PAPER: &str = "Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks";

pub(crate) const ARCHITECTURES: &[Architecture] = &[Architecture {
    name: "mobilenet_v2",
    family: "mobilenet",
    size_px: Some(224),
    paper: PAPER,
    preprocess: imagenet(224, 256, Filter::Bilinear),
    build: mobilenet_v2,
}];

/// The paper's table 2: expansion, width, blocks, stride of the first block.
const STAGES: [[usize; 4]; 7] = [
    [1, 16, 1, 1],
    [6, 24, 2, 2],
    [6, 32, 3, 2],
    [6, 64, 4, 2],
    [6, 96, 3, 1],
    [6, 160, 3, 2],
    [6, 320, 1, 1],
];

fn mobilenet_v2(options: &BuildOptions) -> Result<Graph, GraphError> {
    let (mut b, x) = options.start("mobilenet_v2", 224);
    let mut x = conv_norm(&mut b, "features.0", x, 32, [3, 2, 1], Some(Relu6))?;
    let mut at = 1;
    for [expansion, width, blocks, stride] in STAGES {
        for i in 0..blocks {
            let stride = if i == 0 { stride } else { 1 };
            x = inverted_residual(&mut b, &format!("features.{at}"), x, expansion, width, stride)?;
            at += 1;
        }
    }
    let x = conv_norm(&mut b, &format!("features.{at}"), x, 1280, [1, 1, 1], Some(Relu6))?;
    let x = b.global_avg_pool("avgpool", x)?;
    let x = b.node("classifier.0", Op::Dropout { p: 0.2 }, &[x])?;
    let (weight, bias) = (Init::Normal(0.01), Init::Constant(0.0));
    let logits = b.linear_init("classifier.1", x, options.n_logits(), weight, bias)?;
    options.finish(b, logits)
}

/// Widens, filters each channel, narrows without activation; adds the input where the shapes agree.
fn inverted_residual(
    b: &mut GraphBuilder,
    path: &str,
    x: ValueId,
    expansion: usize,
    width: usize,
    stride: usize,
) -> Result<ValueId, GraphError> {
    let inner = b.channels(x) * expansion;
    let mut at = 0; // position in torchvision's `conv`
    let mut y = x;
    if expansion != 1 {
        y = conv_norm(b, &format!("{path}.conv.{at}"), y, inner, [1, 1, 1], Some(Relu6))?;
        at += 1;
    }
    y = conv_norm(b, &format!("{path}.conv.{at}"), y, inner, [3, stride, inner], Some(Relu6))?;
    y = b.conv(&format!("{path}.conv.{}", at + 1), y, Conv::new(width, 1).no_bias())?;
    y = b.batch_norm(&format!("{path}.conv.{}", at + 2), y, 1e-5, 0.1)?;
    if stride == 1 && b.channels(x) == width { b.node(path, Op::Add, &[x, y]) } else { Ok(y) }
}
