//! DeBERTa-v2 and v3: attention scores of content and relative position apart, by buckets of distance.
//!
//! He, Liu, Gao and Chen, "DeBERTa: decoding-enhanced BERT with disentangled attention", 2021; He, Gao and Chen,
//! "DeBERTaV3", 2021.
//! `input_ids`, `attention_mask`, `token_type_ids [batch, sequence]` → `last_hidden_state [batch, sequence, hidden]` → a
//! head.  The sequence classifier reads the first token through a dense layer with GELU.
//!
//! **Deviation:** the reference also hides all keys from padding tokens; here they see the text.  No other token reads
//! them, so only their own vectors differ.

use headstart_graph::{Attention, Graph, GraphError, Init, Op, ValueId};
use serde_json::Value;

use crate::ZooError;
use crate::activation::HiddenAct;
use crate::bert::{BertConfig, LAYER};
use crate::limits::{self, WIDTH_MAX};
use crate::text_head::TextHead;
use crate::transformer::{LayerNames, LayerSpec, Net, conv1d};

const NAMES: LayerNames = LayerNames {
    qkv: ["attention.self.query_proj", "attention.self.key_proj", "attention.self.value_proj"],
    ..LAYER
};

struct Config {
    bert: BertConfig,
    segments: usize,
    embedding_size: usize,
    /// Positions are added to the embeddings, as in BERT.
    absolute: bool,
    relative: Option<Relative>,
    /// Width and nonlinearity of a convolution beside the first layer.
    conv: Option<(usize, usize, HiddenAct)>,
    pooler_dropout: f64,
    pooler_act: HiddenAct,
    classifier_dropout: f64,
}

/// How distances enter the scores.
#[derive(Clone, Copy)]
struct Relative {
    span: usize,
    distance_max: usize,
    log_buckets: bool,
    /// Query's content by key's distance; key's content by query's distance.
    c2p: bool,
    p2c: bool,
    /// Distances are projected by the content's query and key.
    shared: bool,
    normalised: bool,
}

/// The graph with the head that `architectures` names, and the longest text in tokens.
pub(crate) fn from_json(config: &Value) -> Result<(Graph, usize), ZooError> {
    let c = read(config)?;
    let head = TextHead::read(config, "DebertaV2")?;
    let (mut n, last) = encoder(&c, head)?;
    let graph = match head {
        TextHead::Model | TextHead::Trunk => n.finish_backbone(last, None),
        TextHead::Sequence(classes) => {
            let x = n.b.node("pooler.first_token", Op::Select { axis: 1, index: 0 }, &[last])?;
            let x = n.plain_drop("pooler.dropout", x, c.pooler_dropout)?;
            let x = n.plain_linear("pooler.dense", x, c.bert.hidden_size)?;
            let x = n.b.node("pooler", c.pooler_act.op(), &[x])?;
            n.finish_classifier(x, classes, c.classifier_dropout)
        }
        TextHead::Token(classes) => n.finish_classifier(last, classes, c.bert.hidden_dropout_prob),
        TextHead::Question => n.finish_question_answering(last),
    }?;
    Ok((graph, c.bert.max_position_embeddings))
}

