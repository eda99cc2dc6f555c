//! DenseNet (torchvision; timm's file names are the same): every layer reads all layers of its block before it.
//!
//! Huang, Liu, van der Maaten and Weinberger, "Densely connected convolutional networks", 2017.
//! `image [batch, 3, 224, 224]` → four blocks with a transition between them → `[batch, width, 7, 7]` → `[batch, width]` →
//! `logits`.

use headstart_graph::{Conv, Filter, Graph, GraphBuilder, GraphError, Init, Op, ValueId};

use crate::architecture::{Architecture, BuildOptions, imagenet};

const PAPER: &str = "Huang et al. 2017, Densely connected convolutional networks";

/// Width of the bottleneck in growths.
const BOTTLENECK: usize = 4;

pub(crate) const ARCHITECTURES: &[Architecture] = &[
    depth("densenet121", |o| densenet("densenet121", 64, 32, [6, 12, 24, 16], o)),
    depth("densenet161", |o| densenet("densenet161", 96, 48, [6, 12, 36, 24], o)),
    depth("densenet169", |o| densenet("densenet169", 64, 32, [6, 12, 32, 32], o)),
    depth("densenet201", |o| densenet("densenet201", 64, 32, [6, 12, 48, 32], o)),
];

const fn depth(name: &'static str, build: fn(&BuildOptions) -> Result<Graph, GraphError>) -> Architecture {
    let preprocess = imagenet(224, 256, Filter::Bilinear);
    Architecture { name, family: "densenet", size_px: Some(224), paper: PAPER, preprocess, build }
}

fn densenet(
    name: &str,
    width: usize,
    growth: usize,
    blocks: [usize; 4],
    options: &BuildOptions,
) -> Result<Graph, GraphError> {
    let (mut b, x) = options.start(name, 224);
    let x = conv(&mut b, "features.conv0", x, Conv::new(width, 7).stride(2).padding(3))?;
    let x = norm_relu(&mut b, ["features.norm0", "features.relu0"], x)?;
    let mut x = b.max_pool("features.pool0", x, [3, 2, 1], false)?;
    for (i, layers) in blocks.into_iter().enumerate() {
        let block = format!("features.denseblock{}", i + 1);
        for j in 1..=layers {
            let path = format!("{block}.denselayer{j}");
            let y = dense_layer(&mut b, &path, x, growth)?;
            x = b.node(&format!("{path}.concat"), Op::Concat { axis: 1 }, &[x, y])?;
        }
        if i + 1 < blocks.len() {
            let path = format!("features.transition{}", i + 1);
            x = norm_relu(&mut b, [&format!("{path}.norm"), &format!("{path}.relu")], x)?;
            let half = b.channels(x) / 2;
            x = conv(&mut b, &format!("{path}.conv"), x, Conv::new(half, 1))?;
            let pool = Op::AvgPool2d {
                kernel: [2, 2],
                stride: [2, 2],
                padding: [0, 0],
                ceil_mode: false,
                count_include_pad: true,
            };
            x = b.node(&format!("{path}.pool"), pool, &[x])?;
        }
    }
    let x = norm_relu(&mut b, ["features.norm5", "relu"], x)?;
    let x = b.global_avg_pool("avgpool", x)?;
    let fan_in = b.shape(x).width().unwrap_or(1);
    let (weight, bias) = (Init::fan_in_uniform(fan_in), Init::Constant(0.0));
    let logits = b.linear_init("classifier", x, options.n_logits(), weight, bias)?;
    options.finish(b, logits)
}

/// Norm, ReLU, 1×1 convolution, and the same with 3×3: `growth` new channels.
fn dense_layer(b: &mut GraphBuilder, path: &str, x: ValueId, growth: usize) -> Result<ValueId, GraphError> {
    let at = |part: &str| format!("{path}.{part}");
    let x = norm_relu(b, [&at("norm1"), &at("relu1")], x)?;
    let x = conv(b, &at("conv1"), x, Conv::new(BOTTLENECK * growth, 1))?;
    let x = norm_relu(b, [&at("norm2"), &at("relu2")], x)?;
    conv(b, &at("conv2"), x, Conv::new(growth, 3).padding(1))
}

fn norm_relu(b: &mut GraphBuilder, [norm, relu]: [&str; 2], x: ValueId) -> Result<ValueId, GraphError> {
    let x = b.batch_norm(norm, x, 1e-5, 0.1)?;
    b.relu(relu, x)
}

/// Convolutions start with variance 2/fan_in here, and have no bias.
fn conv(b: &mut GraphBuilder, path: &str, x: ValueId, c: Conv) -> Result<ValueId, GraphError> {
    let init = Init::Normal((2.0 / c.fan_in(b.channels(x)) as f64).sqrt());
    b.conv(path, x, c.no_bias().init(init))
}
