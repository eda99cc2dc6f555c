//! Adapters that PEFT wrote are read; networks are fitted with adapters of ours, and exported for PEFT, transformers and
//! onnxruntime.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use headstart::{
    Device, ExportFormat, ExportOptions, FitOptions, Recipe, Session, Settings, Source, SourceOptions,
    export, fit,
};
use headstart_core::{Batch, Values};
use headstart_engine::Network;
use headstart_formats::load_weights;
use serde_json::{Value, json};

use super::{OUTPUT_MAX, compare};

/// Compares every `CASE/peft-KIND` with what PEFT answered: a line each.
pub(crate) fn read(session: &Session, case: &Path, batch: &Batch) -> Result<Vec<Value>, Box<dyn Error>> {
    let mut lines = Vec::new();
    for folder in folders(case, "peft-")? {
        let name = folder.to_str().ok_or("the path is not text")?;
        let model = Source::open(session, name, &SourceOptions::default())?.model;
        let network = Network::load(model.graph, &model.weights, &Device::cpu())?;
        let want: Vec<f64> = serde_json::from_slice(&fs::read(folder.join("answers.json"))?)?;
        let difference = compare(&network.infer(batch)?, &want)?;
        lines.push(json!({"adapter": folder, "read": difference, "ok": difference <= OUTPUT_MAX}));
    }
    Ok(lines)
}

/// Fits `CASE/in` with each kind of adapter and leaves `CASE/fit-KIND` with exports and `answers.json`.
pub(crate) fn write(
    session: &Session,
    case: &Path,
    data: &Path,
    batch: &Batch,
) -> Result<(), Box<dyn Error>> {
    let is_image = batch.inputs.iter().any(|(name, _)| name == "image");
    let data = data.join(if is_image { "pictures" } else { "letters.csv" });
    for recipe in ["lora", "dora", "ia3"] {
        let mut options = FitOptions::new(case.join("in").to_str().ok_or("the path is not text")?);
        options.recipe = Recipe::parse(recipe)?;
        options.settings = Settings::parse(["passes=20"])?;
        (options.baseline_budget, options.keep_transfer) = (0.0, true);
        let run = case.join(format!("fit-{recipe}"));
        let bundle = fit(session, &data, &run, &options)?.bundle;
        let weights = load_weights(bundle.join("model.safetensors"))?;
        let graph = serde_json::from_slice(&fs::read(bundle.join("graph.json"))?)?;
        let network = Network::load(graph, &weights, &Device::cpu())?;
        let Values::F32(logits) = network.infer(batch)?.values else {
            return Err("logits are not f32".into());
        };
        let mut loaders = serde_json::Map::new();
        for (kind, format, out) in [
            ("peft", ExportFormat::Peft, "peft"),
            ("hf", ExportFormat::Hf, "hf"),
            ("onnx", ExportFormat::Onnx, "net.onnx"),
        ] {
            let asked = ExportOptions { format, opset: 17, with_preprocess: false };
            let loader = match export(session, &bundle, &run.join(out), &asked) {
                Ok(summary) => summary.class.unwrap_or_else(|| "onnxruntime".into()),
                // What ONNX cannot say is refused by name, and no difference.
                Err(e) if e.to_string().contains("cannot be written as ONNX") => format!("refused: {e}"),
                Err(e) => return Err(format!("{recipe} {kind}: {e}").into()),
            };
            loaders.insert(kind.into(), loader.into());
        }
        fs::write(run.join("answers.json"), json!({"loaders": loaders, "logits": logits}).to_string())?;
    }
    Ok(())
}

fn folders(case: &Path, prefix: &str) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(case)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}
