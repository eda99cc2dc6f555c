//! T5: an encoder, and a decoder that reads it, with biases by relative position and norms without a mean.
//!
//! Raffel et al., "Exploring the limits of transfer learning with a unified text-to-text transformer", 2020; gated
//! feed-forward parts: Shazeer, "GLU variants improve transformer", 2020.
//! `input_ids`, `attention_mask [batch, sequence]` → `last_hidden_state [batch, sequence, d_model]`; with a decoder also
//! `decoder_input_ids [batch, target]` → `logits [batch, target, vocabulary]`.
//!
//! `shared.weight` is the table of both, and with `tie_word_embeddings` the output layer; published files may name it
//! `encoder.embed_tokens.weight` or `lm_head.weight`.

use headstart_graph::{
    Attention, DType, Dim, Graph, GraphBuilder, GraphError, Init, InputSpec, Op, Shape, ValueId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ZooError;
use crate::activation::HiddenAct;
use crate::limits::{self, LAYERS_MAX, ROWS_MAX, WIDTH_MAX};
use crate::transformer::Net;

/// Names that transformers takes for others.
const ALIASES: &[(&str, &str)] =
    &[("hidden_size", "d_model"), ("num_hidden_layers", "num_layers"), ("num_attention_heads", "num_heads")];

/// The fields of `config.json` that matter, with transformers' defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Config {
    vocab_size: usize,
    d_model: usize,
    d_kv: usize,
    d_ff: usize,
    num_layers: usize,
    num_decoder_layers: Option<usize>,
    num_heads: usize,
    relative_attention_num_buckets: usize,
    relative_attention_max_distance: usize,
    dropout_rate: f64,
    layer_norm_epsilon: f64,
    initializer_factor: f64,
    feed_forward_proj: String,
    tie_word_embeddings: bool,
    scale_decoder_outputs: Option<bool>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            vocab_size: 32_128,
            d_model: 512,
            d_kv: 64,
            d_ff: 2048,
            num_layers: 6,
            num_decoder_layers: None,
            num_heads: 8,
            relative_attention_num_buckets: 32,
            relative_attention_max_distance: 128,
            dropout_rate: 0.1,
            layer_norm_epsilon: 1e-6,
            initializer_factor: 1.0,
            feed_forward_proj: "relu".into(),
            tie_word_embeddings: true,
            scale_decoder_outputs: None,
        }
    }
}

/// Longest text that is cut to, tokens: relative positions have no end of their own.
const LENGTH_MAX: usize = 512;

/// The graph of `T5EncoderModel` or `T5ForConditionalGeneration`, and the longest text in tokens.
pub(crate) fn from_json(config: &Value) -> Result<(Graph, usize), ZooError> {
    let c: Config = limits::read_over(&Config::default(), config, ALIASES, "counts above 0")?;
    limits::check(&[
        ("vocab_size", c.vocab_size, ROWS_MAX),
        ("d_model", c.d_model, WIDTH_MAX),
        ("d_kv times num_heads", c.d_kv.saturating_mul(c.num_heads), WIDTH_MAX),
        ("d_ff", c.d_ff, WIDTH_MAX),
        ("num_layers", c.num_layers, LAYERS_MAX),
        ("num_decoder_layers", c.decoder_layers(), LAYERS_MAX),
        ("relative_attention_num_buckets", c.relative_attention_num_buckets, ROWS_MAX),
        ("relative_attention_max_distance", c.relative_attention_max_distance, ROWS_MAX),
    ])?;
    let (act, gated) = c.act()?;
    let class = config["architectures"][0].as_str().unwrap_or("T5EncoderModel");
    let net = Net {
        b: GraphBuilder::new("t5"),
        prefix: String::new(),
        std: c.initializer_factor,
        eps: c.layer_norm_epsilon,
        dropout: c.dropout_rate,
    };
    let mut t5 = T5 { n: net, c, act, gated };
    let [ids, mask] = t5.n.text_inputs();
    let (rows, width) = (t5.c.vocab_size, t5.c.d_model);
    let shared = t5.n.table("shared", rows, width)?;
    let encoded = t5.stack("encoder", t5.c.num_layers, shared, ids, [Some(mask), None], None)?;
    let graph = match class {
        "T5EncoderModel" => t5.n.finish_backbone(encoded, None),
        "T5ForConditionalGeneration" => t5.finish_decoder(shared, encoded, mask),
        other => {
            let (got, allowed) = (format!("`{other}`"), "T5EncoderModel, T5ForConditionalGeneration".into());
            return Err(ZooError::Config { field: "architectures", got, allowed });
        }
    }?;
    Ok((graph, LENGTH_MAX))
}

impl Config {
    fn decoder_layers(&self) -> usize {
        self.num_decoder_layers.unwrap_or(self.num_layers)
    }

