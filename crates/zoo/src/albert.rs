//! ALBERT: one layer's parameters read by all layers, embeddings narrower than the layers.
//!
//! Lan et al., "ALBERT: a lite BERT for self-supervised learning of language representations", 2020.
//! `input_ids`, `attention_mask`, `token_type_ids [batch, sequence]` → `last_hidden_state [batch, sequence, hidden]` → a
//! head.  The sequence classifier reads the pooled first token, as BERT's does.

use headstart_graph::{Graph, GraphError, Init, Op, ValueId};
use serde_json::Value;

use crate::ZooError;
use crate::activation::HiddenAct;
use crate::bert::BertConfig;
use crate::limits::{self, LAYERS_MAX, WIDTH_MAX};
use crate::text_head::TextHead;
use crate::transformer::{LayerNames, Net, Part};

const LAYER: LayerNames = LayerNames {
    order: [
        Part::OutputNorm,
        Part::Project(0),
        Part::Project(1),
        Part::Project(2),
        Part::Dense,
        Part::AttentionNorm,
        Part::Up,
        Part::Down,
    ],
    qkv: ["attention.query", "attention.key", "attention.value"],
    attention: "attention",
    dense: "attention.dense",
    attention_norm: "attention.LayerNorm",
    up: "ffn",
    activation: "activation",
    down: "ffn_output",
    output_norm: "full_layer_layer_norm",
    residual: ["attention", "ffn"],
};

struct Config {
    bert: BertConfig,
    embedding_size: usize,
    n_groups: usize,
    /// Layers inside a group.
    n_inner: usize,
    classifier_dropout: f64,
}

/// The graph with the head that `architectures` names, and the longest text in tokens.
pub(crate) fn from_json(config: &Value) -> Result<(Graph, usize), ZooError> {
    let default = BertConfig {
        vocab_size: 30_000,
        hidden_size: 4096,
        num_attention_heads: 64,
        intermediate_size: 16_384,
        hidden_act: HiddenAct::GeluNew,
        hidden_dropout_prob: 0.0,
        attention_probs_dropout_prob: 0.0,
        ..BertConfig::default()
    };
    let c = Config {
        bert: default.over(config)?,
        embedding_size: limits::count(config, "embedding_size", 128, WIDTH_MAX)?,
        n_groups: limits::count(config, "num_hidden_groups", 1, LAYERS_MAX)?,
        n_inner: limits::count(config, "inner_group_num", 1, LAYERS_MAX)?,
        classifier_dropout: config["classifier_dropout_prob"].as_f64().unwrap_or(0.1),
    };
    limits::check(&[(
        "num_hidden_layers times inner_group_num",
        c.bert.num_hidden_layers.saturating_mul(c.n_inner),
        LAYERS_MAX,
    )])?;
    let head = TextHead::read(config, "Albert")?;
    let (mut n, last) = encoder(&c, head)?;
    let p = c.classifier_dropout;
    let graph = match head {
        TextHead::Model => {
            let pooled = n.albert_pooler(last)?;
            n.finish_backbone(last, Some(pooled))
        }
        TextHead::Trunk => n.finish_backbone(last, None),
        TextHead::Sequence(classes) => {
            let pooled = n.albert_pooler(last)?;
            n.finish_classifier(pooled, classes, p)
        }
        TextHead::Token(classes) => n.finish_classifier(last, classes, p),
        TextHead::Question => n.finish_question_answering(last),
    }?;
    Ok((graph, c.bert.max_position_embeddings))
}

