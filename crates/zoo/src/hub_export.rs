//! From a fine-tuned network back to a `config.json`: which class of transformers, or which modules of
//! sentence-transformers, compute the same.
//!
//! Nothing is assumed about heads.  A class is chosen because the graph that its configuration describes is the network's
//! own, operator by operator; the pairing of parameters that shows it gives the names in the file.

use headstart_graph::{Graph, Node, Op, Pairs, Preprocess, ValueId, ValueKind, pair_parameters};
use serde_json::{Value, json};

use crate::rename::published_name;
use crate::{ZooError, from_config, image_processor};

/// What a folder of a network holds besides tensors and tokenizer.
#[derive(Debug, Clone, PartialEq)]
pub struct HubExport {
    /// transformers' class, `BertForSequenceClassification`.
    pub class: String,
    /// `config.json`.
    pub config: Value,
    /// `preprocessor_config.json`, for pictures.
    pub preprocessor: Option<Value>,
    /// Names of the tensors: the graph's, and those in `model.safetensors`.
    pub names: Pairs,
    /// What stands behind the class in sentence-transformers; empty where the class is all.
    pub modules: Vec<SentenceStep>,
}

/// A module of sentence-transformers behind the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SentenceStep {
    /// From token vectors to one: `mean`, `max` or `cls`.
    Pooling(&'static str),
    /// A linear layer.
    Dense {
        /// The graph's name of the weight `[out, in]`.
        weight: String,
        /// The graph's name of the bias.
        bias: Option<String>,
        /// PyTorch's class of the nonlinearity behind it.
        activation: &'static str,
    },
    /// Division by the Euclidean norm.
    Normalize,
}

/// `model_type`, and what transformers' classes of it begin with.
const CLASSES: [(&str, &str); 14] = [
    ("albert", "Albert"),
    ("bert", "Bert"),
    ("convnext", "ConvNext"),
    ("deberta-v2", "DebertaV2"),
    ("deit", "DeiT"),
    ("distilbert", "DistilBert"),
    ("electra", "Electra"),
    ("mpnet", "MPNet"),
    ("roberta", "Roberta"),
    ("t5", "T5"),
    ("vit", "ViT"),
    ("wav2vec2", "Wav2Vec2"),
    ("whisper", "Whisper"),
    ("xlm-roberta", "XLMRoberta"),
];

/// What transformers' classes of a configuration's family begin with.
pub(crate) fn class_prefix(config: &Value) -> Option<&'static str> {
    CLASSES.iter().find(|(t, _)| Some(*t) == config["model_type"].as_str()).map(|(_, class)| *class)
}

/// Heads of any family, the likeliest first.
const HEADS: [&str; 8] = [
    "ForSequenceClassification",
    "ForImageClassification",
    "ForAudioClassification",
    "ForTokenClassification",
    "ForQuestionAnswering",
    "ForCTC",
    "ForConditionalGeneration",
    "ForImageClassificationWithTeacher",
];

/// Finds the class that computes a network's main output, given the `config.json` of the source it was trained from.
///
/// `labels` name the classes by position of the logit; without them transformers' own `LABEL_0`, … are written.
///
/// # Errors
/// [`ZooError::NoClass`] says of each class where it differs from the network.
///
/// ```
/// use headstart_graph::{Preprocess, TextPreprocess, rewrite};
/// use headstart_zoo::{from_config, hub_export};
/// let source = serde_json::json!({
///     "model_type": "bert", "architectures": ["BertForSequenceClassification"], "num_hidden_layers": 1,
///     "hidden_size": 8, "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20,
/// });
/// let old = from_config(&source)?.graph;
/// let new = rewrite::graft(&old, rewrite::tap(&old)?, &rewrite::HeadSpec::Linear { n_classes: 3 })?;
/// let labels = ["no", "maybe", "yes"].map(String::from);
/// let export = hub_export(&new, &source, &labels, &Preprocess::Text(TextPreprocess { length_max: 512 }))?;
/// assert_eq!(export.class, "BertForSequenceClassification");
/// assert_eq!(export.config["id2label"]["2"], "yes");
/// assert!(export.names.contains(&("head.weight".into(), "classifier.weight".into())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn hub_export(
    graph: &Graph,
    source: &Value,
    labels: &[String],
    preprocess: &Preprocess,
) -> Result<HubExport, ZooError> {
    let model_type = source["model_type"].as_str().unwrap_or_default();
    let Some(class) = class_prefix(source) else {
        let allowed = CLASSES.map(|(t, _)| t).join(", ");
        return Err(ZooError::Config { field: "model_type", got: source["model_type"].to_string(), allowed });
    };
    let base = base_config(source, preprocess);
    let preprocessor = match preprocess {
        Preprocess::Image(image) => Some(image_processor::write(image, class)),
        _ => None,
    };
    let named = |class: String, config, names: Pairs, modules| {
        let old_names = names.into_iter().map(|(own, new)| (own, published_name(model_type, &new))).collect();
        HubExport { class, config, preprocessor: preprocessor.clone(), names: old_names, modules }
    };
    let mut tried = Vec::new();
    let n_outputs = graph.value(graph.output()).shape.width().unwrap_or(0);
    for head in HEADS {
        let class = format!("{class}{head}");
        let config = with_labels(with_class(&base, &class), labels, n_outputs);
        let Ok(candidate) = from_config(&config) else { continue };
        let (ours, theirs) = ((graph, graph.output()), (&candidate.graph, candidate.graph.output()));
        match pair_parameters(ours, theirs) {
            Ok(names) => return Ok(named(class, config, names, Vec::new())),
            Err(unlike) => tried.push(format!("{class}: {unlike}")),
        }
    }
    let class = format!("{class}{}", if model_type == "t5" { "EncoderModel" } else { "Model" });
    let config = with_class(&base, &class);
    if let (Some((steps, tokens)), Ok(candidate)) = (sentence_steps(graph), from_config(&config)) {
        let last = candidate.graph.outputs().iter().find(|o| o.name == "last_hidden_state");
        let last = last.map_or(candidate.graph.output(), |o| o.value);
        match pair_parameters((graph, tokens), (&candidate.graph, last)) {
            Ok(names) => return Ok(named(class, config, names, steps)),
            Err(unlike) => tried.push(format!("{class} with sentence-transformers' modules: {unlike}")),
        }
    }
    Err(ZooError::NoClass { model_type: model_type.into(), tried: tried.join("; ") })
}