fn read(config: &Value) -> Result<Config, ZooError> {
    let default = BertConfig {
        vocab_size: 128_100,
        hidden_size: 1536,
        num_hidden_layers: 24,
        num_attention_heads: 24,
        intermediate_size: 6144,
        type_vocab_size: 0,
        layer_norm_eps: 1e-7,
        ..BertConfig::default()
    };
    let bert = default.over(config)?;
    let act = |field: &'static str, default: HiddenAct| match &config[field] {
        Value::Null => Ok(default),
        name => serde_json::from_value(name.clone()).map_err(|_| ZooError::Config {
            field,
            got: name.to_string(),
            allowed: "gelu, gelu_new, relu, silu, tanh".into(),
        }),
    };
    let conv = match config["conv_kernel_size"].as_u64() {
        None | Some(0) => None,
        Some(_) => {
            let kernel = limits::count(config, "conv_kernel_size", 3, WIDTH_MAX)?;
            let groups = limits::count(config, "conv_groups", 1, WIDTH_MAX)?;
            if kernel.is_multiple_of(2) {
                let (got, allowed) = (kernel.to_string(), "odd numbers".into());
                return Err(ZooError::Config { field: "conv_kernel_size", got, allowed });
            }
            limits::check_heads("conv_groups", groups, bert.hidden_size)?;
            Some((kernel, groups, act("conv_act", HiddenAct::Tanh)?))
        }
    };
    Ok(Config {
        segments: bert.type_vocab_size,
        embedding_size: limits::count(config, "embedding_size", bert.hidden_size, WIDTH_MAX)?,
        absolute: config["position_biased_input"].as_bool() != Some(false),
        relative: relative(config, &bert)?,
        conv,
        pooler_dropout: config["pooler_dropout"].as_f64().unwrap_or(0.0),
        pooler_act: act("pooler_hidden_act", HiddenAct::Gelu)?,
        classifier_dropout: config["cls_dropout"].as_f64().unwrap_or(bert.hidden_dropout_prob),
        bert,
    })
}

fn relative(config: &Value, bert: &BertConfig) -> Result<Option<Relative>, ZooError> {
    if config["relative_attention"].as_bool() != Some(true) {
        return Ok(None);
    }
    // −1 stands for "as many as there are positions", or for "no buckets".
    let positive =
        |field: &str| config[field].as_i64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0);
    let distance_max = positive("max_relative_positions").unwrap_or(bert.max_position_embeddings);
    let buckets = positive("position_buckets");
    let span = buckets.unwrap_or(distance_max);
    limits::check(&[
        ("position_buckets", span, WIDTH_MAX),
        ("max_relative_positions", distance_max, WIDTH_MAX),
    ])?;
    let kinds: Vec<String> = match &config["pos_att_type"] {
        Value::Null => Vec::new(),
        Value::String(text) => text.to_lowercase().split('|').map(|k| k.trim().to_string()).collect(),
        list => serde_json::from_value(list.clone()).unwrap_or_else(|_| vec![list.to_string()]),
    };
    if let Some(other) = kinds.iter().find(|k| !["c2p", "p2c"].contains(&k.as_str())) {
        let (got, allowed) = (format!("`{other}`"), "c2p, p2c".into());
        return Err(ZooError::Config { field: "pos_att_type", got, allowed });
    }
    let norm = config["norm_rel_ebd"].as_str().unwrap_or("none").to_lowercase();
    Ok(Some(Relative {
        span,
        distance_max,
        log_buckets: buckets.is_some(),
        c2p: kinds.iter().any(|k| k == "c2p"),
        p2c: kinds.iter().any(|k| k == "p2c"),
        shared: config["share_att_key"].as_bool() == Some(true),
        normalised: norm.split('|').any(|n| n.trim() == "layer_norm"),
    }))
}

fn encoder(c: &Config, head: TextHead) -> Result<(Net, ValueId), GraphError> {
    let bert = &c.bert;
    let (hidden, width) = (bert.hidden_size, c.embedding_size);
    let mut n = bert.net("deberta-v2", head.prefix("deberta"));
    let [ids, mask] = n.text_inputs();
    let word = Some((n.table("embeddings.word_embeddings", bert.vocab_size, width)?, ids));
    let position = if c.absolute {
        Some((n.table("embeddings.position_embeddings", bert.max_position_embeddings, width)?, ids))
    } else {
        None
    };
    let segment = if c.segments > 0 {
        let types = n.b.ids("token_type_ids", Some(0));
        Some((n.table("embeddings.token_type_embeddings", c.segments, width)?, types))
    } else {
        None
    };
    let at = Op::PositionIds { offset: 0, padding_id: None };
    let mut x = n.embeddings([word, segment, position], at)?;
    if width != hidden {
        x = n.linear_no_bias("embeddings.embed_proj", x, hidden, Init::Normal(bert.initializer_range))?;
    }
    x = n.layer_norm("embeddings.LayerNorm", x)?;
    x = n.node("embeddings.mask", Op::MaskTokens, &[x, mask])?;
    x = n.drop("embeddings.dropout", x)?;
    let embedded = x;
    for i in 0..bert.num_hidden_layers {
        n.declare_layer(&format!("encoder.layer.{i}"), c)?;
    }
    let distances = n.distances(c)?;
    for i in 0..bert.num_hidden_layers {
        x = n.deberta_layer(&format!("encoder.layer.{i}"), c, distances, x, mask)?;
        if let (0, Some(conv)) = (i, c.conv) {
            x = n.convolved(embedded, x, mask, conv)?;
        }
    }
    Ok((n, x))
}

