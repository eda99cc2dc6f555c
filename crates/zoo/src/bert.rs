//! BERT and its smaller kin, with the heads that transformers gives them.
//!
//! Devlin, Chang, Lee and Toutanova, "BERT: pre-training of deep bidirectional transformers", 2018; MiniLM: Wang et
//! al., 2020; sentence encoders: Reimers and Gurevych, "Sentence-BERT", 2019.
//! `input_ids`, `attention_mask`, `token_type_ids [batch, sequence]` → embeddings → encoder layers →
//! `last_hidden_state [batch, sequence, hidden]` → a head.
//!
//! **Deviation:** transformers also drops attention probabilities in training (`attention_probs_dropout_prob`); the
//! attention operator has no place for that, so only the other dropouts are there.  Inference is the same.
//! **Deviation:** a network that starts from nothing does not zero the embedding of the padding token, which no
//! unmasked position reads.

use headstart_graph::{Graph, GraphBuilder, GraphError, Init, Op, Preprocess, TextPreprocess, ValueId};
use serde::{Deserialize, Serialize};

use crate::ZooError;
use crate::architecture::{Architecture, BuildOptions};

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
    /// Dropout of attention probabilities: read, but not carried out (see the module).
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

/// The nonlinearity by transformers' name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HiddenAct {
    /// `x·Φ(x)`.
    #[serde(alias = "gelu_python")]
    Gelu,
    /// The tanh approximation of it.
    #[serde(alias = "gelu_fast", alias = "gelu_pytorch_tanh")]
    GeluNew,
    /// `max(x, 0)`.
    Relu,
    /// `x·sigmoid(x)`.
    #[serde(alias = "swish")]
    Silu,
    /// Hyperbolic tangent.
    Tanh,
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
        let read: BertConfig = serde_json::from_value(config.clone()).map_err(|e| ZooError::Config {
            field: "hidden_act, position_embedding_type or a size",
            got: e.to_string(),
            allowed: "gelu, gelu_new, relu, silu, tanh; absolute positions; counts above 0".into(),
        })?;
        if read.num_attention_heads == 0 || !read.hidden_size.is_multiple_of(read.num_attention_heads) {
            return Err(ZooError::Config {
                field: "num_attention_heads",
                got: read.num_attention_heads.to_string(),
                allowed: format!("divisors of hidden_size {}", read.hidden_size),
            });
        }
        Ok(read)
    }
}

/// transformers' `BertModel`: outputs `last_hidden_state [batch, sequence, hidden]` and, with `pooler`,
/// `pooler_output [batch, hidden]`.
pub fn backbone(name: &str, config: &BertConfig, prefix: &str, pooler: bool) -> Result<Graph, GraphError> {
    let mut n = Net::start(name, config, prefix);
    let last = n.encoder()?;
    if !pooler {
        return n.b.finish([("last_hidden_state", last)]);
    }
    let pooled = n.pooler(last)?;
    n.b.finish([("last_hidden_state", last), ("pooler_output", pooled)])
}

/// A `BertModel` whose main output is one vector a text: `features [batch, hidden]`, the mean over the tokens that
/// `attention_mask` keeps, scaled to length 1 if `normalise`.  The backbone's two outputs follow.
pub fn sentence_encoder(
    name: &str,
    config: &BertConfig,
    prefix: &str,
    normalise: bool,
) -> Result<Graph, GraphError> {
    let mut n = Net::start(name, config, prefix);
    let last = n.encoder()?;
    let pooled = n.pooler(last)?;
    let mut features = n.b.node("mean", Op::MaskedMean, &[last, n.mask])?;
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
    let mut n = Net::start(name, config, prefix);
    let last = n.encoder()?;
    let pooled = n.pooler(last)?;
    let logits = n.classifier(pooled, n_classes)?;
    n.b.finish([("logits", logits)])
}

/// transformers' `BertForTokenClassification`: `logits [batch, sequence, classes]`; there is no pooler.
pub fn token_classifier(
    name: &str,
    config: &BertConfig,
    prefix: &str,
    n_classes: usize,
) -> Result<Graph, GraphError> {
    let mut n = Net::start(name, config, prefix);
    let last = n.encoder()?;
    let logits = n.classifier(last, n_classes)?;
    n.b.finish([("logits", logits)])
}

/// transformers' `BertForQuestionAnswering`: `logits [batch, sequence, 2]`, also apart as `start_logits` and
/// `end_logits [batch, sequence]`; there is no pooler.
pub fn question_answering(name: &str, config: &BertConfig, prefix: &str) -> Result<Graph, GraphError> {
    let mut n = Net::start(name, config, prefix);
    let last = n.encoder()?;
    let logits = n.plain_linear("qa_outputs", last, 2)?;
    let start = n.b.node("qa_outputs.start", Op::Select { axis: 2, index: 0 }, &[logits])?;
    let end = n.b.node("qa_outputs.end", Op::Select { axis: 2, index: 1 }, &[logits])?;
    n.b.finish([("logits", logits), ("start_logits", start), ("end_logits", end)])
}

/// The builder, the inputs, and the parts of the network.
struct Net<'a> {
    b: GraphBuilder,
    config: &'a BertConfig,
    prefix: &'a str,
    ids: ValueId,
    mask: ValueId,
    types: ValueId,
}

