//! ConvNeXt by configuration: transformers' names and settings over [`crate::convnext`]'s trunk.

use headstart_graph::{Graph, GraphBuilder, GraphError, Init};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ZooError;
use crate::activation::HiddenAct;
use crate::convnext::{Names, Spec, trunk};
use crate::image_head::{ImageHead, square, three_channels};
use crate::limits::{self, LAYERS_MAX, WIDTH_MAX};

/// The fields of `config.json` that matter, with transformers' defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Config {
    hidden_sizes: Vec<usize>,
    depths: Vec<usize>,
    hidden_act: HiddenAct,
    initializer_range: f64,
    layer_norm_eps: f64,
    layer_scale_init_value: f64,
    drop_path_rate: f64,
}

/// The graph with the head that `architectures` names.
pub(crate) fn from_json(config: &Value) -> Result<Graph, ZooError> {
    let default = Config {
        hidden_sizes: vec![96, 192, 384, 768],
        depths: vec![3, 3, 9, 3],
        hidden_act: HiddenAct::Gelu,
        initializer_range: 0.02,
        layer_norm_eps: 1e-12,
        layer_scale_init_value: 1e-6,
        drop_path_rate: 0.0,
    };
    let c: Config = limits::read_over(&default, config, &[], "gelu or relu; counts above 0")?;
    three_channels(config)?;
    limits::check(&[("depths, summed", c.depths.iter().fold(0, |a, &b| a.saturating_add(b)), LAYERS_MAX)])?;
    if c.depths.len() != c.hidden_sizes.len() || c.depths.contains(&0) {
        let allowed = format!("one number above 0 for each of hidden_sizes, {}", c.hidden_sizes.len());
        return Err(ZooError::Config { field: "depths", got: format!("{:?}", c.depths), allowed });
    }
    c.hidden_sizes.iter().try_for_each(|&w| limits::check(&[("hidden_sizes", w, WIDTH_MAX)]))?;
    let (size, patch) = (square(config, "image_size", 224)?, square(config, "patch_size", 4)?);
    Ok(build(&c, ImageHead::read(config, "ConvNext")?, size, patch)?)
}

fn build(c: &Config, head: ImageHead, size: usize, patch: usize) -> Result<Graph, GraphError> {
    let prefix = head.prefix("convnext");
    let names = Names {
        stem: ["patch_embeddings", "layernorm"].map(|part| format!("{prefix}embeddings.{part}")),
        downsample: |prefix, i| {
            [0, 1].map(|part| format!("{prefix}encoder.stages.{i}.downsampling_layer.{part}"))
        },
        block: |prefix, i, j| format!("{prefix}encoder.stages.{i}.layers.{j}"),
        parts: ["layer_scale_parameter", "dwconv", "layernorm", "pwconv1", "pwconv2"],
        prefix: prefix.clone(),
    };
    let spec = Spec {
        depths: c.depths.clone(),
        widths: c.hidden_sizes.clone(),
        patch,
        act: c.hidden_act,
        scale: (c.layer_scale_init_value > 0.0).then_some(c.layer_scale_init_value),
        scale_by_channel: false,
        convolutions: false,
        drop_path: c.drop_path_rate,
    };
    let mut b = GraphBuilder::new("convnext");
    let image = b.image("image", [3, size, size]);
    let last = trunk(&mut b, &names, &spec, image)?;
    let pooled = b.global_avg_pool(&format!("{prefix}pool"), last)?;
    let features = b.layer_norm(&format!("{prefix}layernorm"), pooled, c.layer_norm_eps)?;
    match head {
        ImageHead::Classes(classes) => {
            let (weight, bias) = (Init::Normal(c.initializer_range), Init::Constant(0.0));
            let logits = b.linear_init("classifier", features, classes, weight, bias)?;
            b.finish([("logits", logits)])
        }
        _ => b.finish([("features", features), ("last_hidden_state", last)]),
    }
}
