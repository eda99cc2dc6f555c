//! EfficientNet, EfficientNet-Lite and MobileNet v2 as timm builds and names them.
//!
//! Tan and Le, "EfficientNet", 2019; Sandler et al., "MobileNetV2", 2018.  Lite has no squeeze and excitation, ReLU6
//! for SiLU, and does not scale the stem, the head and the depth of the first and last stage.  `tf_` members repeat
//! TensorFlow's padding (surplus below and right) and its batch norm's eps of 1e-3, so that its weights fit.
//! `image [batch, 3, size, size]` → `[batch, 1280, size/32, size/32]` (B0) → `[batch, 1280]` → `logits`.
//!
//! timm's own defaults hold: no dropout and no stochastic depth unless asked for.

use headstart_graph::{
    Conv, Filter, Graph, GraphBuilder, GraphError, Init, Op, Padding, Preprocess, ValueId,
};

use crate::architecture::{Architecture, BuildOptions, imagenet, minus_one_to_one};
use crate::mobile::{Activation, SqueezeNames, round_depth, round_width, squeeze_excite};
use crate::{efficientnet, mobilenet};

use Family::{EfficientNet, Lite, MobileNetV2};
use Filter::{Bicubic, Bilinear};

/// Which network the blocks make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    EfficientNet,
    Lite,
    MobileNetV2,
}

/// A member of a family.
struct Spec {
    name: &'static str,
    family: Family,
    size_px: usize,
    width: f64,
    depth: f64,
    /// TensorFlow's padding and batch norm.
    tf: bool,
    /// Stem, head and the depth of the first and last stage are not scaled.
    fixed_ends: bool,
}

const fn spec(name: &'static str, family: Family, size_px: usize, width: f64, depth: f64, tf: bool) -> Spec {
    Spec { name, family, size_px, width, depth, tf, fixed_ends: matches!(family, Lite) }
}

const fn fixed_ends(mut spec: Spec) -> Spec {
    spec.fixed_ends = true;
    spec
}

const SPECS: [Spec; 25] = [
    spec("timm/efficientnet_b0", EfficientNet, 224, 1.0, 1.0, false),
    spec("timm/efficientnet_b1", EfficientNet, 240, 1.0, 1.1, false),
    spec("timm/efficientnet_b2", EfficientNet, 256, 1.1, 1.2, false),
    spec("timm/efficientnet_b3", EfficientNet, 288, 1.2, 1.4, false),
    spec("timm/efficientnet_b4", EfficientNet, 320, 1.4, 1.8, false),
    spec("timm/tf_efficientnet_b0", EfficientNet, 224, 1.0, 1.0, true),
    spec("timm/tf_efficientnet_b1", EfficientNet, 240, 1.0, 1.1, true),
    spec("timm/tf_efficientnet_b2", EfficientNet, 260, 1.1, 1.2, true),
    spec("timm/tf_efficientnet_b3", EfficientNet, 300, 1.2, 1.4, true),
    spec("timm/tf_efficientnet_b4", EfficientNet, 380, 1.4, 1.8, true),
    spec("timm/efficientnet_lite0", Lite, 224, 1.0, 1.0, false),
    spec("timm/efficientnet_lite1", Lite, 240, 1.0, 1.1, false),
    spec("timm/efficientnet_lite2", Lite, 260, 1.1, 1.2, false),
    spec("timm/efficientnet_lite3", Lite, 300, 1.2, 1.4, false),
    spec("timm/efficientnet_lite4", Lite, 380, 1.4, 1.8, false),
    spec("timm/tf_efficientnet_lite0", Lite, 224, 1.0, 1.0, true),
    spec("timm/tf_efficientnet_lite1", Lite, 240, 1.0, 1.1, true),
    spec("timm/tf_efficientnet_lite2", Lite, 260, 1.1, 1.2, true),
    spec("timm/tf_efficientnet_lite3", Lite, 300, 1.2, 1.4, true),
    spec("timm/tf_efficientnet_lite4", Lite, 380, 1.4, 1.8, true),
    spec("timm/mobilenetv2_050", MobileNetV2, 224, 0.5, 1.0, false),
    spec("timm/mobilenetv2_100", MobileNetV2, 224, 1.0, 1.0, false),
    fixed_ends(spec("timm/mobilenetv2_110d", MobileNetV2, 224, 1.1, 1.2, false)),
    fixed_ends(spec("timm/mobilenetv2_120d", MobileNetV2, 224, 1.2, 1.4, false)),
    spec("timm/mobilenetv2_140", MobileNetV2, 224, 1.4, 1.0, false),
];

