//! BERT and its smaller kin, with the heads that transformers gives them.
//!
//! Devlin, Chang, Lee and Toutanova, "BERT: pre-training of deep bidirectional transformers", 2018; MiniLM: Wang et
//! al., 2020; sentence encoders: Reimers and Gurevych, "Sentence-BERT", 2019.
//! `input_ids`, `attention_mask`, `token_type_ids [batch, sequence]` → embeddings → encoder layers →
//! `last_hidden_state [batch, sequence, hidden]` → a head.
//!
//! **Deviation:** a network that starts from nothing does not zero the embedding of the padding token, which no
//! unmasked position reads.

use headstart_graph::{Attention, Graph, GraphBuilder, GraphError, Op, Preprocess, TextPreprocess, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ZooError;
pub use crate::activation::HiddenAct;
use crate::architecture::{Architecture, BuildOptions};
use crate::limits::{self, LAYERS_MAX, ROWS_MAX, WIDTH_MAX};
use crate::text_head::TextHead;
use crate::transformer::{LayerNames, LayerSpec, Net, USUAL_ORDER};

const DEVLIN: &str = "Devlin et al. 2018, BERT: pre-training of deep bidirectional transformers";
const TURC: &str = "Turc et al. 2019, Well-read students learn better: on the importance of pre-training";
const WANG: &str = "Wang et al. 2020, MiniLM: deep self-attention distillation";

pub(crate) const ARCHITECTURES: &[Architecture] = &[
    size("bert-tiny", TURC, 512, |o| named("bert-tiny", [2, 128, 2], false, o)),
    size("bert-mini", TURC, 512, |o| named("bert-mini", [4, 256, 4], false, o)),
    size("bert-small", TURC, 512, |o| named("bert-small", [4, 512, 8], false, o)),
    size("bert-medium", TURC, 512, |o| named("bert-medium", [8, 512, 8], false, o)),
    size("bert-base", DEVLIN, 512, |o| named("bert-base", [12, 768, 12], false, o)),
    size("bert-large", DEVLIN, 512, |o| named("bert-large", [24, 1024, 16], false, o)),
    size("minilm-l6", WANG, 256, |o| named("minilm-l6", [6, 384, 12], true, o)),
    size("minilm-l12", WANG, 128, |o| named("minilm-l12", [12, 384, 12], true, o)),
];

const fn size(
    name: &'static str,
    paper: &'static str,
    length_max: usize,
    build: fn(&BuildOptions) -> Result<Graph, GraphError>,
) -> Architecture {
    let preprocess = Preprocess::Text(TextPreprocess { length_max });
    Architecture { name, family: "bert", size_px: None, paper, preprocess, build }
}

/// A sequence classifier with names under `bert.`, or a sentence encoder with bare names, as transformers has it.
fn named(
    name: &str,
    [layers, hidden, heads]: [usize; 3],
    normalise: bool,
    options: &BuildOptions,
) -> Result<Graph, GraphError> {
    let config = BertConfig {
        num_hidden_layers: layers,
        hidden_size: hidden,
        num_attention_heads: heads,
        intermediate_size: 4 * hidden,
        ..BertConfig::default()
    };
    match options.n_classes {
        Some(classes) => sequence_classifier(name, &config, "bert.", classes),
        None => sentence_encoder(name, &config, "", normalise),
    }
}

/// A BERT's `config.json`; what is left out has transformers' default, what is unknown is ignored.
///
/// ```
/// let config: headstart_zoo::bert::BertConfig = serde_json::from_str(r#"{"hidden_size": 384}"#)?;
/// assert_eq!((config.hidden_size, config.num_hidden_layers), (384, 12));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BertConfig {
    /// Tokens in the vocabulary.
    pub vocab_size: usize,
    /// Width of a token's vector.
    pub hidden_size: usize,
    /// Encoder layers.
    pub num_hidden_layers: usize,
    /// Heads of each attention.
    pub num_attention_heads: usize,
    /// Width inside the feed-forward part.
    pub intermediate_size: usize,
    /// Nonlinearity of the feed-forward part.
    pub hidden_act: HiddenAct,
    /// Dropout after embeddings, attention and feed-forward parts.
    pub hidden_dropout_prob: f64,
    /// Dropout of attention probabilities.
    pub attention_probs_dropout_prob: f64,
    /// Dropout before a classifier; `hidden_dropout_prob` where it is absent.
    pub classifier_dropout: Option<f64>,
    /// Longest sequence, tokens.
    pub max_position_embeddings: usize,
    /// Kinds of segment.
    pub type_vocab_size: usize,
    /// Standard deviation of initial weights.
    pub initializer_range: f64,
    /// Added to the variance in layer norms.
    pub layer_norm_eps: f64,
    /// How positions enter; only learned absolute ones are supported.
    pub position_embedding_type: PositionEmbedding,
}

