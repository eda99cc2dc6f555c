//! Adapters that the PEFT library wrote (`tests/peft/make.py`) answer as there, and ours are written as it reads them.

use std::fs;
use std::path::{Path, PathBuf};

use headstart_core::{Array, Batch, Values};
use headstart_engine::{Device, Network};
use headstart_formats::safetensors;
use headstart_graph::Tensor;
use headstart_recipe::{Recipe, Settings};
use serde::Deserialize;
use serde_json::Value;

use super::*;
use crate::source::SourceOptions;
use crate::{AdapterSet, ExportFormat, ExportOptions, FitOptions, SessionOptions, Silent, export, fit};

/// Largest difference of an output, relative to the largest.
const DIFFERENCE_MAX: f32 = 1e-5;

#[derive(Deserialize)]
struct Case {
    adapter: String,
    base: String,
    has_own_head: bool,
    inputs: serde_json::Map<String, Value>,
    output: Vec<f32>,
}

impl Case {
    fn all() -> Vec<Case> {
        serde_json::from_slice(&fs::read(fixtures().join("expected.json")).expect("is there"))
            .expect("is ours")
    }

    fn folder(&self) -> PathBuf {
        fixtures().join(&self.adapter)
    }

    fn batch(&self) -> Batch {
        let array = |v: &Value| {
            let shape: Vec<usize> = serde_json::from_value(v["shape"].clone()).expect("a shape");
            match serde_json::from_value::<Vec<i64>>(v["values"].clone()) {
                Ok(ids) => Array::i64(&shape, ids),
                Err(_) => Array::f32(&shape, serde_json::from_value(v["values"].clone()).expect("numbers")),
            }
        };
        Batch { inputs: self.inputs.iter().map(|(name, v)| (name.clone(), array(v))).collect() }
    }

    fn check(&self, network: &Network) {
        let got = answers(network, &self.batch());
        assert_eq!(got.len(), self.output.len(), "{}", self.adapter);
        let largest = self.output.iter().fold(0f32, |m, v| m.max(v.abs()));
        let difference = got.iter().zip(&self.output).fold(0f32, |m, (a, b)| m.max((a - b).abs())) / largest;
        assert!(difference <= DIFFERENCE_MAX, "{}: {difference}", self.adapter);
    }
}

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peft")
}

fn session(cache: &Path) -> Session {
    let options = SessionOptions { offline: true, ..SessionOptions::new(cache.into()) };
    Session::new(options, Box::new(Silent))
}

fn name(path: &Path) -> String {
    path.to_str().expect("is text").into()
}

fn answers(network: &Network, batch: &Batch) -> Vec<f32> {
    let Values::F32(values) = network.infer(batch).expect("runs").values else { panic!("f32") };
    values
}

fn load(model: &headstart_graph::Model) -> Network {
    Network::load(model.graph.clone(), &model.weights, &Device::cpu()).expect("loads")
}

#[test]
fn adapters_answer_as_in_peft() {
    let cache = tempfile::tempdir().expect("a folder");
    let session = session(cache.path());
    for case in Case::all() {
        let source = Source::open(&session, &name(&case.folder()), &SourceOptions::default()).expect("opens");
        case.check(&load(&source.model));
        // Beside the layers instead of in them, and with the base named by hand.
        let mut set = AdapterSet::open(&session, &name(&fixtures().join(&case.base))).expect("opens");
        set.add("it", &case.folder()).expect("fits");
        let (graph, weights) = set.unmerged("it").expect("was added");
        case.check(&Network::load(graph, &weights, &Device::cpu()).expect("loads"));
        let again = tempfile::tempdir().expect("a folder");
        let adapter = PeftAdapter::open(case.folder()).expect("reads");
        adapter.save(again.path()).expect("writes");
        let options = SourceOptions { adapter: Some(name(again.path())), ..SourceOptions::default() };
        let source = Source::open(&session, &name(&fixtures().join(&case.base)), &options).expect("opens");
        case.check(&load(&source.model));
        let read = PeftAdapter::open(again.path()).expect("reads");
        assert_eq!((read.layers, read.saved), (adapter.layers, adapter.saved), "{}", case.adapter);
    }
}

