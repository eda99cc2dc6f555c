//! Hugging Face folders, whole and sharded, honest and not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

use std::fs;
use std::path::Path;

use headstart_formats::{DenseModule, Pooling, SentenceModule};
use headstart_formats::{FormatError, HfFolder, load_weights, safetensors};
use headstart_graph::{Tensor, Weights};

fn one(name: &str, value: f32) -> Weights {
    let mut weights = Weights::new();
    weights.insert(name, Tensor::from_f32(&[1], &[value]).unwrap());
    weights
}

fn write(dir: &Path, name: &str, content: &str) {
    let path = dir.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

#[test]
fn a_sentence_transformer_is_understood() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    safetensors::save(d.join("model.safetensors"), &one("w", 1.0), &[]).unwrap();
    write(d, "config.json", r#"{"model_type":"bert","hidden_size":384}"#);
    write(d, "tokenizer.json", "{}");
    write(d, "tokenizer_config.json", r#"{"model_max_length":1000000000000000019884624838656}"#);
    write(d, "sentence_bert_config.json", r#"{"max_seq_length":256}"#);
    let module = |path: &str, kind: &str| {
        format!(r#"{{"path":"{path}","type":"sentence_transformers.models.{kind}"}}"#)
    };
    let modules = |pooling: &str| {
        let list = [module("", "Transformer"), module(pooling, "Pooling"), module("2_N", "Normalize")];
        write(d, "modules.json", &format!("[{}]", list.join(",")));
    };
    modules("1_Pooling");
    write(d, "1_Pooling/config.json", r#"{"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":false}"#);
    let folder = HfFolder::open(d).unwrap();
    assert_eq!(folder.config["hidden_size"], 384);
    let want = [SentenceModule::Pooling(Pooling::Mean), SentenceModule::Normalize];
    assert_eq!(folder.modules, want);
    assert_eq!((folder.max_seq_length, folder.model_max_length), (Some(256), None));
    assert!(folder.tokenizer_path.is_some());
    assert_eq!(folder.load_weights().unwrap(), one("w", 1.0));
    assert_eq!(load_weights(d).unwrap(), one("w", 1.0));

    write(d, "1_Pooling/config.json", r#"{"pooling_mode_mean_tokens":true,"pooling_mode_cls_token":true}"#);
    let error = HfFolder::open(d).unwrap_err().to_string();
    assert!(error.contains("cls_token, mean_tokens"), "{error}");
    modules("../elsewhere");
    assert!(matches!(HfFolder::open(d), Err(FormatError::EscapingPath { .. })));
}

#[test]
fn modules_keep_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    safetensors::save(d.join("model.safetensors"), &one("w", 1.0), &[]).unwrap();
    write(d, "config.json", r#"{"model_type":"t5"}"#);
    let list = ["Transformer", "Pooling", "Dense", "Normalize", "WordWeights"].iter().enumerate().map(
        |(i, kind)| {
            let path = if i == 0 { String::new() } else { format!("{i}_{kind}") };
            format!(r#"{{"path":"{path}","type":"sentence_transformers.models.{kind}"}}"#)
        },
    );
    write(d, "modules.json", &format!("[{}]", list.collect::<Vec<_>>().join(",")));
    write(d, "1_Pooling/config.json", r#"{"pooling_mode_max_tokens":true}"#);
    let dense = r#"{"in_features":1,"out_features":3,"bias":false,"activation_function":"torch.nn.modules.linear.Identity"}"#;
    write(d, "2_Dense/config.json", dense);
    safetensors::save(d.join("2_Dense/model.safetensors"), &one("linear.weight", 1.0), &[]).unwrap();
    let module = DenseModule {
        name: "2_Dense".into(),
        out_features: 3,
        bias: false,
        activation: "Identity".into(),
        weights_path: d.join("2_Dense/model.safetensors"),
    };
    let want = [
        SentenceModule::Pooling(Pooling::Max),
        SentenceModule::Dense(module),
        SentenceModule::Normalize,
        SentenceModule::Other("sentence_transformers.models.WordWeights".into()),
    ];
    assert_eq!(HfFolder::open(d).unwrap().modules, want);
    write(d, "2_Dense/config.json", r#"{"out_features":0}"#);
    let error = HfFolder::open(d).unwrap_err().to_string();
    assert!(error.contains("out_features is 0"), "{error}");
}

#[test]
fn what_is_missing_is_named_with_what_is_there() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "config.json", "{}");
    let error = HfFolder::open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("has no model.safetensors or"), "{error}");
    assert!(error.ends_with("(there are: config.json)"), "{error}");
    // One file of any name will do; of two, none is chosen.
    safetensors::save(dir.path().join("a.safetensors"), &one("a", 1.0), &[]).unwrap();
    assert_eq!(load_weights(dir.path()).unwrap(), one("a", 1.0));
    safetensors::save(dir.path().join("b.safetensors"), &one("b", 1.0), &[]).unwrap();
    assert!(matches!(load_weights(dir.path()), Err(FormatError::MissingFile { .. })));
}

#[test]
fn shards_are_joined_and_must_agree_with_their_index() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    safetensors::save(d.join("s1.safetensors"), &one("a", 1.0), &[]).unwrap();
    safetensors::save(d.join("s2.safetensors"), &one("b", 2.0), &[]).unwrap();
    let index = |map: &str| {
        write(
            d,
            "model.safetensors.index.json",
            &format!(r#"{{"metadata":{{"total_size":8}},"weight_map":{{{map}}}}}"#),
        );
        load_weights(d)
    };
    let weights = index(r#""a":"s1.safetensors","b":"s2.safetensors""#).unwrap();
    assert_eq!(weights.iter().map(|(n, _)| n).collect::<Vec<_>>(), ["a", "b"]);
    let error = index(r#""a":"s1.safetensors","c":"s2.safetensors""#).unwrap_err().to_string();
    assert!(error.contains("in no shard: c"), "{error}");
    assert!(matches!(index(r#""a":"../s1.safetensors""#), Err(FormatError::EscapingPath { .. })));
    assert!(matches!(index(r#""a":"s3.safetensors""#), Err(FormatError::Io { .. })));
    assert!(matches!(index(""), Err(FormatError::Malformed { .. })));
    safetensors::save(d.join("s2.safetensors"), &one("a", 2.0), &[]).unwrap();
    assert!(matches!(index(r#""a":"s1.safetensors","b":"s2.safetensors""#), Err(FormatError::Shards { .. })));
}