/// The source's configuration for weights in f32 and pictures of this size.
fn base_config(source: &Value, preprocess: &Preprocess) -> Value {
    let mut config = source.clone();
    if let Some(fields) = config.as_object_mut() {
        // Both spellings of the element type, and what names the source rather than the network.
        for field in ["dtype", "torch_dtype", "_name_or_path", "num_labels", "id2label", "label2id"] {
            fields.remove(field);
        }
        fields.insert("torch_dtype".into(), "float32".into());
        if let Preprocess::Image(image) = preprocess {
            fields.insert("image_size".into(), image.size_px[0].into());
        }
    }
    config
}

fn with_class(base: &Value, class: &str) -> Value {
    let mut config = base.clone();
    config["architectures"] = json!([class]);
    config
}

fn with_labels(mut config: Value, labels: &[String], n: usize) -> Value {
    let name = |i: usize| labels.get(i).cloned().unwrap_or_else(|| format!("LABEL_{i}"));
    let by_id: serde_json::Map<String, Value> = (0..n).map(|i| (i.to_string(), name(i).into())).collect();
    let by_label: serde_json::Map<String, Value> = (0..n).map(|i| (name(i), i.into())).collect();
    config["id2label"] = by_id.into();
    config["label2id"] = by_label.into();
    if n == 1 {
        config["problem_type"] = "regression".into();
    }
    config
}

/// The modules between token vectors and the main output, and the token vectors; none if it is not made so.
fn sentence_steps(graph: &Graph) -> Option<(Vec<SentenceStep>, ValueId)> {
    let name = |id: ValueId| graph.value(id).name.clone();
    let is_mask = |id: Option<&ValueId>| id.is_some_and(|&id| name(id) == "attention_mask");
    let mut steps = Vec::new();
    let mut at = graph.output();
    let mut activation = "torch.nn.modules.linear.Identity";
    loop {
        let node: &Node = graph.producer(at)?;
        at = node.inputs[0];
        let pooling = match &node.op {
            op if op.is_identity_in_inference() => continue,
            Op::L2Normalize => {
                steps.push(SentenceStep::Normalize);
                continue;
            }
            Op::Linear => {
                let is_param = |id: &ValueId| matches!(graph.value(*id).kind, ValueKind::Param(_));
                if !node.inputs[1..].iter().all(is_param) {
                    return None;
                }
                let (weight, bias) = (name(node.inputs[1]), node.inputs.get(2).map(|&b| name(b)));
                steps.push(SentenceStep::Dense { weight, bias, activation });
                activation = "torch.nn.modules.linear.Identity";
                continue;
            }
            op => match torch_activation(op) {
                // A nonlinearity belongs to the linear layer before it.
                Some(act) if matches!(graph.producer(at)?.op, Op::Linear) => {
                    activation = act;
                    continue;
                }
                Some(_) => return None,
                None => op,
            },
        };
        let pooling = match pooling {
            Op::MaskedMean if is_mask(node.inputs.get(1)) => "mean",
            Op::MaskedMax if is_mask(node.inputs.get(1)) => "max",
            Op::Select { axis: 1, index: 0 } => "cls",
            _ => return None,
        };
        steps.push(SentenceStep::Pooling(pooling));
        steps.reverse();
        return Some((steps, at));
    }
}

