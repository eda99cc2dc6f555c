//! wav2vec 2.0: windows over the waveform, a position by convolution, and transformer layers.
//!
//! Baevski, Zhou, Mohamed and Auli, "wav2vec 2.0: a framework for self-supervised learning of speech representations", 2020.
//! `input_values [batch, samples]` → `[batch, frames, hidden]`, one frame for 320 samples by default → a head.
//!
//! **Deviation:** in training the reference also masks spans of frames (`apply_spec_augment`, `masked_spec_embed`) and
//! leaves whole layers out (`layerdrop`); neither is done here.  Recordings of a batch must be of one length, or padded
//! with zeros as the reference's base models were trained: there is no input for a padding mask.

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

/// The fields of `config.json` that matter, with transformers' defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Config {
    vocab_size: usize,
    hidden_size: usize,
    num_hidden_layers: usize,
    num_attention_heads: usize,
    intermediate_size: usize,
    hidden_act: HiddenAct,
    hidden_dropout: f64,
    activation_dropout: f64,
    attention_dropout: f64,
    feat_proj_dropout: f64,
    final_dropout: f64,
    initializer_range: f64,
    layer_norm_eps: f64,
    feat_extract_norm: FeatureNorm,
    feat_extract_activation: HiddenAct,
    conv_dim: Vec<usize>,
    conv_stride: Vec<usize>,
    conv_kernel: Vec<usize>,
    conv_bias: bool,
    num_conv_pos_embeddings: usize,
    num_conv_pos_embedding_groups: usize,
    do_stable_layer_norm: bool,
    mask_time_prob: f64,
    mask_feature_prob: f64,
    classifier_proj_size: usize,
}

/// How windows are normalised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FeatureNorm {
    /// Each channel of the first windows over all time.
    Group,
    /// All channels of every window.
    Layer,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            vocab_size: 32,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: HiddenAct::Gelu,
            hidden_dropout: 0.1,
            activation_dropout: 0.1,
            attention_dropout: 0.1,
            feat_proj_dropout: 0.0,
            final_dropout: 0.1,
            initializer_range: 0.02,
            layer_norm_eps: 1e-5,
            feat_extract_norm: FeatureNorm::Group,
            feat_extract_activation: HiddenAct::Gelu,
            conv_dim: vec![512; 7],
            conv_stride: vec![5, 2, 2, 2, 2, 2, 2],
            conv_kernel: vec![10, 3, 3, 3, 3, 2, 2],
            conv_bias: false,
            num_conv_pos_embeddings: 128,
            num_conv_pos_embedding_groups: 16,
            do_stable_layer_norm: false,
            mask_time_prob: 0.05,
            mask_feature_prob: 0.0,
            classifier_proj_size: 256,
        }
    }
}

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
    qkv: ["attention.q_proj", "attention.k_proj", "attention.v_proj"],
    attention: "attention",
    dense: "attention.out_proj",
    attention_norm: "layer_norm",
    up: "feed_forward.intermediate_dense",
    activation: "feed_forward.activation",
    down: "feed_forward.output_dense",
    output_norm: "final_layer_norm",
    residual: ["attention.output", "feed_forward"],
};

/// The graph with the head that `architectures` names.
pub(crate) fn from_json(config: &Value) -> Result<Graph, ZooError> {
    let c = read(config)?;
    let class = config["architectures"][0].as_str().unwrap_or("Wav2Vec2Model");
    let prefix = if class == "Wav2Vec2Model" { "" } else { "wav2vec2." };
    let (mut n, last) = encoder(&c, prefix)?;
    let graph = match class {
        "Wav2Vec2Model" | "Wav2Vec2ForPreTraining" => n.finish_backbone(last, None),
        "Wav2Vec2ForCTC" => {
            let x = n.plain_drop("dropout", last, c.final_dropout)?;
            let logits = n.plain_linear("lm_head", x, c.vocab_size)?;
            n.b.finish([("logits", logits)])
        }
        "Wav2Vec2ForSequenceClassification" => {
            n.finish_frame_classifier(last, c.classifier_proj_size, n_labels(config))
        }
        other => {
            let allowed =
                "Wav2Vec2Model, Wav2Vec2ForPreTraining, Wav2Vec2ForCTC, Wav2Vec2ForSequenceClassification";
            let (got, allowed) = (format!("`{other}`"), allowed.into());
            return Err(ZooError::Config { field: "architectures", got, allowed });
        }
    }?;
    Ok(graph)
}

