//! DistilBERT: BERT with half the layers, without segments and pooler.
//!
//! Sanh, Debut, Chaumond and Wolf, "DistilBERT, a distilled version of BERT: smaller, faster, cheaper and lighter", 2019.
//! `input_ids`, `attention_mask [batch, sequence]` → `last_hidden_state [batch, sequence, dim]` → a head.  The sequence
//! classifier is a dense layer with ReLU (`pre_classifier`) and a linear one, on the first token.
//!
//! **Deviation:** a network that starts from nothing learns its positions; the reference starts from sines where
//! `sinusoidal_pos_embds` is set.  Published weights hold the positions either way.

use headstart_graph::{Attention, Graph, GraphBuilder, GraphError, Op, ValueId};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ZooError;
use crate::activation::HiddenAct;
use crate::limits::{self, LAYERS_MAX, ROWS_MAX, WIDTH_MAX};
use crate::text_head::TextHead;
use crate::transformer::{LayerNames, LayerSpec, Net, USUAL_ORDER};

/// Names that transformers takes for others.
const ALIASES: &[(&str, &str)] =
    &[("num_hidden_layers", "n_layers"), ("num_attention_heads", "n_heads"), ("hidden_size", "dim")];

/// The fields of `config.json` that matter, with transformers' defaults.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Config {
    vocab_size: usize,
    max_position_embeddings: usize,
    n_layers: usize,
    n_heads: usize,
    dim: usize,
    hidden_dim: usize,
    dropout: f64,
    attention_dropout: f64,
    activation: HiddenAct,
    initializer_range: f64,
    qa_dropout: f64,
    seq_classif_dropout: f64,
}

const DEFAULT: Config = Config {
    vocab_size: 30_522,
    max_position_embeddings: 512,
    n_layers: 6,
    n_heads: 12,
    dim: 768,
    hidden_dim: 3072,
    dropout: 0.1,
    attention_dropout: 0.1,
    activation: HiddenAct::Gelu,
    initializer_range: 0.02,
    qa_dropout: 0.1,
    seq_classif_dropout: 0.2,
};

const LAYER: LayerNames = LayerNames {
    order: USUAL_ORDER,
    qkv: ["attention.q_lin", "attention.k_lin", "attention.v_lin"],
    attention: "attention",
    dense: "attention.out_lin",
    attention_norm: "sa_layer_norm",
    up: "ffn.lin1",
    activation: "ffn.activation",
    down: "ffn.lin2",
    output_norm: "output_layer_norm",
    residual: ["attention", "ffn"],
};

/// The graph with the head that `architectures` names, and the longest text in tokens.
pub(crate) fn from_json(config: &Value) -> Result<(Graph, usize), ZooError> {
    let c: Config = limits::read_over(&DEFAULT, config, ALIASES, "gelu or relu; counts above 0")?;
    limits::check(&[
        ("vocab_size", c.vocab_size, ROWS_MAX),
        ("max_position_embeddings", c.max_position_embeddings, ROWS_MAX),
        ("n_layers", c.n_layers, LAYERS_MAX),
        ("dim", c.dim, WIDTH_MAX),
        ("hidden_dim", c.hidden_dim, WIDTH_MAX),
    ])?;
    limits::check_heads("n_heads", c.n_heads, c.dim)?;
    let head = TextHead::read(config, "DistilBert")?;
    let (mut n, last) = encoder(&c, head)?;
    let graph = match head {
        TextHead::Model | TextHead::Trunk => n.finish_backbone(last, None),
        TextHead::Sequence(classes) => {
            let x = n.b.node("pre_classifier.first_token", Op::Select { axis: 1, index: 0 }, &[last])?;
            let x = n.plain_linear("pre_classifier", x, c.dim)?;
            let x = n.b.relu("pre_classifier.activation", x)?;
            n.finish_classifier(x, classes, c.seq_classif_dropout)
        }
        TextHead::Token(classes) => n.finish_classifier(last, classes, c.dropout),
        TextHead::Question => {
            let x = n.plain_drop("dropout", last, c.qa_dropout)?;
            n.finish_question_answering(x)
        }
    }?;
    Ok((graph, c.max_position_embeddings))
}

fn encoder(c: &Config, head: TextHead) -> Result<(Net, ValueId), GraphError> {
    let mut n = Net {
        b: GraphBuilder::new("distilbert"),
        prefix: head.prefix("distilbert"),
        std: c.initializer_range,
        eps: 1e-12,
        dropout: c.dropout,
    };
    let layer = LayerSpec {
        hidden: c.dim,
        intermediate: c.hidden_dim,
        attention: Attention::new(c.n_heads).dropout(c.attention_dropout),
        act: c.activation,
        qkv_bias: [true; 3],
        activation_dropout: 0.0,
        // Nothing is dropped out between attention and its norm.
        residual_dropout: [0.0, c.dropout],
    };
    let [ids, mask] = n.text_inputs();
    let word = n.table("embeddings.word_embeddings", c.vocab_size, c.dim)?;
    let position = n.table("embeddings.position_embeddings", c.max_position_embeddings, c.dim)?;
    let at = Op::PositionIds { offset: 0, padding_id: None };
    let mut x = n.embeddings([Some((word, ids)), None, Some((position, ids))], at)?;
    x = n.layer_norm("embeddings.LayerNorm", x)?;
    x = n.drop("embeddings.dropout", x)?;
    for i in 0..c.n_layers {
        x = n.post_norm_layer(&format!("transformer.layer.{i}"), &LAYER, &layer, x, &[mask])?;
    }
    Ok((n, x))
}
