//! A file or folder of any format that is read, opened as far as it goes: its tensors always, its network where the format or
//! the user says what it is.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use headstart_formats::onnx::{self, OnnxOptions, OnnxSummary};
use headstart_formats::peft::PeftAdapter;
use headstart_formats::{FileFormat, HfFolder, identify, load_weights, pytorch, safetensors, weight_files};
use headstart_graph::rewrite::{AdapterKind, LoraSpec};
use headstart_graph::{Card, Graph, Preprocess, Weights};
use headstart_zoo::{Rename, catalogue};
use serde::Serialize;

use crate::bundled::Bundled;
use crate::onnx_source::{LABELS_KEY, PREPROCESS_KEY};
use crate::source::{build_for, lay, of_entry, unnamed};
use crate::{Error, Session, hub_folder};

/// What a file or folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelFormat {
    /// safetensors, one file or an index of several.
    Safetensors,
    /// What `torch.save` writes since 1.6.
    TorchZip,
    /// What `torch.save` wrote before.
    TorchLegacy,
    /// Keras: HDF5, alone or in an archive.
    Keras,
    /// Weights in several files with an index.
    Sharded,
    /// An ONNX network.
    Onnx,
    /// A folder as transformers' `from_pretrained` reads it.
    Transformers,
    /// The same with the modules of sentence-transformers.
    SentenceTransformers,
    /// A folder as timm writes it.
    Timm,
    /// A folder of weights alone.
    Folder,
    /// An adapter of the PEFT library, without its base.
    Peft,
    /// A sealed bundle, or the run that made one.
    Bundle,
}

impl fmt::Display for ModelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ModelFormat::Safetensors => "safetensors",
            ModelFormat::TorchZip => "PyTorch (zip)",
            ModelFormat::TorchLegacy => "PyTorch (before 1.6)",
            ModelFormat::Keras => "Keras (HDF5)",
            ModelFormat::Sharded => "weights in several files",
            ModelFormat::Onnx => "ONNX",
            ModelFormat::Transformers => "folder of transformers",
            ModelFormat::SentenceTransformers => "folder of sentence-transformers",
            ModelFormat::Timm => "folder of timm",
            ModelFormat::Folder => "folder of weights",
            ModelFormat::Peft => "PEFT adapter",
            ModelFormat::Bundle => "Headstart bundle",
        })
    }
}

/// What the caller says about a file that does not say it itself.
#[derive(Debug, Clone, Default)]
pub struct ModelFileOptions {
    /// The architecture of bare tensors.
    pub arch: Option<String>,
    /// Numbers for sizes and scalar inputs that an ONNX network leaves open.
    pub fixed: Vec<(String, i64)>,
}

/// An opened file or folder.
pub(crate) struct ModelFile {
    pub(crate) format: ModelFormat,
    /// The tensors under the names in the file; of an ONNX file those of its network.
    pub(crate) tensors: Weights,
    /// The network, or why there is none.
    pub(crate) network: Result<(Graph, Weights), Error>,
    pub(crate) preprocess: Option<Preprocess>,
    pub(crate) tokenizer: Option<bytes::Bytes>,
    pub(crate) labels: Vec<String>,
    pub(crate) card: Card,
    /// Files that hold the tensors and operators.
    pub(crate) files: Vec<PathBuf>,
    /// Key-value pairs that the file carries along.
    pub(crate) metadata: Vec<(String, String)>,
    /// Of an ONNX file.
    pub(crate) onnx: Option<OnnxSummary>,
    /// What a person should know of how it was read.
    pub(crate) notes: Vec<String>,
}

/// Opens whatever lies at a path.
pub(crate) fn open(path: &Path, options: &ModelFileOptions) -> Result<ModelFile, Error> {
    if path.is_dir() { folder(path, options) } else { file(path, options) }
}

