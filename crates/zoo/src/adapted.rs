//! The class that a PEFT adapter was made on: its base's configuration with that class, and the head that comes along.

use serde_json::Value;

use crate::ZooError;
use crate::hub_export::class_prefix;
use crate::text_head::labels;

/// What PEFT calls a task, and what transformers' classes for it end with.
const TASKS: [(&str, &str); 4] = [
    ("SEQ_CLS", "ForSequenceClassification"),
    ("TOKEN_CLS", "ForTokenClassification"),
    ("QUESTION_ANS", "ForQuestionAnswering"),
    ("FEATURE_EXTRACTION", "Model"),
];

/// PEFT's name of the task of one of transformers' classes, where it has one.
///
/// ```
/// assert_eq!(headstart_zoo::peft_task("BertForSequenceClassification"), Some("SEQ_CLS"));
/// assert_eq!(headstart_zoo::peft_task("ViTForImageClassification"), None);
/// ```
pub fn peft_task(class: &str) -> Option<&'static str> {
    TASKS.iter().find(|(_, end)| class.ends_with(end)).map(|(task, _)| *task)
}

/// The configuration of the network that an adapter stands on.  `task_type` and `base_class` are the adapter's; without
/// either the base's own class is meant.  `n_classes` is what the adapter's own head puts out, if it brings one.
///
/// # Errors
/// [`ZooError::Config`] for a task that is not supported.
///
/// ```
/// let base = serde_json::json!({"model_type": "bert", "architectures": ["BertForMaskedLM"]});
/// let config = headstart_zoo::adapted_config(&base, Some("SEQ_CLS"), None, Some(3))?;
/// assert_eq!(config["architectures"][0], "BertForSequenceClassification");
/// assert_eq!(config["num_labels"], 3);
/// # Ok::<(), headstart_zoo::ZooError>(())
/// ```
pub fn adapted_config(
    base: &Value,
    task_type: Option<&str>,
    base_class: Option<&str>,
    n_classes: Option<usize>,
) -> Result<Value, ZooError> {
    let own = base["architectures"][0].as_str().unwrap_or_default();
    let class = match (task_type, base_class) {
        (Some(task), _) => {
            let Some((_, end)) = TASKS.iter().find(|(t, _)| *t == task) else {
                let allowed = TASKS.map(|(t, _)| t).join(", ");
                return Err(ZooError::Config { field: "task_type", got: format!("`{task}`"), allowed });
            };
            match class_prefix(base) {
                Some(prefix) if prefix == "T5" && *end == "Model" => Some("T5EncoderModel".to_string()),
                Some(prefix) if !own.ends_with(end) || own.is_empty() => Some(format!("{prefix}{end}")),
                _ => None,
            }
        }
        (None, Some(class)) => Some(class.to_string()),
        (None, None) => None,
    };
    let mut config = base.clone();
    if let Some(class) = class {
        config["architectures"] = serde_json::json!([class]);
    }
    if let (Some(n), Some(fields)) = (n_classes, config.as_object_mut()) {
        fields.insert("num_labels".into(), n.into());
        if labels(base).len() != n {
            fields.remove("id2label");
            fields.remove("label2id");
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_adapter_says_which_class() {
        let class = |base: &str, task: Option<&str>, class: Option<&str>| {
            let base = json!({"model_type": "roberta", "architectures": [base], "id2label": {"0": "a"}});
            let config = adapted_config(&base, task, class, Some(2)).expect("is known");
            assert!(config.get("id2label").is_none(), "one name is too few for two classes");
            config["architectures"][0].as_str().expect("a name").to_string()
        };
        assert_eq!(class("RobertaModel", Some("TOKEN_CLS"), None), "RobertaForTokenClassification");
        assert_eq!(class("RobertaForMaskedLM", Some("FEATURE_EXTRACTION"), None), "RobertaModel");
        assert_eq!(class("RobertaForMaskedLM", None, Some("RobertaModel")), "RobertaModel");
        assert_eq!(class("RobertaForMaskedLM", None, None), "RobertaForMaskedLM");
        let error = adapted_config(&json!({"model_type": "t5"}), Some("SEQ_2_SEQ_LM"), None, None);
        assert!(error.expect_err("is no encoder's").to_string().contains("task_type` is `SEQ_2_SEQ_LM`"));
    }
}
