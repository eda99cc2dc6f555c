//! ONNX networks against what onnxruntime answered and PyTorch differentiated (`crates/formats/tests/onnx/survey.py` writes
//! the files): outputs, gradients, a few steps of training, and the same outputs after writing and reading again.

use std::collections::BTreeMap;
use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use headstart_core::{Array, Batch, Rng, Values};
use headstart_engine::{AdamW, Device, Network, cross_entropy, last_axis_as_rows as rows};
use headstart_formats::onnx::{self, OnnxOptions, WriteOptions};
use serde::{Deserialize, Serialize};

/// Largest absolute difference of an output, where outputs are at most 1; relative above.
pub const OUTPUT_MAX: f64 = 1e-4;
/// Largest difference of a gradient's norm, relative to it or to the largest by a thousandth.
pub const GRADIENT_MAX: f64 = 1e-3;

/// One line of `cargo xtask onnx`.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The file's name.
    pub name: String,
    /// Worst difference of the output.
    pub output: f64,
    /// Worst relative difference of a gradient's norm, and its parameter.
    pub gradient: (f64, String),
    /// How many gradients were compared.
    pub gradients: usize,
    /// Loss before training and after a few steps.
    pub losses: Vec<f32>,
    /// Worst difference of the output after writing the network and reading it again.
    pub again: f64,
    /// Number of nodes of the graph.
    pub nodes: usize,
    /// Within all bounds.
    pub ok: bool,
}

#[derive(Deserialize)]
struct Recorded {
    inputs: Vec<Tensor>,
    output: Tensor,
    #[serde(default)]
    grads: BTreeMap<String, f64>,
    #[serde(default)]
    fixed: BTreeMap<String, i64>,
}

#[derive(Deserialize)]
struct Tensor {
    #[serde(default)]
    name: String,
    shape: Vec<usize>,
    #[serde(default)]
    dtype: String,
    offset: usize,
}

/// Checks every recorded file of a folder, in order of name; true if all agree.
///
/// With `written`, the networks are left there as they are written again, each in the opset given, for other programs to
/// run.
pub fn check_all(
    dir: &Path,
    only: &str,
    written: Option<(&Path, i64)>,
    print: &dyn Fn(&str),
) -> std::io::Result<bool> {
    let mut names: Vec<String> = fs::read_dir(dir)?
        .filter_map(|e| Some(e.ok()?.file_name().to_string_lossy().strip_suffix(".onnx")?.to_string()))
        .filter(|name| name.contains(only) && dir.join(format!("{name}.json")).exists())
        .collect();
    names.sort();
    let mut all_ok = true;
    for name in names {
        // A file that makes us panic is a finding, and hides no other.
        let checked = catch_unwind(|| check(dir, &name, written))
            .unwrap_or_else(|_| Err("it panicked (above is where)".into()));
        match checked {
            Ok(outcome) => {
                all_ok &= outcome.ok;
                print(&serde_json::to_string(&outcome).expect("numbers and strings"));
            }
            Err(e) => {
                all_ok = false;
                print(&serde_json::json!({"name": name, "ok": false, "error": e.to_string()}).to_string());
            }
        }
    }
    Ok(all_ok)
}

