//! MPNet: BERT's encoder with a bias by relative position, one for all layers.
//!
//! Song, Tan, Qin, Lu and Liu, "MPNet: masked and permuted pre-training for language understanding", 2020.
//! `input_ids`, `attention_mask [batch, sequence]` → `last_hidden_state [batch, sequence, hidden]` → a head.  The
//! sequence classifier is a dense layer with tanh and a linear one, on the first token.

use headstart_graph::{Graph, GraphError, Init, Op, ValueId};
use serde_json::Value;

use crate::ZooError;
use crate::bert::BertConfig;
use crate::limits;
use crate::text_head::TextHead;
use crate::transformer::{LayerNames, Net, USUAL_ORDER};

/// The reference computes with so many buckets whatever its configuration says, and with this padding id.
const BUCKETS: usize = 32;
const DISTANCE_MAX: usize = 128;
const PADDING_ID: i64 = 1;

const LAYER: LayerNames = LayerNames {
    order: USUAL_ORDER,
    qkv: ["attention.attn.q", "attention.attn.k", "attention.attn.v"],
    attention: "attention.attn",
    dense: "attention.attn.o",
    attention_norm: "attention.LayerNorm",
    up: "intermediate.dense",
    activation: "intermediate",
    down: "output.dense",
    output_norm: "output.LayerNorm",
    residual: ["attention", "output"],
};

/// The graph with the head that `architectures` names, and the longest text in tokens.
pub(crate) fn from_json(config: &Value) -> Result<(Graph, usize), ZooError> {
    let mpnet = BertConfig { vocab_size: 30_527, ..BertConfig::default() }.over(config)?;
    let buckets = limits::count(config, "relative_attention_num_buckets", BUCKETS, BUCKETS)?;
    if buckets != BUCKETS {
        let field = "relative_attention_num_buckets";
        return Err(ZooError::Config { field, got: buckets.to_string(), allowed: BUCKETS.to_string() });
    }
    limits::check(&[(
        "max_position_embeddings",
        mpnet.max_position_embeddings.saturating_sub(2),
        usize::MAX,
    )])?;
    let head = TextHead::read(config, "MPNet")?;
    let (mut n, last) = encoder(&mpnet, head)?;
    let p = mpnet.hidden_dropout_prob;
    let graph = match head {
        TextHead::Model => {
            let pooled = n.pooler("pooler", last)?;
            n.finish_backbone(last, Some(pooled))
        }
        TextHead::Trunk => n.finish_backbone(last, None),
        TextHead::Sequence(classes) => n.finish_two_layer_classifier(last, Op::Tanh, classes, p),
        TextHead::Token(classes) => n.finish_classifier(last, classes, p),
        TextHead::Question => n.finish_question_answering(last),
    }?;
    Ok((graph, mpnet.max_position_embeddings - 2))
}

fn encoder(c: &BertConfig, head: TextHead) -> Result<(Net, ValueId), GraphError> {
    let mut n = c.net("mpnet", head.prefix("mpnet"));
    let mut spec = c.layer();
    spec.attention = spec.attention.biased();
    let [ids, mask] = n.text_inputs();
    let word = n.table("embeddings.word_embeddings", c.vocab_size, c.hidden_size)?;
    let position = n.table("embeddings.position_embeddings", c.max_position_embeddings, c.hidden_size)?;
    let at = Op::PositionIds { offset: PADDING_ID as usize + 1, padding_id: Some(PADDING_ID) };
    let mut x = n.embeddings([Some((word, ids)), None, Some((position, ids))], at)?;
    x = n.layer_norm("embeddings.LayerNorm", x)?;
    x = n.drop("embeddings.dropout", x)?;
    let layer = |i: usize| format!("encoder.layer.{i}");
    for i in 0..c.num_hidden_layers {
        n.declare(&layer(i), &LAYER, &spec)?;
    }
    let path = "encoder.relative_attention_bias";
    let rows = n.param(&format!("{path}.weight"), &[BUCKETS, c.num_attention_heads], Init::Normal(n.std))?;
    let bias = Op::RelativePositionBias { buckets: BUCKETS, distance_max: DISTANCE_MAX, bidirectional: true };
    let bias = n.node(path, bias, &[rows, x, x])?;
    for i in 0..c.num_hidden_layers {
        x = n.post_norm_layer(&layer(i), &LAYER, &spec, x, &[mask, bias])?;
    }
    Ok((n, x))
}