fn encoder(c: &Config, head: TextHead) -> Result<(Net, ValueId), GraphError> {
    let bert = &c.bert;
    let mut n = bert.net("albert", head.prefix("albert"));
    let [ids, mask] = n.text_inputs();
    let types = n.b.ids("token_type_ids", Some(0));
    let word = n.table("embeddings.word_embeddings", bert.vocab_size, c.embedding_size)?;
    let position =
        n.table("embeddings.position_embeddings", bert.max_position_embeddings, c.embedding_size)?;
    let segment = n.table("embeddings.token_type_embeddings", bert.type_vocab_size, c.embedding_size)?;
    let at = Op::PositionIds { offset: 0, padding_id: None };
    let mut x = n.embeddings([Some((word, ids)), Some((segment, types)), Some((position, ids))], at)?;
    x = n.layer_norm("embeddings.LayerNorm", x)?;
    x = n.drop("embeddings.dropout", x)?;
    x = n.linear("encoder.embedding_hidden_mapping_in", x, bert.hidden_size)?;
    let shared =
        |group: usize, inner: usize| format!("encoder.albert_layer_groups.{group}.albert_layers.{inner}");
    let spec = bert.layer();
    for (group, inner) in (0..c.n_groups).flat_map(|g| (0..c.n_inner).map(move |i| (g, i))) {
        n.declare(&shared(group, inner), &LAYER, &spec)?;
    }
    for i in 0..bert.num_hidden_layers {
        // Which group a layer reads, rounded as the reference does.
        let group = (i as f64 / (bert.num_hidden_layers as f64 / c.n_groups as f64)) as usize;
        for inner in 0..c.n_inner {
            let path = if c.n_inner == 1 {
                format!("encoder.layer.{i}")
            } else {
                format!("encoder.layer.{i}.{inner}")
            };
            x = n.albert_layer(&path, &shared(group.min(c.n_groups - 1), inner), c, x, mask)?;
        }
    }
    Ok((n, x))
}

impl Net {
    /// One layer: nodes at `path`, parameters at `shared`, which other layers read too.
    fn albert_layer(
        &mut self,
        path: &str,
        shared: &str,
        c: &Config,
        x: ValueId,
        mask: ValueId,
    ) -> Result<ValueId, GraphError> {
        let (spec, hidden) = (c.bert.layer(), c.bert.hidden_size);
        let at = |part: &str| format!("{path}.{part}");
        let mut qkv = Vec::with_capacity(4);
        for part in LAYER.qkv {
            qkv.push(self.shared_linear(path, shared, part, x, hidden)?);
        }
        qkv.push(mask);
        let y = self.node(&at(LAYER.attention), Op::Attention(spec.attention), &qkv)?;
        let y = self.shared_linear(path, shared, LAYER.dense, y, hidden)?;
        let x = self.add(&at("attention"), x, y, spec.residual_dropout[0])?;
        let x = self.shared_layer_norm(path, shared, LAYER.attention_norm, x)?;
        let y = self.shared_linear(path, shared, LAYER.up, x, spec.intermediate)?;
        let y = self.node(&at(LAYER.activation), spec.act.op(), &[y])?;
        let y = self.shared_linear(path, shared, LAYER.down, y, hidden)?;
        // Nothing is dropped out behind the feed-forward part.
        let x = self.node(&at("ffn.add"), Op::Add, &[y, x])?;
        self.shared_layer_norm(path, shared, LAYER.output_norm, x)
    }

    fn shared_linear(
        &mut self,
        path: &str,
        shared: &str,
        part: &str,
        x: ValueId,
        out: usize,
    ) -> Result<ValueId, GraphError> {
        let width = self.b.shape(x).width().unwrap_or(0);
        let weight = self.param(&format!("{shared}.{part}.weight"), &[out, width], Init::Normal(self.std))?;
        let bias = self.param(&format!("{shared}.{part}.bias"), &[out], Init::Constant(0.0))?;
        self.node(&format!("{path}.{part}"), Op::Linear, &[x, weight, bias])
    }

    fn shared_layer_norm(
        &mut self,
        path: &str,
        shared: &str,
        part: &str,
        x: ValueId,
    ) -> Result<ValueId, GraphError> {
        let width = [self.b.shape(x).width().unwrap_or(0)];
        let weight = self.param(&format!("{shared}.{part}.weight"), &width, Init::Constant(1.0))?;
        let bias = self.param(&format!("{shared}.{part}.bias"), &width, Init::Constant(0.0))?;
        self.node(&format!("{path}.{part}"), Op::LayerNorm { eps: self.eps }, &[x, weight, bias])
    }

    fn albert_pooler(&mut self, tokens: ValueId) -> Result<ValueId, GraphError> {
        let x = self.first_token("pooler.first_token", tokens)?;
        let width = self.b.shape(x).width().unwrap_or(0);
        let x = self.linear("pooler", x, width)?;
        self.node("pooler.activation", Op::Tanh, &[x])
    }
}
