//! What is written is read again; what lies is refused by name.

use headstart_graph::rewrite::LoraSpec;
use serde_json::{Value, json};

use super::*;
use crate::safetensors;

fn t(shape: &[usize]) -> Tensor {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| i as f32 - 1.5).collect();
    Tensor::from_f32(shape, &values).expect("fits")
}

fn layer(module: &str, kind: AdapterKind, tensors: Vec<(&'static str, Tensor)>) -> PeftLayer {
    let is_convolution = tensors[0].1.shape().len() == 4;
    PeftLayer { module: module.into(), kind, is_convolution, tensors }
}

fn spec(rank: usize, alpha: f64) -> LoraSpec {
    LoraSpec { rank, alpha, dropout: 0.1, rank_stabilised: true }
}

#[test]
fn what_is_written_is_read_again() {
    let dora = |rank, alpha| AdapterKind::Dora(spec(rank, alpha));
    let linear = |rank, alpha, kind: fn(LoraSpec) -> AdapterKind| {
        layer(
            "b.query",
            kind(spec(rank, alpha)),
            vec![("lora_A.weight", t(&[rank, 3])), ("lora_B.weight", t(&[4, rank]))],
        )
    };
    let magnitude = "lora_magnitude_vector.weight";
    let with_magnitude = |mut l: PeftLayer, n| {
        l.tensors.push((magnitude, t(&[n])));
        l
    };
    let convolution = layer(
        "a.conv",
        dora(2, 3.0),
        vec![("lora_A.weight", t(&[2, 3, 5, 5])), ("lora_B.weight", t(&[4, 2, 1, 1])), (magnitude, t(&[4]))],
    );
    let table = layer(
        "a.words",
        AdapterKind::Lora(spec(2, 3.5)),
        vec![("lora_embedding_A.weight", t(&[7, 2])), ("lora_embedding_B.weight", t(&[4, 2]))],
    );
    let ia3 = |before| AdapterKind::Ia3 { before };
    let mut factor = layer("a.conv", ia3(true), vec![("ia3_l", t(&[3]))]);
    factor.is_convolution = true;
    for layers in [
        vec![table, linear(1, 4.0, AdapterKind::Lora)],
        vec![convolution, with_magnitude(linear(3, 1.0, AdapterKind::Dora), 4)],
        vec![
            factor,
            layer("b", ia3(false), vec![("ia3_l", t(&[3]))]),
            layer("c", ia3(true), vec![("ia3_l", t(&[5]))]),
        ],
    ] {
        let is_ia3 = matches!(layers[0].kind, AdapterKind::Ia3 { .. });
        let adapter = PeftAdapter {
            config: PeftConfig {
                base: Some("owner/base".into()),
                task_type: Some("SEQ_CLS".into()),
                targets: Modules::Named(layers.iter().map(|l| l.module.clone()).collect()),
                modules_to_save: vec!["classifier".into()],
                feedforward: if is_ia3 {
                    Modules::Named(vec!["a.conv".into(), "c".into()])
                } else {
                    Modules::Unknown
                },
                dropout: if is_ia3 { 0.0 } else { 0.1 },
                ..PeftConfig::default()
            },
            layers,
            saved: [("classifier.weight".to_string(), t(&[2, 4]))].into_iter().collect(),
            modules: Vec::new(),
        };
        let dir = tempfile::tempdir().expect("a folder");
        adapter.save(dir.path()).expect("writes");
        assert!(PeftAdapter::is_at(dir.path()));
        assert_eq!(PeftAdapter::open(dir.path()).expect("reads"), adapter);
    }
}

#[test]
fn kinds_do_not_mix_in_a_file() {
    let lora = layer("a", AdapterKind::Lora(spec(1, 1.0)), vec![("lora_A.weight", t(&[1, 3]))]);
    let ia3 = layer("b", AdapterKind::Ia3 { before: false }, vec![("ia3_l", t(&[3]))]);
    let bottleneck = layer("c", AdapterKind::Bottleneck { width: 2 }, vec![("adapter_up.weight", t(&[3]))]);
    let save = |layers| {
        let (config, saved) = (PeftConfig::default(), Weights::new());
        let adapter = PeftAdapter { config, layers, saved, modules: Vec::new() };
        adapter.save(tempfile::tempdir().expect("a folder").path()).expect_err("is refused").to_string()
    };
    assert!(save(vec![lora, ia3]).contains("`b` has (IA)³ and `a` has rsLoRA"));
    assert!(save(vec![bottleneck]).contains("`c` has a bottleneck"));
    assert!(save(Vec::new()).contains("without layers"));
}

/// A rank-2 LoRA on one module, with changes: fields of the configuration, and tensors (without one, gone).
fn refused(fields: Value, tensors: &[(&str, Option<Tensor>)]) -> String {
    let mut config = json!({"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["query"]});
    for (name, value) in fields.as_object().expect("an object") {
        config[name] = value.clone();
    }
    let mut weights: Weights = [
        ("base_model.model.query.lora_A.weight".to_string(), t(&[2, 3])),
        ("base_model.model.query.lora_B.weight".to_string(), t(&[4, 2])),
    ]
    .into_iter()
    .collect();
    for (name, tensor) in tensors {
        match tensor {
            Some(tensor) => weights.insert(format!("{}{name}", read::PREFIX), tensor.clone()),
            None => weights.remove(&format!("{}{name}", read::PREFIX)),
        };
    }
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join(CONFIG_NAME), config.to_string()).expect("writes");
    safetensors::save(dir.path().join("adapter_model.safetensors"), &weights, &[]).expect("writes");
    match PeftAdapter::open(dir.path()) {
        Ok(_) => "read".into(),
        Err(e) => e.to_string(),
    }
}

#[test]
fn configurations_that_lie_are_refused_by_name() {
    let magnitude = ("query.lora_magnitude_vector", Some(t(&[4])));
    let factor = ("query.ia3_l", Some(t(&[4, 1])));
    for (fields, tensors, want) in [
        (json!({}), vec![], "read"),
        // What cannot be computed.
        (json!({"peft_type": "ADALORA"}), vec![], "peft_type is `ADALORA` (known: LORA, IA3)"),
        (json!({"peft_type": null}), vec![], "peft_type is null"),
        (json!({"use_qalora": true, "layer_replication": [[0, 4]]}), vec![], "layer_replication, use_qalora"),
        (json!({"a_field_of_next_year": 1}), vec![], "not supported: a_field_of_next_year"),
        (json!({"a_field_of_next_year": {}}), vec![], "read"),
        (json!({"init_lora_weights": "pissa_niter_4"}), vec![], "changed the base's weights"),
        (json!({"bias": "some"}), vec![], "bias is `some`"),
        // Ranks.
        (json!({"r": 0}), vec![], "a rank of 0"),
        (json!({"r": -1}), vec![], "a rank of -1"),
        (json!({"r": 2.5}), vec![], "a rank of 2.5"),
        (json!({"r": 1e300}), vec![], "is of rank 2, the configuration says 1"),
        (json!({"r": "2"}), vec![], "r is `2`, not a number"),
        (json!({"r": 4}), vec![], "A [2, 3] is of rank 2, the configuration says 4"),
        (json!({"r": 4, "rank_pattern": {"que.*": 2}}), vec![], "read"),
        (json!({"r": 4, "rank_pattern": {"uery": 2}}), vec![], "the configuration says 4"),
        (json!({"rank_pattern": {"(": 2}}), vec![], "a regular expression that is not supported"),
        (json!({"rank_pattern": {"a{1000}{1000}": 2}}), vec![], "a regular expression that is not supported"),
        (json!({"rank_pattern": {"query": 0}}), vec![], "a rank of 0"),
        (json!({"rank_pattern": [2]}), vec![], "rank_pattern is [2]"),
        (json!({"alpha_pattern": {"query": 1, "q.*": 2}}), vec![], "alpha_pattern gives it"),
        (json!({"alpha_pattern": {"query": "x"}}), vec![], "alpha_pattern of `query`"),
        (json!({"lora_alpha": "nan"}), vec![], "lora_alpha is"),
        (json!({"target_modules": 5}), vec![], "target_modules is 5"),
        (json!({"target_modules": "(?=x)"}), vec![], "target_modules is `(?=x)`, a regular expression"),
        (json!({"target_modules": "all-linear"}), vec![], "read"),
        // Tensors.
        (json!({}), vec![("query.lora_B.weight", None)], "module `query`: it has lora_A.weight, not A and B"),
        (json!({}), vec![("query.lora_B.weight", Some(t(&[4, 3])))], "A [2, 3] and B [4, 3] do not fit"),
        (json!({}), vec![("query.lora_A.weight", Some(t(&[0, 3])))], "A [0, 3] and B [4, 2] do not fit"),
        (json!({}), vec![("query.lora_A.weight", Some(t(&[2])))], "do not fit"),
        (
            json!({}),
            vec![("query.lora_B.bias", Some(t(&[4])))],
            "not supported: base_model.model.query.lora_B.bias",
        ),
        (
            json!({}),
            vec![("x.base_layer.lora_A.weight", Some(t(&[2, 3])))],
            "not supported: base_model.model.x.base",
        ),
        (json!({}), vec![magnitude.clone()], "it has a magnitude vector, but use_dora is false"),
        (json!({"use_dora": true}), vec![], "it has no magnitude vector, but use_dora is true"),
        (json!({}), vec![factor.clone()], "it has lora_A.weight, lora_B.weight, ia3_l"),
        (json!({"peft_type": "IA3"}), vec![factor], "r, lora_alpha"),
    ] {
        let got = refused(fields.clone(), &tensors);
        let got = got.replace("lora_alpha, r", "r, lora_alpha");
        assert!(got.contains(want), "{fields} {tensors:?}: {got}");
    }
}

#[test]
fn factors_that_lie_are_refused() {
    for (factor, want) in [(t(&[4]), "ia3_l has the shape [4]"), (t(&[2, 2]), "ia3_l has the shape [2, 2]")] {
        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join(CONFIG_NAME), r#"{"peft_type": "IA3"}"#).expect("writes");
        let open = || PeftAdapter::open(dir.path()).expect_err("is refused").to_string();
        assert!(open().contains("adapter_model.safetensors or adapter_model.bin"), "{}", open());
        let weights: Weights = [("x.ia3_l".to_string(), factor)].into_iter().collect();
        safetensors::save(dir.path().join("adapter_model.safetensors"), &weights, &[]).expect("writes");
        assert!(open().contains(want), "{}", open());
        safetensors::save(dir.path().join("adapter_model.safetensors"), &Weights::new(), &[])
            .expect("writes");
        assert!(open().contains("hold no tensor"), "{}", open());
        std::fs::write(dir.path().join(CONFIG_NAME), "[1]").expect("writes");
        assert!(open().contains("no JSON object"), "{}", open());
    }
}

/// `bias="all"` wraps names, and stores what the base has beside what replaces it.
#[test]
fn wrappers_are_taken_off_names() {
    let one = |v: f32| Tensor::from_f32(&[1], &[v]).expect("fits");
    let dir = tempfile::tempdir().expect("a folder");
    std::fs::write(dir.path().join(CONFIG_NAME), r#"{"peft_type": "LORA", "bias": "all"}"#).expect("writes");
    let names = [
        ("classifier.modules_to_save.bias", 1.0),
        ("classifier.bias", 2.0),
        ("classifier.original_module.bias", 3.0),
        ("query.base_layer.bias", 4.0),
        ("pooler.modules_to_save.bias", 5.0),
    ];
    for names in [names.to_vec(), names.iter().rev().copied().collect()] {
        let weights: Weights = names.iter().map(|(n, v)| (format!("{}{n}", read::PREFIX), one(*v))).collect();
        safetensors::save(dir.path().join("adapter_model.safetensors"), &weights, &[]).expect("writes");
        let saved = PeftAdapter::open(dir.path()).expect("reads").saved;
        let of = |name: &str| saved.require(name).expect("is there").to_f32().expect("is f32")[0];
        assert_eq!((of("classifier.bias"), of("query.bias"), of("pooler.bias")), (2.0, 4.0, 5.0));
        assert_eq!(saved.len(), 3);
    }
}
