//! `inspect` and `convert`: every format looked into, and turned into every other that can hold it.

use std::fs;
use std::path::Path;

use headstart_formats::onnx::{WriteOptions, write};
use headstart_formats::{load_weights, onnx};
use headstart_graph::GraphBuilder;

use crate::fixtures::{Answer, Place};

fn convert(place: &Place, args: &[&str]) -> Answer {
    let answer = place.run(&[&["convert", "--json"], args].concat());
    assert_eq!(answer.code, 0, "{args:?}: {}", answer.stderr);
    answer
}

fn fixture(name: &str) -> String {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../formats/tests/fixtures");
    dir.join(name).to_string_lossy().into_owned()
}

#[test]
fn a_bare_file_is_recognised_and_becomes_onnx_and_comes_back_bit_by_bit() {
    let place = Place::new();
    place.squeezenet();
    let found = place.run(&["inspect", "squeezenet.safetensors", "--json"]).json();
    assert_eq!(
        (&found["format"], &found["architecture"]["name"]),
        (&"safetensors".into(), &"squeezenet1_1".into())
    );
    assert_eq!(
        (&found["architecture"]["n_classes"], &found["n_parameters"]),
        (&1000.into(), &1_235_496.into())
    );
    assert_eq!(found["n_bytes"], 4 * 1_235_496);
    assert!(found["no_graph"].as_str().unwrap().contains("architecture"), "{found}");
    let page = place.run(&["inspect", "squeezenet.safetensors"]).stdout;
    for line in
        ["1,235,496 in 52 tensors, 4.94 MB", "squeezenet1_1, 1000 classes, by names", "classifier.1.weight"]
    {
        assert!(page.contains(line), "no `{line}` in {page}");
    }

    let untold = place.run(&["convert", "squeezenet.safetensors", "net.onnx"]);
    assert_eq!(untold.code, 2);
    assert!(untold.stderr.contains("--arch squeezenet1_1"), "{}", untold.stderr);
    let done = convert(&place, &["squeezenet.safetensors", "net.onnx", "--arch", "squeezenet1_1"]).json();
    assert_eq!((&done["n_tensors"], &done["n_tensors_equal"]), (&52.into(), &52.into()));
    assert!(done["outputs"]["difference_max"].as_f64().unwrap() <= 1e-6, "{done}");
    assert_eq!(done["outputs"]["n_compared"], 2000);

    let found = place.run(&["inspect", "net.onnx", "--json"]).json();
    assert_eq!(
        (&found["onnx"]["opsets"][""], &found["graph"]["inputs"][0][0]),
        (&17.into(), &"image".into())
    );
    assert_eq!(found["graph"]["taps"][0]["is_default"], true);
    assert!(found["metadata"]["headstart.preprocess"].as_str().unwrap().contains("image"));
    assert_eq!(found["files"][0]["sha256"].as_str().unwrap().len(), 64);

    convert(&place, &["net.onnx", "back.safetensors"]);
    let (old, back) =
        (load_weights(place.path("squeezenet.safetensors")), load_weights(place.path("back.safetensors")));
    assert_eq!(old.unwrap().hash(), back.unwrap().hash());
    // Another opset, the network the same.
    let newer = convert(&place, &["net.onnx", "newer.onnx", "--opset", "21"]).json();
    assert_eq!(newer["outputs"]["difference_max"], 0.0);
}

#[test]
fn a_folder_becomes_onnx_and_a_folder_again() {
    let place = Place::new();
    place.sentence_encoder();
    fs::write(place.path("encoder/README.md"), "---\nlicense: mit\n---\n").unwrap();
    let found = place.run(&["inspect", "encoder", "--json"]).json();
    assert_eq!((&found["format"], &found["licence"]), (&"sentence-transformers".into(), &"mit".into()));
    assert_eq!(found["graph"]["outputs"][0][0], "features");
    let done = convert(&place, &["encoder", "encoder.onnx"]).json();
    assert!(done["outputs"]["difference_max"].as_f64().unwrap() <= 1e-5, "{done}");
    let again = convert(&place, &["encoder", "copy"]).json();
    assert_eq!(
        (&again["class"], &again["outputs"]["difference_max"]),
        (&"SentenceTransformer".into(), &0.0.into())
    );
    assert_eq!(again["n_tensors"], again["n_tensors_equal"]);
    assert!(again["notes"][0].as_str().unwrap().contains("pooler.dense.weight"), "{again}");
    let weights = convert(&place, &["encoder", "encoder.safetensors"]).json();
    assert_eq!(weights["n_tensors"], weights["n_tensors_equal"]);
}

#[test]
fn pytorch_files_become_safetensors_with_the_same_bits() {
    let place = Place::new();
    for name in ["dtypes.zip.pt", "dtypes.legacy.pt", "checkpoint.zip.pt", "nested.legacy.pt"] {
        let file = fixture(name);
        let to = format!("{name}.safetensors");
        let done = convert(&place, &[&file, &to]).json();
        assert_eq!(done["n_tensors"], done["n_tensors_equal"], "{name}");
        assert_eq!(done["bytes"].as_u64(), Some(fs::metadata(place.path(&to)).unwrap().len()), "{name}");
        assert_eq!(
            load_weights(&file).unwrap().hash(),
            load_weights(place.path(&to)).unwrap().hash(),
            "{name}"
        );
        let page = place.run(&["inspect", &file]);
        assert_eq!(page.code, 0, "{name}: {}", page.stderr);
        assert!(page.stdout.contains("PyTorch"), "{}", page.stdout);
    }
}

