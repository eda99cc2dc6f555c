//! Names, order and shapes of every architecture's parameters are those of the reference's state dict.
//! `make_state_dicts.py` writes the fixture.

use headstart_graph::Graph;
use headstart_zoo::bert::{self, BertConfig};
use headstart_zoo::{BuildOptions, architectures, build, from_config};
use serde_json::Value;

/// FNV-1a (64 bit) over `name:d0,d1,…` lines, as the script has it.
fn hash(graph: &Graph) -> String {
    let mut h = 0xcbf2_9ce4_8422_2325u64;
    for (_, name, param) in graph.params() {
        let shape: Vec<String> = param.shape.iter().map(usize::to_string).collect();
        for byte in format!("{name}:{}\n", shape.join(",")).bytes() {
            h = (h ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    }
    format!("{h:016x}")
}

fn fixture() -> Value {
    serde_json::from_str(include_str!("state_dicts.json")).expect("the fixture is JSON")
}

fn check(name: &str, graph: &Graph, want: &Value) {
    assert_eq!(want[0].as_u64(), Some(graph.n_learned() as u64), "{name}: number of parameters");
    let names: Vec<String> = graph.params().map(|(_, n, p)| format!("{n} {:?}", p.shape)).collect();
    assert_eq!(want[1].as_str(), Some(hash(graph).as_str()), "{name}: names, order, shapes\n{names:#?}");
}

#[test]
fn every_architecture_has_the_references_parameters() {
    let fixture = fixture();
    let mut n_checked = 0;
    for a in architectures() {
        let want = &fixture[a.name];
        assert!(want.is_object(), "{} is not in state_dicts.json: run make_state_dicts.py", a.name);
        for classes in [10, 1000] {
            let graph = build(a.name, &BuildOptions::classes(classes)).expect("builds");
            check(a.name, &graph, &want[classes.to_string()]);
            n_checked += 1;
        }
        if !want["none"].is_null() {
            check(a.name, &build(a.name, &BuildOptions::default()).expect("builds"), &want["none"]);
        }
    }
    assert_eq!(n_checked, 2 * architectures().count());
}

#[test]
fn bert_has_the_references_other_heads() {
    let (fixture, config) = (fixture(), tiny());
    let token = bert::token_classifier("bert-tiny", &config, "bert.", 9).expect("builds");
    check("token", &token, &fixture["bert-tiny#token"]["9"]);
    let question = bert::question_answering("bert-tiny", &config, "bert.").expect("builds");
    check("question", &question, &fixture["bert-tiny#question"]["9"]);
}

#[test]
fn every_family_has_the_references_names_in_order() {
    let fixture = fixture();
    let families: Vec<_> = fixture
        .as_object()
        .expect("an object")
        .iter()
        .filter(|(k, _)| k.starts_with("transformers/"))
        .collect();
    assert!(families.len() >= 26, "only {} networks of transformers", families.len());
    let differs = |(name, entry): (&String, &Value)| {
        let graph = from_config(&entry["config"]).unwrap_or_else(|e| panic!("{name}: {e}")).graph;
        (entry["hash"].as_str() != Some(hash(&graph).as_str())).then(|| name.clone())
    };
    let different: Vec<String> = families.into_iter().filter_map(differs).collect();
    assert!(different.is_empty(), "other names, shapes or order than the reference: {different:?}");
}

#[test]
fn without_classes_the_trunk_is_what_remains() {
    for a in architectures().filter(|a| a.size_px.is_some()) {
        let whole = build(a.name, &BuildOptions::classes(10)).expect("builds");
        let trunk = build(a.name, &BuildOptions::default()).expect("builds");
        let mut rest = whole.params().map(|(_, name, _)| name);
        for (_, name, _) in trunk.params() {
            assert!(rest.any(|n| n == name), "{}: `{name}` is not of the whole, or out of order", a.name);
        }
        let shape = &trunk.value(trunk.output()).shape;
        assert_eq!((trunk.outputs()[0].name.as_str(), shape.rank()), ("features", 2), "{}", a.name);
    }
}

fn tiny() -> BertConfig {
    BertConfig {
        hidden_size: 128,
        num_hidden_layers: 2,
        num_attention_heads: 2,
        intermediate_size: 512,
        ..BertConfig::default()
    }
}
