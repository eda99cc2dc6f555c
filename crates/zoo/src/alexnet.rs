//! AlexNet in its single-column form (torchvision's).
//!
//! Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, after Krizhevsky, Sutskever
//! and Hinton, "ImageNet classification with deep convolutional neural networks", 2012.
//! `image [batch, 3, 224, 224]` → five convolutions → `[batch, 256, 6, 6]` → `[batch, 4096]` → `logits`.

use headstart_graph::{Filter, Graph, GraphBuilder, GraphError, Init, Op, Padding, ValueId};

use crate::architecture::{Architecture, BuildOptions, imagenet};

pub(crate) const ARCHITECTURES: &[Architecture] = &[Architecture {
    name: "alexnet",
    family: "alexnet",
    size_px: Some(224),
    paper: "Krizhevsky 2014, One weird trick for parallelizing convolutional neural networks",
    preprocess: imagenet(224, 256, Filter::Bilinear),
    build: alexnet,
}];

fn alexnet(options: &BuildOptions) -> Result<Graph, GraphError> {
    let (mut b, x) = options.start("alexnet", 224);
    let x = conv_relu(&mut b, 0, x, 64, [11, 4, 2])?;
    let x = b.max_pool("features.2", x, [3, 2, 0], false)?;
    let x = conv_relu(&mut b, 3, x, 192, [5, 1, 2])?;
    let x = b.max_pool("features.5", x, [3, 2, 0], false)?;
    let x = conv_relu(&mut b, 6, x, 384, [3, 1, 1])?;
    let x = conv_relu(&mut b, 8, x, 256, [3, 1, 1])?;
    let x = conv_relu(&mut b, 10, x, 256, [3, 1, 1])?;
    let x = b.max_pool("features.12", x, [3, 2, 0], false)?;
    let x = b.node("avgpool", Op::AdaptiveAvgPool2d { size: [6, 6] }, &[x])?;
    let x = b.node("flatten", Op::Flatten { start: 1 }, &[x])?;
    let x = b.node("classifier.0", Op::Dropout { p: 0.5 }, &[x])?;
    let x = b.linear("classifier.1", x, 4096)?;
    let x = b.relu("classifier.2", x)?;
    let x = b.node("classifier.3", Op::Dropout { p: 0.5 }, &[x])?;
    let x = b.linear("classifier.4", x, 4096)?;
    let x = b.relu("classifier.5", x)?;
    let logits = b.linear("classifier.6", x, options.n_logits())?;
    options.finish(b, logits)
}

/// `features.<at>` and its rectifier.  Weight and bias start uniform in ±1/√fan_in, PyTorch's default.
fn conv_relu(
    b: &mut GraphBuilder,
    at: usize,
    x: ValueId,
    out: usize,
    [kernel, stride, padding]: [usize; 3],
) -> Result<ValueId, GraphError> {
    let shape = [out, b.channels(x), kernel, kernel];
    let init = Init::fan_in_uniform(shape[1..].iter().product());
    let weight = b.param(format!("features.{at}.weight"), &shape, init)?;
    let bias = b.param(format!("features.{at}.bias"), &[out], init)?;
    let op = Op::Conv2d { stride: [stride; 2], padding: Padding::all(padding), dilation: [1, 1], groups: 1 };
    let x = b.node(&format!("features.{at}"), op, &[x, weight, bias])?;
    b.relu(&format!("features.{}", at + 1), x)
}
