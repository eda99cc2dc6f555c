//! ConvNeXt under three namings: torchvision's, timm's (`timm/…`) and transformers' (by configuration).
//!
//! Liu, Mao, Wu, Feichtenhofer, Darrell and Xie, "A ConvNet for the 2020s", 2022.
//! `image [batch, 3, 224, 224]` → patches of 4×4 → four stages of depthwise 7×7 blocks → `[batch, width, 7, 7]` → mean, norm
//! → `[batch, width]` → `logits`.  Sizes other than 224 fit too.

use headstart_graph::{Conv, Filter, Graph, GraphBuilder, GraphError, Init, Op, ValueId};

use crate::activation::HiddenAct;
use crate::architecture::{Architecture, BuildOptions, imagenet};

const PAPER: &str = "Liu et al. 2022, A ConvNet for the 2020s";

/// Standard deviation of initial weights, and ε of every norm but transformers' last.
const STD: f64 = 0.02;
const EPS: f64 = 1e-6;

const TINY: Shape = Shape { depths: [3, 3, 9, 3], widths: [96, 192, 384, 768] };
const SMALL: Shape = Shape { depths: [3, 3, 27, 3], widths: [96, 192, 384, 768] };
const BASE: Shape = Shape { depths: [3, 3, 27, 3], widths: [128, 256, 512, 1024] };
const LARGE: Shape = Shape { depths: [3, 3, 27, 3], widths: [192, 384, 768, 1536] };
const XLARGE: Shape = Shape { depths: [3, 3, 27, 3], widths: [256, 512, 1024, 2048] };
const ATTO: Shape = Shape { depths: [2, 2, 6, 2], widths: [40, 80, 160, 320] };
const FEMTO: Shape = Shape { depths: [2, 2, 6, 2], widths: [48, 96, 192, 384] };
const PICO: Shape = Shape { depths: [2, 2, 6, 2], widths: [64, 128, 256, 512] };
const NANO: Shape = Shape { depths: [2, 2, 8, 2], widths: [80, 160, 320, 640] };

pub(crate) const ARCHITECTURES: &[Architecture] = &[
    size("convnext_tiny", 236, |o| torchvision("convnext_tiny", TINY, 0.1, o)),
    size("convnext_small", 230, |o| torchvision("convnext_small", SMALL, 0.4, o)),
    size("convnext_base", 232, |o| torchvision("convnext_base", BASE, 0.5, o)),
    size("convnext_large", 232, |o| torchvision("convnext_large", LARGE, 0.5, o)),
    timm_size("timm/convnext_atto", 256, |o| timm("timm/convnext_atto", ATTO, true, o)),
    timm_size("timm/convnext_femto", 256, |o| timm("timm/convnext_femto", FEMTO, true, o)),
    timm_size("timm/convnext_pico", 256, |o| timm("timm/convnext_pico", PICO, true, o)),
    timm_size("timm/convnext_nano", 256, |o| timm("timm/convnext_nano", NANO, true, o)),
    timm_size("timm/convnext_tiny", 235, |o| timm("timm/convnext_tiny", TINY, false, o)),
    timm_size("timm/convnext_small", 256, |o| timm("timm/convnext_small", SMALL, false, o)),
    timm_size("timm/convnext_base", 256, |o| timm("timm/convnext_base", BASE, false, o)),
    timm_size("timm/convnext_large", 256, |o| timm("timm/convnext_large", LARGE, false, o)),
    timm_size("timm/convnext_xlarge", 256, |o| timm("timm/convnext_xlarge", XLARGE, false, o)),
];

type Build = fn(&BuildOptions) -> Result<Graph, GraphError>;

const fn size(name: &'static str, shorter_px: usize, build: Build) -> Architecture {
    let preprocess = imagenet(224, shorter_px, Filter::Bilinear);
    Architecture { name, family: "convnext", size_px: Some(224), paper: PAPER, preprocess, build }
}

const fn timm_size(name: &'static str, shorter_px: usize, build: Build) -> Architecture {
    let preprocess = imagenet(224, shorter_px, Filter::Bicubic);
    Architecture { name, family: "convnext", size_px: Some(224), paper: PAPER, preprocess, build }
}

