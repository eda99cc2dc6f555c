//! From what a user typed after `--source` to a model: catalogue ids, specifiers, local folders and files.

use std::path::{Path, PathBuf};

use headstart_core::Modality;
use headstart_formats::peft::PeftAdapter;
use headstart_formats::{AssignRules, FileFormat, HfFolder, LoadReport, assign, identify, load_weights};
use headstart_graph::{Card, Graph, Model, Op, Preprocess, Weights, rewrite};
use headstart_source::{FetchEvent, Fetched, Spec};
use headstart_zoo::{Architecture, BuildOptions, Entry, Rename, catalogue, recognise};

use crate::{Error, Session, hub_folder, onnx_source, package, peft};

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
    /// A PEFT adapter's folder, or its repository on the hub, that is merged into the source.
    #[serde(default)]
    pub adapter: Option<String>,
}

impl Source {
    /// Opens a catalogue id (`efficientnet-lite0`), a specifier (`hf:owner/repo`, `pypi:name@version!path`,
    /// `file:PATH`) or a path.  A folder of a PEFT adapter stands for the base that it names, with it merged.
    pub fn open(session: &Session, name: &str, options: &SourceOptions) -> Result<Self, Error> {
        if let Some(adapter) = &options.adapter {
            return peft::open(session, name, adapter);
        }
        if let Ok(entry) = catalogue().entry(name) {
            return from_catalogue(session, entry);
        }
        let spec = specifier(name)?;
        let fetched = fetch(session, &spec, None)?;
        let card = card_of(name, &spec, &fetched);
        if PeftAdapter::is_at(&fetched.path) {
            peft::open_alone(session, &fetched.path, card)
        } else if fetched.path.is_dir() {
            package::check(&fetched.path, name)?;
            hub_folder::open(&fetched.path, card)
        } else {
            from_file(&fetched.path, card, options)
        }
    }
}

/// What a user typed, if it is no catalogue id.
fn specifier(name: &str) -> Result<Spec, Error> {
    if !name.contains(':') && !Path::new(name).exists() {
        // The catalogue's answer names the nearest ids.
        catalogue().entry(name)?;
    }
    Ok(Spec::parse(name)?)
}

/// The file or folder behind a path, specifier or catalogue id, fetched if need be.
pub(crate) fn locate(session: &Session, name: &str) -> Result<PathBuf, Error> {
    let path = if Path::new(name).exists() {
        name.into()
    } else {
        match catalogue().entry(name) {
            Ok(entry) => fetch_entry(session, entry)?.path,
            Err(_) => fetch(session, &specifier(name)?, None)?.path,
        }
    };
    if path.is_dir() {
        package::check(&path, name)?;
    }
    Ok(path)
}

/// What is known of a source that the catalogue does not list.
pub(crate) fn card_of(name: &str, spec: &Spec, fetched: &Fetched) -> Card {
    Card {
        id: name.into(),
        origin: pinned(spec, fetched),
        licence: "unknown".into(),
        sha256: fetched.sha256.clone().unwrap_or_default(),
        trained_on: "unknown".into(),
        ..Card::default()
    }
}

fn from_catalogue(session: &Session, entry: &Entry) -> Result<Source, Error> {
    let fetched = fetch_entry(session, entry)?;
    if !fetched.path.is_dir() {
        return of_entry(session, entry, load_weights(&fetched.path)?);
    }
    let folder = HfFolder::open(&fetched.path)?;
    let card = Card { config: Some(folder.config.clone()), ..entry.card()? };
    let weights = folder.load_weights()?;
    load(entry.graph()?, weights, entry.rename, entry.preprocess()?, folder.tokenizer_path, card)
}

/// A catalogue's network of bare weights, which have been read.
pub(crate) fn of_entry(session: &Session, entry: &Entry, weights: Weights) -> Result<Source, Error> {
    let tokenizer = entry.tokenizer.as_ref().map(|path| {
        let base = entry.origin.split('!').next().unwrap_or_default();
        fetch(session, &Spec::parse(&format!("{base}!{path}"))?, entry.tokenizer_sha256.as_deref())
    });
    let tokenizer = tokenizer.transpose()?.map(|f| f.path);
    load(entry.graph()?, weights, entry.rename, entry.preprocess()?, tokenizer, entry.card()?)
}