#[test]
fn nothing_is_replaced_without_force() {
    let place = Place::new();
    let file = fixture("dtypes.zip.pt");
    fs::write(place.path("a.safetensors"), "mine").unwrap();
    let refused = place.run(&["convert", &file, "a.safetensors"]);
    assert_eq!(refused.code, 2);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(fs::read(place.path("a.safetensors")).unwrap(), b"mine");
    convert(&place, &[&file, "a.safetensors", "--force"]);
    load_weights(place.path("a.safetensors")).unwrap();
    // A folder that is none of a model stays, whatever is said.
    place.sentence_encoder();
    fs::create_dir(place.path("letters")).unwrap();
    fs::write(place.path("letters/a.txt"), "dear").unwrap();
    let refused = place.run(&["convert", "encoder", "letters", "--force"]);
    assert_eq!(refused.code, 2, "{}", refused.stdout);
    assert!(place.path("letters/a.txt").is_file());
    convert(&place, &["encoder", "copy"]);
    convert(&place, &["encoder", "copy", "--force"]);
    // The source itself is never written over.
    let itself = place.run(&["convert", "copy", "copy", "--force"]);
    assert_eq!(itself.code, 2);
    let left: Vec<_> = fs::read_dir(place.dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|n| !n.to_string_lossy().starts_with('.')), "{left:?}");
}

#[test]
fn what_is_no_model_is_named_and_what_cannot_be_read_is_described() {
    let place = Place::new();
    fs::write(place.path("page.bin"), "<!DOCTYPE html>").unwrap();
    let answer = place.run(&["inspect", "page.bin"]);
    assert_eq!(answer.code, 2);
    assert!(answer.stderr.contains("a web page"), "{}", answer.stderr);
    assert_eq!(place.run(&["inspect", "nowhere.onnx"]).code, 2);

    // An operator that nobody knows: the file is described, with the operator's name.
    let mut b = GraphBuilder::new("tiny");
    let x = b.image("image", [3, 8, 8]);
    let y = b.global_avg_pool("pool", x).unwrap();
    let graph = b.finish([("features", y)]).unwrap();
    let bytes = write(&graph, &Default::default(), &WriteOptions::default()).unwrap();
    let (old, new): (&[u8], &[u8]) = (b"GlobalAveragePool", b"GlobalAverageLake");
    let at = bytes.windows(old.len()).position(|w| w == old).unwrap();
    let bytes = [&bytes[..at], new, &bytes[at + new.len()..]].concat();
    fs::write(place.path("strange.onnx"), bytes).unwrap();
    assert!(onnx::load(place.path("strange.onnx"), &Default::default()).is_err());
    let found = place.run(&["inspect", "strange.onnx", "--json"]).json();
    assert_eq!(found["onnx"]["unsupported"][0], "GlobalAverageLake");
    assert!(found["no_graph"].as_str().unwrap().contains("GlobalAverageLake") && found["graph"].is_null());
}

#[test]
fn an_adapter_is_described_without_its_base() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../headstart/tests/peft/bert-lora");
    let answer = Place::new().run(&["inspect", folder]);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    assert!(answer.stdout.contains("PEFT adapter") && answer.stdout.contains("lora_A"), "{}", answer.stdout);
    for line in [
        "LoRA of rank 1, scaled by 3; LoRA of rank 1, scaled by 5",
        "beside 9 layers of ../bert",
        "without its base",
    ] {
        assert!(answer.stdout.contains(line), "no `{line}` in {}", answer.stdout);
    }
}

#[test]
fn adapters_on_one_base_answer_in_turn() {
    let folder = |name: &str| format!("{}/../headstart/tests/peft/{name}", env!("CARGO_MANIFEST_DIR"));
    let (lora, dora) = (format!("lora={}", folder("bert-lora")), format!("dora={}", folder("bert-dora")));
    let place = Place::new();
    let base = folder("bert");
    let both = ["adapters", &base, "--adapter", &lora, "--adapter", &dora, "a b", "c", "--json"];
    let answer = place.run(&both);
    assert_eq!(answer.code, 0, "{}", answer.stderr);
    let lines: Vec<serde_json::Value> =
        answer.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    let names: Vec<_> = lines.iter().map(|l| l["adapter"].as_str()).collect();
    assert_eq!(names, [None, Some("lora"), Some("dora"), None, Some("lora"), Some("dora")]);
    // Switching off and on again leaves no trace: alone, an adapter says the same.
    let alone = place.run(&["adapters", &base, "--adapter", &dora, "c", "--json"]);
    let alone: Vec<serde_json::Value> =
        alone.stdout.lines().map(|l| serde_json::from_str(l).unwrap()).collect();
    assert_eq!((&alone[0]["outputs"], &alone[1]["outputs"]), (&lines[3]["outputs"], &lines[5]["outputs"]));
    assert_ne!(lines[4]["outputs"], lines[5]["outputs"]);
    let page = place.run(&["adapters", &base, "--adapter", &dora, "c"]).stdout;
    assert!(page.contains("(the base)") && page.contains("dora"), "{page}");
    let unnamed = place.run(&["adapters", &base, "--adapter", &folder("bert-dora"), "c"]);
    assert_eq!(unnamed.code, 2);
    assert!(unnamed.stderr.contains("--adapter NAME="), "{}", unnamed.stderr);
}
