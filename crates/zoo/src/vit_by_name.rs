//! Vision transformers by name: torchvision's, and timm's ViT and DeiT (`timm/…`), whose layers project query, key and
//! value at once.
//!
//! Papers as in [`crate::vit`].  `image [batch, 3, 224, 224]` → patches → class token before them → layers → the class
//! token's `[batch, width]` → `logits`.

use headstart_graph::{
    Attention, AxisRange, Dim, Filter, Graph, GraphBuilder, GraphError, Init, Op, Preprocess, ValueId,
};

use crate::architecture::{Architecture, BuildOptions, imagenet, minus_one_to_one};
use crate::vit::patch_tokens;

const PAPER: &str = "Dosovitskiy et al. 2021, An image is worth 16×16 words";
const DEIT: &str = "Touvron et al. 2021, Training data-efficient image transformers";

const EPS: f64 = 1e-6;

const TINY: Size = Size { width: 192, layers: 12, heads: 3 };
const SMALL: Size = Size { width: 384, layers: 12, heads: 6 };
const BASE: Size = Size { width: 768, layers: 12, heads: 12 };
const LARGE: Size = Size { width: 1024, layers: 24, heads: 16 };

pub(crate) const ARCHITECTURES: &[Architecture] = &[
    of(PAPER, "vit_b_16", 224, RESIZED, |o| torchvision("vit_b_16", BASE, 16, o)),
    of(PAPER, "vit_b_32", 224, RESIZED, |o| torchvision("vit_b_32", BASE, 32, o)),
    of(PAPER, "vit_l_16", 224, imagenet(224, 242, Filter::Bilinear), |o| {
        torchvision("vit_l_16", LARGE, 16, o)
    }),
    of(PAPER, "vit_l_32", 224, RESIZED, |o| torchvision("vit_l_32", LARGE, 32, o)),
    of(PAPER, "timm/vit_tiny_patch16_224", 224, HALVES, |o| {
        timm("timm/vit_tiny_patch16_224", TINY, 16, 224, o)
    }),
    of(PAPER, "timm/vit_tiny_patch16_384", 384, HALVES_384, |o| {
        timm("timm/vit_tiny_patch16_384", TINY, 16, 384, o)
    }),
    of(PAPER, "timm/vit_small_patch32_224", 224, HALVES, |o| {
        timm("timm/vit_small_patch32_224", SMALL, 32, 224, o)
    }),
    of(PAPER, "timm/vit_small_patch16_224", 224, HALVES, |o| {
        timm("timm/vit_small_patch16_224", SMALL, 16, 224, o)
    }),
    of(PAPER, "timm/vit_small_patch16_384", 384, HALVES_384, |o| {
        timm("timm/vit_small_patch16_384", SMALL, 16, 384, o)
    }),
    of(PAPER, "timm/vit_base_patch32_224", 224, HALVES, |o| {
        timm("timm/vit_base_patch32_224", BASE, 32, 224, o)
    }),
    of(PAPER, "timm/vit_base_patch16_224", 224, HALVES, |o| {
        timm("timm/vit_base_patch16_224", BASE, 16, 224, o)
    }),
    of(PAPER, "timm/vit_base_patch16_384", 384, HALVES_384, |o| {
        timm("timm/vit_base_patch16_384", BASE, 16, 384, o)
    }),
    of(PAPER, "timm/vit_large_patch16_224", 224, HALVES, |o| {
        timm("timm/vit_large_patch16_224", LARGE, 16, 224, o)
    }),
    of(DEIT, "timm/deit_tiny_patch16_224", 224, DEIT_CROP, |o| {
        timm("timm/deit_tiny_patch16_224", TINY, 16, 224, o)
    }),
    of(DEIT, "timm/deit_small_patch16_224", 224, DEIT_CROP, |o| {
        timm("timm/deit_small_patch16_224", SMALL, 16, 224, o)
    }),
    of(DEIT, "timm/deit_base_patch16_224", 224, DEIT_CROP, |o| {
        timm("timm/deit_base_patch16_224", BASE, 16, 224, o)
    }),
];

const RESIZED: Preprocess = imagenet(224, 256, Filter::Bilinear);
/// timm's crop of 90 %, channels to −1…1.
const HALVES: Preprocess = minus_one_to_one(224, 248, Filter::Bicubic);
const HALVES_384: Preprocess = minus_one_to_one(384, 384, Filter::Bicubic);
const DEIT_CROP: Preprocess = imagenet(224, 248, Filter::Bicubic);

const fn of(
    paper: &'static str,
    name: &'static str,
    size_px: usize,
    preprocess: Preprocess,
    build: fn(&BuildOptions) -> Result<Graph, GraphError>,
) -> Architecture {
    Architecture { name, family: "vit_by_name", size_px: Some(size_px), paper, preprocess, build }
}

#[derive(Clone, Copy)]
struct Size {
    width: usize,
    layers: usize,
    heads: usize,
}