#[derive(Clone, Copy)]
struct Shape {
    depths: [usize; 4],
    widths: [usize; 4],
}

/// What a naming calls its parts.
pub(crate) struct Names {
    /// Convolution and norm of the stem.
    pub(crate) stem: [String; 2],
    /// Norm and convolution before stage `i` (from 1 on).
    pub(crate) downsample: fn(&str, usize) -> [String; 2],
    /// Block `j` of stage `i`.
    pub(crate) block: fn(&str, usize, usize) -> String,
    /// Scale, depthwise convolution, norm, first and second dense layer of a block.
    pub(crate) parts: [&'static str; 5],
    /// Before the trunk's names.
    pub(crate) prefix: String,
}

/// The trunk's settings.
pub(crate) struct Spec {
    pub(crate) depths: Vec<usize>,
    pub(crate) widths: Vec<usize>,
    pub(crate) patch: usize,
    pub(crate) act: HiddenAct,
    /// First value of every block's scale; no scale if it is `None`.
    pub(crate) scale: Option<f64>,
    /// The scale stands as `[width, 1, 1]`, over channels first.
    pub(crate) scale_by_channel: bool,
    /// Dense layers are 1×1 convolutions.
    pub(crate) convolutions: bool,
    /// Probability of leaving the last block out in training; it grows from 0 at the first.
    pub(crate) drop_path: f64,
}

fn torchvision(
    name: &str,
    shape: Shape,
    drop_path: f64,
    options: &BuildOptions,
) -> Result<Graph, GraphError> {
    let (mut b, x) = options.start(name, 224);
    let names = Names {
        stem: ["features.0.0".into(), "features.0.1".into()],
        downsample: |_, i| [0, 1].map(|part| format!("features.{}.{part}", 2 * i)),
        block: |_, i, j| format!("features.{}.{j}", 2 * i + 1),
        parts: ["layer_scale", "block.0", "block.2", "block.3", "block.5"],
        prefix: String::new(),
    };
    let spec = Spec { drop_path, scale_by_channel: true, ..Spec::of(shape) };
    let x = trunk(&mut b, &names, &spec, x)?;
    let x = b.global_avg_pool("avgpool", x)?;
    let x = b.layer_norm("classifier.0", x, EPS)?;
    let logits =
        b.linear_init("classifier.2", x, options.n_logits(), Init::Normal(STD), Init::Constant(0.0))?;
    options.finish(b, logits)
}

fn timm(name: &str, shape: Shape, convolutions: bool, options: &BuildOptions) -> Result<Graph, GraphError> {
    let (mut b, x) = options.start(name, 224);
    let names = Names {
        stem: ["stem.0".into(), "stem.1".into()],
        downsample: |_, i| [0, 1].map(|part| format!("stages.{i}.downsample.{part}")),
        block: |_, i, j| format!("stages.{i}.blocks.{j}"),
        parts: ["gamma", "conv_dw", "norm", "mlp.fc1", "mlp.fc2"],
        prefix: String::new(),
    };
    let x = trunk(&mut b, &names, &Spec { convolutions, ..Spec::of(shape) }, x)?;
    let x = b.global_avg_pool("head.global_pool", x)?;
    let x = b.layer_norm("head.norm", x, EPS)?;
    let logits = b.linear_init("head.fc", x, options.n_logits(), Init::Normal(STD), Init::Constant(0.0))?;
    options.finish(b, logits)
}

impl Spec {
    fn of(shape: Shape) -> Self {
        Spec {
            depths: shape.depths.to_vec(),
            widths: shape.widths.to_vec(),
            patch: 4,
            act: HiddenAct::Gelu,
            scale: Some(1e-6),
            scale_by_channel: false,
            convolutions: false,
            drop_path: 0.0,
        }
    }
}

/// Stem and stages: `[batch, 3, h, w]` → `[batch, width, h/32, w/32]`.
pub(crate) fn trunk(
    b: &mut GraphBuilder,
    names: &Names,
    spec: &Spec,
    image: ValueId,
) -> Result<ValueId, GraphError> {
    let patches = |width, size| Conv::new(width, size).stride(size).init(Init::Normal(STD));
    let mut x = b.conv(&names.stem[0], image, patches(spec.widths[0], spec.patch))?;
    x = norm_channels(b, &names.stem[1], x)?;
    let n_blocks: usize = spec.depths.iter().sum();
    let mut at = 0;
    for (i, (&depth, &width)) in spec.depths.iter().zip(&spec.widths).enumerate() {
        if i > 0 {
            let [norm, conv] = (names.downsample)(&names.prefix, i);
            x = norm_channels(b, &norm, x)?;
            x = b.conv(&conv, x, patches(width, 2))?;
        }
        for j in 0..depth {
            let drop_path = spec.drop_path * at as f64 / (n_blocks.max(2) - 1) as f64;
            x = block(b, &(names.block)(&names.prefix, i, j), &names.parts, spec, drop_path, x)?;
            at += 1;
        }
    }
    Ok(x)
}

/// Depthwise 7×7, norm, a dense layer four times as wide and one back, scaled; channels last between.
fn block(
    b: &mut GraphBuilder,
    path: &str,
    parts: &[&str; 5],
    spec: &Spec,
    drop_path: f64,
    x: ValueId,
) -> Result<ValueId, GraphError> {
    let width = b.channels(x);
    let [scale, depthwise, norm, up, down] = parts.map(|part| format!("{path}.{part}"));
    let scaled = match spec.scale {
        Some(first) => {
            let shape: &[usize] = if spec.scale_by_channel { &[width, 1, 1] } else { &[width] };
            Some(b.param(scale.clone(), shape, Init::Constant(first))?)
        }
        None => None,
    };
    let conv = Conv::new(width, 7).padding(3).groups(width).init(Init::Normal(STD));
    let mut y = b.conv(&depthwise, x, conv)?;
    let transposed = |b: &mut GraphBuilder, n: usize, y: ValueId, last: bool| {
        let perm = if last { vec![0, 2, 3, 1] } else { vec![0, 3, 1, 2] };
        b.node(&format!("{path}.permute{n}"), Op::Transpose { perm }, &[y])
    };
    let dense = |b: &mut GraphBuilder, path: &str, y: ValueId, out: usize| {
        if spec.convolutions {
            b.conv(path, y, Conv::new(out, 1).init(Init::Normal(STD)))
        } else {
            b.linear_init(path, y, out, Init::Normal(STD), Init::Constant(0.0))
        }
    };
    y = transposed(b, 1, y, true)?;
    y = b.layer_norm(&norm, y, EPS)?;
    if spec.convolutions {
        y = transposed(b, 2, y, false)?;
    }
    y = dense(b, &up, y, 4 * width)?;
    y = b.node(&format!("{path}.act"), spec.act.op(), &[y])?;
    y = dense(b, &down, y, width)?;
    if spec.convolutions {
        y = transposed(b, 3, y, true)?;
    }
    if let (Some(scaled), false) = (scaled, spec.scale_by_channel) {
        y = b.node(&scale, Op::Mul, &[y, scaled])?;
    }
    y = transposed(b, 4, y, false)?;
    if let (Some(scaled), true) = (scaled, spec.scale_by_channel) {
        y = b.node(&scale, Op::Mul, &[y, scaled])?;
    }
    if drop_path > 0.0 {
        y = b.node(&format!("{path}.drop_path"), Op::DropPath { p: drop_path }, &[y])?;
    }
    b.node(&format!("{path}.add"), Op::Add, &[x, y])
}

/// Layer norm over the channels of `[batch, channels, height, width]`.
fn norm_channels(b: &mut GraphBuilder, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
    let x = b.node(&format!("{path}.last"), Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x])?;
    let x = b.layer_norm(path, x, EPS)?;
    b.node(&format!("{path}.first"), Op::Transpose { perm: vec![0, 3, 1, 2] }, &[x])
}