/// How positions enter a BERT.  `relative_key` and `relative_key_query` change the attention and are not supported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PositionEmbedding {
    /// A learned vector for each position, added to the token's.
    Absolute,
}

impl Default for BertConfig {
    fn default() -> Self {
        BertConfig {
            vocab_size: 30522,
            hidden_size: 768,
            num_hidden_layers: 12,
            num_attention_heads: 12,
            intermediate_size: 3072,
            hidden_act: HiddenAct::Gelu,
            hidden_dropout_prob: 0.1,
            attention_probs_dropout_prob: 0.1,
            classifier_dropout: None,
            max_position_embeddings: 512,
            type_vocab_size: 2,
            initializer_range: 0.02,
            layer_norm_eps: 1e-12,
            position_embedding_type: PositionEmbedding::Absolute,
        }
    }
}

impl BertConfig {
    /// Reads a `config.json`, or says which field is not supported.
    pub fn from_json(config: &serde_json::Value) -> Result<Self, ZooError> {
        for field in ["is_decoder", "add_cross_attention"] {
            if config[field].as_bool() == Some(true) {
                return Err(ZooError::Config { field, got: "true".into(), allowed: "false".into() });
            }
        }
        Self::default().over(config)
    }

    /// Reads what a configuration says over these defaults, and checks it.
    pub(crate) fn over(&self, config: &Value) -> Result<Self, ZooError> {
        let hint = "gelu, gelu_new, relu, silu, tanh; absolute positions; counts above 0";
        let read: BertConfig = limits::read_over(self, config, &[], hint)?;
        limits::check(&[
            ("vocab_size", read.vocab_size, ROWS_MAX),
            ("hidden_size", read.hidden_size, WIDTH_MAX),
            ("num_hidden_layers", read.num_hidden_layers, LAYERS_MAX),
            ("intermediate_size", read.intermediate_size, WIDTH_MAX),
            ("max_position_embeddings", read.max_position_embeddings, ROWS_MAX),
        ])?;
        limits::check_heads("num_attention_heads", read.num_attention_heads, read.hidden_size)?;
        Ok(read)
    }

    /// A builder with these settings.
    pub(crate) fn net(&self, name: &str, prefix: String) -> Net {
        Net {
            b: GraphBuilder::new(name),
            prefix,
            std: self.initializer_range,
            eps: self.layer_norm_eps,
            dropout: self.hidden_dropout_prob,
        }
    }

    /// Dropout before a classifier.
    pub(crate) fn classifier_dropout(&self) -> f64 {
        self.classifier_dropout.unwrap_or(self.hidden_dropout_prob)
    }

    pub(crate) fn layer(&self) -> LayerSpec {
        LayerSpec {
            hidden: self.hidden_size,
            intermediate: self.intermediate_size,
            attention: Attention::new(self.num_attention_heads).dropout(self.attention_probs_dropout_prob),
            act: self.hidden_act,
            qkv_bias: [true; 3],
            activation_dropout: 0.0,
            residual_dropout: [self.hidden_dropout_prob; 2],
        }
    }
}

/// What BERT, RoBERTa and ELECTRA call the parts of `encoder.layer.N`.
pub(crate) const LAYER: LayerNames = LayerNames {
    order: USUAL_ORDER,
    qkv: ["attention.self.query", "attention.self.key", "attention.self.value"],
    attention: "attention.self",
    dense: "attention.output.dense",
    attention_norm: "attention.output.LayerNorm",
    up: "intermediate.dense",
    activation: "intermediate",
    down: "output.dense",
    output_norm: "output.LayerNorm",
    residual: ["attention.output", "output"],
};

/// The graph with the head that `architectures` names.
pub(crate) fn from_json(config: &Value) -> Result<(Graph, usize), ZooError> {
    let bert = BertConfig::from_json(config)?;
    let head = TextHead::read(config, "Bert")?;
    let prefix = head.prefix("bert");
    let graph = match head {
        TextHead::Model => backbone("bert", &bert, &prefix, true),
        TextHead::Trunk => {
            backbone("bert", &bert, &prefix, config["architectures"][0].as_str() != Some("BertForMaskedLM"))
        }
        TextHead::Sequence(n) => sequence_classifier("bert", &bert, &prefix, n),
        TextHead::Token(n) => token_classifier("bert", &bert, &prefix, n),
        TextHead::Question => question_answering("bert", &bert, &prefix),
    }?;
    Ok((graph, bert.max_position_embeddings))
}

