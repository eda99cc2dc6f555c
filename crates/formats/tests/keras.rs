//! Files that Keras wrote (see `make_keras_fixtures.py`) hold what Keras says; damaged ones are refused.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should fail")]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use headstart_formats::{FileFormat, identify, keras, load_weights};
use headstart_graph::DType;

/// Path in the network, shape, numbers.
type Recorded = Vec<(String, Vec<usize>, Vec<f64>)>;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn recorded() -> Recorded {
    serde_json::from_slice(&std::fs::read(fixture("keras.json")).unwrap()).unwrap()
}

#[test]
fn all_three_files_of_a_network_hold_its_weights() {
    // Keras 3 numbers the arrays of a layer in the order in which the layer made them.
    let third =
        ["conv2d.vars.0", "conv2d.vars.1", "batch_normalization.vars.0", "batch_normalization.vars.1"];
    let third: Vec<&str> = third
        .into_iter()
        .chain(["batch_normalization.vars.2", "batch_normalization.vars.3", "dense.vars.0", "dense.vars.1"])
        .collect();
    for file in ["keras.h5", "keras.keras", "keras.weights.h5"] {
        assert_eq!(identify(fixture(file)).unwrap(), FileFormat::Keras);
        let weights = load_weights(fixture(file)).unwrap();
        assert_eq!(weights.len(), 8, "{file}");
        for ((path, shape, want), third) in recorded().iter().zip(&third) {
            // `sequential/block1_conv1/kernel`, which the old format writes below the layer once more.
            let layer = path.split('/').nth(1).unwrap();
            let second = format!("{layer}.{}", path.replace('/', "."));
            let name = if file == "keras.h5" { second } else { format!("layers.{third}") };
            let tensor = weights.get(&name).unwrap_or_else(|| panic!("{file}: no {name} in {weights:?}"));
            assert_eq!((tensor.shape(), tensor.dtype()), (&shape[..], DType::F32), "{file}: {name}");
            let got: Vec<f64> = tensor.to_f32().unwrap().iter().map(|v| f64::from(*v)).collect();
            assert_eq!(&got, want, "{file}: {name}");
        }
    }
}

#[test]
fn compressed_big_endian_and_half_arrays_are_read_and_texts_are_passed_over() {
    let weights = load_weights(fixture("keras.gzip.h5")).unwrap();
    let kernel = &recorded()[0].2;
    let names: Vec<&str> = weights.iter().map(|(n, _)| n).collect();
    assert_eq!(names, ["conv.big", "conv.half", "conv.kernel"]);
    for (name, tolerance) in [("conv.big", 0.0), ("conv.kernel", 0.0), ("conv.half", 1e-3)] {
        let got = weights.get(name).unwrap().to_f32().unwrap();
        let worst = got.iter().zip(kernel).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
        assert!(worst <= tolerance, "{name}: {worst}");
    }
}

#[test]
fn every_truncation_and_many_a_changed_byte_is_an_answer() {
    for file in ["keras.weights.h5", "keras.gzip.h5"] {
        let whole = std::fs::read(fixture(file)).unwrap();
        for n in (0..whole.len()).step_by(97) {
            let cut = Bytes::copy_from_slice(&whole[..n]);
            assert!(keras::read(Path::new("cut"), &cut).is_err(), "{file} cut to {n} bytes");
        }
        for at in (0..whole.len()).step_by(11) {
            let mut bent = whole.clone();
            bent[at] ^= 0x5a;
            // Whatever it says, it says it.
            let _ = keras::read(Path::new("bent"), &bent.into());
        }
    }
}
