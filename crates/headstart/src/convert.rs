//! `convert`: a model's file or folder as another format, compared with what it was made of before it appears.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use headstart_core::{Array, Values};
use headstart_engine::{Device, Network};
use headstart_formats::onnx::{self, OnnxOptions, WriteOptions};
use headstart_formats::{load_weights, safetensors};
use headstart_graph::{Graph, Model, Preprocess, Weights, rewrite};
use serde::Serialize;

use crate::export::ExportFormat;
use crate::model_file::{self, ModelFile, ModelFileOptions, ModelFormat};
use crate::onnx_source::{LABELS_KEY, PREPROCESS_KEY};
use crate::save_hub_folder::save_checked;
use crate::seeded_inputs::seeded_inputs;
use crate::source::locate;
use crate::{Error, Session, by_rename};

/// Largest difference of an output between what was read and what was written, relative to outputs above 1.
const DIFFERENCE_MAX: f64 = 1e-4;
/// Seed of the inputs that networks are compared on.
const SEED: u64 = 0;

/// How a file or folder is converted.
#[derive(Debug, Clone, Default)]
pub struct ConvertOptions {
    /// What to write; by the name of what is written where it is `None`.
    pub to: Option<ExportFormat>,
    /// What the source does not say of itself.
    pub source: ModelFileOptions,
    /// Version of ONNX's operators; 17 where it is `None`.
    pub opset: Option<i64>,
    /// Replace what is there.
    pub force: bool,
}

/// What was written, and how it compared.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ConvertSummary {
    /// What it was.
    pub from: ModelFormat,
    /// What it became: `safetensors`, `onnx` or `hf`.
    pub to: &'static str,
    /// Where.
    pub path: PathBuf,
    /// Length of the file; of a folder, of its weights.
    pub bytes: u64,
    /// Tensors that were compared, bit by bit.
    pub n_tensors: usize,
    /// Those of them that are equal in every bit; others got another element type or layout.
    pub n_tensors_equal: usize,
    /// How the networks compared; none where only tensors were written.
    pub outputs: Option<OutputParity>,
    /// The class that loads a folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Outputs of both networks on the same seeded inputs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct OutputParity {
    /// Shapes of the inputs.
    pub inputs: Vec<(String, Vec<usize>)>,
    /// Numbers that were compared.
    pub n_compared: usize,
    /// Their largest difference, relative where they are above 1.
    pub difference_max: f64,
    /// Above this nothing would have been kept.
    pub allowed: f64,
}

/// Reads `from` (a path, specifier or catalogue id), writes `to`, reads that back and compares: tensors bit by bit, networks
/// by their outputs on seeded inputs.  `to` appears whole, by rename, and only if it compares.
///
/// # Errors
/// If `to` exists and [`ConvertOptions::force`] is not set, if the target needs a network and `from` has none, if the network
/// cannot be written so, or if what was written differs.
///
/// ```
/// use headstart::{ConvertOptions, Session, SessionOptions, Silent, convert};
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("w.safetensors");
/// # std::fs::write(&path, [&60u64.to_le_bytes()[..], br#"{"a.w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}    "#, &[0; 8]].concat())?;
/// let session = Session::new(SessionOptions::new(dir.path().join("cache")), Box::new(Silent));
/// let to = dir.path().join("copy.safetensors");
/// let done = convert(&session, &path.to_string_lossy(), &to, &ConvertOptions::default())?;
/// assert_eq!((done.n_tensors, done.n_tensors_equal), (1, 1));
/// assert!(convert(&session, &path.to_string_lossy(), &to, &ConvertOptions::default()).is_err(), "it exists");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn convert(
    session: &Session,
    from: &str,
    to: &Path,
    options: &ConvertOptions,
) -> Result<ConvertSummary, Error> {
    let format = target(to, options.to)?;
    if to.exists() && !options.force {
        return Err(Error::request(
            format!("{} exists", to.display()),
            "replace it with --force, or name another",
        ));
    }
    let path = locate(session, from)?;
    if to.exists() && same_file(&path, to) {
        return Err(Error::request(
            format!("{} is what is read", to.display()),
            "name another file to write: a conversion keeps its source",
        ));
    }
    let source = model_file::named(session, from, &path, &options.source)?;
    match format {
        ExportFormat::Safetensors => to_safetensors(source, to),
        ExportFormat::Onnx => to_onnx(source, to, options.opset.unwrap_or(17), session.device()),
        ExportFormat::Hf => to_folder(source, to, options.force, session.device()),
        ExportFormat::Peft => Err(Error::request(
            "an adapter is written from the run that trained it, not from a model",
            "`headstart export RUN --format peft` does that",
        )),
    }
}

