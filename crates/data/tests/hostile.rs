//! Files made to break readers: every prefix of every fixture, flipped bytes, lying headers, random tables.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use headstart_core::{Input, Modality};
use headstart_data::{Augmentation, DataError, LoadOptions, Preparer, decode_thumbnail, load};
use headstart_graph::{Filter, ImagePreprocess, Preprocess, Resize, TextPreprocess};
use proptest::prelude::*;

fn images() -> Vec<(PathBuf, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
        .into_iter()
        .map(|p| (p.clone(), std::fs::read(p).unwrap()))
        .filter(|(_, b)| b.len() < 8192)
        .collect()
}

fn preparer() -> Preparer {
    let spec = ImagePreprocess::imagenet(8, Resize::ShorterThenCrop { shorter_px: 9 }, Filter::Bilinear);
    Preparer::new(&Preprocess::Image(spec), None).unwrap()
}

/// A folder of two classes with the file among good ones; what is bad must be told, never fatal.
fn loads(name: &str, bytes: &[u8]) -> Result<headstart_core::Dataset, DataError> {
    let dir = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        std::fs::create_dir(dir.path().join(class)).unwrap();
        std::fs::write(dir.path().join(class).join("good.pgm"), format!("P5 1 1 255\n{class}")).unwrap();
    }
    std::fs::write(dir.path().join("a").join(name), bytes).unwrap();
    load(dir.path(), &LoadOptions { bad_fraction_max: 0.5, ..Default::default() }, &|_, _| {})
}

#[test]
fn every_prefix_of_every_image_is_an_error_or_an_image() {
    let preparer = preparer();
    for (_, bytes) in images() {
        for n in 0..bytes.len() {
            let _ = preparer.prepare(&Input::Bytes(bytes[..n].into()));
        }
        assert!(preparer.prepare(&Input::Bytes(bytes.into())).is_ok());
    }
}

#[test]
fn flipped_bytes_are_an_error_or_an_image() {
    let preparer = preparer();
    let mut state = 1u64;
    for (_, bytes) in images() {
        for _ in 0..200 {
            let mut bytes = bytes.clone();
            for _ in 0..3 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = (state >> 33) as usize % bytes.len();
                bytes[at] ^= (state >> 24) as u8;
            }
            let _ = preparer.prepare(&Input::Bytes(bytes.into()));
        }
    }
}

