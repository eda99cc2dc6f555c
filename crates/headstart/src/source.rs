//! From what a user typed after `--source` to a model: catalogue ids, specifiers, local folders and files.

use std::path::{Path, PathBuf};

use headstart_formats::{AssignRules, HfFolder, LoadReport, Pooling, assign, load_weights};
use headstart_graph::{Card, Graph, Model, Op, Output, Preprocess, TextPreprocess, Weights, rewrite};
use headstart_source::{FetchEvent, Fetched, Spec};
use headstart_zoo::{BuildOptions, Configured, Entry, Rename, catalogue};

use crate::{Error, Session, onnx_source};

/// A source network, loaded.
pub struct Source {
    /// The network with its old head, if it has one.
    pub model: Model,
    /// Every tensor on both sides, accounted for.
    pub report: LoadReport,
}

/// How to read a file that does not say what it is.
#[derive(Debug, Clone, Default, serde::Serialize, serde::Deserialize)]
pub struct SourceOptions {
    /// The architecture of a bare weights file.
    pub arch: Option<String>,
    /// The preprocessing of a bare ONNX network: a preset's name, or a JSON or TOML file.
    #[serde(default)]
    pub preprocess: Option<String>,
    /// Numbers for sizes and scalar inputs that an ONNX network leaves open.
    #[serde(default)]
    pub fixed: Vec<(String, i64)>,
}

impl Source {
    /// Opens a catalogue id (`efficientnet-lite0`), a specifier (`hf:owner/repo`, `pypi:name@version!path`,
    /// `file:PATH`) or a path.
    pub fn open(session: &Session, name: &str, options: &SourceOptions) -> Result<Self, Error> {
        if let Ok(entry) = catalogue().entry(name) {
            return from_catalogue(session, entry);
        }
        let is_spec = name.contains(':') || Path::new(name).exists();
        if !is_spec {
            // The catalogue's answer names the nearest ids.
            catalogue().entry(name)?;
        }
        let spec = Spec::parse(name)?;
        let fetched = fetch(session, &spec, None)?;
        let card = Card {
            id: name.into(),
            origin: pinned(&spec, &fetched),
            licence: "unknown".into(),
            sha256: fetched.sha256.clone().unwrap_or_default(),
            trained_on: "unknown".into(),
            ..Card::default()
        };
        if fetched.path.is_dir() {
            from_folder(&fetched.path, card)
        } else {
            from_file(&fetched.path, card, options)
        }
    }
}

fn from_catalogue(session: &Session, entry: &Entry) -> Result<Source, Error> {
    let spec = Spec::parse(&entry.origin)?;
    let expected = entry.is_verified().then_some(entry.sha256.as_str());
    let fetched = fetch(session, &spec, expected)?;
    let (weights, tokenizer) = if fetched.path.is_dir() {
        let folder = HfFolder::open(&fetched.path)?;
        (folder.load_weights()?, folder.tokenizer_path)
    } else {
        let tokenizer = entry.tokenizer.as_ref().map(|path| {
            let base = entry.origin.split('!').next().unwrap_or_default();
            fetch(session, &Spec::parse(&format!("{base}!{path}"))?, entry.tokenizer_sha256.as_deref())
        });
        (load_weights(&fetched.path)?, tokenizer.transpose()?.map(|f| f.path))
    };
    load(entry.graph()?, weights, entry.rename, entry.preprocess()?, tokenizer, entry.card()?)
}

/// A folder in the hub's layout: `config.json`, weights, tokenizer.
fn from_folder(dir: &Path, mut card: Card) -> Result<Source, Error> {
    let folder = HfFolder::open(dir)?;
    let Configured { mut graph, mut preprocess, rename, .. } = headstart_zoo::from_config(&folder.config)?;
    card.architecture = graph.name().into();
    if let Some(licence) = folder.config["license"].as_str() {
        card.licence = licence.into();
    }
    if let Preprocess::Text(text) = &mut preprocess {
        let length_max = [folder.max_seq_length, folder.model_max_length, Some(text.length_max)];
        let length_max = length_max.into_iter().flatten().min();
        *text = TextPreprocess { length_max: length_max.unwrap_or(text.length_max) };
        graph = sentence_features(graph, &folder)?;
    }
    let weights = folder.load_weights()?;
    load(graph, weights, rename, preprocess, folder.tokenizer_path, card)
}

