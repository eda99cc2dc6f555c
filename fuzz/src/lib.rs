//! What is fuzzed: every reader of files that strangers make, one function each.  `cargo xtask fuzz` runs them; the names are
//! those of `fuzz_targets/` and of the folders of `seeds/`.
//!
//! A function returns whatever the bytes are: an error is an answer, a panic is a finding, and so is more memory than
//! [`Bounded`] grants or more time than the runner does.

mod bounded;
mod contained;
mod place;

use std::path::Path;

use bytes::Bytes;
use headstart_core::Input;
use headstart_data::{LoadOptions, Preparer};
use headstart_formats::onnx::{self, OnnxOptions, WriteOptions};
use headstart_formats::peft::PeftAdapter;
use headstart_formats::{HfFolder, keras, load_weights, pytorch};
use headstart_graph::{
    Filter, Graph, ImagePreprocess, Preprocess, Resize, TextPreprocess, render, rewrite,
};
use headstart_source::{Limits, unpack_tgz, unpack_zip};

pub use bounded::{Bounded, PICTURE, READER};

use crate::contained::contained;
use crate::place::Place;

/// Parts of an input that becomes several files are divided by this.
const DIVIDER: u8 = 0x1e;

fn path() -> &'static Path {
    Path::new("fuzz")
}

/// `headstart_formats::safetensors`: what is read is written and read again.
pub fn safetensors(data: &[u8]) {
    use headstart_formats::safetensors;
    if let Ok(weights) = safetensors::read(path(), Bytes::copy_from_slice(data)) {
        let again = safetensors::to_bytes(&weights, &[]);
        let again = safetensors::read(path(), again.into()).expect("what was written is read");
        assert_eq!(again.hash(), weights.hash());
    }
}

/// `headstart_formats::pytorch`, zip archives and the older stream.
pub fn pytorch(data: &[u8]) {
    let _ = pytorch::read(path(), &Bytes::copy_from_slice(data));
}

/// `headstart_formats::keras`, HDF5 and archives that hold it.
pub fn keras(data: &[u8]) {
    contained(|| {
        let _ = keras::read(path(), &Bytes::copy_from_slice(data));
    });
}

/// `headstart_formats::onnx`: a network that is read is written and read again.
pub fn onnx(data: &[u8]) {
    let bytes = Bytes::copy_from_slice(data);
    let _ = onnx::summary_of(path(), bytes.clone());
    let Ok(model) = onnx::read(path(), bytes, &OnnxOptions::default()) else { return };
    if let Ok(written) = onnx::write(&model.graph, &model.weights, &WriteOptions::default()) {
        let _ = onnx::read(path(), written.into(), &OnnxOptions::default());
    }
}

/// `config.json` → graph.
pub fn config(data: &[u8]) {
    let Ok(value) = serde_json::from_slice(data) else { return };
    if let Ok(found) = headstart_zoo::from_config(&value) {
        look_at(&found.graph);
    }
    let _ = headstart_zoo::image_processor(&value);
}

/// A bundle's `graph.json`.
pub fn graph(data: &[u8]) {
    if let Ok(graph) = serde_json::from_slice::<Graph>(data) {
        look_at(&graph);
    }
}

fn look_at(graph: &Graph) {
    let _ = rewrite::tap(graph);
    let _ = rewrite::groups(graph);
    let _ = rewrite::resize(graph, [32, 32]);
    let _ = render(graph);
}

/// A Hugging Face folder: the files that describe it, and its index of shards.
pub fn folder(data: &[u8]) {
    let names = [
        "config.json",
        "modules.json",
        "1_Pooling/config.json",
        "tokenizer_config.json",
        "preprocessor_config.json",
        "model.safetensors.index.json",
    ];
    let place = Place::new("folder");
    for (name, part) in names.iter().zip(data.split(|b| *b == DIVIDER)) {
        place.write(name, part);
    }
    let _ = HfFolder::open(place.path());
    let _ = load_weights(place.path());
}

/// An adapter of PEFT: its configuration, and its tensors; one that is read is written and read again.
pub fn adapter(data: &[u8]) {
    let (config, tensors) = divided(data);
    let place = Place::new("adapter");
    place.write("adapter_config.json", config);
    place.write("adapter_model.safetensors", tensors);
    let Ok(adapter) = PeftAdapter::open(place.path()) else { return };
    let again = place.path().join("again");
    if adapter.save(&again).is_ok() {
        let _ = PeftAdapter::open(&again).expect("what was written is read");
    }
}

/// `tokenizer.json`, and a text for it.
pub fn tokenizer(data: &[u8]) {
    let (json, text) = divided(data);
    let preprocess = Preprocess::Text(TextPreprocess { length_max: 64 });
    contained(|| {
        let Ok(preparer) = Preparer::new(&preprocess, Some(json)) else { return };
        let _ = preparer.prepare(&Input::Text(String::from_utf8_lossy(text).into()));
    });
}

/// What lies before and behind the first divider.
fn divided(data: &[u8]) -> (&[u8], &[u8]) {
    let mut parts = data.splitn(2, |b| *b == DIVIDER);
    (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
}

/// A bundle's `headstart.json`.
pub fn manifest(data: &[u8]) {
    let place = Place::new("manifest");
    place.write("headstart.json", data);
    let _ = headstart_bundle::open(place.path());
}

/// CSV, TSV, JSONL and Parquet, told by the first byte.
pub fn table(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let name = ["table.csv", "table.tsv", "table.jsonl", "table.parquet"][usize::from(*kind) % 4];
    let place = Place::new("table");
    place.write(name, rest);
    contained(|| {
        let _ = headstart_data::load(&place.path().join(name), &LoadOptions::default(), &|_, _| {});
    });
}

/// Pictures of every format.
pub fn picture(data: &[u8]) {
    let place = Place::new("picture");
    place.write("picture", data);
    let preprocess = Preprocess::Image(ImagePreprocess {
        size_px: [16, 16],
        resize: Resize::Squash,
        filter: Filter::Bilinear,
        mean: [0.5; 3],
        std: [0.5; 3],
    });
    contained(|| {
        let preparer = Preparer::new(&preprocess, None).expect("pictures need no tokenizer");
        let _ = preparer.prepare(&Input::File(place.path().join("picture")));
    });
}

/// Archives of packages, zip and gzipped tar, told by the first byte.
pub fn archive(data: &[u8]) {
    let Some((kind, rest)) = data.split_first() else { return };
    let place = Place::new("archive");
    place.write("archive", rest);
    let limits =
        Limits { entries_max: 2_000, bytes_max: 16 << 20, ratio_max: 200, ratio_from_bytes: 1 << 20 };
    let unpack = if kind % 2 == 0 { unpack_zip } else { unpack_tgz };
    let into = place.path().join("in").join("to");
    std::fs::create_dir_all(&into).expect("a folder");
    let _ = unpack(&place.path().join("archive"), &into, &limits);
    // Nothing appears beside the folder it was unpacked into.
    for (dir, n) in [(place.path().to_path_buf(), 2), (place.path().join("in"), 1)] {
        assert_eq!(std::fs::read_dir(&dir).expect("is there").count(), n, "an archive left its folder");
    }
}