fn torch_activation(op: &Op) -> Option<&'static str> {
    match op {
        Op::Tanh => Some("torch.nn.modules.activation.Tanh"),
        Op::Relu => Some("torch.nn.modules.activation.ReLU"),
        Op::Gelu { tanh: false } => Some("torch.nn.modules.activation.GELU"),
        Op::Sigmoid => Some("torch.nn.modules.activation.Sigmoid"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use headstart_graph::{ImagePreprocess, TextPreprocess, rewrite};

    use super::*;

    fn tiny(model_type: &str, class: &str) -> Value {
        json!({
            "model_type": model_type, "architectures": [class], "num_hidden_layers": 1, "hidden_size": 8,
            "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20, "image_size": 8, "patch_size": 4,
            "torch_dtype": "bfloat16",
        })
    }

    fn fine_tuned(source: &Value, n_classes: usize) -> Graph {
        let old = from_config(source).expect("builds").graph;
        let tap = rewrite::tap(&old).expect("has a tap");
        rewrite::graft(&old, tap, &rewrite::HeadSpec::Linear { n_classes }).expect("grafts")
    }

    fn text() -> Preprocess {
        Preprocess::Text(TextPreprocess { length_max: 16 })
    }

    #[test]
    fn heads_are_found_under_each_familys_names() {
        for (model_type, class, weight) in [
            ("bert", "BertForSequenceClassification", "classifier.weight"),
            ("distilbert", "DistilBertForSequenceClassification", "classifier.weight"),
            ("roberta", "RobertaForSequenceClassification", "classifier.out_proj.weight"),
            ("xlm-roberta", "XLMRobertaForSequenceClassification", "classifier.out_proj.weight"),
            ("electra", "ElectraForSequenceClassification", "classifier.out_proj.weight"),
            ("mpnet", "MPNetForSequenceClassification", "classifier.out_proj.weight"),
            ("albert", "AlbertForSequenceClassification", "classifier.weight"),
            ("deberta-v2", "DebertaV2ForSequenceClassification", "classifier.weight"),
        ] {
            let source = tiny(model_type, class);
            let export =
                hub_export(&fine_tuned(&source, 3), &source, &[], &text()).expect("is one of its classes");
            assert_eq!(export.class, class);
            assert!(export.names.contains(&("head.weight".into(), weight.into())), "{:?}", export.names);
            let fields = (&export.config["id2label"]["2"], &export.config["torch_dtype"]);
            assert_eq!(fields, (&json!("LABEL_2"), &json!("float32")));
        }
    }

    #[test]
    fn a_bare_vision_encoder_gets_its_class_and_old_names() {
        let source = tiny("vit", "ViTModel");
        let image = Preprocess::Image(ImagePreprocess::imagenet(
            8,
            headstart_graph::Resize::Squash,
            headstart_graph::Filter::Bilinear,
        ));
        let export = hub_export(&fine_tuned(&source, 2), &source, &[], &image).expect("is ViT's classifier");
        assert_eq!(export.class, "ViTForImageClassification");
        let name = "vit.encoder.layer.0.attention.attention.query.weight".to_string();
        assert!(
            export.names.contains(&("layers.0.attention.q_proj.weight".into(), name)),
            "{:?}",
            export.names
        );
        assert_eq!(export.preprocessor.expect("pictures")["image_processor_type"], "ViTImageProcessor");
    }

    /// No class of transformers classifies the mean of the tokens; sentence-transformers' modules do.
    #[test]
    fn a_head_on_the_mean_of_tokens_becomes_modules() {
        let source = tiny("bert", "BertModel");
        let export =
            hub_export(&fine_tuned(&source, 3), &source, &[], &text()).expect("is a sentence encoder");
        assert_eq!(export.class, "BertModel");
        let dense = SentenceStep::Dense {
            weight: "head.weight".into(),
            bias: Some("head.bias".into()),
            activation: "torch.nn.modules.linear.Identity",
        };
        assert_eq!(export.modules, [SentenceStep::Pooling("mean"), dense]);
        assert!(export.names.iter().all(|(_, name)| !name.starts_with("head")));
    }

    #[test]
    fn what_no_class_computes_is_said_class_by_class() {
        let source = tiny("bert", "BertForSequenceClassification");
        let (longer, y) = {
            let graph = fine_tuned(&source, 3);
            rewrite::append(&graph, "odd", Op::Silu, graph.output(), None).expect("fits")
        };
        let odd = rewrite::cut_at(&longer, &[headstart_graph::Output { name: "logits".into(), value: y }]);
        let error =
            hub_export(&odd.expect("is whole"), &source, &[], &text()).expect_err("is none").to_string();
        assert!(
            error.contains("`odd` (Silu [batch, 3]) where the other has `classifier` (Linear"),
            "{error}"
        );
    }
}