/// A bare weights file: the user names the architecture.
fn from_file(path: &Path, mut card: Card, options: &SourceOptions) -> Result<Source, Error> {
    if onnx_source::is_onnx(path)? {
        return onnx_source::open(path, card, options);
    }
    let weights = load_weights(path)?;
    let Some(arch) = &options.arch else {
        return Err(unnamed(path, &weights));
    };
    let rename = rename_of(identify(path)?);
    let (found, graph) = build_for(arch, &weights, rename)?;
    card.architecture = found.name.into();
    card.paper = found.paper.into();
    load(graph, weights, rename, found.preprocess.clone(), None, card)
}

/// How the tensors of a bare file get the names of an architecture's parameters.
pub(crate) fn rename_of(format: FileFormat) -> Rename {
    if format == FileFormat::Keras { Rename::Keras } else { Rename::ByName }
}

/// The error for bare tensors whose architecture nobody named: which ones their names and shapes fit.
pub(crate) fn unnamed(path: &Path, weights: &Weights) -> Error {
    let known = recognise(weights);
    let hint = match known.first() {
        Some(first) => format!("their names and shapes are those of {}: pass `--arch {}`", first.name, first.name),
        None => "name it with --arch, for example `--arch resnet18`; `headstart sources --architectures` lists them"
            .into(),
    };
    let n = weights.len();
    Error::request(
        format!("{} holds {n} tensors, but does not say of which architecture", path.display()),
        hint,
    )
}

/// An architecture as wide at its end as the file's classifier is; without a classifier if the file has none.
pub(crate) fn build_for(
    arch: &str,
    weights: &Weights,
    rename: Rename,
) -> Result<(&'static Architecture, Graph), Error> {
    let found = headstart_zoo::architecture(arch)?;
    if rename == Rename::Keras {
        return Ok((found, headstart_zoo::build_for_keras(arch, weights)?));
    }
    let probe = headstart_zoo::build(arch, &BuildOptions::classes(1000))?;
    let tap = rewrite::tap(&probe)?;
    let classifier = probe
        .nodes()
        .iter()
        .filter(|n| n.inputs.len() > 1 && matches!(n.op, Op::Linear | Op::Conv2d { .. }))
        .rfind(|n| n.output > tap.value)
        .map(|n| probe.value(n.inputs[1]).name.clone());
    let n_classes = classifier.and_then(|name| Some(*weights.get(&name)?.shape().first()?));
    Ok((found, headstart_zoo::build(arch, &BuildOptions { n_classes, image_size_px: None })?))
}

/// Lays weights onto a graph under their names there.
pub(crate) fn load(
    graph: Graph,
    weights: Weights,
    rename: Rename,
    preprocess: Preprocess,
    tokenizer: Option<PathBuf>,
    card: Card,
) -> Result<Source, Error> {
    let (graph, weights, report) = lay(graph, weights, rename)?;
    let tokenizer = tokenizer
        .map(|path| std::fs::read(&path).map(bytes::Bytes::from).map_err(Error::io(path)))
        .transpose()?;
    let model = Model { graph, weights, preprocess, tokenizer, labels: Vec::new(), card };
    model.check()?;
    Ok(Source { model, report })
}

/// Weights on a graph, without what makes it a model.
pub(crate) fn lay(
    graph: Graph,
    weights: Weights,
    rename: Rename,
) -> Result<(Graph, Weights, LoadReport), Error> {
    let renamed = rename.apply(&graph, weights)?;
    let graph = without_missing_pooler(graph, &renamed)?;
    // Tensors that the graph has no place for are announced by the plan; a missing or misshapen one is an error.
    let rules = AssignRules { allow_unexpected: vec!["*".into()], ..AssignRules::default() };
    let (weights, report) = assign(&graph, renamed, &rules)?;
    Ok((graph, weights, report))
}

