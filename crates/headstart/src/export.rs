//! `export`: a bundle's network as a file for other tools, checked by running what was written.

use std::cell::Cell;
use std::path::Path;

use headstart_bundle::{Manifest, OpenBundle};
use headstart_core::Input;
use headstart_engine::Device;
use headstart_formats::onnx::{self, Normalise, OnnxOptions, WriteOptions};
use headstart_formats::safetensors;
use headstart_graph::{Graph, Model, Preprocess, Weights, rewrite};
use serde::Serialize;

use crate::bundled::Bundled;
use crate::onnx_source::{LABELS_KEY, PREPROCESS_KEY};
use crate::save_hub_folder::save_checked;
use crate::{Error, Predictor, Session, by_rename, peft};

/// Largest difference of a prediction between the bundle and what was written of it.
const DIFFERENCE_MAX: f32 = 1e-4;

/// What is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// Operators and weights.
    Onnx,
    /// Weights alone.
    Safetensors,
    /// A folder that transformers' `from_pretrained`, or sentence-transformers, loads.
    Hf,
    /// A folder that PEFT's `PeftModel.from_pretrained` lays onto the source as it was.
    Peft,
}

/// How a bundle is written.
#[derive(Debug, Clone, PartialEq)]
pub struct ExportOptions {
    /// What is written.
    pub format: ExportFormat,
    /// Version of ONNX's operators.
    pub opset: i64,
    /// The normalisation of pictures becomes part of the network, which then takes numbers from 0 to 1.  Decoding and
    /// resizing stay outside: ONNX has no operator that resizes as Pillow does.
    pub with_preprocess: bool,
}

/// What was written, and how it compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ExportSummary {
    /// Length of the file; of a folder, of its weights.
    pub bytes: usize,
    /// Golden predictions that were compared.
    pub golden: usize,
    /// Their largest difference.
    pub difference_max: f32,
    /// The class that loads a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
}

/// Writes the network of the bundle in `dir` to `out`, which appears only if what was written predicts what the bundle does.
/// An adapter is checked on its base, which is opened, and fetched if it must be, for that.
pub fn export(
    session: &Session,
    dir: &Path,
    out: &Path,
    options: &ExportOptions,
) -> Result<ExportSummary, Error> {
    let bundled = Bundled::open(dir)?;
    let (inputs, manifest) = (bundled.golden_inputs(), bundled.bundle.manifest.clone());
    let mut judge = Judge { manifest, inputs, device: session.device(), out };
    let Bundled { bundle, model } = &bundled;
    match options.format {
        ExportFormat::Hf => hub_folder(model, out, &judge),
        ExportFormat::Peft => peft_folder(session, bundle, model, out, &judge),
        ExportFormat::Safetensors => {
            let labels = serde_json::to_string(&model.labels).expect("names are plain data");
            let metadata = [("format".into(), "pt".into()), ("labels".into(), labels)];
            let bytes = safetensors::to_bytes(&model.weights, &metadata);
            let weights = safetensors::read(out, bytes.clone().into())?;
            let difference_max = judge.compare(model.graph.clone(), &weights, model.tokenizer.as_deref())?;
            file(out, &bytes, judge.summary(bytes.len(), difference_max, None))
        }
        ExportFormat::Onnx => {
            let preprocess = &mut judge.manifest.preprocess;
            let normalise = options.with_preprocess.then(|| without_normalising(preprocess)).transpose()?;
            let metadata = [
                (LABELS_KEY, serde_json::to_string(&model.labels)),
                (PREPROCESS_KEY, serde_json::to_string(preprocess)),
                ("headstart.task", serde_json::to_string(&bundle.manifest.task)),
                ("headstart.licence", serde_json::to_string(&model.card.licence)),
            ];
            let metadata = metadata.map(|(key, json)| (key.to_string(), json.expect("plain data")));
            let options = WriteOptions { opset: options.opset, metadata: metadata.to_vec(), normalise };
            let bytes = onnx::write(&model.graph, &model.weights, &options)?;
            let again = onnx::read(out, bytes.clone().into(), &OnnxOptions::default())?;
            let difference_max = judge.compare(again.graph, &again.weights, model.tokenizer.as_deref())?;
            file(out, &bytes, judge.summary(bytes.len(), difference_max, None))
        }
    }
}

