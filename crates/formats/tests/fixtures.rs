//! Files written by PyTorch and safetensors themselves (see `make_fixtures.py`) hold what those libraries say.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

use std::path::{Path, PathBuf};

use headstart_formats::{load_weights, pytorch};
use headstart_graph::{DType, Tensor, Weights};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn expected() -> Vec<(String, Value)> {
    let text = std::fs::read_to_string(fixtures().join("expected.json")).unwrap();
    let all: serde_json::Map<String, Value> = serde_json::from_str(&text).unwrap();
    all.into_iter().collect()
}

/// The elements as f64; exact for all that the fixtures hold.
fn values(t: &Tensor) -> Vec<f64> {
    let b = t.bytes();
    match t.dtype() {
        DType::F64 => b.as_chunks().0.iter().map(|c| f64::from_le_bytes(*c)).collect(),
        DType::I64 => b.as_chunks().0.iter().map(|c| i64::from_le_bytes(*c) as f64).collect(),
        DType::I32 => b.as_chunks().0.iter().map(|c| i32::from_le_bytes(*c).into()).collect(),
        DType::I16 => b.as_chunks().0.iter().map(|c| i16::from_le_bytes(*c).into()).collect(),
        DType::I8 => b.iter().map(|&c| (c as i8).into()).collect(),
        DType::U8 | DType::Bool => b.iter().map(|&c| c.into()).collect(),
        DType::F32 | DType::F16 | DType::BF16 => t.to_f32().unwrap().iter().map(|&v| v.into()).collect(),
    }
}

fn check(file: &str, weights: &Weights, want: &Value) {
    let tensors = want["tensors"].as_array().unwrap();
    assert_eq!(weights.len(), tensors.len(), "{file}");
    for pair in tensors {
        let (name, want) = (pair[0].as_str().unwrap(), &pair[1]);
        let got = weights.get(name).unwrap_or_else(|| panic!("{file}: no {name}"));
        let shape: Vec<usize> = serde_json::from_value(want["shape"].clone()).unwrap();
        let numbers: Vec<f64> = serde_json::from_value(want["values"].clone()).unwrap();
        assert_eq!(got.dtype().to_string(), want["dtype"].as_str().unwrap(), "{file}: {name}");
        assert_eq!(got.shape(), shape, "{file}: {name}");
        assert_eq!(values(got), numbers, "{file}: {name}");
    }
    if want.get("any_order").is_none() {
        let names: Vec<&str> = weights.iter().map(|(n, _)| n).collect();
        let wanted: Vec<&str> = tensors.iter().map(|p| p[0].as_str().unwrap()).collect();
        assert_eq!(names, wanted, "{file}");
    }
}

#[test]
fn every_tensor_is_what_its_library_wrote() {
    let mut n_files = 0;
    for (file, want) in expected() {
        if want.get("error").is_some() {
            continue;
        }
        let path = fixtures().join(&file);
        let weights = load_weights(&path).unwrap_or_else(|e| panic!("{e}"));
        check(&file, &weights, &want);
        if file.ends_with(".pt") {
            let checkpoint = pytorch::open(&path).unwrap();
            let note = |key: &str| want.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
            assert_eq!(checkpoint.state_dict, note("state_dict"), "{file}");
            assert_eq!(checkpoint.prefix_stripped, note("prefix_stripped"), "{file}");
        }
        n_files += 1;
    }
    assert!(n_files >= 18, "{n_files} files");
}

#[test]
fn what_we_cannot_read_is_refused_by_name() {
    for (file, want) in expected() {
        let Some(said) = want.get("error").and_then(Value::as_str) else { continue };
        let error = load_weights(fixtures().join(&file)).unwrap_err().to_string();
        assert!(error.contains(said), "{file}: {error}");
    }
}

#[test]
fn what_was_left_aside_is_told() {
    let checkpoint = pytorch::open(fixtures().join("checkpoint.zip.pt")).unwrap();
    let names: Vec<&str> = checkpoint.ignored.iter().map(String::as_str).collect();
    assert_eq!(names, ["epoch", "arch", "best", "optimizer", "history", "rng_state"]);
}

#[test]
fn contiguous_tensors_share_the_mapped_file() {
    let weights = load_weights(fixtures().join("views.zip.pt")).unwrap();
    let at = |name: &str| weights.get(name).unwrap().bytes().as_ptr() as usize;
    assert_eq!(at("whole"), at("matrix"));
    assert_eq!(at("whole") + 5 * 4, at("slice"));
}
