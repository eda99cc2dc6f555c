//! Whisper's encoder: two windows over a mel spectrogram, fixed positions, transformer layers.
//!
//! Radford et al., "Robust speech recognition via large-scale weak supervision", 2022.
//! `input_features [batch, mel, 2·positions]` (thirty seconds) → `last_hidden_state [batch, positions, d_model]` → a head.
//! The decoder stays in the file.
//!
//! **Deviation:** the reference can leave whole layers out in training (`encoder_layerdrop`, 0 in published models).

use headstart_graph::{
    Attention, DType, Dim, Graph, GraphBuilder, GraphError, Init, InputSpec, Op, Shape, ValueId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ZooError;
use crate::activation::HiddenAct;
use crate::limits::{self, LAYERS_MAX, WIDTH_MAX};
use crate::text_head::n_labels;
use crate::transformer::{LayerNames, LayerSpec, Net, Part, conv1d};

/// Names that transformers takes for others.
const ALIASES: &[(&str, &str)] = &[("hidden_size", "d_model")];

/// The fields of `config.json` that matter, with transformers' defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Config {
    num_mel_bins: usize,
    encoder_layers: usize,
    encoder_attention_heads: usize,
    encoder_ffn_dim: usize,
    d_model: usize,
    activation_function: HiddenAct,
    dropout: f64,
    attention_dropout: f64,
    activation_dropout: f64,
    init_std: f64,
    max_source_positions: usize,
    classifier_proj_size: usize,
}

const DEFAULT: Config = Config {
    num_mel_bins: 80,
    encoder_layers: 4,
    encoder_attention_heads: 6,
    encoder_ffn_dim: 1536,
    d_model: 384,
    activation_function: HiddenAct::Gelu,
    dropout: 0.0,
    attention_dropout: 0.0,
    activation_dropout: 0.0,
    init_std: 0.02,
    max_source_positions: 1500,
    classifier_proj_size: 256,
};

const LAYER: LayerNames = LayerNames {
    order: [
        Part::Project(1),
        Part::Project(2),
        Part::Project(0),
        Part::Dense,
        Part::AttentionNorm,
        Part::Up,
        Part::Down,
        Part::OutputNorm,
    ],
    qkv: ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
    attention: "self_attn",
    dense: "self_attn.out_proj",
    attention_norm: "self_attn_layer_norm",
    up: "fc1",
    activation: "activation",
    down: "fc2",
    output_norm: "final_layer_norm",
    residual: ["self_attn.output", "fc"],
};

/// The graph with the head that `architectures` names.
pub(crate) fn from_json(config: &Value) -> Result<Graph, ZooError> {
    if config["use_weighted_layer_sum"].as_bool() == Some(true) {
        let (got, allowed) = ("true".into(), "false".into());
        return Err(ZooError::Config { field: "use_weighted_layer_sum", got, allowed });
    }
    let c: Config = limits::read_over(&DEFAULT, config, ALIASES, "gelu or relu; counts above 0")?;
    limits::check(&[
        ("num_mel_bins", c.num_mel_bins, WIDTH_MAX),
        ("encoder_layers", c.encoder_layers, LAYERS_MAX),
        ("encoder_ffn_dim", c.encoder_ffn_dim, WIDTH_MAX),
        ("d_model", c.d_model, WIDTH_MAX),
        ("max_source_positions", c.max_source_positions, WIDTH_MAX),
        ("classifier_proj_size", c.classifier_proj_size, WIDTH_MAX),
    ])?;
    limits::check_heads("encoder_attention_heads", c.encoder_attention_heads, c.d_model)?;
    let class = config["architectures"][0].as_str().unwrap_or("WhisperModel");
    let prefix = if class == "WhisperForConditionalGeneration" { "model.encoder." } else { "encoder." };
    let (n, last) = encoder(&c, prefix)?;
    let graph = match class {
        "WhisperModel" | "WhisperForConditionalGeneration" => n.finish_backbone(last, None),
        "WhisperForAudioClassification" => {
            n.finish_frame_classifier(last, c.classifier_proj_size, n_labels(config))
        }
        other => {
            let allowed = "WhisperModel, WhisperForConditionalGeneration, WhisperForAudioClassification";
            let (got, allowed) = (format!("`{other}`"), allowed.into());
            return Err(ZooError::Config { field: "architectures", got, allowed });
        }
    }?;
    Ok(graph)
}

fn encoder(c: &Config, prefix: &str) -> Result<(Net, ValueId), GraphError> {
    let mut n = Net {
        b: GraphBuilder::new("whisper"),
        prefix: prefix.into(),
        std: c.init_std,
        eps: 1e-5,
        dropout: c.dropout,
    };
    let layer = LayerSpec {
        hidden: c.d_model,
        intermediate: c.encoder_ffn_dim,
        attention: Attention::new(c.encoder_attention_heads).dropout(c.attention_dropout),
        act: c.activation_function,
        qkv_bias: [true, false, true],
        activation_dropout: c.activation_dropout,
        residual_dropout: [c.dropout; 2],
    };
    let frames = 2 * c.max_source_positions;
    let shape = Shape(vec![Dim::batch(), Dim::Fixed(c.num_mel_bins), Dim::Fixed(frames)]);
    let mel = n.b.input("input_features", InputSpec { dtype: DType::F32, shape, default: None });
    let x = n.window("conv1", mel, [c.num_mel_bins, c.d_model], 1)?;
    let x = n.window("conv2", x, [c.d_model, c.d_model], 2)?;
    let x = n.node("frames", Op::Transpose { perm: vec![0, 2, 1] }, &[x])?;
    // Sines, which the reference does not train: published files hold them.
    let name = format!("{prefix}embed_positions.weight");
    let positions = n.b.buffer(name, &[c.max_source_positions, c.d_model], Init::Normal(c.init_std))?;
    let x = n.node("embed_positions.add", Op::Add, &[x, positions])?;
    let mut x = n.drop("dropout", x)?;
    for i in 0..c.encoder_layers {
        x = n.pre_norm_layer(&format!("layers.{i}"), &LAYER, &layer, x, &[])?;
    }
    let last = n.layer_norm("layer_norm", x)?;
    Ok((n, last))
}

impl Net {
    /// A window of three frames and GELU.
    fn window(
        &mut self,
        path: &str,
        x: ValueId,
        [width, out]: [usize; 2],
        stride: usize,
    ) -> Result<ValueId, GraphError> {
        let weight = self.param(&format!("{path}.weight"), &[out, width, 3], Init::Normal(self.std))?;
        let bias = self.param(&format!("{path}.bias"), &[out], Init::Constant(0.0))?;
        let conv = conv1d(stride, [1, 1], 1);
        let x = self.node(path, conv, &[x, weight, bias])?;
        self.node(&format!("{path}.gelu"), Op::Gelu { tanh: false }, &[x])
    }
}
