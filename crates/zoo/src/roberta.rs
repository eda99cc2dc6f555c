//! RoBERTa and XLM-RoBERTa: BERT's encoder, trained longer, with positions counted from behind the padding id.
//!
//! Liu et al., "RoBERTa: a robustly optimized BERT pretraining approach", 2019; Conneau et al., "Unsupervised
//! cross-lingual representation learning at scale", 2020.
//! `input_ids`, `attention_mask`, `token_type_ids [batch, sequence]` → `last_hidden_state [batch, sequence, hidden]` → a
//! head.  The sequence classifier is a dense layer with tanh and a linear one, on the first token.

use headstart_graph::{Graph, GraphError, Op, ValueId};
use serde_json::Value;

use crate::ZooError;
use crate::bert::{BertConfig, LAYER};
use crate::text_head::TextHead;
use crate::transformer::Net;

/// The graph with the head that `architectures` names, and the longest text in tokens.
pub(crate) fn from_json(config: &Value) -> Result<(Graph, usize), ZooError> {
    let is_multilingual = config["model_type"].as_str() == Some("xlm-roberta");
    let default =
        BertConfig { vocab_size: if is_multilingual { 30_522 } else { 50_265 }, ..BertConfig::default() };
    let roberta = default.over(config)?;
    // The first position is the one behind the padding token's.
    let padding_id = config["pad_token_id"].as_i64().unwrap_or(1);
    let offset = usize::try_from(padding_id).ok().and_then(|id| id.checked_add(1));
    let length_max = offset.and_then(|o| roberta.max_position_embeddings.checked_sub(o)).filter(|&n| n > 0);
    let (Some(offset), Some(length_max)) = (offset, length_max) else {
        let allowed = format!("0 to {}", roberta.max_position_embeddings.saturating_sub(2));
        return Err(ZooError::Config { field: "pad_token_id", got: padding_id.to_string(), allowed });
    };
    let head = TextHead::read(config, if is_multilingual { "XLMRoberta" } else { "Roberta" })?;
    let (mut n, last) = encoder(&roberta, head, Op::PositionIds { offset, padding_id: Some(padding_id) })?;
    let p = roberta.classifier_dropout();
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
    Ok((graph, length_max))
}

fn encoder(c: &BertConfig, head: TextHead, at: Op) -> Result<(Net, ValueId), GraphError> {
    let mut n = c.net("roberta", head.prefix("roberta"));
    let [ids, mask] = n.text_inputs();
    let types = n.b.ids("token_type_ids", Some(0));
    let word = n.table("embeddings.word_embeddings", c.vocab_size, c.hidden_size)?;
    let segment = n.table("embeddings.token_type_embeddings", c.type_vocab_size, c.hidden_size)?;
    n.declare_layer_norm("embeddings.LayerNorm", c.hidden_size)?;
    let position = n.table("embeddings.position_embeddings", c.max_position_embeddings, c.hidden_size)?;
    let mut x = n.embeddings([Some((word, ids)), Some((segment, types)), Some((position, ids))], at)?;
    x = n.layer_norm("embeddings.LayerNorm", x)?;
    x = n.drop("embeddings.dropout", x)?;
    for i in 0..c.num_hidden_layers {
        x = n.post_norm_layer(&format!("encoder.layer.{i}"), &LAYER, &c.layer(), x, &[mask])?;
    }
    Ok((n, x))
}