pub(crate) const ARCHITECTURES: &[Architecture] = &[
    member(0, imagenet(224, 256, Bicubic), |o| build(&SPECS[0], o)),
    member(1, minus_one_to_one(240, 266, Bicubic), |o| build(&SPECS[1], o)),
    member(2, imagenet(256, 292, Bicubic), |o| build(&SPECS[2], o)),
    member(3, imagenet(288, 329, Bicubic), |o| build(&SPECS[3], o)),
    member(4, imagenet(320, 365, Bicubic), |o| build(&SPECS[4], o)),
    member(5, imagenet(224, 256, Bicubic), |o| build(&SPECS[5], o)),
    member(6, imagenet(240, 272, Bicubic), |o| build(&SPECS[6], o)),
    member(7, imagenet(260, 292, Bicubic), |o| build(&SPECS[7], o)),
    member(8, imagenet(300, 331, Bicubic), |o| build(&SPECS[8], o)),
    member(9, imagenet(380, 412, Bicubic), |o| build(&SPECS[9], o)),
    member(10, imagenet(224, 256, Bicubic), |o| build(&SPECS[10], o)),
    member(11, imagenet(240, 272, Bicubic), |o| build(&SPECS[11], o)),
    member(12, imagenet(260, 292, Bicubic), |o| build(&SPECS[12], o)),
    member(13, imagenet(300, 331, Bicubic), |o| build(&SPECS[13], o)),
    member(14, imagenet(380, 412, Bicubic), |o| build(&SPECS[14], o)),
    member(15, minus_one_to_one(224, 256, Bicubic), |o| build(&SPECS[15], o)),
    member(16, minus_one_to_one(240, 272, Bicubic), |o| build(&SPECS[16], o)),
    member(17, minus_one_to_one(260, 292, Bicubic), |o| build(&SPECS[17], o)),
    member(18, minus_one_to_one(300, 331, Bilinear), |o| build(&SPECS[18], o)),
    member(19, minus_one_to_one(380, 413, Bilinear), |o| build(&SPECS[19], o)),
    member(20, imagenet(224, 256, Bicubic), |o| build(&SPECS[20], o)),
    member(21, imagenet(224, 256, Bicubic), |o| build(&SPECS[21], o)),
    member(22, imagenet(224, 256, Bicubic), |o| build(&SPECS[22], o)),
    member(23, imagenet(224, 256, Bicubic), |o| build(&SPECS[23], o)),
    member(24, imagenet(224, 256, Bicubic), |o| build(&SPECS[24], o)),
];

const fn member(
    i: usize,
    preprocess: Preprocess,
    build: fn(&BuildOptions) -> Result<Graph, GraphError>,
) -> Architecture {
    let spec = &SPECS[i];
    let paper = match spec.family {
        MobileNetV2 => mobilenet::PAPER,
        EfficientNet | Lite => efficientnet::PAPER,
    };
    let size_px = Some(spec.size_px);
    Architecture { name: spec.name, family: "efficientnet_timm", size_px, paper, preprocess, build }
}

/// Kernel, stride of the first block, width, blocks; the first stage does not widen inside, the others six times.
type Stages = [[usize; 4]; 7];

const EFFICIENTNET: Stages = [
    [3, 1, 16, 1],
    [3, 2, 24, 2],
    [5, 2, 40, 2],
    [3, 2, 80, 3],
    [5, 1, 112, 3],
    [5, 2, 192, 4],
    [3, 1, 320, 1],
];
const MOBILENET_V2: Stages = [
    [3, 1, 16, 1],
    [3, 2, 24, 2],
    [3, 2, 32, 3],
    [3, 2, 64, 4],
    [3, 1, 96, 3],
    [3, 2, 160, 3],
    [3, 1, 320, 1],
];

fn build(spec: &Spec, options: &BuildOptions) -> Result<Graph, GraphError> {
    let (b, x) = options.start(spec.name, spec.size_px);
    let stages = if spec.family == MobileNetV2 { MOBILENET_V2 } else { EFFICIENTNET };
    let activation = if spec.family == EfficientNet { Activation::Silu } else { Activation::Relu6 };
    let mut n = Net { b, tf: spec.tf, squeeze: spec.family == EfficientNet, activation };

    let width = |w: usize| round_width(w as f64 * spec.width);
    let x = n.conv("conv_stem", x, if spec.fixed_ends { 32 } else { width(32) }, [3, 2, 1])?;
    let mut x = n.norm_act("bn1", x)?;
    for (stage, [kernel, stride, out, depth]) in stages.into_iter().enumerate() {
        let fixed = spec.fixed_ends && (stage == 0 || stage == stages.len() - 1);
        for i in 0..if fixed { depth } else { round_depth(depth, spec.depth) } {
            let (path, stride) = (format!("blocks.{stage}.{i}"), if i == 0 { stride } else { 1 });
            x = match stage {
                0 => n.separable(&path, x, [kernel, stride, width(out)])?,
                _ => n.inverted_residual(&path, x, [kernel, stride, width(out)])?,
            };
        }
    }
    let head = match spec.family {
        EfficientNet => width(1280),
        MobileNetV2 if !spec.fixed_ends => width(1280).max(1280),
        Lite | MobileNetV2 => 1280,
    };
    let x = n.conv("conv_head", x, head, [1, 1, 1])?;
    let x = n.norm_act("bn2", x)?;
    let x = n.b.global_avg_pool("global_pool", x)?;
    let classes = options.n_logits();
    let weight = Init::Uniform(1.0 / (classes as f64).sqrt());
    let logits = n.b.linear_init("classifier", x, classes, weight, Init::Constant(0.0))?;
    options.finish(n.b, logits)
}