    /// The nonlinearity, and whether a second linear layer gates it.
    fn act(&self) -> Result<(HiddenAct, bool), ZooError> {
        match self.feed_forward_proj.as_str() {
            "relu" => Ok((HiddenAct::Relu, false)),
            "gelu" => Ok((HiddenAct::Gelu, false)),
            "gated-gelu" => Ok((HiddenAct::GeluNew, true)),
            "gated-silu" => Ok((HiddenAct::Silu, true)),
            other => Err(ZooError::Config {
                field: "feed_forward_proj",
                got: format!("`{other}`"),
                allowed: "relu, gelu, gated-gelu, gated-silu".into(),
            }),
        }
    }
}

struct T5 {
    n: Net,
    c: Config,
    act: HiddenAct,
    gated: bool,
}

/// What the layers of a stack attend to.
#[derive(Clone, Copy)]
struct Context {
    bias: ValueId,
    mask: Option<ValueId>,
    causal: bool,
    /// The encoder's output and its mask.
    encoded: Option<(ValueId, ValueId)>,
}

impl T5 {
    /// Encoder or decoder: embedding, blocks, norm.
    fn stack(
        &mut self,
        path: &str,
        layers: usize,
        shared: ValueId,
        ids: ValueId,
        [mask, causal]: [Option<ValueId>; 2],
        encoded: Option<(ValueId, ValueId)>,
    ) -> Result<ValueId, GraphError> {
        let x = self.n.node(&format!("{path}.embed_tokens"), Op::Embedding, &[shared, ids])?;
        let mut x = self.n.drop(&format!("{path}.embed_tokens.dropout"), x)?;
        self.declare(path, layers, encoded.is_some())?;
        let first = format!("{path}.block.0.layer.0.SelfAttention.relative_attention_bias");
        let buckets = self.c.relative_attention_num_buckets;
        let table = self.bias_table(&first)?;
        let bias = Op::RelativePositionBias {
            buckets,
            distance_max: self.c.relative_attention_max_distance,
            bidirectional: causal.is_none(),
        };
        let bias = self.n.node(&first, bias, &[table, x, x])?;
        let context = Context { bias, mask, causal: causal.is_some(), encoded };
        for i in 0..layers {
            x = self.block(&format!("{path}.block.{i}"), x, &context)?;
        }
        let x = self.norm(&format!("{path}.final_layer_norm"), x)?;
        self.n.drop(&format!("{path}.dropout"), x)
    }

    fn finish_decoder(
        mut self,
        shared: ValueId,
        encoded: ValueId,
        mask: ValueId,
    ) -> Result<Graph, GraphError> {
        let shape = Shape(vec![Dim::batch(), Dim::Symbol("target".into())]);
        let ids = self.n.b.input("decoder_input_ids", InputSpec { dtype: DType::I64, shape, default: None });
        let (layers, encoder) = (self.c.decoder_layers(), Some((encoded, mask)));
        let mut x = self.stack("decoder", layers, shared, ids, [None, Some(ids)], encoder)?;
        if self.c.scale_decoder_outputs.unwrap_or(self.c.tie_word_embeddings) {
            let by = (self.c.d_model as f64).powf(-0.5);
            x = self.n.node("decoder.scale", Op::Scale { by }, &[x])?;
        }
        let logits = if self.c.tie_word_embeddings {
            self.n.node("lm_head", Op::Linear, &[x, shared])?
        } else {
            self.n.linear_no_bias("lm_head", x, self.c.vocab_size, Init::Normal(self.c.initializer_factor))?
        };
        self.n.b.finish([("logits", logits), ("encoder_last_hidden_state", encoded)])
    }

    /// Parameters in the state dict's order: each block's attention before its norm, which is computed first.
    fn declare(&mut self, path: &str, layers: usize, cross: bool) -> Result<(), GraphError> {
        let (model, inner) = (self.c.d_model, self.c.d_kv * self.c.num_heads);
        let kinds: &[&str] = if cross { &["SelfAttention", "EncDecAttention"] } else { &["SelfAttention"] };
        for i in 0..layers {
            for (j, kind) in kinds.iter().enumerate() {
                let at = format!("{path}.block.{i}.layer.{j}");
                for part in ["q", "k", "v"] {
                    let init = self.attention_init(part);
                    self.n.b.reserve(format!("{at}.{kind}.{part}.weight"), &[inner, model], init)?;
                }
                self.n.b.reserve(
                    format!("{at}.{kind}.o.weight"),
                    &[model, inner],
                    self.attention_init("o"),
                )?;
                if (i, j) == (0, 0) {
                    self.bias_table(&format!("{at}.{kind}.relative_attention_bias"))?;
                }
                self.declare_norm(&format!("{at}.layer_norm"))?;
            }
            let at = format!("{path}.block.{i}.layer.{}", kinds.len());
            let ups: &[&str] = if self.gated { &["wi_0", "wi_1"] } else { &["wi"] };
            for up in ups {
                let (name, init) = (format!("{at}.DenseReluDense.{up}.weight"), self.init(model));
                self.n.b.reserve(name, &[self.c.d_ff, model], init)?;
            }
            let (name, init) = (format!("{at}.DenseReluDense.wo.weight"), self.init(self.c.d_ff));
            self.n.b.reserve(name, &[model, self.c.d_ff], init)?;
            self.declare_norm(&format!("{at}.layer_norm"))?;
        }
        Ok(())
    }

