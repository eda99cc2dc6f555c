//! What stands on a text encoder, by the name of transformers' class.

use headstart_graph::{Graph, GraphError, Op, ValueId};
use serde_json::Value;

use crate::ZooError;
use crate::transformer::Net;

/// The heads that the text families have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TextHead {
    /// The bare encoder, `XModel`: names have no prefix.
    Model,
    /// The encoder inside a model whose head is of no use here (pre-training, masked language models).
    Trunk,
    /// `XForSequenceClassification` with so many classes.
    Sequence(usize),
    /// `XForTokenClassification`.
    Token(usize),
    /// `XForQuestionAnswering`.
    Question,
}

impl TextHead {
    /// Reads `architectures`; `class` is what the family's classes begin with (`Bert`).
    pub(crate) fn read(config: &Value, class: &str) -> Result<Self, ZooError> {
        let Some(name) = config["architectures"][0].as_str() else { return Ok(TextHead::Model) };
        match name.strip_prefix(class).unwrap_or_default() {
            "Model" => Ok(TextHead::Model),
            "ForPreTraining" | "ForNextSentencePrediction" | "ForMaskedLM" => Ok(TextHead::Trunk),
            "ForSequenceClassification" => Ok(TextHead::Sequence(n_labels(config))),
            "ForTokenClassification" => Ok(TextHead::Token(n_labels(config))),
            "ForQuestionAnswering" => Ok(TextHead::Question),
            _ => {
                let kinds = ["Model", "ForPreTraining", "ForMaskedLM", "ForSequenceClassification"];
                let kinds = kinds.into_iter().chain(["ForTokenClassification", "ForQuestionAnswering"]);
                let allowed = kinds.map(|k| format!("{class}{k}")).collect::<Vec<_>>().join(", ");
                Err(ZooError::Config { field: "architectures", got: format!("`{name}`"), allowed })
            }
        }
    }

    /// `bert.` before the trunk's names unless it stands alone.
    pub(crate) fn prefix(self, name: &str) -> String {
        if self == TextHead::Model { String::new() } else { format!("{name}.") }
    }
}

/// `id2label` in the order of its numbers; empty where there is none or a number is missing.
pub(crate) fn labels(config: &Value) -> Vec<String> {
    let Some(map) = config["id2label"].as_object() else { return Vec::new() };
    (0..map.len()).map_while(|i| map.get(&i.to_string())?.as_str().map(String::from)).collect()
}

/// Width of the classifier; 2 is transformers' default.
pub(crate) fn n_labels(config: &Value) -> usize {
    match (labels(config).len(), config["num_labels"].as_u64()) {
        (0, Some(n)) if n > 0 => n as usize,
        (0, _) => 2,
        (n, _) => n,
    }
}

impl Net {
    /// The first token's vector.
    pub(crate) fn first_token(&mut self, path: &str, x: ValueId) -> Result<ValueId, GraphError> {
        self.node(path, Op::Select { axis: 1, index: 0 }, &[x])
    }

    /// Dropout and one linear layer on each token or on one vector, `logits`.
    pub(crate) fn finish_classifier(
        mut self,
        x: ValueId,
        n_classes: usize,
        p: f64,
    ) -> Result<Graph, GraphError> {
        let x = self.plain_drop("dropout", x, p)?;
        let logits = self.plain_linear("classifier", x, n_classes)?;
        self.b.finish([("logits", logits)])
    }

    /// RoBERTa's and its kin's head on the first token: `dense`, a nonlinearity and `out_proj`, dropout before each.
    pub(crate) fn finish_two_layer_classifier(
        mut self,
        tokens: ValueId,
        act: Op,
        n_classes: usize,
        p: f64,
    ) -> Result<Graph, GraphError> {
        let x = self.b.node("classifier.first_token", Op::Select { axis: 1, index: 0 }, &[tokens])?;
        let x = self.plain_drop("classifier.dropout", x, p)?;
        let width = self.b.shape(x).width().unwrap_or(0);
        let x = self.plain_linear("classifier.dense", x, width)?;
        let x = self.b.node("classifier.activation", act, &[x])?;
        let x = self.plain_drop("classifier.out_dropout", x, p)?;
        let logits = self.plain_linear("classifier.out_proj", x, n_classes)?;
        self.b.finish([("logits", logits)])
    }

    /// First and last token of an answer: `logits [batch, sequence, 2]`, also apart as `start_logits` and `end_logits
    /// [batch, sequence]`.
    pub(crate) fn finish_question_answering(mut self, tokens: ValueId) -> Result<Graph, GraphError> {
        let logits = self.plain_linear("qa_outputs", tokens, 2)?;
        let start = self.b.node("qa_outputs.start", Op::Select { axis: 2, index: 0 }, &[logits])?;
        let end = self.b.node("qa_outputs.end", Op::Select { axis: 2, index: 1 }, &[logits])?;
        self.b.finish([("logits", logits), ("start_logits", start), ("end_logits", end)])
    }

    /// The encoder's outputs: `last_hidden_state [batch, sequence, width]` and, if given, `pooler_output`.
    pub(crate) fn finish_backbone(self, last: ValueId, pooled: Option<ValueId>) -> Result<Graph, GraphError> {
        let outputs = [Some(("last_hidden_state", last)), pooled.map(|p| ("pooler_output", p))];
        self.b.finish(outputs.into_iter().flatten())
    }
}