#[test]
fn adapters_on_one_base_are_switched_and_switched_off() {
    let cache = tempfile::tempdir().expect("a folder");
    let mut set = AdapterSet::open(&session(cache.path()), &name(&fixtures().join("bert"))).expect("opens");
    let cases: Vec<Case> = Case::all().into_iter().filter(|c| c.base == "bert").collect();
    let batch = cases[0].batch();
    let plain = answers(set.network(), &batch);
    for case in &cases {
        set.add(&case.adapter, &case.folder()).expect("fits");
    }
    assert!(set.add("bert-lora", &cases[0].folder()).is_err(), "the name is taken");
    assert_eq!(set.names().collect::<Vec<_>>(), ["bert-dora", "bert-lora", "bert-words"]);
    assert!(cases.iter().all(|c| !c.has_own_head), "one network for all");
    for case in cases.iter().chain(cases.iter().rev()) {
        set.switch(Some(&case.adapter)).expect("is there");
        assert_eq!(set.active(), Some(case.adapter.as_str()));
        case.check(set.network());
        case.check(&load(set.model()));
    }
    set.switch(None).expect("always there");
    assert_eq!(answers(set.network(), &batch), plain, "to the bit");
    let error = set.switch(Some("other")).expect_err("is not there").to_string();
    assert!(error.contains("`other` (there are: bert-dora, bert-lora, bert-words)"), "{error}");
}

/// A copy of an adapter, changed.
fn changed(adapter: &str, change: impl Fn(&mut Value, &mut headstart_graph::Weights)) -> tempfile::TempDir {
    let from = fixtures().join(adapter);
    let dir = tempfile::tempdir().expect("a folder");
    let json = fs::read(from.join("adapter_config.json")).expect("is there");
    let mut config: Value = serde_json::from_slice(&json).expect("is JSON");
    let mut weights = safetensors::load(from.join("adapter_model.safetensors")).expect("reads");
    let base = config["base_model_name_or_path"].as_str().expect("a name");
    config["base_model_name_or_path"] = name(&from.join(base)).into();
    change(&mut config, &mut weights);
    fs::write(dir.path().join("adapter_config.json"), config.to_string()).expect("writes");
    safetensors::save(dir.path().join("adapter_model.safetensors"), &weights, &[]).expect("writes");
    dir
}

#[test]
fn adapters_that_do_not_fit_their_base_say_where() {
    const QUERY: &str = "base_model.model.bert.encoder.layer.0.attention.self.query";
    let t = |shape: &[usize]| Tensor::from_f32(shape, &vec![0.5; shape.iter().product()]).expect("fits");
    let cache = tempfile::tempdir().expect("a folder");
    let session = session(cache.path());
    let check = |want: &str, change: &dyn Fn(&mut Value, &mut headstart_graph::Weights)| {
        let dir = changed("bert-dora", change);
        let error = match Source::open(&session, &name(dir.path()), &SourceOptions::default()) {
            Ok(_) => "read".to_string(),
            Err(e) => e.to_string(),
        };
        assert!(error.contains(want), "{want}: {error}");
    };
    check("read", &|_, _| {});
    check("does not say on which network", &|c, _| c["base_model_name_or_path"] = Value::Null);
    check("stands on `/nowhere/at all`, which is no folder", &|c, _| {
        c["base_model_name_or_path"] = "/nowhere/at all".into();
    });
    check("offline", &|c, _| c["base_model_name_or_path"] = "no-owner/no-repo".into());
    check("is itself an adapter", &|c, _| {
        c["base_model_name_or_path"] = name(&fixtures().join("bert-lora")).into()
    });
    check("task_type` is `CAUSAL_LM`", &|c, _| c["task_type"] = "CAUSAL_LM".into());
    check("`BertForNothing`", &|c, _| c["auto_mapping"]["base_model_class"] = "BertForNothing".into());
    check("the base has no layers `bert.encoder.layer.9.query`", &|_, w| {
        w.insert("base_model.model.bert.encoder.layer.9.query.lora_A.weight", t(&[2, 8]));
        w.insert("base_model.model.bert.encoder.layer.9.query.lora_B.weight", t(&[8, 2]));
        w.insert("base_model.model.bert.encoder.layer.9.query.lora_magnitude_vector", t(&[8]));
    });
    check("cannot be adapted: DoRA stands beside linear layers", &|_, w| {
        w.insert("base_model.model.bert.embeddings.word_embeddings.lora_embedding_A", t(&[2, 30]));
        w.insert("base_model.model.bert.embeddings.word_embeddings.lora_embedding_B", t(&[8, 2]));
        w.insert("base_model.model.bert.embeddings.word_embeddings.lora_magnitude_vector", t(&[8]));
    });
    check("names `bert.encoder.layer.0.attention.self.query`, for which there are no tensors", &|_, w| {
        ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"].iter().for_each(|part| {
            w.remove(&format!("{QUERY}.{part}"));
        });
    });
    check("query.lora_B.weight: file [9, 2], graph [8, 2]", &|_, w| {
        w.insert(format!("{QUERY}.lora_B.weight"), t(&[9, 2]));
    });
    check("NaN or infinite", &|_, w| {
        w.insert(format!("{QUERY}.lora_B.weight"), Tensor::from_f32(&[8, 2], &[f32::NAN; 16]).expect("fits"));
    });
    check("two modules are the layer", &|_, w| {
        for part in ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"] {
            let tensor = w.require(&format!("{QUERY}.{part}")).expect("is there").clone();
            w.insert(format!("{}.{part}", QUERY.replace("model.bert.", "model.")), tensor);
        }
    });
    check("replaces 1 tensors that the network does not have: `bert.extra.bias`", &|_, w| {
        w.insert("base_model.model.bert.extra.bias", t(&[8]));
    });
    check("classifier.weight: file [3, 9], graph [3, 8]", &|_, w| {
        w.insert("base_model.model.classifier.weight", t(&[3, 9]));
    });
}