/// Opens what a name stands for, which lies at `path`: the catalogue knows the networks of bare weights that it names.
pub(crate) fn named(
    session: &Session,
    name: &str,
    path: &Path,
    options: &ModelFileOptions,
) -> Result<ModelFile, Error> {
    let mut file = open(path, options)?;
    if file.network.is_err()
        && options.arch.is_none()
        && !Path::new(name).exists()
        && let Ok(entry) = catalogue().entry(name)
    {
        let model = of_entry(session, entry, file.tensors.clone())?.model;
        file.network = Ok((model.graph, model.weights));
        (file.preprocess, file.tokenizer) = (Some(model.preprocess), model.tokenizer);
        file.card = model.card;
    }
    Ok(file)
}

fn file(path: &Path, options: &ModelFileOptions) -> Result<ModelFile, Error> {
    let format = match identify(path)? {
        FileFormat::Onnx => return onnx_file(path, options),
        FileFormat::Safetensors => ModelFormat::Safetensors,
        FileFormat::ShardIndex => ModelFormat::Sharded,
        FileFormat::TorchZip => ModelFormat::TorchZip,
        FileFormat::TorchLegacy => ModelFormat::TorchLegacy,
        FileFormat::Keras => ModelFormat::Keras,
    };
    bare(path, format, options)
}

/// Tensors alone: their network is known if the user names it.
fn bare(path: &Path, format: ModelFormat, options: &ModelFileOptions) -> Result<ModelFile, Error> {
    let mut notes = Vec::new();
    let (mut tensors, mut metadata) = (None, Vec::new());
    match format {
        ModelFormat::TorchZip | ModelFormat::TorchLegacy => {
            let checkpoint = pytorch::open(path)?;
            if !checkpoint.state_dict.is_empty() {
                notes.push(format!("the weights lie under `{}`", checkpoint.state_dict));
            }
            if !checkpoint.prefix_stripped.is_empty() {
                notes.push(format!("`{}` was taken off every name", checkpoint.prefix_stripped));
            }
            if !checkpoint.ignored.is_empty() {
                let named: Vec<&str> = checkpoint.ignored.iter().take(8).map(String::as_str).collect();
                let n = checkpoint.ignored.len();
                notes.push(format!("{n} other things are not read: {}", named.join(", ")));
            }
            tensors = Some(checkpoint.weights);
        }
        ModelFormat::Safetensors => metadata = safetensors::metadata(path)?,
        _ => {}
    }
    let tensors = match tensors {
        Some(tensors) => tensors,
        None => load_weights(path)?,
    };
    let mut card = Card { id: path.display().to_string(), ..Card::default() };
    let mut preprocess = None;
    let network = match &options.arch {
        Some(arch) => {
            let rename = if format == ModelFormat::Keras { Rename::Keras } else { Rename::ByName };
            let (found, graph) = build_for(arch, &tensors, rename)?;
            (card.architecture, card.paper) = (found.name.into(), found.paper.into());
            preprocess = Some(found.preprocess.clone());
            lay(graph, tensors.clone(), rename).map(|(graph, weights, _)| (graph, weights))
        }
        None => Err(unnamed(path, &tensors)),
    };
    card.licence = licence_of(&metadata).unwrap_or_default();
    Ok(ModelFile {
        format,
        files: weight_files(path)?,
        tensors,
        network,
        preprocess,
        tokenizer: None,
        labels: Vec::new(),
        card,
        metadata,
        onnx: None,
        notes,
    })
}