/// By name: `.safetensors`, `.onnx`, or a folder where there is no ending.
fn target(to: &Path, named: Option<ExportFormat>) -> Result<ExportFormat, Error> {
    let ending = to.extension().map(|e| e.to_string_lossy().to_lowercase());
    match (named, ending.as_deref()) {
        (Some(format), _) => Ok(format),
        (None, Some("safetensors")) => Ok(ExportFormat::Safetensors),
        (None, Some("onnx")) => Ok(ExportFormat::Onnx),
        (None, None) => Ok(ExportFormat::Hf),
        (None, Some(_)) => Err(Error::request(
            format!("{} does not say what to write", to.display()),
            "end it in .safetensors or .onnx, name a folder, or pass --to safetensors|onnx|hf",
        )),
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    match (a.canonicalize(), b.canonicalize()) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    }
}

fn to_safetensors(source: ModelFile, to: &Path) -> Result<ConvertSummary, Error> {
    let mut metadata = vec![("format".to_string(), "pt".to_string())];
    if !source.labels.is_empty() {
        metadata.push(("labels".into(), json(&source.labels)));
    }
    if !matches!(source.card.licence.as_str(), "" | "unknown") {
        metadata.push(("license".into(), source.card.licence.clone()));
    }
    if source.tensors.is_empty() {
        let why = source.network.err().map(|e| format!(": {e}")).unwrap_or_default();
        return Err(Error::request(
            format!("{} has no tensors to write{why}", source.card.id),
            "choose another file",
        ));
    }
    let fresh = Fresh::beside(to)?;
    safetensors::save(fresh.path(), &source.tensors, &metadata)?;
    let again = load_weights(fresh.path())?;
    let (n_tensors, n_tensors_equal) = equal(&source.tensors, &again);
    if n_tensors_equal < n_tensors || again.len() != n_tensors {
        return Err(differs(to, f64::INFINITY));
    }
    Ok(ConvertSummary {
        from: source.format,
        to: "safetensors",
        bytes: fresh.keep(to)?,
        path: to.into(),
        n_tensors,
        n_tensors_equal,
        outputs: None,
        class: None,
        notes: source.notes,
    })
}

fn to_onnx(source: ModelFile, to: &Path, opset: i64, device: &Device) -> Result<ConvertSummary, Error> {
    let (graph, weights) = source.network?;
    let mut metadata = Vec::new();
    if !source.labels.is_empty() {
        metadata.push((LABELS_KEY.into(), json(&source.labels)));
    }
    if let Some(preprocess) = &source.preprocess {
        metadata.push((PREPROCESS_KEY.into(), json(preprocess)));
    }
    if !matches!(source.card.licence.as_str(), "" | "unknown") {
        metadata.push(("headstart.licence".into(), json(&source.card.licence)));
    }
    let bytes = onnx::write(&graph, &weights, &WriteOptions { opset, metadata, normalise: None })?;
    let mut fresh = Fresh::beside(to)?;
    fresh.write(&bytes)?;
    let again = onnx::load(fresh.path(), &OnnxOptions::default())?;
    let (n_tensors, n_tensors_equal) = equal(&weights, &again.weights);
    let outputs = parity((graph, &weights), (again.graph, &again.weights), to, device)?;
    let mut notes = source.notes;
    if matches!(source.preprocess, Some(Preprocess::Text(_))) {
        notes.push("as a source it needs the tokenizer.json of its origin beside it".into());
    }
    Ok(ConvertSummary {
        from: source.format,
        to: "onnx",
        bytes: fresh.keep(to)?,
        path: to.into(),
        n_tensors,
        n_tensors_equal,
        outputs: Some(outputs),
        class: None,
        notes,
    })
}

fn to_folder(source: ModelFile, to: &Path, force: bool, device: &Device) -> Result<ConvertSummary, Error> {
    let (graph, weights) = source.network?;
    let Some(preprocess) = source.preprocess else {
        return Err(Error::request(
            format!("{} does not say how its inputs are prepared, which a folder must", source.card.id),
            "convert it to .onnx or .safetensors",
        ));
    };
    // Only what looks like such a folder is replaced: --force must not delete a home directory.
    if to.is_dir() && !to.join("config.json").is_file() || to.is_file() {
        return Err(Error::request(
            format!("{} exists and is no folder with a config.json", to.display()),
            "name another folder",
        ));
    }
    // A class computes the main output; what only other outputs need is left out, and said.
    let main = rewrite::main_output(&graph)?;
    let kept: Weights = main
        .params()
        .map(|(_, name, _)| Ok((name.into(), weights.require(name)?.clone())))
        .collect::<Result<_, Error>>()?;
    let left_out: Vec<&str> =
        weights.iter().map(|(name, _)| name).filter(|n| kept.get(n).is_none()).collect();
    let mut notes = source.notes;
    if !left_out.is_empty() {
        notes.push(format!("left out, as the main output does not need them: {}", left_out.join(", ")));
    }
    let model = Model {
        graph: main,
        weights: kept,
        preprocess,
        tokenizer: source.tokenizer,
        labels: source.labels,
        card: source.card,
    };
    let parent = by_rename::made_parent(to)?;
    let aside = tempfile::Builder::new().prefix(".convert-").tempdir_in(parent).map_err(Error::io(parent))?;
    let fresh = aside.path().join("new");
    let class = save_checked(&model, None, &fresh, &|_| Ok(()))?;
    let again = model_file::open(&fresh, &ModelFileOptions::default())?;
    let (again_graph, again_weights) = again.network?;
    let bits = |w: &Weights| {
        let mut all: Vec<_> = w.iter().map(|(_, t)| (t.shape().to_vec(), t.bytes().clone())).collect();
        all.sort();
        all
    };
    // The class decides the names; tensors are compared as a heap.
    let (mine, theirs) = (bits(&model.weights), bits(&again_weights));
    let n_tensors_equal = mine.iter().filter(|t| theirs.binary_search(t).is_ok()).count();
    let n_tensors = mine.len();
    let outputs = parity((model.graph, &model.weights), (again_graph, &again_weights), to, device)?;
    let bytes = fs::metadata(fresh.join("model.safetensors")).map_err(Error::io(&fresh))?.len();
    if force && to.is_dir() {
        fs::rename(to, aside.path().join("old")).map_err(Error::io(to))?;
    }
    fs::rename(&fresh, to).map_err(Error::io(to))?;
    Ok(ConvertSummary {
        from: source.format,
        to: "hf",
        path: to.into(),
        bytes,
        n_tensors,
        n_tensors_equal,
        outputs: Some(outputs),
        class: Some(class),
        notes,
    })
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("plain data with string keys")
}