impl Net {
    /// Parameters in the state dict's order: distances' projections stand behind the value's.
    fn declare_layer(&mut self, path: &str, c: &Config) -> Result<(), GraphError> {
        let hidden = c.bert.hidden_size;
        let mut ahead: Vec<String> = NAMES.qkv.iter().map(|p| p.to_string()).collect();
        if let Some(r) = c.relative.filter(|r| !r.shared) {
            let kinds = [(r.c2p, "pos_key_proj"), (r.p2c, "pos_query_proj")];
            ahead
                .extend(kinds.iter().filter(|(on, _)| *on).map(|(_, part)| format!("attention.self.{part}")));
        }
        for part in ahead {
            let path = format!("{}{path}.{part}", self.prefix);
            self.b.reserve(format!("{path}.weight"), &[hidden, hidden], Init::Normal(self.std))?;
            self.b.reserve(format!("{path}.bias"), &[hidden], Init::Constant(0.0))?;
        }
        self.declare(path, &NAMES, &c.bert.layer())
    }

    /// The vectors of distances, `[2·span, hidden]`; parameters of the convolution come behind them.
    fn distances(&mut self, c: &Config) -> Result<Option<ValueId>, GraphError> {
        let hidden = c.bert.hidden_size;
        let mut distances = None;
        if let Some(r) = c.relative {
            let mut x = self.table("encoder.rel_embeddings", 2 * r.span, hidden)?;
            if r.normalised {
                x = self.layer_norm("encoder.LayerNorm", x)?;
            }
            distances = Some(x);
        }
        Ok(distances)
    }

    fn deberta_layer(
        &mut self,
        path: &str,
        c: &Config,
        distances: Option<ValueId>,
        x: ValueId,
        mask: ValueId,
    ) -> Result<ValueId, GraphError> {
        let (spec, at) = (c.bert.layer(), |part: &str| format!("{path}.{part}"));
        let mut qkv = [x; 3];
        for (value, part) in qkv.iter_mut().zip(NAMES.qkv) {
            *value = self.linear(&at(part), x, spec.hidden)?;
        }
        let bias = match (c.relative, distances) {
            (Some(r), Some(distances)) => self.distance_scores(path, c, &r, distances, qkv)?,
            _ => None,
        };
        let terms = 1 + c.relative.map_or(0, |r| usize::from(r.c2p) + usize::from(r.p2c));
        let mut attention: Attention = spec.attention.scale(scale_of(&spec, terms));
        let mut inputs = qkv.to_vec();
        inputs.push(mask);
        if let Some(bias) = bias {
            attention = attention.biased();
            inputs.push(bias);
        }
        let y = self.node(&at(NAMES.attention), Op::Attention(attention), &inputs)?;
        let y = self.linear(&at(NAMES.dense), y, spec.hidden)?;
        let x = self.add(&at(NAMES.residual[0]), x, y, spec.residual_dropout[0])?;
        let x = self.layer_norm(&at(NAMES.attention_norm), x)?;
        let y = self.feed_forward(path, &NAMES, &spec, x)?;
        let x = self.add(&at(NAMES.residual[1]), x, y, spec.residual_dropout[1])?;
        self.layer_norm(&at(NAMES.output_norm), x)
    }