/// An IHDR that claims 60,000 × 60,000 pixels, with a correct checksum.
fn huge_png() -> Vec<u8> {
    let mut header = b"IHDR".to_vec();
    header.extend([60_000u32.to_be_bytes(), 60_000u32.to_be_bytes()].concat());
    header.extend([8, 6, 0, 0, 0]);
    let mut crc = 0xFFFF_FFFFu32;
    for byte in &header {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    [b"\x89PNG\r\n\x1a\n\0\0\0\x0D", header.as_slice(), &(!crc).to_be_bytes(), b"\0\0\0\x04IDATxxxx", &[0; 4]]
        .concat()
}

#[test]
fn bad_images_are_skipped_and_told() {
    for (name, bytes, expected) in [
        ("empty.jpg", b"".to_vec(), "is empty (0 bytes)"),
        ("page.jpg", b"<html>not found</html>".to_vec(), "is not an image in a format that is read"),
        ("huge.png", huge_png(), "claims 60000×60000 pixels; at most 150 million"),
        ("start.jpg", b"\xFF\xD8\xFF\xE0".to_vec(), "cannot be decoded"),
        ("icon.png", b"\0\0\x01\0\x01\0".to_vec(), "ICO is not read"),
    ] {
        let dataset = loads(name, &bytes).unwrap();
        assert_eq!(dataset.examples.len(), 2, "{name}");
        let told = &dataset.diagnostics[0];
        assert!(told.skipped && told.message.contains(expected), "{told}");
        assert!(told.path.ends_with(name));
        assert!(preparer().prepare(&Input::Bytes(bytes.into())).is_err());
    }
    // The name may lie if the content is an image.
    assert_eq!(loads("actually_a_pgm.JPG", b"P5 1 1 255\nx").unwrap().examples.len(), 3);
}

#[test]
fn an_extreme_shape_is_refused_before_it_is_resized() {
    let mut thin = b"P5 1 2000000 255\n".to_vec();
    thin.resize(thin.len() + 2_000_000, 7);
    let spec = ImagePreprocess::imagenet(224, Resize::ShorterThenCrop { shorter_px: 256 }, Filter::Bilinear);
    let preparer = Preparer::new(&Preprocess::Image(spec), None).unwrap();
    let error = preparer.prepare(&Input::Bytes(thin.clone().into())).unwrap_err();
    assert!(error.to_string().contains("cannot be brought to 256×512000000"), "{error}");
    assert!(decode_thumbnail(&Input::Bytes(thin.into()), 64).is_ok());
}

#[test]
fn preprocessing_that_cannot_be_is_refused() {
    let mut spec = ImagePreprocess::imagenet(0, Resize::Squash, Filter::Bilinear);
    assert!(Preparer::new(&Preprocess::Image(spec.clone()), None).is_err());
    spec.size_px = [8, 8];
    spec.std[1] = 0.0;
    assert!(Preparer::new(&Preprocess::Image(spec), None).is_err());
    let text = Preprocess::Text(TextPreprocess { length_max: 2 });
    assert!(Preparer::new(&text, None).is_err());
    assert!(Preparer::new(&text, Some(b"{\"model\":{}}")).is_err());
    let json =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer.json")).unwrap();
    let error = Preparer::new(&text, Some(&json)).err().unwrap();
    assert_eq!(error.to_string(), "tokenizer: length_max is 2; allowed: 3 and above");
}

/// Six rules of a letter each, which make four letters 2.7 × 10¹¹ together.
#[test]
fn a_tokenizer_whose_rules_multiply_is_refused_before_they_run() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer.json");
    let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    let rule = serde_json::json!({"type": "Replace", "pattern": {"String": "a"}, "content": "a".repeat(64)});
    json["normalizer"] = serde_json::json!({"type": "Sequence", "normalizers": vec![rule; 6]});
    json["added_tokens"] = serde_json::json!([]);
    let text = Preprocess::Text(TextPreprocess { length_max: 8 });
    let preparer = Preparer::new(&text, Some(json.to_string().as_bytes())).unwrap();
    let error = preparer.prepare(&Input::Text("aaaa".into())).unwrap_err().to_string();
    assert!(error.contains("its rules may make 2.749e11 bytes of 4 bytes of text"), "{error}");
}

proptest! {
    #[test]
    fn random_bytes_are_an_error_or_a_table(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        start in prop_oneof![
            Just("text,label\n"), Just("label\ttext\n"), Just("["), Just("{\"text\":"), Just("PAR1"), Just("")
        ],
        name in prop_oneof![Just("t.csv"), Just("t.tsv"), Just("t.json"), Just("t.jsonl"), Just("t.parquet"), Just("t")],
    ) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        let end: &[u8] = if start == "PAR1" { b"PAR1" } else { b"" };
        std::fs::write(&path, [start.as_bytes(), &bytes, end].concat()).unwrap();
        let _ = load(&path, &LoadOptions { bad_fraction_max: 1.0, ..Default::default() }, &|_, _| {});
    }

    #[test]
    fn random_csv_text_is_an_error_or_a_table(text in "[a,\"\n\r\t;|01é]{0,120}") {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, format!("text,label\n{text}")).unwrap();
        if let Ok(d) = load(&path, &LoadOptions { bad_fraction_max: 1.0, ..Default::default() }, &|_, _| {}) {
            let n_lines = text.replace("\r\n", "\n").split(['\n', '\r']).count() + 1;
            for e in &d.examples {
                let line: usize = e.id.rsplit(':').next().unwrap().parse().unwrap();
                prop_assert!(line >= 2 && line <= n_lines);
            }
        }
    }

    #[test]
    fn random_augmentations_are_an_error_or_what_they_say(
        text in "((flip|crop|rotate|jitter|randaugment|erase|swap|mask|light|x)?=?[0-9.x/e-]{0,8},?){0,4}",
        modality in prop_oneof![Just(Modality::Image), Just(Modality::Text)],
    ) {
        if let Ok(augmentation) = Augmentation::parse(&text, modality) {
            let again = Augmentation::parse(&augmentation.to_string(), modality);
            prop_assert_eq!(again.unwrap(), augmentation);
        }
    }
}
