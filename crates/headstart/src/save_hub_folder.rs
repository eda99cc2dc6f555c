//! Writes a model as a folder that transformers' `from_pretrained`, or sentence-transformers, loads.

use std::fs;
use std::path::Path;

use headstart_formats::safetensors;
use headstart_graph::{Model, Preprocess, Weights};
use headstart_zoo::{HubExport, SentenceStep, hub_export};
use serde_json::{Value, json};

use crate::{Error, by_rename};

/// Names that tokenizers give their special tokens, by the role that transformers knows.
const SPECIAL: [(&str, [&str; 2]); 5] = [
    ("pad_token", ["[PAD]", "<pad>"]),
    ("unk_token", ["[UNK]", "<unk>"]),
    ("cls_token", ["[CLS]", "<s>"]),
    ("sep_token", ["[SEP]", "</s>"]),
    ("mask_token", ["[MASK]", "<mask>"]),
];

/// Writes `config.json`, `model.safetensors`, tokenizer or `preprocessor_config.json`, and where the network is a sentence
/// encoder its modules.  The folder appears whole, by rename.  Returns the class that loads it:
/// `BertForSequenceClassification`, or `SentenceTransformer`.
///
/// The class is one whose network is the model's, operator by operator ([`headstart_zoo::hub_export`]), so its logits are
/// the model's too.
///
/// # Errors
/// If the model's source had no `config.json`, no class computes the same network, or `dir` exists.
pub fn save_hub_folder(model: &Model, dir: &Path) -> Result<String, Error> {
    save_checked(model, None, dir, &|_| Ok(()))
}

/// The same with transformers' `problem_type`, which says how logits become predictions; the folder appears only if
/// `check` accepts what was written.
pub(crate) fn save_checked(
    model: &Model,
    problem_type: Option<&str>,
    dir: &Path,
    check: &dyn Fn(&Path) -> Result<(), Error>,
) -> Result<String, Error> {
    let source = model.card.config.as_ref().ok_or_else(|| {
        Error::request(
            format!("the source `{}` came without a config.json, which transformers needs", model.card.id),
            "train from a folder in the hub's layout, or export another format",
        )
    })?;
    let mut export = hub_export(&model.graph, source, &model.labels, &model.preprocess)?;
    if let (Some(problem), true) = (problem_type, export.modules.is_empty()) {
        export.config["problem_type"] = problem.into();
    }
    by_rename::folder(dir, |fresh| {
        write_all(model, &export, fresh)?;
        check(fresh)
    })?;
    Ok(if export.modules.is_empty() { export.class } else { "SentenceTransformer".into() })
}

fn write_all(model: &Model, export: &HubExport, dir: &Path) -> Result<(), Error> {
    let mut config = export.config.clone();
    config["transformers_version"] = config.get("transformers_version").cloned().unwrap_or("4.40.0".into());
    write_json(&dir.join("config.json"), &config)?;
    let mut weights = Weights::new();
    for (own, name) in &export.names {
        weights.insert(name.clone(), model.weights.require(own)?.clone());
    }
    save(&dir.join("model.safetensors"), &weights)?;
    if let Some(processor) = &export.preprocessor {
        write_json(&dir.join("preprocessor_config.json"), processor)?;
    }
    write_tokenizer(model, dir)?;
    if !export.modules.is_empty() {
        write_modules(model, export, dir)?;
    }
    Ok(())
}

/// The tokenizer's two files, for a network that reads texts.
pub(crate) fn write_tokenizer(model: &Model, dir: &Path) -> Result<(), Error> {
    let (Some(tokenizer), Preprocess::Text(text)) = (&model.tokenizer, &model.preprocess) else {
        return Ok(());
    };
    let path = dir.join("tokenizer.json");
    fs::write(&path, tokenizer).map_err(Error::io(path))?;
    write_json(&dir.join("tokenizer_config.json"), &tokenizer_config(tokenizer, text.length_max))
}

/// sentence-transformers' files: a list of modules, and a folder for each.
pub(crate) fn write_modules(model: &Model, export: &HubExport, dir: &Path) -> Result<(), Error> {
    let class = |kind: &str| format!("sentence_transformers.models.{kind}");
    let mut list = vec![json!({"idx": 0, "name": "0", "path": "", "type": class("Transformer")})];
    for (i, step) in (1..).zip(&export.modules) {
        let kind = match step {
            SentenceStep::Pooling(_) => "Pooling",
            SentenceStep::Dense { .. } => "Dense",
            SentenceStep::Normalize => "Normalize",
        };
        let name = format!("{i}_{kind}");
        let folder = dir.join(&name);
        fs::create_dir(&folder).map_err(Error::io(&folder))?;
        write_module(model, step, &folder)?;
        list.push(json!({"idx": i, "name": i.to_string(), "path": name, "type": class(kind)}));
    }
    write_json(&dir.join("modules.json"), &Value::Array(list))?;
    if let Preprocess::Text(text) = &model.preprocess {
        let limits = json!({"max_seq_length": text.length_max, "do_lower_case": false});
        write_json(&dir.join("sentence_bert_config.json"), &limits)?;
    }
    Ok(())
}