/// Drops the output of a pooler that the file does not hold: models are published with and without it, and nothing but that
/// output reads it.
fn without_missing_pooler(graph: Graph, weights: &Weights) -> Result<Graph, Error> {
    let is_there = |name: &str| weights.get(name).is_some();
    let missing = graph.params().any(|(_, name, _)| name.contains("pooler.") && !is_there(name));
    let kept: Vec<_> = graph.outputs().iter().filter(|o| o.name != "pooler_output").cloned().collect();
    let has_pooler = kept.len() < graph.outputs().len();
    if missing && has_pooler && !kept.is_empty() { Ok(rewrite::cut_at(&graph, &kept)?) } else { Ok(graph) }
}

/// Fetches what the catalogue lists, and expects the hash that it names.
pub(crate) fn fetch_entry(session: &Session, entry: &Entry) -> Result<Fetched, Error> {
    fetch(session, &Spec::parse(&entry.origin)?, entry.is_verified().then_some(entry.sha256.as_str()))
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

/// What a network looks at.
pub(crate) fn modality_of(preprocess: &Preprocess) -> Modality {
    match preprocess {
        Preprocess::Image(_) => Modality::Image,
        Preprocess::Text(_) => Modality::Text,
    }
}

/// What the examples of a data set are.
pub fn modality(data: &Path, load: &headstart_data::LoadOptions) -> Result<Modality, Error> {
    Ok(headstart_data::load(data, load, &|_, _| {})?.modality)
}

#[cfg(test)]
mod tests {
    use headstart_core::{Array, Batch, Values};
    use headstart_engine::{Device, Network};
    use headstart_graph::{Conv, GraphBuilder};

    use super::*;

    fn chain() -> Graph {
        let mut b = GraphBuilder::new("chain");
        let x = b.image("image", [3, 6, 8]);
        let x = b.conv("features.0", x, Conv::new(4, 3).padding(1)).expect("fits");
        let x = b.relu("features.1", x).expect("fits");
        let x = b.max_pool("features.2", x, [2, 2, 0], false).expect("fits");
        let x = b.conv("features.3", x, Conv::new(5, 3).padding(1)).expect("fits");
        let x = b.relu("features.4", x).expect("fits");
        let x = b.node("flatten", Op::Flatten { start: 1 }, &[x]).expect("fits");
        let x = b.linear("classifier.0", x, 6).expect("fits");
        let x = b.relu("classifier.1", x).expect("fits");
        let x = b.linear("classifier.3", x, 3).expect("fits");
        b.finish([("logits", x)]).expect("is whole")
    }

    /// `tests/keras/make.py` says what Keras answered.
    #[test]
    fn a_chain_of_keras_answers_as_in_keras() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keras");
        let expected = std::fs::read(dir.join("expected.json")).expect("is there");
        let expected: serde_json::Value = serde_json::from_slice(&expected).expect("is JSON");
        let numbers = |key: &str| -> Vec<f32> {
            serde_json::from_value(expected[key].clone()).expect("is a list of numbers")
        };
        let batch = Batch::image(Array::f32(&[2, 3, 6, 8], numbers("image")));
        for file in ["chain.h5", "chain.keras"] {
            let path = dir.join(file);
            let rename = rename_of(identify(&path).expect("is known"));
            let weights = load_weights(&path).expect("is read");
            let (graph, weights, report) = lay(chain(), weights, rename).expect("fits");
            assert_eq!((report.n_found, &report.ignored_by_rule[..]), (8, &[][..]), "{file}");
            let network = Network::load(graph, &weights, &Device::cpu()).expect("loads");
            let Values::F32(got) = network.infer(&batch).expect("runs").values else { panic!("f32") };
            for (a, b) in got.iter().zip(numbers("logits")) {
                assert!((a - b).abs() < 1e-5, "{file}: {a} and {b}");
            }
        }
    }
}
