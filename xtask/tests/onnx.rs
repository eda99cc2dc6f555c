//! ONNX in and out: small networks of every kind of operator against what onnxruntime answered and PyTorch differentiated;
//! every family of the zoo written and read again; and, where Python has onnxruntime, all that was written run by it.

use std::path::{Path, PathBuf};
use std::process::Command;

use headstart_core::{Array, Batch, Rng, Values};
use headstart_engine::{Device, Network, random_weights};
use headstart_formats::onnx::{OnnxOptions, WriteOptions, read, write};
use headstart_graph::{Dim, Graph};

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/formats/tests/onnx")
}

/// Written in this opset and read again, besides being read as they are.
fn check(opset: i64) {
    let out = tempfile::tempdir().expect("a folder");
    let lines = std::cell::RefCell::new(Vec::new());
    let print = |line: &str| lines.borrow_mut().push(line.to_string());
    let ok = xtask::onnx::check_all(&fixtures(), "", Some((out.path(), opset)), &print);
    assert!(lines.borrow().len() >= 21, "{} fixtures", lines.borrow().len());
    let bad: Vec<String> = lines.into_inner().into_iter().filter(|l| !l.contains("\"ok\":true")).collect();
    assert!(ok.expect("the fixtures are there"), "{bad:#?}");
    onnxruntime_agrees(out.path(), &fixtures());
}

#[test]
fn networks_of_every_kind_of_operator_agree_with_onnxruntime_and_pytorch() {
    check(17);
}

#[test]
fn they_agree_when_written_with_the_newest_operators() {
    check(23);
}

/// Runs what was written in onnxruntime, if Python can import it; `ONNX_PYTHON` names another Python.
fn onnxruntime_agrees(written: &Path, recorded: &Path) {
    let python = std::env::var("ONNX_PYTHON").unwrap_or_else(|_| "python3".into());
    let has = Command::new(&python).args(["-c", "import onnxruntime, numpy"]).output();
    if !has.is_ok_and(|o| o.status.success()) {
        eprintln!("onnxruntime is not installed: what was written is read again, but not run by it");
        return;
    }
    let out = Command::new(&python).arg(fixtures().join("run.py")).arg(written).arg(recorded).output();
    let out = out.expect("Python was there a moment ago");
    assert!(
        out.status.success(),
        "{}{}",
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr)
    );
}

/// One batch of what a graph reads.
fn batch(graph: &Graph) -> Batch {
    let mut rng = Rng::new(3);
    let inputs = graph.inputs().map(|(_, name, spec)| {
        let size = |(i, d): (usize, &Dim)| match d {
            Dim::Fixed(n) => *n,
            Dim::Symbol(_) if i == 0 => 2,
            Dim::Symbol(_) if spec.dtype.is_float() => 900,
            Dim::Symbol(_) => 7,
        };
        let shape: Vec<usize> = spec.shape.0.iter().enumerate().map(size).collect();
        let n = shape.iter().product::<usize>();
        let array = match name {
            _ if spec.dtype.is_float() => Array::f32(&shape, (0..n).map(|_| rng.normal() as f32).collect()),
            // The last tokens of the second text are padding.
            "attention_mask" => Array::i64(&shape, (0..n).map(|i| i64::from(i + 2 < n)).collect()),
            "token_type_ids" => Array::i64(&shape, vec![0; n]),
            _ => Array::i64(
                &shape,
                (0..n).map(|i| if i + 2 < n { 5 + (7 * i as i64) % 40 } else { 1 }).collect(),
            ),
        };
        (name.to_string(), array)
    });
    Batch { inputs: inputs.collect() }
}

/// In the form of the fixtures, for other programs.
fn record(stem: &Path, batch: &Batch, output: &Array) {
    let (mut blob, mut inputs) = (Vec::new(), Vec::new());
    let put = |blob: &mut Vec<u8>, name: &str, array: &Array| {
        let offset = blob.len();
        let dtype = match &array.values {
            Values::F32(v) => {
                blob.extend(v.iter().flat_map(|v| v.to_le_bytes()));
                "f32"
            }
            Values::I64(v) => {
                blob.extend(v.iter().flat_map(|v| v.to_le_bytes()));
                "i64"
            }
        };
        serde_json::json!({"name": name, "shape": array.shape, "dtype": dtype, "offset": offset})
    };
    for (name, array) in &batch.inputs {
        inputs.push(put(&mut blob, name, array));
    }
    let output = put(&mut blob, "output", output);
    let meta = serde_json::json!({"inputs": inputs, "output": output});
    std::fs::write(stem.with_extension("json"), meta.to_string()).expect("written");
    std::fs::write(stem.with_extension("bin"), blob).expect("written");
}

#[test]
fn every_family_of_the_zoo_is_written_and_read_again() {
    let text = include_str!("onnx_families.json");
    let configs: Vec<serde_json::Value> = serde_json::from_str(text).expect("configurations");
    let mut graphs: Vec<(String, Graph)> = configs
        .iter()
        .map(|c| {
            let name = c["model_type"].as_str().expect("a type").to_string();
            let graph = headstart_zoo::from_config(c).map(|c| c.graph);
            (name.clone(), graph.unwrap_or_else(|e| panic!("{name}: {e}")))
        })
        .collect();
    for name in ["resnet18", "mobilenet_v2", "squeezenet1_1", "densenet121"] {
        let options = headstart_zoo::BuildOptions { n_classes: Some(7), image_size_px: Some(64) };
        graphs.push((name.into(), headstart_zoo::build(name, &options).expect(name)));
    }
    let out = tempfile::tempdir().expect("a folder");
    for (name, graph) in graphs {
        let weights = random_weights(&graph, 0).expect("weights");
        let batch = batch(&graph);
        let answer = |graph: Graph, weights: &headstart_graph::Weights| {
            Network::load(graph, weights, &Device::cpu())
                .and_then(|n| n.infer(&batch))
                .unwrap_or_else(|e| panic!("{name}: {e}"))
        };
        let want = answer(graph.clone(), &weights);
        for opset in [13, 17, 21] {
            let options = WriteOptions { opset, ..WriteOptions::default() };
            let bytes = write(&graph, &weights, &options).unwrap_or_else(|e| panic!("{name}: {e}"));
            let stem = out.path().join(format!("{name}.{opset}"));
            std::fs::write(out.path().join(format!("{name}.{opset}.onnx")), &bytes).expect("written");
            record(&stem.with_file_name(format!("{name}.{opset}.x")), &batch, &want);
            let again = read("again.onnx".as_ref(), bytes.into(), &OnnxOptions::default())
                .unwrap_or_else(|e| panic!("{name} in opset {opset}: {e}"));
            for (param, tensor) in weights.iter() {
                if let Some(t) = again.weights.get(param) {
                    assert_eq!(t, tensor, "{name}: {param}");
                }
            }
            let got = answer(again.graph, &again.weights);
            assert_eq!(got.shape, want.shape, "{name} in opset {opset}");
            let (Values::F32(got), Values::F32(want)) = (&got.values, &want.values) else {
                panic!("{name} answers floats")
            };
            let worst = got.iter().zip(want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-4, "{name} in opset {opset} differs by {worst}");
        }
    }
    onnxruntime_agrees(out.path(), out.path());
}