fn read(config: &Value) -> Result<Config, ZooError> {
    for field in ["add_adapter", "use_weighted_layer_sum"] {
        if config[field].as_bool() == Some(true) {
            return Err(ZooError::Config { field, got: "true".into(), allowed: "false".into() });
        }
    }
    if !config["adapter_attn_dim"].is_null() {
        let got = config["adapter_attn_dim"].to_string();
        return Err(ZooError::Config { field: "adapter_attn_dim", got, allowed: "null".into() });
    }
    let c: Config =
        limits::read_over(&Config::default(), config, &[], "gelu or relu; `group` or `layer` norm")?;
    limits::check(&[
        ("vocab_size", c.vocab_size, WIDTH_MAX),
        ("hidden_size", c.hidden_size, WIDTH_MAX),
        ("num_hidden_layers", c.num_hidden_layers, LAYERS_MAX),
        ("intermediate_size", c.intermediate_size, WIDTH_MAX),
        ("conv_dim's length", c.conv_dim.len(), LAYERS_MAX),
        ("num_conv_pos_embeddings", c.num_conv_pos_embeddings, WIDTH_MAX),
        ("classifier_proj_size", c.classifier_proj_size, WIDTH_MAX),
    ])?;
    for (field, values) in
        [("conv_dim", &c.conv_dim), ("conv_stride", &c.conv_stride), ("conv_kernel", &c.conv_kernel)]
    {
        if values.len() != c.conv_dim.len() {
            let allowed = format!("as many numbers as conv_dim, {}", c.conv_dim.len());
            return Err(ZooError::Config { field, got: values.len().to_string(), allowed });
        }
        values.iter().try_for_each(|&v| limits::check(&[(field, v, WIDTH_MAX)]))?;
    }
    limits::check_heads("num_attention_heads", c.num_attention_heads, c.hidden_size)?;
    limits::check_heads("num_conv_pos_embedding_groups", c.num_conv_pos_embedding_groups, c.hidden_size)?;
    Ok(c)
}

fn encoder(c: &Config, prefix: &str) -> Result<(Net, ValueId), GraphError> {
    let mut n = Net {
        b: GraphBuilder::new("wav2vec2"),
        prefix: prefix.into(),
        std: c.initializer_range,
        eps: c.layer_norm_eps,
        dropout: c.hidden_dropout,
    };
    let layer = LayerSpec {
        hidden: c.hidden_size,
        intermediate: c.intermediate_size,
        attention: Attention::new(c.num_attention_heads).dropout(c.attention_dropout),
        act: c.hidden_act,
        qkv_bias: [true; 3],
        activation_dropout: c.activation_dropout,
        residual_dropout: [c.hidden_dropout; 2],
    };
    let shape = Shape(vec![Dim::batch(), Dim::Symbol("samples".into())]);
    let samples = n.b.input("input_values", InputSpec { dtype: DType::F32, shape, default: None });
    if c.mask_time_prob > 0.0 || c.mask_feature_prob > 0.0 {
        n.param("masked_spec_embed", &[c.hidden_size], Init::Uniform(1.0))?;
    }
    let x = n.windows(c, samples)?;
    let x = n.layer_norm("feature_projection.layer_norm", x)?;
    let x = n.linear("feature_projection.projection", x, c.hidden_size)?;
    let drop = format!("{prefix}feature_projection.dropout");
    let x = n.plain_drop(&drop, x, c.feat_proj_dropout)?;
    let mut x = n.positions(c, x)?;
    n.declare_layer_norm("encoder.layer_norm", c.hidden_size)?;
    if !c.do_stable_layer_norm {
        x = n.layer_norm("encoder.layer_norm", x)?;
    }
    x = n.drop("encoder.dropout", x)?;
    for i in 0..c.num_hidden_layers {
        let path = format!("encoder.layers.{i}");
        x = if c.do_stable_layer_norm {
            n.pre_norm_layer(&path, &LAYER, &layer, x, &[])?
        } else {
            n.post_norm_layer(&path, &LAYER, &layer, x, &[])?
        };
    }
    if c.do_stable_layer_norm {
        x = n.layer_norm("encoder.layer_norm", x)?;
    }
    Ok((n, x))
}