/// Texts of letters: whether there is an `a`.
fn letters(dir: &Path) -> PathBuf {
    let mut csv = String::from("text,label\n");
    for i in 0..48u32 {
        let word = |j: u32| char::from(b'c' + ((i * 7 + j * 5 + i * i * j) % 20) as u8);
        let first = if i % 2 == 0 { 'a' } else { 'b' };
        csv += &format!(
            "{} {} {first} {},{}\n",
            word(1),
            word(2),
            word(3),
            if i % 2 == 0 { "yes" } else { "no" }
        );
    }
    let path = dir.join("letters.csv");
    fs::write(&path, csv).expect("writes");
    path
}

#[test]
fn what_was_fitted_is_an_adapter_on_the_untouched_base() {
    let dir = tempfile::tempdir().expect("a folder");
    let session = session(&dir.path().join("cache"));
    let data = letters(dir.path());
    // DeBERTa's table of relative positions is frozen, read behind the frontier, and no example's.
    for (base, class, recipe, kind, n_targets) in [
        ("bert", "BertForSequenceClassification", "lora", "LORA", 2 * 6 + 1),
        ("bert", "BertForSequenceClassification", "dora", "LORA", 2 * 6 + 1),
        ("bert", "BertForSequenceClassification", "ia3", "IA3", 2 * 3),
        ("deberta", "DebertaV2ForSequenceClassification", "lora", "LORA", 6 + 1),
    ] {
        let base = name(&fixtures().join(base));
        let mut options = FitOptions::new(base.clone());
        options.recipe = Recipe::parse(recipe).expect("is known");
        options.settings = Settings::parse(["passes=2"]).expect("is known");
        (options.baseline_budget, options.keep_transfer) = (0.0, true);
        let run = dir.path().join(format!("{class}-{recipe}"));
        let summary = fit(&session, &data, &run, &options).expect("fits");
        let out = dir.path().join(format!("{class}-{recipe}-peft"));
        let asked = ExportOptions { format: ExportFormat::Peft, opset: 17, with_preprocess: false };
        let written = export(&session, &summary.bundle, &out, &asked).expect("is written");
        assert_eq!(written.class.as_deref(), Some(format!("PeftModel on {class}").as_str()));
        assert!(written.difference_max <= 1e-4 && written.golden > 0, "{written:?}");
        let json = fs::read(out.join("adapter_config.json")).expect("is there");
        let config: Value = serde_json::from_slice(&json).expect("is JSON");
        assert_eq!((&config["peft_type"], &config["task_type"]), (&kind.into(), &"SEQ_CLS".into()));
        assert_eq!(config["modules_to_save"], serde_json::json!(["classifier"]));
        assert_eq!(config["base_model_name_or_path"], base.as_str());
        let n = config["target_modules"].as_array().expect("a list").len();
        assert_eq!(n, n_targets, "{class} {recipe}");
        let error = export(&session, &summary.bundle, &out, &asked).expect_err("nothing is overwritten");
        assert!(error.to_string().contains("exists"), "{error}");
    }
    let options = FitOptions { baseline_budget: 0.0, ..FitOptions::new(name(&fixtures().join("bert"))) };
    let probe = fit(&session, &data, &dir.path().join("probe"), &options).expect("fits");
    let asked = ExportOptions { format: ExportFormat::Peft, opset: 17, with_preprocess: false };
    let error = export(&session, &probe.bundle, &dir.path().join("none"), &asked).expect_err("has none");
    assert!(error.to_string().contains("holds no adapter that PEFT knows: its recipe is probe"), "{error}");
}
