//! `export`: a bundle's network as a file for other tools, checked by running what was written.

use std::cell::Cell;
use std::io::Write as _;
use std::path::Path;

use headstart_bundle::{GoldenInput, OpenBundle};
use headstart_core::Input;
use headstart_engine::Device;
use headstart_formats::onnx::{self, Normalise, OnnxOptions, WriteOptions};
use headstart_formats::safetensors;
use headstart_graph::{Graph, Model, Preprocess, Weights, rewrite};
use serde::Serialize;

use crate::onnx_source::{LABELS_KEY, PREPROCESS_KEY};
use crate::save_hub_folder::save_checked;
use crate::{Error, Predictor, Session, peft};

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
    let device = session.device();
    let bundle = headstart_bundle::open(dir)?;
    let weights = headstart_formats::load_weights(bundle.dir.join("model.safetensors"))?;
    let graph: Graph = serde_json::from_slice(&bundle.read("graph.json")?)
        .map_err(|e| Error::GraphJson { path: bundle.dir.join("graph.json"), message: e.to_string() })?;
    let tokenizer = bundle.path("tokenizer.json").map(|_| bundle.read("tokenizer.json")).transpose()?;
    let mut manifest = bundle.manifest.clone();
    let golden = bundle.manifest.golden.clone();
    let inputs: Vec<Input> = golden
        .inputs
        .iter()
        .map(|input| match input {
            GoldenInput::File(name) => Input::File(bundle.dir.join(name)),
            GoldenInput::Text(text) => Input::Text(text.as_str().into()),
        })
        .collect();
    if matches!(options.format, ExportFormat::Hf | ExportFormat::Peft) {
        let (preprocess, labels, card) =
            (manifest.preprocess.clone(), manifest.labels.clone(), manifest.card.clone());
        let model = Model { graph, weights, preprocess, tokenizer, labels, card };
        if options.format == ExportFormat::Peft {
            return peft_folder(session, &bundle, &model, out, &inputs);
        }
        return hub_folder(&model, out, manifest, device, &inputs, &golden.outputs);
    }

    let bytes = match options.format {
        ExportFormat::Hf | ExportFormat::Peft => unreachable!("written above"),
        ExportFormat::Safetensors => {
            let labels = serde_json::to_string(&manifest.labels).expect("names are plain data");
            safetensors::to_bytes(&weights, &[("format".into(), "pt".into()), ("labels".into(), labels)])
        }
        ExportFormat::Onnx => {
            let normalise = options.with_preprocess.then(|| without_normalising(&mut manifest.preprocess));
            let metadata = [
                (LABELS_KEY, serde_json::to_string(&manifest.labels)),
                (PREPROCESS_KEY, serde_json::to_string(&manifest.preprocess)),
                ("headstart.task", serde_json::to_string(&manifest.task)),
                ("headstart.licence", serde_json::to_string(&manifest.card.licence)),
            ];
            let metadata = metadata.map(|(key, json)| (key.to_string(), json.expect("plain data")));
            let normalise = normalise.transpose()?;
            let options = WriteOptions { opset: options.opset, metadata: metadata.to_vec(), normalise };
            onnx::write(&graph, &weights, &options)?
        }
    };

    let (graph, weights) = match options.format {
        ExportFormat::Hf | ExportFormat::Peft => unreachable!("written above"),
        ExportFormat::Safetensors => (graph, safetensors::read(out, bytes.clone().into())?),
        ExportFormat::Onnx => {
            let model = onnx::read(out, bytes.clone().into(), &OnnxOptions::default())?;
            (model.graph, model.weights)
        }
    };
    let difference_max =
        difference(graph, &weights, tokenizer.as_deref(), manifest, device, &inputs, &golden.outputs)?;
    // A difference that is no number is too large as well.
    let fits = difference_max <= DIFFERENCE_MAX;
    if !fits {
        return Err(Error::ExportDiffers { path: out.into(), difference_max, allowed: DIFFERENCE_MAX });
    }
    write(out, &bytes)?;
    Ok(ExportSummary { bytes: bytes.len(), golden: inputs.len(), difference_max, class: None })
}