impl Net {
    /// The waveform as frames `[batch, frames, width]`.
    fn windows(&mut self, c: &Config, samples: ValueId) -> Result<ValueId, GraphError> {
        let mut x = self.node(
            "feature_extractor.channel",
            Op::Reshape { shape: vec![Dim::batch(), Dim::Fixed(1), Dim::Symbol("samples".into())] },
            &[samples],
        )?;
        let mut width = 1;
        for (i, &out) in c.conv_dim.iter().enumerate() {
            let path = format!("feature_extractor.conv_layers.{i}");
            let (kernel, stride) = (c.conv_kernel[i], c.conv_stride[i]);
            let init = Init::Normal((2.0 / (width * kernel) as f64).sqrt());
            let mut inputs =
                vec![x, self.param(&format!("{path}.conv.weight"), &[out, width, kernel], init)?];
            if c.conv_bias {
                inputs.push(self.param(&format!("{path}.conv.bias"), &[out], Init::Constant(0.0))?);
            }
            let conv = conv1d(stride, [0, 0], 1);
            x = self.node(&format!("{path}.conv"), conv, &inputs)?;
            let norm = format!("{path}.layer_norm");
            match c.feat_extract_norm {
                FeatureNorm::Group if i == 0 => {
                    let weight = self.param(&format!("{norm}.weight"), &[out], Init::Constant(1.0))?;
                    let bias = self.param(&format!("{norm}.bias"), &[out], Init::Constant(0.0))?;
                    x = self.node(&norm, Op::GroupNorm { groups: out, eps: 1e-5 }, &[x, weight, bias])?;
                }
                FeatureNorm::Group => {}
                FeatureNorm::Layer => {
                    x = self.node(&format!("{norm}.last"), Op::Transpose { perm: vec![0, 2, 1] }, &[x])?;
                    x = self.b.layer_norm(&format!("{}{norm}", self.prefix), x, 1e-5)?;
                    x = self.node(&format!("{norm}.first"), Op::Transpose { perm: vec![0, 2, 1] }, &[x])?;
                }
            }
            x = self.node(&format!("{path}.activation"), c.feat_extract_activation.op(), &[x])?;
            width = out;
        }
        self.node("feature_extractor.frames", Op::Transpose { perm: vec![0, 2, 1] }, &[x])
    }

    /// Frames plus a wide grouped convolution of them, its weight kept as length and direction.
    fn positions(&mut self, c: &Config, x: ValueId) -> Result<ValueId, GraphError> {
        let path = "encoder.pos_conv_embed";
        let (kernel, groups) = (c.num_conv_pos_embeddings, c.num_conv_pos_embedding_groups);
        let bias = self.param(&format!("{path}.conv.bias"), &[c.hidden_size], Init::Constant(0.0))?;
        let direction = [c.hidden_size, c.hidden_size / groups, kernel];
        let std = 2.0 / ((kernel * c.hidden_size) as f64).sqrt();
        // A direction's length over all but the last axis is about its standard deviation times √n.
        let length = Init::Constant(std * ((direction[0] * direction[1]) as f64).sqrt());
        let weight = format!("{path}.conv.parametrizations.weight");
        let g = self.param(&format!("{weight}.original0"), &[1, 1, kernel], length)?;
        let v = self.param(&format!("{weight}.original1"), &direction, Init::Normal(std))?;
        let weight = self.node(&format!("{path}.conv.weight"), Op::WeightNorm { axis: 2 }, &[g, v])?;
        let y = self.node(&format!("{path}.first"), Op::Transpose { perm: vec![0, 2, 1] }, &[x])?;
        // As many frames come out as go in: of an even window the reference cuts the last one off.
        let padding = [kernel / 2, (kernel - 1) / 2];
        let conv = conv1d(1, padding, groups);
        let y = self.node(&format!("{path}.conv"), conv, &[y, weight, bias])?;
        let y = self.node(&format!("{path}.activation"), c.feat_extract_activation.op(), &[y])?;
        let y = self.node(&format!("{path}.last"), Op::Transpose { perm: vec![0, 2, 1] }, &[y])?;
        self.node(&format!("{path}.add"), Op::Add, &[x, y])
    }

    /// A linear layer on every frame, their mean, and a linear layer on it.
    pub(crate) fn finish_frame_classifier(
        mut self,
        frames: ValueId,
        width: usize,
        n_classes: usize,
    ) -> Result<Graph, GraphError> {
        let x = self.plain_linear("projector", frames, width)?;
        let x = self.b.node("mean", Op::MaskedMean, &[x])?;
        let logits = self.plain_linear("classifier", x, n_classes)?;
        self.b.finish([("logits", logits)])
    }
}