    /// What distances add to the scores of a layer, if anything.
    fn distance_scores(
        &mut self,
        path: &str,
        c: &Config,
        r: &Relative,
        distances: ValueId,
        [query, key, _]: [ValueId; 3],
    ) -> Result<Option<ValueId>, GraphError> {
        let spec = c.bert.layer();
        let scale = scale_of(&spec, 1 + usize::from(r.c2p) + usize::from(r.p2c));
        let distances = self.drop(&format!("{path}.attention.self.pos_dropout"), distances)?;
        let mut sum = None;
        let kinds = [
            (r.c2p, "c2p", query, NAMES.qkv[1], "attention.self.pos_key_proj", false),
            (r.p2c, "p2c", key, NAMES.qkv[0], "attention.self.pos_query_proj", true),
        ];
        for (_, name, x, shared, own, by_key) in kinds.into_iter().filter(|k| k.0) {
            let part = if r.shared { shared } else { own };
            let node = format!("{path}.attention.self.{name}.positions");
            let positions = self.linear_shared(&node, &format!("{path}.{part}"), distances, spec.hidden)?;
            let scores = Op::DisentangledScores {
                heads: spec.attention.heads,
                span: r.span,
                distance_max: r.distance_max,
                log_buckets: r.log_buckets,
                by_key,
                scale,
            };
            let node = format!("{path}.attention.self.{name}");
            let scores = self.node(&node, scores, &[x, positions])?;
            sum = Some(match sum {
                None => scores,
                Some(sum) => self.node(&format!("{node}.add"), Op::Add, &[sum, scores])?,
            });
        }
        Ok(sum)
    }

    /// A linear layer at `node` with the parameters of `params`, which another node may read too.
    fn linear_shared(
        &mut self,
        node: &str,
        params: &str,
        x: ValueId,
        out: usize,
    ) -> Result<ValueId, GraphError> {
        let width = self.b.shape(x).width().unwrap_or(0);
        let weight = self.param(&format!("{params}.weight"), &[out, width], Init::Normal(self.std))?;
        let bias = self.param(&format!("{params}.bias"), &[out], Init::Constant(0.0))?;
        self.node(node, Op::Linear, &[x, weight, bias])
    }

    /// A convolution of the embeddings, added to what the first layer made of them.
    fn convolved(
        &mut self,
        embedded: ValueId,
        x: ValueId,
        mask: ValueId,
        (kernel, groups, act): (usize, usize, HiddenAct),
    ) -> Result<ValueId, GraphError> {
        let (path, hidden) = ("encoder.conv", self.b.shape(x).width().unwrap_or(0));
        let shape = [hidden, hidden / groups, kernel];
        let weight = self.param(&format!("{path}.conv.weight"), &shape, Init::Normal(self.std))?;
        let bias = self.param(&format!("{path}.conv.bias"), &[hidden], Init::Constant(0.0))?;
        let y = self.node(&format!("{path}.first"), Op::Transpose { perm: vec![0, 2, 1] }, &[embedded])?;
        let conv = conv1d(1, [kernel / 2; 2], groups);
        let y = self.node(&format!("{path}.conv"), conv, &[y, weight, bias])?;
        let y = self.node(&format!("{path}.last"), Op::Transpose { perm: vec![0, 2, 1] }, &[y])?;
        let y = self.node(&format!("{path}.mask"), Op::MaskTokens, &[y, mask])?;
        let y = self.drop(&format!("{path}.dropout"), y)?;
        let y = self.node(&format!("{path}.act"), act.op(), &[y])?;
        let x = self.node(&format!("{path}.add"), Op::Add, &[x, y])?;
        let x = self.layer_norm(&format!("{path}.LayerNorm"), x)?;
        self.node(&format!("{path}.output"), Op::MaskTokens, &[x, mask])
    }
}

/// Each of so many terms has variance 1 of the width of a head.
fn scale_of(spec: &LayerSpec, terms: usize) -> f64 {
    1.0 / ((spec.hidden / spec.attention.heads * terms) as f64).sqrt()
}