/// Checks `NAME.onnx` against `NAME.json` and `NAME.bin`.
pub fn check(
    dir: &Path,
    name: &str,
    written: Option<(&Path, i64)>,
) -> Result<Outcome, Box<dyn std::error::Error>> {
    let recorded: Recorded = serde_json::from_slice(&fs::read(dir.join(format!("{name}.json")))?)?;
    let blob = fs::read(dir.join(format!("{name}.bin")))?;
    let options = OnnxOptions { fixed: recorded.fixed.into_iter().collect() };
    let model = onnx::load(dir.join(format!("{name}.onnx")), &options)?;
    let inputs = recorded.inputs.iter().map(|t| Ok((t.name.clone(), array(&blob, t)?)));
    let mut batch = Batch { inputs: inputs.collect::<Result<_, String>>()? };
    batch.inputs.retain(|(name, _)| model.graph.inputs().any(|(_, n, _)| n == name));
    let Values::F32(want) = array(&blob, &recorded.output)?.values else { unreachable!("read as f32") };

    let opset = written.map_or(17, |(_, opset)| opset);
    let bytes =
        onnx::write(&model.graph, &model.weights, &WriteOptions { opset, ..WriteOptions::default() })?;
    if let Some((out, _)) = written {
        fs::write(out.join(format!("{name}.onnx")), &bytes)?;
    }
    let again = onnx::read(Path::new("again"), bytes.into(), &OnnxOptions::default())
        .map_err(|e| format!("written and read again: {e}"))?;
    let again = Network::load(again.graph, &again.weights, &Device::cpu())?.infer(&batch)?;
    let Values::F32(again) = again.values else { return Err("the output is not f32".into()) };
    let again = difference(&again, &want);

    let mut net = Network::load(model.graph, &model.weights, &Device::cpu())?;
    let got = net.infer(&batch)?;
    if got.shape != recorded.output.shape {
        return Err(format!("the output is {:?}, not {:?}", got.shape, recorded.output.shape).into());
    }
    let Values::F32(got) = got.values else { return Err("the output is not f32".into()) };
    let output = difference(&got, &want);

    let width = recorded.output.shape.last().copied().unwrap_or(1);
    let labels: Vec<usize> = (0..want.len() / width.max(1)).map(|i| i % width).collect();
    let loss = |i: headstart_engine::LossInput<'_>| cross_entropy(rows(i.output()), &labels, i.device);
    let mut gradient = (0.0, String::new());
    let mut compared = 0;
    if !recorded.grads.is_empty() {
        let (_, gradients) = net.gradients(&batch, &|_| true, &loss)?;
        let largest = recorded.grads.values().copied().fold(0.0, f64::max);
        for (param, norm) in gradients.norms(net.graph())? {
            if let Some(&want) = recorded.grads.get(&param) {
                compared += 1;
                // A gradient that is nothing but rounding is compared with the largest.
                let d = (norm - want).abs() / want.max(1e-3 * largest).max(1e-12);
                if d > gradient.0 || d.is_nan() {
                    gradient = (d, param);
                }
            }
        }
    }
    let mut losses = Vec::new();
    if !recorded.grads.is_empty() {
        let (mut optimiser, mut rng) = (AdamW::new(1e-4, 0.0), Rng::new(0));
        for _ in 0..4 {
            losses.push(net.step(&batch, &|_| true, &loss, &mut optimiser, &mut rng)?);
        }
    }
    // Batch norm of two examples may make single steps rise.
    let learns = losses.is_empty() || losses[1..].iter().any(|l| *l < losses[0]);
    let ok = output <= OUTPUT_MAX && again <= OUTPUT_MAX && gradient.0 <= GRADIENT_MAX && learns;
    let nodes = net.graph().nodes().len();
    Ok(Outcome { name: name.into(), output, gradient, gradients: compared, losses, again, nodes, ok })
}

fn difference(got: &[f32], want: &[f32]) -> f64 {
    let largest = want.iter().map(|v| f64::from(v.abs())).filter(|v| v.is_finite()).fold(1.0, f64::max);
    let mut worst = 0.0f64;
    for (&a, &b) in got.iter().zip(want) {
        // An infinity is its own equal, what is no number agrees with its like, and neither is a scale.
        let is_same = a == b || a.is_nan() && b.is_nan();
        let d = if is_same { 0.0 } else { (f64::from(a) - f64::from(b)).abs() / largest };
        worst = if d.is_nan() { f64::INFINITY } else { worst.max(d) };
    }
    worst
}

fn array(blob: &[u8], t: &Tensor) -> Result<Array, String> {
    let n: usize = t.shape.iter().product();
    let size = if t.dtype == "i64" { 8 } else { 4 };
    let bytes = blob.get(t.offset..t.offset + n * size).ok_or("the recording is cut off")?;
    Ok(if t.dtype == "i64" {
        Array::i64(&t.shape, bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect())
    } else {
        Array::f32(&t.shape, bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    })
}