impl<'a> Net<'a> {
    fn start(name: &str, config: &'a BertConfig, prefix: &'a str) -> Self {
        let mut b = GraphBuilder::new(name);
        let ids = b.ids("input_ids", None);
        let mask = b.ids("attention_mask", Some(1));
        let types = b.ids("token_type_ids", Some(0));
        Net { b, config, prefix, ids, mask, types }
    }

    fn encoder(&mut self) -> Result<ValueId, GraphError> {
        let mut x = self.embeddings()?;
        for i in 0..self.config.num_hidden_layers {
            x = self.layer(&format!("encoder.layer.{i}"), x)?;
        }
        Ok(x)
    }

    /// The sum of what token, segment and position say, normalised.
    fn embeddings(&mut self) -> Result<ValueId, GraphError> {
        let c = self.config;
        let word = self.table("word_embeddings", c.vocab_size)?;
        let position = self.table("position_embeddings", c.max_position_embeddings)?;
        let segment = self.table("token_type_embeddings", c.type_vocab_size)?;
        let word = self.node("embeddings.word_embeddings", Op::Embedding, &[word, self.ids])?;
        let segment = self.node("embeddings.token_type_embeddings", Op::Embedding, &[segment, self.types])?;
        let x = self.node("embeddings.add_token_type", Op::Add, &[word, segment])?;
        let at = self.node("embeddings.position_ids", Op::PositionIds { offset: 0 }, &[self.ids])?;
        let position = self.node("embeddings.position_embeddings", Op::Embedding, &[position, at])?;
        let x = self.node("embeddings.add_position", Op::Add, &[x, position])?;
        let x = self.layer_norm("embeddings.LayerNorm", x)?;
        self.dropout("embeddings.dropout", x)
    }

    /// Attention, then a feed-forward part, each added to its input and normalised after.
    fn layer(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let c = self.config;
        let at = |part: &str| format!("{path}.{part}");
        let q = self.linear(&at("attention.self.query"), x, c.hidden_size)?;
        let k = self.linear(&at("attention.self.key"), x, c.hidden_size)?;
        let v = self.linear(&at("attention.self.value"), x, c.hidden_size)?;
        let heads = Op::Attention { heads: c.num_attention_heads };
        let y = self.node(&at("attention.self"), heads, &[q, k, v, self.mask])?;
        let y = self.linear(&at("attention.output.dense"), y, c.hidden_size)?;
        let x = self.add_norm(&at("attention.output"), x, y)?;
        let y = self.linear(&at("intermediate.dense"), x, c.intermediate_size)?;
        let y = self.node(&at("intermediate"), c.hidden_act.op(), &[y])?;
        let y = self.linear(&at("output.dense"), y, c.hidden_size)?;
        self.add_norm(&at("output"), x, y)
    }

    fn add_norm(&mut self, path: &str, x: ValueId, y: ValueId) -> Result<ValueId, GraphError> {
        let y = self.dropout(&format!("{path}.dropout"), y)?;
        let x = self.node(&format!("{path}.add"), Op::Add, &[y, x])?;
        self.layer_norm(&format!("{path}.LayerNorm"), x)
    }

    /// The first token's vector through a linear layer and tanh.
    fn pooler(&mut self, last: ValueId) -> Result<ValueId, GraphError> {
        let x = self.node("pooler.first_token", Op::Select { axis: 1, index: 0 }, &[last])?;
        let x = self.linear("pooler.dense", x, self.config.hidden_size)?;
        self.node("pooler", Op::Tanh, &[x])
    }

    fn classifier(&mut self, x: ValueId, n_classes: usize) -> Result<ValueId, GraphError> {
        let p = self.config.classifier_dropout.unwrap_or(self.config.hidden_dropout_prob);
        let x = if p > 0.0 { self.b.node("dropout", Op::Dropout { p }, &[x])? } else { x };
        self.plain_linear("classifier", x, n_classes)
    }

    fn table(&mut self, name: &str, rows: usize) -> Result<ValueId, GraphError> {
        let shape = [rows, self.config.hidden_size];
        let init = Init::Normal(self.config.initializer_range);
        self.b.param(format!("{}embeddings.{name}.weight", self.prefix), &shape, init)
    }

    fn layer_norm(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        self.b.layer_norm(&format!("{}{path}", self.prefix), x, self.config.layer_norm_eps)
    }

    fn dropout(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let p = self.config.hidden_dropout_prob;
        if p > 0.0 { self.node(path, Op::Dropout { p }, &[x]) } else { Ok(x) }
    }

    fn linear(&mut self, path: &str, x: ValueId, out: usize) -> Result<ValueId, GraphError> {
        self.plain_linear(&format!("{}{path}", self.prefix), x, out)
    }

    /// A linear layer outside the backbone: its name has no prefix.
    fn plain_linear(&mut self, path: &str, x: ValueId, out: usize) -> Result<ValueId, GraphError> {
        let weight = Init::Normal(self.config.initializer_range);
        self.b.linear_init(path, x, out, weight, Init::Constant(0.0))
    }

    fn node(&mut self, path: &str, op: Op, inputs: &[ValueId]) -> Result<ValueId, GraphError> {
        self.b.node(&format!("{}{path}", self.prefix), op, inputs)
    }
}

impl HiddenAct {
    fn op(self) -> Op {
        match self {
            HiddenAct::Gelu => Op::Gelu { tanh: false },
            HiddenAct::GeluNew => Op::Gelu { tanh: true },
            HiddenAct::Relu => Op::Relu,
            HiddenAct::Silu => Op::Silu,
            HiddenAct::Tanh => Op::Tanh,
        }
    }
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
