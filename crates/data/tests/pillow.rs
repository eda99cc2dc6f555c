//! What Pillow, torchvision and transformers make of the fixtures, we make too (`make_fixtures.py` made both).

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headstart_core::{Input, Values};
use headstart_data::{Prepared, Preparer};
use headstart_graph::{Filter, ImagePreprocess, Preprocess, Resize, TextPreprocess};
use serde_json::Value;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn cases() -> Value {
    serde_json::from_slice(&std::fs::read(fixtures().join("cases.json")).unwrap()).unwrap()
}

/// A preparer whose output is the 8-bit value itself.
fn preparer(size_px: [usize; 2], resize: Resize, filter: Filter) -> Preparer {
    let spec = ImagePreprocess { size_px, resize, filter, mean: [0.0; 3], std: [1.0 / 255.0; 3] };
    Preparer::new(&Preprocess::Image(spec), None).unwrap()
}

fn levels(preparer: &Preparer, path: &Path) -> Vec<i32> {
    match preparer.prepare(&Input::File(path.into())).unwrap() {
        Prepared::Image(values) => values.into_iter().map(|v| v.round() as i32).collect(),
        Prepared::Tokens(_) => panic!("not an image"),
    }
}

/// Largest difference and mean difference, levels of 255.
fn differences(ours: &[i32], theirs: &[u8]) -> (i32, f64) {
    let n = theirs.len() / 3;
    assert_eq!(ours.len(), theirs.len());
    let each =
        (0..n).flat_map(|i| (0..3).map(move |c| (ours[c * n + i] - i32::from(theirs[3 * i + c])).abs()));
    (each.clone().max().unwrap(), f64::from(each.sum::<i32>()) / (3 * n) as f64)
}

#[test]
fn images_agree_with_pillow_and_torchvision() {
    let expected = std::fs::read(fixtures().join("expected.bin")).unwrap();
    let cases = cases();
    let mut worst: BTreeMap<String, (i32, f64)> = BTreeMap::new();
    for case in cases["images"].as_array().unwrap() {
        let number = |v: &Value| v.as_u64().unwrap() as usize;
        let file = case["file"].as_str().unwrap();
        let size = [number(&case["size"][0]), number(&case["size"][1])];
        let filter = if case["filter"] == "bicubic" { Filter::Bicubic } else { Filter::Bilinear };
        let resize = match case["op"].as_str().unwrap() {
            "crop" => Resize::ShorterThenCrop { shorter_px: number(&case["shorter"]) },
            _ => Resize::Squash,
        };
        let from = number(&case["offset"]);
        let theirs = &expected[from..from + 3 * size[0] * size[1]];
        let ours = levels(&preparer(size, resize, filter), &fixtures().join("images").join(file));
        let (max, mean) = differences(&ours, theirs);
        let lossy = file.ends_with(".jpg") || file == "lossy.webp";
        let allowed = if lossy { 3 } else { 0 };
        let entry = worst.entry(format!("{file} {} {}", case["op"], case["filter"])).or_default();
        *entry = (entry.0.max(max), entry.1.max(mean));
        assert!(
            max <= allowed,
            "{file} {case}: differs by up to {max} levels (mean {mean:.3}), allowed {allowed}"
        );
    }
    for (case, (max, mean)) in worst.iter().filter(|(_, w)| w.0 > 0) {
        println!("{case}: at most {max} levels, mean {mean:.4}");
    }
}

#[test]
fn texts_agree_with_transformers() {
    let json = std::fs::read(fixtures().join("tokenizer.json")).unwrap();
    let cases = cases();
    let texts: Vec<&str> =
        cases["texts"]["texts"].as_array().unwrap().iter().map(|t| t.as_str().unwrap()).collect();
    for case in cases["texts"]["cases"].as_array().unwrap() {
        let length_max = case["length_max"].as_u64().unwrap() as usize;
        let full = Preparer::new(&Preprocess::Text(TextPreprocess { length_max: 64 }), Some(&json)).unwrap();
        let exact = Preparer::new(&Preprocess::Text(TextPreprocess { length_max }), Some(&json)).unwrap();
        for preparer in [exact, full.with_length_max(length_max)] {
            let prepared: Vec<Prepared> =
                texts.iter().map(|t| preparer.prepare(&Input::Text((*t).into())).unwrap()).collect();
            let batch = preparer.batch(&prepared.iter().collect::<Vec<_>>());
            for name in ["input_ids", "attention_mask"] {
                let theirs: Vec<i64> = case[name]
                    .as_array()
                    .unwrap()
                    .iter()
                    .flat_map(|r| r.as_array().unwrap())
                    .map(|v| v.as_i64().unwrap())
                    .collect();
                let ours = batch.get(name).unwrap();
                assert_eq!(ours.shape[0], texts.len());
                assert_eq!(ours.values, Values::I64(theirs), "{name} at {length_max}");
            }
        }
    }
}