/// Writes the folder, reads it as any source is read, and compares before it appears.
fn hub_folder(
    model: &Model,
    out: &Path,
    manifest: headstart_bundle::Manifest,
    device: &Device,
    inputs: &[Input],
    want: &[Vec<f32>],
) -> Result<ExportSummary, Error> {
    let problem_type = if manifest.task.ends_with("multi-label") {
        "multi_label_classification"
    } else if manifest.task.ends_with("regression") {
        "regression"
    } else {
        "single_label_classification"
    };
    let written = Cell::new((0, 0.0));
    let class = save_checked(model, Some(problem_type), out, &|dir| {
        let again = crate::hub_folder::open(dir, manifest.card.clone())?.model;
        // A predictor hands out all outputs; the bundle's are the main one.
        let graph = rewrite::cut_at(&again.graph, &again.graph.outputs()[..1])?;
        let tokenizer = again.tokenizer.as_deref();
        let largest = difference(graph, &again.weights, tokenizer, manifest.clone(), device, inputs, want)?;
        if largest > DIFFERENCE_MAX {
            let (path, allowed) = (out.into(), DIFFERENCE_MAX);
            return Err(Error::ExportDiffers { path, difference_max: largest, allowed });
        }
        let file = dir.join("model.safetensors");
        let bytes = std::fs::metadata(&file).map_err(Error::io(file))?.len() as usize;
        written.set((bytes, largest));
        Ok(())
    })?;
    let (bytes, difference_max) = written.get();
    Ok(ExportSummary { bytes, golden: inputs.len(), difference_max, class: Some(class) })
}

/// Writes the adapter, reads it again onto its base, and compares before it appears.
fn peft_folder(
    session: &Session,
    bundle: &OpenBundle,
    model: &Model,
    out: &Path,
    inputs: &[Input],
) -> Result<ExportSummary, Error> {
    let (manifest, want) = (&bundle.manifest, &bundle.manifest.golden.outputs);
    let largest = Cell::new(0.0);
    let (class, bytes) = peft::export(session, bundle, model, out, &|again| {
        let tokenizer = again.tokenizer.as_deref();
        let (graph, device) = (again.graph.clone(), session.device());
        let d = difference(graph, &again.weights, tokenizer, manifest.clone(), device, inputs, want)?;
        largest.set(d);
        if d <= DIFFERENCE_MAX {
            return Ok(());
        }
        Err(Error::ExportDiffers { path: out.into(), difference_max: d, allowed: DIFFERENCE_MAX })
    })?;
    let (golden, difference_max) = (inputs.len(), largest.get());
    Ok(ExportSummary { bytes, golden, difference_max, class: Some(class) })
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

/// The largest difference of predictions.
fn difference(
    graph: Graph,
    weights: &Weights,
    tokenizer: Option<&[u8]>,
    manifest: headstart_bundle::Manifest,
    device: &Device,
    inputs: &[Input],
    want: &[Vec<f32>],
) -> Result<f32, Error> {
    let predictor = Predictor::new(graph, weights, tokenizer, manifest, device)?;
    let mut largest = 0.0f32;
    for (got, want) in predictor.predict(inputs, &|_| {})?.into_iter().zip(want) {
        for (a, b) in got?.outputs.iter().zip(want) {
            let d = (a - b).abs() / b.abs().max(1.0);
            largest = if d.is_nan() { f32::INFINITY } else { largest.max(d) };
        }
    }
    Ok(largest)
}

/// The file appears by rename.
fn write(out: &Path, bytes: &[u8]) -> Result<(), Error> {
    let dir = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(Error::io(dir))?;
    file.write_all(bytes).map_err(Error::io(out))?;
    file.persist(out).map_err(|e| Error::Io { path: out.into(), source: e.error })?;
    Ok(())
}
