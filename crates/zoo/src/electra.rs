//! ELECTRA's discriminator: BERT's encoder over narrower embeddings.
//!
//! Clark, Luong, Le and Manning, "ELECTRA: pre-training text encoders as discriminators rather than generators", 2020.
//! `input_ids`, `attention_mask`, `token_type_ids [batch, sequence]` → `last_hidden_state [batch, sequence, hidden]` → a
//! head.  There is no pooler; the sequence classifier is a dense layer with GELU and a linear one, on the first token.

use headstart_graph::{Graph, GraphError, Op, ValueId};
use serde_json::Value;

use crate::ZooError;
use crate::bert::{BertConfig, LAYER};
use crate::limits::{self, WIDTH_MAX};
use crate::text_head::TextHead;
use crate::transformer::Net;

/// The graph with the head that `architectures` names, and the longest text in tokens.
pub(crate) fn from_json(config: &Value) -> Result<(Graph, usize), ZooError> {
    let default = BertConfig {
        hidden_size: 256,
        num_attention_heads: 4,
        intermediate_size: 1024,
        ..BertConfig::default()
    };
    let electra = default.over(config)?;
    let embedding = limits::count(config, "embedding_size", 128, WIDTH_MAX)?;
    let head = TextHead::read(config, "Electra")?;
    let (n, last) = encoder(&electra, embedding, head)?;
    let p = electra.classifier_dropout();
    let graph = match head {
        TextHead::Model | TextHead::Trunk => n.finish_backbone(last, None),
        TextHead::Sequence(classes) => {
            n.finish_two_layer_classifier(last, Op::Gelu { tanh: false }, classes, p)
        }
        TextHead::Token(classes) => n.finish_classifier(last, classes, p),
        TextHead::Question => n.finish_question_answering(last),
    }?;
    Ok((graph, electra.max_position_embeddings))
}

fn encoder(c: &BertConfig, width: usize, head: TextHead) -> Result<(Net, ValueId), GraphError> {
    let mut n = c.net("electra", head.prefix("electra"));
    let [ids, mask] = n.text_inputs();
    let types = n.b.ids("token_type_ids", Some(0));
    let word = n.table("embeddings.word_embeddings", c.vocab_size, width)?;
    let position = n.table("embeddings.position_embeddings", c.max_position_embeddings, width)?;
    let segment = n.table("embeddings.token_type_embeddings", c.type_vocab_size, width)?;
    let at = Op::PositionIds { offset: 0, padding_id: None };
    let mut x = n.embeddings([Some((word, ids)), Some((segment, types)), Some((position, ids))], at)?;
    x = n.layer_norm("embeddings.LayerNorm", x)?;
    x = n.drop("embeddings.dropout", x)?;
    if width != c.hidden_size {
        x = n.linear("embeddings_project", x, c.hidden_size)?;
    }
    for i in 0..c.num_hidden_layers {
        x = n.post_norm_layer(&format!("encoder.layer.{i}"), &LAYER, &c.layer(), x, &[mask])?;
    }
    Ok((n, x))
}
