//! ResNet, Wide ResNet and ResNeXt (torchvision's; timm's plain ones name their parameters alike).
//!
//! He, Zhang, Ren and Sun, "Deep residual learning for image recognition", 2015; Zagoruyko and Komodakis, "Wide
//! residual networks", 2016; Xie et al., "Aggregated residual transformations", 2016.
//! `image [batch, 3, 224, 224]` → stem `[batch, 64, 56, 56]` → four stages of residual blocks → `[batch, 512·e]`, e = 1
//! or 4 → `logits`.  A block halves the image at its 3×3 convolution (torchvision's "v1.5").

use headstart_graph::{Conv, Filter, Graph, GraphBuilder, GraphError, Init, Op, ValueId};

use crate::architecture::{Architecture, BuildOptions, imagenet};

const HE: &str = "He et al. 2015, Deep residual learning for image recognition";
const ZAGORUYKO: &str = "Zagoruyko and Komodakis 2016, Wide residual networks";
const XIE: &str = "Xie et al. 2016, Aggregated residual transformations for deep neural networks";

pub(crate) const ARCHITECTURES: &[Architecture] = &[
    resnet("resnet18", HE, |o| basic("resnet18", [2, 2, 2, 2], o)),
    resnet("resnet34", HE, |o| basic("resnet34", [3, 4, 6, 3], o)),
    resnet("resnet50", HE, |o| bottleneck("resnet50", [3, 4, 6, 3], [1, 64], o)),
    resnet("resnet101", HE, |o| bottleneck("resnet101", [3, 4, 23, 3], [1, 64], o)),
    resnet("resnet152", HE, |o| bottleneck("resnet152", [3, 8, 36, 3], [1, 64], o)),
    resnet("wide_resnet50_2", ZAGORUYKO, |o| bottleneck("wide_resnet50_2", [3, 4, 6, 3], [1, 128], o)),
    resnet("wide_resnet101_2", ZAGORUYKO, |o| bottleneck("wide_resnet101_2", [3, 4, 23, 3], [1, 128], o)),
    resnet("resnext50_32x4d", XIE, |o| bottleneck("resnext50_32x4d", [3, 4, 6, 3], [32, 4], o)),
    resnet("resnext101_32x8d", XIE, |o| bottleneck("resnext101_32x8d", [3, 4, 23, 3], [32, 8], o)),
    resnet("resnext101_64x4d", XIE, |o| bottleneck("resnext101_64x4d", [3, 4, 23, 3], [64, 4], o)),
];

const fn resnet(
    name: &'static str,
    paper: &'static str,
    build: fn(&BuildOptions) -> Result<Graph, GraphError>,
) -> Architecture {
    let preprocess = imagenet(224, 256, Filter::Bilinear);
    Architecture { name, family: "resnet", size_px: Some(224), paper, preprocess, build }
}

/// Residual blocks of two 3×3 convolutions; a stage's output is as wide as the stage.
fn basic(name: &str, depths: [usize; 4], options: &BuildOptions) -> Result<Graph, GraphError> {
    network(name, depths, options, |b, path, x, width, stride| {
        let y = conv_norm(b, path, 1, x, conv(width, 3).stride(stride))?;
        let y = b.relu(&format!("{path}.relu1"), y)?;
        let y = conv_norm(b, path, 2, y, conv(width, 3))?;
        join(b, path, x, y, stride)
    })
}

/// Residual blocks of 1×1, 3×3 and 1×1 convolutions, four times as wide at the end.  `groups` and `base` (the width a
/// group has in the first stage) make them wide or aggregated.
fn bottleneck(
    name: &str,
    depths: [usize; 4],
    [groups, base]: [usize; 2],
    options: &BuildOptions,
) -> Result<Graph, GraphError> {
    network(name, depths, options, |b, path, x, width, stride| {
        let inner = width * base / 64 * groups;
        let y = conv_norm(b, path, 1, x, conv(inner, 1))?;
        let y = b.relu(&format!("{path}.relu1"), y)?;
        let init = Init::kaiming_fan_out(&[inner, 1, 3, 3], 1); // torch ignores the groups
        let y = conv_norm(b, path, 2, y, conv(inner, 3).stride(stride).groups(groups).init(init))?;
        let y = b.relu(&format!("{path}.relu2"), y)?;
        let y = conv_norm(b, path, 3, y, conv(4 * width, 1))?;
        join(b, path, x, y, stride)
    })
}

fn network<F>(name: &str, depths: [usize; 4], options: &BuildOptions, block: F) -> Result<Graph, GraphError>
where
    F: Fn(&mut GraphBuilder, &str, ValueId, usize, usize) -> Result<ValueId, GraphError>,
{
    let (mut b, x) = options.start(name, 224);
    let x = b.conv("conv1", x, Conv::new(64, 7).stride(2).padding(3).no_bias())?;
    let x = b.batch_norm("bn1", x, 1e-5, 0.1)?;
    let x = b.relu("relu", x)?;
    let mut x = b.max_pool("maxpool", x, [3, 2, 1], false)?;
    for (stage, depth) in depths.into_iter().enumerate() {
        for i in 0..depth {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            x = block(&mut b, &format!("layer{}.{i}", stage + 1), x, 64 << stage, stride)?;
        }
    }
    let x = b.global_avg_pool("avgpool", x)?;
    let logits = b.linear("fc", x, options.n_logits())?;
    options.finish(b, logits)
}

/// Adds the shortcut, through a 1×1 convolution where the shapes differ, and rectifies.
fn join(
    b: &mut GraphBuilder,
    path: &str,
    x: ValueId,
    y: ValueId,
    stride: usize,
) -> Result<ValueId, GraphError> {
    let mut shortcut = x;
    if stride != 1 || b.channels(x) != b.channels(y) {
        let out = b.channels(y);
        shortcut = b.conv(&format!("{path}.downsample.0"), x, conv(out, 1).stride(stride))?;
        shortcut = b.batch_norm(&format!("{path}.downsample.1"), shortcut, 1e-5, 0.1)?;
    }
    let y = b.node(&format!("{path}.add"), Op::Add, &[y, shortcut])?;
    b.relu(path, y)
}

fn conv_norm(b: &mut GraphBuilder, path: &str, i: usize, x: ValueId, c: Conv) -> Result<ValueId, GraphError> {
    let x = b.conv(&format!("{path}.conv{i}"), x, c)?;
    b.batch_norm(&format!("{path}.bn{i}"), x, 1e-5, 0.1)
}

/// A convolution without bias that keeps the image's size at stride 1.
fn conv(out: usize, kernel: usize) -> Conv {
    Conv::new(out, kernel).padding(kernel / 2).no_bias()
}