/// transformers' `BertModel`: outputs `last_hidden_state [batch, sequence, hidden]` and, with `pooler`,
/// `pooler_output [batch, hidden]`.
pub fn backbone(name: &str, config: &BertConfig, prefix: &str, pooler: bool) -> Result<Graph, GraphError> {
    let (mut n, last, _) = encoder(name, config, prefix)?;
    let pooled = if pooler { Some(n.pooler("pooler", last)?) } else { None };
    n.finish_backbone(last, pooled)
}

/// A `BertModel` whose main output is one vector a text: `features [batch, hidden]`, the mean over the tokens that
/// `attention_mask` keeps, scaled to length 1 if `normalise`.  The backbone's two outputs follow.
pub fn sentence_encoder(
    name: &str,
    config: &BertConfig,
    prefix: &str,
    normalise: bool,
) -> Result<Graph, GraphError> {
    let (mut n, last, mask) = encoder(name, config, prefix)?;
    let pooled = n.pooler("pooler", last)?;
    let mut features = n.b.node("mean", Op::MaskedMean, &[last, mask])?;
    if normalise {
        features = n.b.node("normalise", Op::L2Normalize, &[features])?;
    }
    n.b.finish([("features", features), ("last_hidden_state", last), ("pooler_output", pooled)])
}

/// transformers' `BertForSequenceClassification`: `logits [batch, classes]` from the pooled first token.
pub fn sequence_classifier(
    name: &str,
    config: &BertConfig,
    prefix: &str,
    n_classes: usize,
) -> Result<Graph, GraphError> {
    let (mut n, last, _) = encoder(name, config, prefix)?;
    let pooled = n.pooler("pooler", last)?;
    n.finish_classifier(pooled, n_classes, config.classifier_dropout())
}

/// transformers' `BertForTokenClassification`: `logits [batch, sequence, classes]`; there is no pooler.
pub fn token_classifier(
    name: &str,
    config: &BertConfig,
    prefix: &str,
    n_classes: usize,
) -> Result<Graph, GraphError> {
    let (n, last, _) = encoder(name, config, prefix)?;
    n.finish_classifier(last, n_classes, config.classifier_dropout())
}

/// transformers' `BertForQuestionAnswering`: `logits [batch, sequence, 2]`, also apart as `start_logits` and
/// `end_logits [batch, sequence]`; there is no pooler.
pub fn question_answering(name: &str, config: &BertConfig, prefix: &str) -> Result<Graph, GraphError> {
    let (n, last, _) = encoder(name, config, prefix)?;
    n.finish_question_answering(last)
}

/// Builder, last hidden state, attention mask.
fn encoder(name: &str, config: &BertConfig, prefix: &str) -> Result<(Net, ValueId, ValueId), GraphError> {
    let mut n = config.net(name, prefix.into());
    let [ids, mask] = n.text_inputs();
    let types = n.b.ids("token_type_ids", Some(0));
    let word = n.table("embeddings.word_embeddings", config.vocab_size, config.hidden_size)?;
    let position =
        n.table("embeddings.position_embeddings", config.max_position_embeddings, config.hidden_size)?;
    let segment = n.table("embeddings.token_type_embeddings", config.type_vocab_size, config.hidden_size)?;
    let at = Op::PositionIds { offset: 0, padding_id: None };
    let mut x = n.embeddings([Some((word, ids)), Some((segment, types)), Some((position, ids))], at)?;
    x = n.layer_norm("embeddings.LayerNorm", x)?;
    x = n.drop("embeddings.dropout", x)?;
    for i in 0..config.num_hidden_layers {
        x = n.post_norm_layer(&format!("encoder.layer.{i}"), &LAYER, &config.layer(), x, &[mask])?;
    }
    Ok((n, x, mask))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn relative_positions_are_refused() {
        let e = BertConfig::from_json(&json!({"position_embedding_type": "relative_key"}));
        assert!(e.expect_err("not supported").to_string().contains("relative_key"));
        assert!(BertConfig::from_json(&json!({"hidden_act": "gelu_fast", "unknown": 1})).is_ok());
        assert!(BertConfig::from_json(&json!({"num_attention_heads": 7})).is_err());
        assert!(BertConfig::from_json(&json!({"is_decoder": true})).is_err());
    }

    #[test]
    fn a_sentence_encoder_taps_itself() {
        let g = named("minilm-l6", [2, 128, 2], true, &BuildOptions::default()).expect("builds");
        assert_eq!(g.value(g.output()).shape.to_string(), "[batch, 128]");
        assert!(g.params().any(|(_, name, _)| name == "embeddings.word_embeddings.weight"));
        let tap = headstart_graph::rewrite::tap(&g).expect("has features");
        assert_eq!(tap.value, g.output());
    }
}