const SQUEEZE: SqueezeNames = SqueezeNames {
    pool: "pool",
    reduce: "conv_reduce",
    activation: "act1",
    expand: "conv_expand",
    gate: "gate",
};

/// The builder and what all blocks of one network share.
struct Net {
    b: GraphBuilder,
    tf: bool,
    squeeze: bool,
    activation: Activation,
}

impl Net {
    /// Filters each channel, then mixes them: the block of the first stage.
    fn separable(
        &mut self,
        path: &str,
        x: ValueId,
        [kernel, stride, out]: [usize; 3],
    ) -> Result<ValueId, GraphError> {
        let channels = self.b.channels(x);
        let y = self.conv(&format!("{path}.conv_dw"), x, channels, [kernel, stride, channels])?;
        let y = self.norm_act(&format!("{path}.bn1"), y)?;
        let y = self.squeeze_excite(path, y, channels)?;
        let y = self.conv(&format!("{path}.conv_pw"), y, out, [1, 1, 1])?;
        let y = self.norm(&format!("{path}.bn2"), y)?;
        self.join(path, x, y, stride)
    }

    /// Widens, filters each channel, weighs the channels, narrows without activation.
    fn inverted_residual(
        &mut self,
        path: &str,
        x: ValueId,
        [kernel, stride, out]: [usize; 3],
    ) -> Result<ValueId, GraphError> {
        let channels = self.b.channels(x);
        let inner = round_width(6.0 * channels as f64);
        let y = self.conv(&format!("{path}.conv_pw"), x, inner, [1, 1, 1])?;
        let y = self.norm_act(&format!("{path}.bn1"), y)?;
        let y = self.conv(&format!("{path}.conv_dw"), y, inner, [kernel, stride, inner])?;
        let y = self.norm_act(&format!("{path}.bn2"), y)?;
        let y = self.squeeze_excite(path, y, channels)?;
        let y = self.conv(&format!("{path}.conv_pwl"), y, out, [1, 1, 1])?;
        let y = self.norm(&format!("{path}.bn3"), y)?;
        self.join(path, x, y, stride)
    }

    fn squeeze_excite(
        &mut self,
        path: &str,
        x: ValueId,
        block_channels: usize,
    ) -> Result<ValueId, GraphError> {
        if !self.squeeze {
            return Ok(x);
        }
        squeeze_excite(&mut self.b, &format!("{path}.se"), &SQUEEZE, x, block_channels / 4)
    }

    /// `[kernel, stride, groups]`, no bias.
    fn conv(
        &mut self,
        path: &str,
        x: ValueId,
        out: usize,
        [kernel, stride, groups]: [usize; 3],
    ) -> Result<ValueId, GraphError> {
        // At stride 1 an odd window is padded alike on both sides under either rule.
        let padding = if self.tf && stride > 1 { Padding::SameUpper } else { Padding::all(kernel / 2) };
        self.b.conv(path, x, Conv::new(out, kernel).stride(stride).groups(groups).pad(padding).no_bias())
    }

    fn norm(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        // timm takes over TensorFlow's eps but keeps PyTorch's momentum.
        self.b.batch_norm(path, x, if self.tf { 1e-3 } else { 1e-5 }, 0.1)
    }

    fn norm_act(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let x = self.norm(path, x)?;
        self.activation.apply(&mut self.b, &format!("{path}.act"), x)
    }

    /// Adds the input where the shapes agree.
    fn join(&mut self, path: &str, x: ValueId, y: ValueId, stride: usize) -> Result<ValueId, GraphError> {
        if stride != 1 || self.b.channels(x) != self.b.channels(y) {
            return Ok(y);
        }
        self.b.node(path, Op::Add, &[y, x])
    }
}