fn onnx_file(path: &Path, options: &ModelFileOptions) -> Result<ModelFile, Error> {
    let summary = onnx::summary(path)?;
    let read = onnx::load(path, &OnnxOptions { fixed: options.fixed.clone() });
    let value = |key: &str| summary.metadata.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str());
    let json =
        |key: &str| value(key).map(|v| serde_json::from_str::<serde_json::Value>(v).unwrap_or_default());
    let tokenizer = path.with_file_name("tokenizer.json");
    let preprocess = json(PREPROCESS_KEY).and_then(|v| serde_json::from_value(v).ok());
    let licence = json("headstart.licence").and_then(|v| v.as_str().map(String::from));
    let licence = licence.or_else(|| licence_of(&summary.metadata)).unwrap_or_default();
    let network = read.map(|m| (m.graph, m.weights)).map_err(Error::from);
    Ok(ModelFile {
        format: ModelFormat::Onnx,
        tensors: network.as_ref().map(|(_, w)| w.clone()).unwrap_or_default(),
        network,
        tokenizer: match preprocess {
            Some(Preprocess::Text(_)) if tokenizer.is_file() => {
                Some(std::fs::read(&tokenizer).map_err(Error::io(&tokenizer))?.into())
            }
            _ => None,
        },
        preprocess,
        labels: json(LABELS_KEY).and_then(|v| serde_json::from_value(v).ok()).unwrap_or_default(),
        card: Card {
            id: path.display().to_string(),
            architecture: summary.graph.clone(),
            licence,
            ..Card::default()
        },
        files: std::iter::once(path.to_path_buf()).chain(summary.external.iter().cloned()).collect(),
        metadata: summary.metadata.clone(),
        onnx: Some(summary),
        notes: Vec::new(),
    })
}

fn folder(dir: &Path, options: &ModelFileOptions) -> Result<ModelFile, Error> {
    let inner = dir.join("bundle");
    for at in [dir, &inner] {
        if at.join("headstart.json").is_file() {
            return bundle(at);
        }
    }
    if dir.join("config.json").is_file() || dir.join("modules.json").is_file() {
        return hub(dir);
    }
    if PeftAdapter::is_at(dir) {
        return adapter(dir);
    }
    bare(dir, ModelFormat::Folder, options)
}

/// An adapter's tensors, once its configuration agrees with them.
fn adapter(dir: &Path) -> Result<ModelFile, Error> {
    let PeftAdapter { config, layers, saved, .. } = PeftAdapter::open(dir)?;
    let is_safe = dir.join("adapter_model.safetensors").is_file();
    let name = if is_safe { "adapter_model.safetensors" } else { "adapter_model.bin" };
    let mut file = bare(&dir.join(name), ModelFormat::Peft, &ModelFileOptions::default())?;
    let base = config.base.as_deref().unwrap_or("a network that it does not name");
    let (n, replaced) = (layers.len(), saved.len());
    let kinds: BTreeSet<String> = layers.iter().map(|layer| kind_of(layer.kind)).collect();
    let kinds = kinds.into_iter().collect::<Vec<_>>().join("; ");
    file.notes.push(format!("{kinds}, beside {n} layers of {base}; replaces {replaced} of its tensors"));
    file.network = Err(Error::request(
        "an adapter has no network without its base",
        format!("`headstart adapters {base} --adapter it={} INPUT` runs both", dir.display()),
    ));
    file.card.licence = readme_licence(dir).unwrap_or_default();
    Ok(file)
}

/// `LoRA of rank 8, scaled by 2`.
fn kind_of(kind: AdapterKind) -> String {
    let low_rank = |name: &str, spec: LoraSpec| {
        format!("{name} of rank {}, scaled by {}", spec.rank, (spec.scaling() * 1e4).round() / 1e4)
    };
    match kind {
        AdapterKind::Lora(spec) => low_rank("LoRA", spec),
        AdapterKind::Dora(spec) => low_rank("DoRA", spec),
        AdapterKind::Ia3 { .. } => "(IA)³".into(),
        AdapterKind::Bottleneck { width } => format!("a bottleneck of {width}"),
    }
}

