//! SqueezeNet 1.0 and 1.1 (torchvision's).
//!
//! Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", 2016.
//! `image [batch, 3, 224, 224]` → fire modules `[batch, 512, 13, 13]` → a 1×1 convolution to the classes → mean over
//! the image → `logits`.

use headstart_graph::{Conv, Filter, Graph, GraphBuilder, GraphError, Init, Op, ValueId};

use crate::architecture::{Architecture, BuildOptions, imagenet};

/// One member of torchvision's `features` after the first two.
enum Layer {
    Pool,
    /// Width of the squeeze; of each of the two expansions.
    Fire(usize, usize),
}

use Layer::{Fire, Pool};

pub(crate) const ARCHITECTURES: &[Architecture] = &[
    squeezenet("squeezenet1_0", |o| build("squeezenet1_0", [96, 7], &V1_0, o)),
    squeezenet("squeezenet1_1", |o| build("squeezenet1_1", [64, 3], &V1_1, o)),
];

const V1_0: [Layer; 11] = [
    Pool,
    Fire(16, 64),
    Fire(16, 64),
    Fire(32, 128),
    Pool,
    Fire(32, 128),
    Fire(48, 192),
    Fire(48, 192),
    Fire(64, 256),
    Pool,
    Fire(64, 256),
];

const V1_1: [Layer; 11] = [
    Pool,
    Fire(16, 64),
    Fire(16, 64),
    Pool,
    Fire(32, 128),
    Fire(32, 128),
    Pool,
    Fire(48, 192),
    Fire(48, 192),
    Fire(64, 256),
    Fire(64, 256),
];

const fn squeezenet(
    name: &'static str,
    build: fn(&BuildOptions) -> Result<Graph, GraphError>,
) -> Architecture {
    Architecture {
        name,
        family: "squeezenet",
        size_px: Some(224),
        paper: "Iandola et al. 2016, SqueezeNet: AlexNet-level accuracy with 50x fewer parameters",
        preprocess: imagenet(224, 256, Filter::Bilinear),
        build,
    }
}

fn build(
    name: &str,
    [width, kernel]: [usize; 2],
    layers: &[Layer],
    options: &BuildOptions,
) -> Result<Graph, GraphError> {
    let (mut b, x) = options.start(name, 224);
    let stem = Conv::new(width, kernel).stride(2).init(kaiming_uniform(3 * kernel * kernel));
    let x = b.conv("features.0", x, stem)?;
    let mut x = b.relu("features.1", x)?;
    for (i, layer) in layers.iter().enumerate() {
        let path = format!("features.{}", i + 2);
        x = match *layer {
            Pool => b.max_pool(&path, x, [3, 2, 0], true)?,
            Fire(squeeze, expand) => fire(&mut b, &path, x, squeeze, expand)?,
        };
    }
    let x = b.node("classifier.0", Op::Dropout { p: 0.5 }, &[x])?;
    let x = b.conv("classifier.1", x, Conv::new(options.n_logits(), 1).init(Init::Normal(0.01)))?;
    let x = b.relu("classifier.2", x)?;
    let logits = b.global_avg_pool("classifier.3", x)?;
    options.finish(b, logits)
}

/// Squeezes to few channels, then expands them through 1×1 and 3×3 convolutions side by side.
fn fire(
    b: &mut GraphBuilder,
    path: &str,
    x: ValueId,
    squeeze: usize,
    expand: usize,
) -> Result<ValueId, GraphError> {
    let mut part = |part: &str, x: ValueId, out: usize, kernel: usize| {
        let init = kaiming_uniform(b.channels(x) * kernel * kernel);
        let c = Conv::new(out, kernel).padding(kernel / 2).init(init);
        let x = b.conv(&format!("{path}.{part}"), x, c)?;
        b.relu(&format!("{path}.{part}_activation"), x)
    };
    let x = part("squeeze", x, squeeze, 1)?;
    let narrow = part("expand1x1", x, expand, 1)?;
    let wide = part("expand3x3", x, expand, 3)?;
    b.node(path, Op::Concat { axis: 1 }, &[narrow, wide])
}

/// Uniform with variance 2/fan_in (He et al., 2015).
fn kaiming_uniform(fan_in: usize) -> Init {
    Init::Uniform((6.0 / fan_in as f64).sqrt())
}