fn write_module(model: &Model, step: &SentenceStep, folder: &Path) -> Result<(), Error> {
    match step {
        SentenceStep::Normalize => Ok(()),
        SentenceStep::Pooling(mode) => {
            let width = token_width(model);
            let mut config = json!({"word_embedding_dimension": width});
            for (name, key) in [("cls", "cls_token"), ("mean", "mean_tokens"), ("max", "max_tokens")] {
                config[format!("pooling_mode_{key}")] = (name == *mode).into();
            }
            write_json(&folder.join("config.json"), &config)
        }
        SentenceStep::Dense { weight, bias, activation } => {
            let tensor = model.weights.require(weight)?;
            let [out, width] = *tensor.shape() else { unreachable!("a linear layer's weight has two axes") };
            let config = json!({
                "in_features": width, "out_features": out, "bias": bias.is_some(), "activation_function": activation,
            });
            write_json(&folder.join("config.json"), &config)?;
            let mut weights = Weights::new();
            weights.insert("linear.weight", tensor.clone());
            if let Some(bias) = bias {
                weights.insert("linear.bias", model.weights.require(bias)?.clone());
            }
            save(&folder.join("model.safetensors"), &weights)
        }
    }
}

/// Width of the token vectors that are pooled.
fn token_width(model: &Model) -> usize {
    let of_tokens = model.graph.nodes().iter().rev().map(|n| &model.graph.value(n.output).shape);
    of_tokens.filter(|s| s.rank() == 3).find_map(|s| s.width()).unwrap_or(0)
}

/// transformers reads which tokens are special from here; `tokenizer.json` holds the tokens only.
fn tokenizer_config(tokenizer: &[u8], length_max: usize) -> Value {
    let mut config = json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": length_max});
    let parsed: Value = serde_json::from_slice(tokenizer).unwrap_or_default();
    let added: Vec<&str> = parsed["added_tokens"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|t| t["content"].as_str())
        .collect();
    for (role, names) in SPECIAL {
        if let Some(name) = names.into_iter().find(|n| added.contains(n)) {
            config[role] = name.into();
        }
    }
    config
}

fn save(path: &Path, weights: &Weights) -> Result<(), Error> {
    // transformers refuses files that do not say which library's tensors they hold.
    Ok(safetensors::save(path, weights, &[("format".into(), "pt".into())])?)
}

fn write_json(path: &Path, value: &Value) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(value).expect("a JSON value can be written");
    fs::write(path, text + "\n").map_err(Error::io(path))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use headstart_engine::random_weights;
    use headstart_graph::{Card, TextPreprocess, rewrite};
    use headstart_zoo::from_config;

    use super::*;
    use crate::hub_folder;

    fn model(class: &str) -> Model {
        let config = json!({
            "model_type": "bert", "architectures": [class], "num_hidden_layers": 1, "hidden_size": 8,
            "num_attention_heads": 2, "intermediate_size": 16, "vocab_size": 20,
        });
        let old = from_config(&config).expect("builds").graph;
        let tap = rewrite::tap(&old).expect("taps");
        let graph = rewrite::graft(&old, tap, &rewrite::HeadSpec::Linear { n_classes: 2 }).expect("grafts");
        Model {
            weights: random_weights(&graph, 3).expect("draws"),
            graph,
            preprocess: Preprocess::Text(TextPreprocess { length_max: 64 }),
            tokenizer: Some(r#"{"added_tokens": [{"content": "[PAD]"}]}"#.into()),
            labels: vec!["no".into(), "yes".into()],
            card: Card { id: "tiny".into(), config: Some(config), ..Card::default() },
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (class, loader, n_tensors) in [
            ("BertForSequenceClassification", "BertForSequenceClassification", 25),
            ("BertModel", "SentenceTransformer", 21 + 2),
        ] {
            let parent = tempfile::tempdir().expect("a folder");
            let dir = parent.path().join("out");
            let model = model(class);
            assert_eq!(save_hub_folder(&model, &dir).expect("writes"), loader);
            let source = hub_folder::open(&dir, Card::default()).expect("reads");
            let tensors =
                |w: &Weights| -> BTreeSet<Vec<u8>> { w.iter().map(|(_, t)| t.bytes().to_vec()).collect() };
            assert_eq!(source.model.weights.iter().count(), n_tensors, "{class}");
            assert_eq!(tensors(&source.model.weights), tensors(&model.weights), "{class}");
            let ours = (&model.graph, model.graph.output());
            let theirs = (&source.model.graph, source.model.graph.output());
            headstart_graph::pair_parameters(ours, theirs).expect("computes the same");
            assert!(save_hub_folder(&model, &dir).is_err(), "nothing is overwritten");
            let left: Vec<_> = fs::read_dir(parent.path()).expect("is there").collect();
            assert_eq!(left.len(), 1, "nothing but the folder is left");
        }
    }

    #[test]
    fn special_tokens_are_declared() {
        let config = tokenizer_config(br#"{"added_tokens": [{"content": "<pad>"}, {"content": "<s>"}]}"#, 77);
        assert_eq!((&config["pad_token"], &config["cls_token"]), (&json!("<pad>"), &json!("<s>")));
        assert_eq!((config["mask_token"].is_null(), &config["model_max_length"]), (true, &json!(77)));
    }
}