/// Tensors of the first, and how many of them the second has with the same bits under the same name.
fn equal(mine: &Weights, theirs: &Weights) -> (usize, usize) {
    (mine.len(), mine.iter().filter(|(name, t)| theirs.get(name) == Some(t)).count())
}

/// Runs both networks on the same inputs; too large a difference is an error.
fn parity(
    mine: (Graph, &Weights),
    theirs: (Graph, &Weights),
    to: &Path,
    device: &Device,
) -> Result<OutputParity, Error> {
    let batch = seeded_inputs(&mine.0, SEED);
    let shapes = batch.inputs.iter().map(|(name, a)| (name.clone(), a.shape.clone())).collect();
    let reads: Vec<String> = theirs.0.inputs().map(|(_, name, _)| name.into()).collect();
    let want = Network::load(mine.0, mine.1, device)?.infer_all(&batch)?;
    let mut batch = batch;
    batch.inputs.retain(|(name, _)| reads.contains(name));
    let got = Network::load(theirs.0, theirs.1, device)?.infer_all(&batch)?;
    let (mut difference_max, mut n_compared) = (0.0f64, 0);
    // Classes of transformers have one output of what a graph may have several of; the main one is the first.
    for (a, b) in got.iter().zip(&want) {
        if a.shape != b.shape {
            return Err(differs(to, f64::INFINITY));
        }
        let d = difference(a, b);
        difference_max = difference_max.max(d.0);
        n_compared += d.1;
    }
    if difference_max > DIFFERENCE_MAX || n_compared == 0 {
        return Err(differs(to, difference_max));
    }
    Ok(OutputParity { inputs: shapes, n_compared, difference_max, allowed: DIFFERENCE_MAX })
}

fn differs(to: &Path, difference_max: f64) -> Error {
    Error::ConversionDiffers { path: to.into(), difference_max, allowed: DIFFERENCE_MAX }
}

/// The largest difference, relative to the largest number above 1, and how many numbers there were.
fn difference(got: &Array, want: &Array) -> (f64, usize) {
    match (&got.values, &want.values) {
        (Values::F32(got), Values::F32(want)) => {
            let scale = want.iter().filter(|v| v.is_finite()).map(|v| f64::from(v.abs())).fold(1.0, f64::max);
            let one = |(a, b): (&f32, &f32)| {
                if a == b || a.is_nan() && b.is_nan() {
                    return 0.0;
                }
                let d = (f64::from(*a) - f64::from(*b)).abs() / scale;
                if d.is_nan() { f64::INFINITY } else { d }
            };
            (got.iter().zip(want).map(one).fold(0.0, f64::max), want.len())
        }
        (Values::I64(got), Values::I64(want)) if got == want => (0.0, want.len()),
        _ => (f64::INFINITY, want.shape.iter().product()),
    }
}

/// A file on its way to its name; deleted if it never gets there.
struct Fresh(tempfile::NamedTempFile);

impl Fresh {
    fn beside(to: &Path) -> Result<Self, Error> {
        let dir = by_rename::made_parent(to)?;
        Ok(Fresh(by_rename::temporary(dir).map_err(Error::io(dir))?))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let path = self.0.path().to_path_buf();
        self.0.write_all(bytes).and_then(|()| self.0.as_file().sync_all()).map_err(Error::io(path))
    }

    /// Renames it; its length.
    fn keep(self, to: &Path) -> Result<u64, Error> {
        self.0.persist(to).map_err(|e| Error::Io { path: to.into(), source: e.error })?;
        // Asked of the path: a writer may have put another file in the temporary one's place.
        Ok(fs::metadata(to).map_err(Error::io(to))?.len())
    }
}