/// What a naming calls its parts, and how it draws them.
struct Names {
    class: &'static str,
    projection: &'static str,
    positions: &'static str,
    /// Positions stand behind the patches' projection in the state dict.
    positions_last: bool,
    layer: fn(usize) -> String,
    /// Norm, projection of query, key and value at once, dense; norm, up, down.
    parts: [&'static str; 6],
    /// The projection's weight and bias end so.
    packed: [&'static str; 2],
    last_norm: &'static str,
    classifier: &'static str,
}

const TORCHVISION: Names = Names {
    class: "class_token",
    projection: "conv_proj",
    positions: "encoder.pos_embedding",
    positions_last: true,
    layer: |i| format!("encoder.layers.encoder_layer_{i}"),
    parts: ["ln_1", "self_attention.in_proj", "self_attention.out_proj", "ln_2", "mlp.0", "mlp.3"],
    packed: ["_weight", "_bias"],
    last_norm: "encoder.ln",
    classifier: "heads.head",
};

const TIMM: Names = Names {
    class: "cls_token",
    projection: "patch_embed.proj",
    positions: "pos_embed",
    positions_last: false,
    layer: |i| format!("blocks.{i}"),
    parts: ["norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2"],
    packed: [".weight", ".bias"],
    last_norm: "norm",
    classifier: "head",
};

fn torchvision(name: &str, size: Size, patch: usize, options: &BuildOptions) -> Result<Graph, GraphError> {
    vit(name, &TORCHVISION, size, patch, 224, options)
}

fn timm(
    name: &str,
    size: Size,
    patch: usize,
    image_px: usize,
    options: &BuildOptions,
) -> Result<Graph, GraphError> {
    vit(name, &TIMM, size, patch, image_px, options)
}

fn vit(
    name: &str,
    names: &Names,
    Size { width, layers, heads }: Size,
    patch: usize,
    image_px: usize,
    options: &BuildOptions,
) -> Result<Graph, GraphError> {
    let (mut b, image) = options.start(name, image_px);
    let side = options.image_size_px.unwrap_or(image_px) / patch;
    let class = b.param(names.class.into(), &[1, 1, width], Init::Constant(0.0))?;
    let shape = [1, side * side + 1, width];
    let position_init = Init::Normal(0.02);
    if !names.positions_last {
        b.reserve(names.positions.into(), &shape, position_init)?;
    }
    let init = Init::Normal((1.0 / (3 * patch * patch) as f64).sqrt());
    let patches = patch_tokens(&mut b, names.projection, image, width, patch, init)?;
    let positions = b.param(names.positions.into(), &shape, position_init)?;
    let x = b.node("tokens", Op::Concat { axis: 1 }, &[class, patches])?;
    let mut x = b.node("tokens.add_position", Op::Add, &[x, positions])?;
    for i in 0..layers {
        x = layer(&mut b, &(names.layer)(i), names, heads, x)?;
    }
    let x = b.layer_norm(names.last_norm, x, EPS)?;
    let x = b.node("tokens.class", Op::Select { axis: 1, index: 0 }, &[x])?;
    let zero = Init::Constant(0.0);
    let logits = b.linear_init(names.classifier, x, options.n_logits(), zero, zero)?;
    options.finish(b, logits)
}

/// Attention and a feed-forward part four times as wide, each on its normalised input and added to it.
fn layer(
    b: &mut GraphBuilder,
    path: &str,
    names: &Names,
    heads: usize,
    x: ValueId,
) -> Result<ValueId, GraphError> {
    let [norm1, qkv, dense, norm2, up, down] = names.parts.map(|part| format!("{path}.{part}"));
    let width = b.shape(x).width().unwrap_or(0);
    let xavier = |rows: usize, columns: usize| Init::Uniform((6.0 / (rows + columns) as f64).sqrt());
    let zero = Init::Constant(0.0);
    let y = b.layer_norm(&norm1, x, EPS)?;
    let weight =
        b.param(format!("{qkv}{}", names.packed[0]), &[3 * width, width], xavier(3 * width, width))?;
    let bias = b.param(format!("{qkv}{}", names.packed[1]), &[3 * width], zero)?;
    let packed = b.node(&qkv, Op::Linear, &[y, weight, bias])?;
    let mut parts = Vec::with_capacity(3);
    for (i, part) in ["query", "key", "value"].into_iter().enumerate() {
        let (start, length) = (Dim::Fixed(i * width), Dim::Fixed(width));
        let third = Op::Slice { ranges: vec![AxisRange { axis: 2, start, length, step: 1 }] };
        parts.push(b.node(&format!("{qkv}.{part}"), third, &[packed])?);
    }
    let y = b.node(&format!("{qkv}.attention"), Op::Attention(Attention::new(heads)), &parts)?;
    let y = b.linear_init(&dense, y, width, xavier(width, width), zero)?;
    let x = b.node(&format!("{dense}.add"), Op::Add, &[y, x])?;
    let y = b.layer_norm(&norm2, x, EPS)?;
    let y = b.linear_init(&up, y, 4 * width, xavier(4 * width, width), zero)?;
    let y = b.node(&format!("{up}.gelu"), Op::Gelu { tanh: false }, &[y])?;
    let y = b.linear_init(&down, y, width, xavier(4 * width, width), zero)?;
    b.node(&format!("{down}.add"), Op::Add, &[x, y])
}
