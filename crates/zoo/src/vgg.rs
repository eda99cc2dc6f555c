//! VGG, with and without batch norm (torchvision's).
//!
//! Simonyan and Zisserman, "Very deep convolutional networks for large-scale image recognition", 2014.
//! `image [batch, 3, 224, 224]` → five stages of 3×3 convolutions, each halved by a pool → `[batch, 512, 7, 7]` →
//! `[batch, 4096]` → `logits`.

use headstart_graph::{Conv, Filter, Graph, GraphBuilder, GraphError, Init, Op, ValueId};

use crate::architecture::{Architecture, BuildOptions, imagenet};

/// Convolutions in each of the five stages, of these widths.
const WIDTHS: [usize; 5] = [64, 128, 256, 512, 512];

pub(crate) const ARCHITECTURES: &[Architecture] = &[
    vgg("vgg11", |o| build("vgg11", [1, 1, 2, 2, 2], false, o)),
    vgg("vgg13", |o| build("vgg13", [2, 2, 2, 2, 2], false, o)),
    vgg("vgg16", |o| build("vgg16", [2, 2, 3, 3, 3], false, o)),
    vgg("vgg19", |o| build("vgg19", [2, 2, 4, 4, 4], false, o)),
    vgg("vgg11_bn", |o| build("vgg11_bn", [1, 1, 2, 2, 2], true, o)),
    vgg("vgg13_bn", |o| build("vgg13_bn", [2, 2, 2, 2, 2], true, o)),
    vgg("vgg16_bn", |o| build("vgg16_bn", [2, 2, 3, 3, 3], true, o)),
    vgg("vgg19_bn", |o| build("vgg19_bn", [2, 2, 4, 4, 4], true, o)),
];

const fn vgg(name: &'static str, build: fn(&BuildOptions) -> Result<Graph, GraphError>) -> Architecture {
    Architecture {
        name,
        family: "vgg",
        size_px: Some(224),
        paper: "Simonyan and Zisserman 2014, Very deep convolutional networks for large-scale image recognition",
        preprocess: imagenet(224, 256, Filter::Bilinear),
        build,
    }
}

fn build(
    name: &str,
    depths: [usize; 5],
    batch_norm: bool,
    options: &BuildOptions,
) -> Result<Graph, GraphError> {
    let (mut b, mut x) = options.start(name, 224);
    let mut at = 0; // position in torchvision's `features`
    for (depth, width) in depths.into_iter().zip(WIDTHS) {
        for _ in 0..depth {
            x = b.conv(&format!("features.{at}"), x, Conv::new(width, 3).padding(1))?;
            if batch_norm {
                at += 1;
                x = b.batch_norm(&format!("features.{at}"), x, 1e-5, 0.1)?;
            }
            x = b.relu(&format!("features.{}", at + 1), x)?;
            at += 2;
        }
        x = b.max_pool(&format!("features.{at}"), x, [2, 2, 0], false)?;
        at += 1;
    }
    let x = b.node("avgpool", Op::AdaptiveAvgPool2d { size: [7, 7] }, &[x])?;
    let x = b.node("flatten", Op::Flatten { start: 1 }, &[x])?;
    let x = linear(&mut b, 0, x, 4096)?;
    let x = b.relu("classifier.1", x)?;
    let x = b.node("classifier.2", Op::Dropout { p: 0.5 }, &[x])?;
    let x = linear(&mut b, 3, x, 4096)?;
    let x = b.relu("classifier.4", x)?;
    let x = b.node("classifier.5", Op::Dropout { p: 0.5 }, &[x])?;
    let logits = linear(&mut b, 6, x, options.n_logits())?;
    options.finish(b, logits)
}

fn linear(b: &mut GraphBuilder, at: usize, x: ValueId, out: usize) -> Result<ValueId, GraphError> {
    b.linear_init(&format!("classifier.{at}"), x, out, Init::Normal(0.01), Init::Constant(0.0))
}
