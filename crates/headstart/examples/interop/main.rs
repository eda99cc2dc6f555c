//! Both directions between this library and transformers, over folders that `xtask/src/interop.py` makes and checks.
//!
//! `interop DIR`: for every folder `DIR/NAME/in` it runs the network on `DIR/NAME/batch.json`, compares with the reference's
//! numbers there, puts a new head on it, writes `DIR/NAME/out` and what that network answers to `DIR/NAME/answers.json`.
//! `adapters.rs` does the like with adapters of PEFT, and with networks fitted here.

mod adapters;

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use headstart::{Device, Session, SessionOptions, Silent, Source, SourceOptions, save_hub_folder};
use headstart_core::{Array, Batch, Rng, Values};
use headstart_engine::{Network, random_weights};
use headstart_graph::rewrite::{self, HeadSpec};
use serde_json::{Value, json};

/// Largest difference of an output, relative to the largest absolute one.
const OUTPUT_MAX: f64 = 1e-4;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args().nth(1).ok_or("usage: interop DIR")?);
    let cache = tempfile::tempdir()?;
    let mut options = SessionOptions::new(cache.path().into());
    options.offline = true;
    let session = Session::new(options, Box::new(Silent));
    let mut names: Vec<PathBuf> =
        fs::read_dir(&dir)?.map(|e| Ok(e?.path())).collect::<Result<_, std::io::Error>>()?;
    names.sort();
    let mut all_ok = true;
    for case in names.iter().filter(|p| p.join("in").is_dir()) {
        let line = match check(&session, case) {
            Ok(line) => line,
            Err(e) => {
                json!({"case": case.file_name().and_then(|n| n.to_str()), "ok": false, "error": e.to_string()})
            }
        };
        all_ok &= line["ok"] == true;
        println!("{line}");
        let batch = Batch { inputs: inputs(&read_json(&case.join("batch.json"))?["inputs"])? };
        let mut lines = adapters::read(&session, case, &batch)
            .unwrap_or_else(|e| vec![json!({"case": case, "ok": false, "error": e.to_string()})]);
        if let Err(e) = adapters::write(&session, case, &dir.join("data"), &batch) {
            lines.push(json!({"fit of": case, "ok": false, "error": e.to_string()}));
        }
        for line in lines {
            all_ok &= line["ok"] == true;
            println!("{line}");
        }
    }
    if all_ok { Ok(()) } else { Err("some folders differ".into()) }
}

fn read_json(path: &Path) -> Result<Value, Box<dyn Error>> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

fn check(session: &Session, case: &Path) -> Result<Value, Box<dyn Error>> {
    let folder = case.join("in");
    let source =
        Source::open(session, folder.to_str().ok_or("the path is not text")?, &SourceOptions::default())?;
    let asked = read_json(&case.join("batch.json"))?;
    let batch = Batch { inputs: inputs(&asked["inputs"])? };
    let mut model = source.model;
    let network = Network::load(model.graph.clone(), &model.weights, &Device::cpu())?;
    let want: Vec<f64> = serde_json::from_value(asked["output"].clone())?;
    let difference = compare(&network.infer(&batch)?, &want)?;

    // A head for another number of classes, with numbers of its own.
    let tap = rewrite::tap(&model.graph)?;
    model.graph = rewrite::graft(&model.graph, tap, &HeadSpec::Linear { n_classes: 4 })?;
    let random = random_weights(&model.graph, 7)?;
    let mut rng = Rng::new(11);
    for (name, tensor) in random.iter().filter(|(name, _)| name.starts_with("head.")) {
        let values: Vec<f32> =
            (0..tensor.shape().iter().product()).map(|_| rng.normal() as f32 * 0.3).collect();
        model.weights.insert(name, headstart_graph::Tensor::from_f32(tensor.shape(), &values)?);
    }
    model.labels = ["north", "east", "south", "west"].map(String::from).to_vec();
    let class = save_hub_folder(&model, &case.join("out"))?;
    let network = Network::load(model.graph.clone(), &model.weights, &Device::cpu())?;
    let Values::F32(logits) = network.infer(&batch)?.values else { return Err("logits are not f32".into()) };
    fs::write(case.join("answers.json"), json!({"class": class, "logits": logits}).to_string())?;
    let ok = difference <= OUTPUT_MAX;
    Ok(
        json!({"case": case.file_name().and_then(|n| n.to_str()), "read": difference, "class": class, "ok": ok}),
    )
}

/// `{name: {"shape": […], "values": […]}}`; whole numbers are integers.
fn inputs(asked: &Value) -> Result<Vec<(String, Array)>, Box<dyn Error>> {
    let mut inputs = Vec::new();
    for (name, array) in asked.as_object().ok_or("inputs are not an object")? {
        let shape: Vec<usize> = serde_json::from_value(array["shape"].clone())?;
        inputs.push((
            name.clone(),
            match serde_json::from_value::<Vec<i64>>(array["values"].clone()) {
                Ok(ids) => Array::i64(&shape, ids),
                Err(_) => Array::f32(&shape, serde_json::from_value(array["values"].clone())?),
            },
        ));
    }
    Ok(inputs)
}

fn compare(got: &Array, want: &[f64]) -> Result<f64, Box<dyn Error>> {
    let Values::F32(got) = &got.values else { return Err("the output is not f32".into()) };
    if got.len() != want.len() {
        return Err(format!("{} numbers, the reference has {}", got.len(), want.len()).into());
    }
    let largest = want.iter().fold(1e-12f64, |m, v| m.max(v.abs()));
    Ok(want.iter().zip(got).fold(0.0f64, |m, (w, &g)| m.max((w - f64::from(g)).abs())) / largest)
}