/// The file appears by rename.
fn file(out: &Path, bytes: &[u8], summary: ExportSummary) -> Result<ExportSummary, Error> {
    by_rename::made_parent(out)?;
    by_rename::write(out, bytes)?;
    Ok(summary)
}

/// Writes the folder, reads it as any source is read, and compares before it appears.
fn hub_folder(model: &Model, out: &Path, judge: &Judge<'_>) -> Result<ExportSummary, Error> {
    let task = &judge.manifest.task;
    let problem_type = if task.ends_with("multi-label") {
        "multi_label_classification"
    } else if task.ends_with("regression") {
        "regression"
    } else {
        "single_label_classification"
    };
    let written = Cell::new((0, 0.0));
    let class = save_checked(model, Some(problem_type), out, &|dir| {
        let again = crate::hub_folder::open(dir, model.card.clone())?.model;
        // A predictor hands out all outputs; the bundle's are the main one.
        let graph = rewrite::main_output(&again.graph)?;
        let largest = judge.compare(graph, &again.weights, again.tokenizer.as_deref())?;
        let file = dir.join("model.safetensors");
        let bytes = std::fs::metadata(&file).map_err(Error::io(file))?.len() as usize;
        written.set((bytes, largest));
        Ok(())
    })?;
    let (bytes, difference_max) = written.get();
    Ok(judge.summary(bytes, difference_max, Some(class)))
}

/// Writes the adapter, reads it again onto its base, and compares before it appears.
fn peft_folder(
    session: &Session,
    bundle: &OpenBundle,
    model: &Model,
    out: &Path,
    judge: &Judge<'_>,
) -> Result<ExportSummary, Error> {
    let largest = Cell::new(0.0);
    let (class, bytes) = peft::export(session, bundle, model, out, &|again| {
        largest.set(judge.compare(again.graph.clone(), &again.weights, again.tokenizer.as_deref())?);
        Ok(())
    })?;
    Ok(judge.summary(bytes, largest.get(), Some(class)))
}

/// Holds what was written against the bundle's golden predictions.
struct Judge<'a> {
    /// The bundle's, with the preprocessing that is left outside of what was written.
    manifest: Manifest,
    inputs: Vec<Input>,
    device: &'a Device,
    /// For messages.
    out: &'a Path,
}

impl Judge<'_> {
    /// The largest difference of a prediction; too large a one is an error.
    fn compare(&self, graph: Graph, weights: &Weights, tokenizer: Option<&[u8]>) -> Result<f32, Error> {
        let predictor = Predictor::new(graph, weights, tokenizer, self.manifest.clone(), self.device)?;
        let mut difference_max = 0.0f32;
        let predicted = predictor.predict(&self.inputs, &|_| {})?;
        for (got, want) in predicted.into_iter().zip(&self.manifest.golden.outputs) {
            for (a, b) in got?.outputs.iter().zip(want) {
                let d = (a - b).abs() / b.abs().max(1.0);
                // A difference that is no number is too large as well.
                difference_max = if d.is_nan() { f32::INFINITY } else { difference_max.max(d) };
            }
        }
        if difference_max > DIFFERENCE_MAX {
            let (path, allowed) = (self.out.into(), DIFFERENCE_MAX);
            return Err(Error::ExportDiffers { path, difference_max, allowed });
        }
        Ok(difference_max)
    }

    fn summary(&self, bytes: usize, difference_max: f32, class: Option<String>) -> ExportSummary {
        ExportSummary { bytes, golden: self.inputs.len(), difference_max, class }
    }
}

/// Takes the normalisation out of the preprocessing, as part of a network.
fn without_normalising(preprocess: &mut Preprocess) -> Result<Normalise, Error> {
    match preprocess {
        Preprocess::Image(image) => {
            let normalise =
                Normalise { input: "image".into(), mean: image.mean.to_vec(), std: image.std.to_vec() };
            (image.mean, image.std) = ([0.0; 3], [1.0; 3]);
            Ok(normalise)
        }
        Preprocess::Text(_) => Err(Error::request(
            "the tokenizer of a network for texts cannot become part of it",
            "leave --with-preprocess away and tokenise with the bundle's tokenizer.json",
        )),
    }
}