/// A sentence encoder's `modules.json` says how tokens become one vector.
fn sentence_features(graph: Graph, folder: &HfFolder) -> Result<Graph, Error> {
    if let Some(module) = folder.other_modules.first() {
        return Err(Error::request(
            format!("the folder's modules.json has a module `{module}`, which is not supported"),
            "choose a sentence encoder of Transformer, Pooling and Normalize modules",
        ));
    }
    let Some(pooling) = folder.pooling else { return Ok(graph) };
    let Some(tokens) = graph.outputs().iter().find(|o| o.name == "last_hidden_state").map(|o| o.value) else {
        return Ok(graph);
    };
    let pooled = match pooling {
        Pooling::Mean => rewrite::append(&graph, "pooling", Op::MaskedMean, tokens, Some("attention_mask"))?,
        Pooling::Cls => rewrite::append(&graph, "pooling", Op::Select { axis: 1, index: 0 }, tokens, None)?,
        Pooling::Max => {
            return Err(Error::request(
                "the folder's pooling mode is `max`, which is not supported (mean, cls)",
                "choose a sentence encoder with mean or cls pooling",
            ));
        }
    };
    let (graph, mut value) = pooled;
    let graph = if folder.normalize {
        let (graph, normalised) = rewrite::append(&graph, "normalise", Op::L2Normalize, value, None)?;
        value = normalised;
        graph
    } else {
        graph
    };
    let mut outputs = vec![Output { name: "features".into(), value }];
    outputs.extend(graph.outputs().iter().cloned());
    Ok(rewrite::cut_at(&graph, &outputs)?)
}

/// A bare weights file: the user names the architecture.
fn from_file(path: &Path, mut card: Card, options: &SourceOptions) -> Result<Source, Error> {
    if onnx_source::is_onnx(path)? {
        return onnx_source::open(path, card, options);
    }
    let weights = load_weights(path)?;
    let Some(arch) = &options.arch else {
        return Err(Error::request(
            format!(
                "{} holds {} tensors, but does not say of which architecture",
                path.display(),
                weights.len()
            ),
            "name it with --arch, for example `--arch resnet18`; `headstart sources --architectures` lists them",
        ));
    };
    let found = headstart_zoo::architecture(arch)?;
    // As many classes as the file's classifier has; none if it has no classifier.
    let probe = headstart_zoo::build(arch, &BuildOptions::classes(1000))?;
    let tap = rewrite::tap(&probe)?;
    let classifier = probe
        .nodes()
        .iter()
        .filter(|n| n.inputs.len() > 1 && matches!(n.op, Op::Linear | Op::Conv2d { .. }))
        .rfind(|n| n.output > tap.value)
        .map(|n| probe.value(n.inputs[1]).name.clone());
    let n_classes = classifier.and_then(|name| Some(*weights.get(&name)?.shape().first()?));
    let graph = headstart_zoo::build(arch, &BuildOptions { n_classes, image_size_px: None })?;
    card.architecture = found.name.into();
    card.paper = found.paper.into();
    load(graph, weights, Rename::ByName, found.preprocess.clone(), None, card)
}

fn load(
    graph: Graph,
    weights: Weights,
    rename: Rename,
    preprocess: Preprocess,
    tokenizer: Option<PathBuf>,
    card: Card,
) -> Result<Source, Error> {
    let renamed = rename.apply(&graph, weights)?;
    // Tensors that the graph has no place for are announced by the plan; a missing or misshapen one is an error.
    let rules = AssignRules { allow_unexpected: vec!["*".into()], ..AssignRules::default() };
    let (weights, report) = assign(&graph, renamed, &rules)?;
    let tokenizer = tokenizer
        .map(|path| std::fs::read(&path).map(bytes::Bytes::from).map_err(Error::io(path)))
        .transpose()?;
    let model = Model { graph, weights, preprocess, tokenizer, labels: Vec::new(), card };
    model.check()?;
    Ok(Source { model, report })
}

/// Fetches with the session's progress.
pub(crate) fn fetch(session: &Session, spec: &Spec, sha256: Option<&str>) -> Result<Fetched, Error> {
    let observer = &session.observer;
    let stage = format!("fetching {spec}");
    let listen = |event: FetchEvent| match event {
        FetchEvent::Damaged { path, reason } => {
            observer.note(&format!("{} is damaged ({reason}); fetching it again", path.display()));
        }
        FetchEvent::Started { total, .. } => observer.progress(&stage, 0, total.unwrap_or(0)),
        FetchEvent::Bytes { done, total } => observer.progress(&stage, done, total.unwrap_or(0)),
        _ => {}
    };
    Ok(session.fetcher.fetch(spec, sha256, &listen)?)
}

fn pinned(spec: &Spec, fetched: &Fetched) -> String {
    if fetched.version.is_empty() { spec.to_string() } else { format!("{spec} ({})", fetched.version) }
}

/// The graph of an architecture of the zoo.
pub fn build_architecture(name: &str, n_classes: usize) -> Result<Graph, Error> {
    Ok(headstart_zoo::build(name, &BuildOptions::classes(n_classes))?)
}

/// What the examples of a data set are.
pub fn modality(data: &Path, load: &headstart_data::LoadOptions) -> Result<headstart_core::Modality, Error> {
    Ok(headstart_data::load(data, load, &|_, _| {})?.modality)
}