    fn block(&mut self, path: &str, x: ValueId, context: &Context) -> Result<ValueId, GraphError> {
        let rest: Vec<ValueId> = context.mask.into_iter().chain([context.bias]).collect();
        let mut own = Attention::new(self.c.num_heads).scale(1.0).biased().dropout(self.c.dropout_rate);
        own.causal = context.causal;
        let mut x = self.attend(&format!("{path}.layer.0"), "SelfAttention", own, x, None, &rest)?;
        let mut at = 1;
        if let Some((encoded, mask)) = context.encoded {
            let cross = Attention::new(self.c.num_heads).scale(1.0).dropout(self.c.dropout_rate);
            x =
                self.attend(&format!("{path}.layer.1"), "EncDecAttention", cross, x, Some(encoded), &[mask])?;
            at = 2;
        }
        self.feed_forward(&format!("{path}.layer.{at}"), x)
    }

    /// Attention of the normalised input to itself or to `over`, added.
    fn attend(
        &mut self,
        path: &str,
        kind: &str,
        attention: Attention,
        x: ValueId,
        over: Option<ValueId>,
        rest: &[ValueId],
    ) -> Result<ValueId, GraphError> {
        let inner = self.c.d_kv * self.c.num_heads;
        let y = self.norm(&format!("{path}.layer_norm"), x)?;
        let keys = over.unwrap_or(y);
        let mut inputs = Vec::with_capacity(5);
        for (part, from) in [("q", y), ("k", keys), ("v", keys)] {
            let init = self.attention_init(part);
            inputs.push(self.n.linear_no_bias(&format!("{path}.{kind}.{part}"), from, inner, init)?);
        }
        inputs.extend(rest);
        let y = self.n.node(&format!("{path}.{kind}"), Op::Attention(attention), &inputs)?;
        let init = self.attention_init("o");
        let y = self.n.linear_no_bias(&format!("{path}.{kind}.o"), y, self.c.d_model, init)?;
        self.n.add(path, x, y, self.c.dropout_rate)
    }

    fn feed_forward(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let at = |part: &str| format!("{path}.DenseReluDense.{part}");
        let (inner, init) = (self.c.d_ff, self.init(self.c.d_model));
        let y = self.norm(&format!("{path}.layer_norm"), x)?;
        let up = self.n.linear_no_bias(&at(if self.gated { "wi_0" } else { "wi" }), y, inner, init)?;
        let mut up = self.n.node(&at("act"), self.act.op(), &[up])?;
        if self.gated {
            let gate = self.n.linear_no_bias(&at("wi_1"), y, inner, init)?;
            up = self.n.node(&at("gate"), Op::Mul, &[up, gate])?;
        }
        let up = self.n.drop(&at("dropout"), up)?;
        let y = self.n.linear_no_bias(&at("wo"), up, self.c.d_model, self.init(inner))?;
        self.n.add(path, x, y, self.c.dropout_rate)
    }

    fn norm(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let weight = self.n.param(&format!("{path}.weight"), &[self.c.d_model], Init::Constant(1.0))?;
        self.n.node(path, Op::RmsNorm { eps: self.n.eps }, &[x, weight])
    }

    fn declare_norm(&mut self, path: &str) -> Result<(), GraphError> {
        let one = Init::Constant(self.c.initializer_factor);
        self.n.b.reserve(format!("{path}.weight"), &[self.c.d_model], one).map(|_| ())
    }

    fn bias_table(&mut self, path: &str) -> Result<ValueId, GraphError> {
        let shape = [self.c.relative_attention_num_buckets, self.c.num_heads];
        let init = self.init(self.c.d_model);
        self.n.b.reserve(format!("{path}.weight"), &shape, init)
    }

    /// Normal, with variance 1/fan_in.
    fn init(&self, fan_in: usize) -> Init {
        Init::Normal(self.c.initializer_factor * (fan_in as f64).powf(-0.5))
    }

    fn attention_init(&self, part: &str) -> Init {
        self.init(match part {
            // Scores are not scaled, so queries start smaller.
            "q" => self.c.d_model * self.c.d_kv,
            "o" => self.c.num_heads * self.c.d_kv,
            _ => self.c.d_model,
        })
    }
}