fn hub(dir: &Path) -> Result<ModelFile, Error> {
    let folder = HfFolder::open(dir)?;
    let tensors = folder.load_weights()?;
    let format = if folder.config["model_type"].is_null() && !folder.config["architecture"].is_null() {
        ModelFormat::Timm
    } else if folder.modules.is_empty() {
        ModelFormat::Transformers
    } else {
        ModelFormat::SentenceTransformers
    };
    let mut card = Card {
        id: dir.display().to_string(),
        licence: readme_licence(dir).unwrap_or_default(),
        ..Card::default()
    };
    let mut file = ModelFile {
        format,
        files: weight_files(&folder.weights_path)?,
        tensors,
        network: Err(Error::request("not read", "")),
        preprocess: None,
        tokenizer: None,
        labels: Vec::new(),
        card: card.clone(),
        metadata: Vec::new(),
        onnx: None,
        notes: Vec::new(),
    };
    file.files.push(folder.dir.join("config.json"));
    let configured = match headstart_zoo::from_config(&folder.config) {
        Ok(configured) => configured,
        Err(e) => {
            file.network = Err(e.into());
            return Ok(file);
        }
    };
    file.labels = configured.labels;
    card.config = Some(folder.config.clone());
    match hub_folder::open(dir, card) {
        Ok(source) => {
            let model = source.model;
            file.network = Ok((model.graph, model.weights));
            (file.preprocess, file.tokenizer) = (Some(model.preprocess), model.tokenizer);
            file.card = model.card;
        }
        // What is not prepared (sound, pictures without their processor) has a network all the same.
        Err(e) => {
            let laid = lay(configured.graph, file.tensors.clone(), configured.rename);
            file.notes.push(format!("it is no source yet: {e}"));
            file.card.config = Some(folder.config.clone());
            file.network = laid.map(|(graph, weights, _)| (graph, weights));
        }
    }
    Ok(file)
}

fn bundle(dir: &Path) -> Result<ModelFile, Error> {
    let Bundled { bundle, model } = Bundled::open(dir)?;
    let m = &bundle.manifest;
    Ok(ModelFile {
        format: ModelFormat::Bundle,
        network: Ok((model.graph, model.weights.clone())),
        tensors: model.weights,
        preprocess: Some(model.preprocess),
        tokenizer: model.tokenizer,
        labels: model.labels,
        card: model.card,
        files: vec![bundle.dir.join("model.safetensors"), dir.join("graph.json"), dir.join("headstart.json")],
        metadata: vec![("task".into(), m.task.clone()), ("name".into(), m.name.clone())],
        onnx: None,
        notes: vec![m.results.sentence.clone()],
    })
}

/// A licence among key-value pairs; `modelspec.license` is what model hubs agreed on.
fn licence_of(metadata: &[(String, String)]) -> Option<String> {
    let keys = ["license", "licence", "modelspec.license"];
    metadata.iter().find(|(k, _)| keys.contains(&k.to_lowercase().as_str())).map(|(_, v)| v.clone())
}

/// `license:` in the front matter of a model card.
fn readme_licence(dir: &Path) -> Option<String> {
    const CARD_BYTES_MAX: u64 = 1 << 20;
    let path = dir.join("README.md");
    if std::fs::metadata(&path).ok()?.len() > CARD_BYTES_MAX {
        return None;
    }
    let text = std::fs::read_to_string(&path).ok()?;
    let front = text.strip_prefix("---\n")?.split("\n---").next()?;
    let line = front.lines().find_map(|l| l.strip_prefix("license:"))?;
    let name = line.trim().trim_matches(['"', '\'']);
    (!name.is_empty()).then(|| name.to_string())
}

/// The licence of a file that the catalogue knows by its hash.
pub(crate) fn catalogued_licence(sha256: &str) -> Option<String> {
    catalogue().entries.iter().find(|e| e.is_verified() && e.sha256 == sha256).map(|e| e.licence.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_found_in_front_matter_and_metadata() {
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(readme_licence(dir.path()), None);
        let card = "---\ntags:\n- x\nlicense: apache-2.0\n---\n# license: not this\n";
        std::fs::write(dir.path().join("README.md"), card).expect("written");
        assert_eq!(readme_licence(dir.path()).as_deref(), Some("apache-2.0"));
        let pairs = [("modelspec.license".to_string(), "MIT".to_string())];
        assert_eq!(licence_of(&pairs).as_deref(), Some("MIT"));
    }
}
