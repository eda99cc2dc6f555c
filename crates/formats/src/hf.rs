//! Hugging Face folders: `config.json`, weights, a tokenizer, and what sentence-transformers lays beside them.

use std::path::{Path, PathBuf};

use headstart_graph::Weights;
use serde_json::Value;

use crate::sharded::{self, inside};
use crate::{FormatError, mapped};

/// Longest JSON file that is read into memory.
const JSON_BYTES_MAX: u64 = 16 << 20;

/// Weights by the names the libraries give them, the preferred first.
pub(crate) const WEIGHTS: [&str; 4] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
];

/// What lies beside the weights under the same endings.
const NOT_WEIGHTS: [&str; 8] = [
    "training_args.bin",
    "optimizer.bin",
    "optimizer.pt",
    "scheduler.bin",
    "scheduler.pt",
    "rng_state.pth",
    // Those of an adapter, which are not the network's.
    "adapter_model.safetensors",
    "adapter_model.bin",
];

/// How token vectors become one vector of the sentence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pooling {
    /// Their mean, padding left out.
    Mean,
    /// The first token's.
    Cls,
    /// Their maximum in each coordinate, padding left out.
    Max,
}

/// A step behind a sentence-transformers network, in the order in which they run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SentenceModule {
    /// From token vectors to one.
    Pooling(Pooling),
    /// A linear layer and a nonlinearity on the vector.
    Dense(DenseModule),
    /// Division by the Euclidean norm.
    Normalize,
    /// A class that changes the vector in a way that is not known here.
    Other(String),
}

/// sentence-transformers' `Dense`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DenseModule {
    /// Its folder's name, `2_Dense`.
    pub name: String,
    /// Width of what it makes.
    pub out_features: usize,
    /// Whether it has a bias.
    pub bias: bool,
    /// The last part of the activation's class, `Tanh` or `Identity`.
    pub activation: String,
    /// Its weights: `linear.weight`, `linear.bias`.
    pub weights_path: PathBuf,
}

/// A folder as `from_pretrained` and sentence-transformers read it.
///
/// ```
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let dir = tempfile::tempdir()?;
/// let error = headstart_formats::HfFolder::open(dir.path()).unwrap_err();
/// assert!(error.to_string().contains("has no config.json"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct HfFolder {
    /// The folder that holds the network: the one opened, or the one `modules.json` names.
    pub dir: PathBuf,
    /// The network's `config.json`.
    pub config: Value,
    /// The file of weights, or the index of its shards.
    pub weights_path: PathBuf,
    /// `tokenizer.json`, if there is one.
    pub tokenizer_path: Option<PathBuf>,
    /// `preprocessor_config.json`, if there is one.
    pub preprocessor: Option<Value>,
    /// What stands behind the network in `modules.json`, or a lone pooling folder.
    pub modules: Vec<SentenceModule>,
    /// `max_seq_length` of `sentence_bert_config.json`, in tokens.
    pub max_seq_length: Option<usize>,
    /// `model_max_length` of `tokenizer_config.json`, in tokens; none if it is the "no limit" of 1e30.
    pub model_max_length: Option<usize>,
}

impl HfFolder {
    /// Reads what describes the network; the weights are only looked for.
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, FormatError> {
        let top = dir.as_ref();
        let modules = Modules::read(top)?;
        let dir = modules.transformer.clone().unwrap_or_else(|| top.to_path_buf());
        let config = json(&dir.join("config.json"))?.ok_or_else(|| missing(&dir, &["config.json"]))?;
        let in_either =
            |name: &str| Some(dir.join(name)).filter(|p| p.is_file()).unwrap_or_else(|| top.join(name));
        let sentence = json(&in_either("sentence_bert_config.json"))?;
        let tokenizer = json(&in_either("tokenizer_config.json"))?;
        Ok(HfFolder {
            weights_path: find_weights(&dir)?,
            tokenizer_path: Some(in_either("tokenizer.json")).filter(|p| p.is_file()),
            config,
            preprocessor: json(&in_either("preprocessor_config.json"))?,
            modules: modules.rest,
            max_seq_length: sentence.and_then(|v| length(&v["max_seq_length"])),
            model_max_length: tokenizer.and_then(|v| length(&v["model_max_length"])),
            dir,
        })
    }

    /// Reads the weights, whichever of the formats they are in.
    pub fn load_weights(&self) -> Result<Weights, FormatError> {
        sharded::load(&self.weights_path)
    }
}

/// The file of weights in a folder, or the index of its shards.
pub(crate) fn find_weights(dir: &Path) -> Result<PathBuf, FormatError> {
    if let Some(path) = WEIGHTS.iter().map(|name| dir.join(name)).find(|p| p.is_file()) {
        return Ok(path);
    }
    // Any other name will do if there is no choice to make.
    let names = names(dir)?;
    for endings in [&[".safetensors"][..], &[".bin", ".pth", ".pt"]] {
        let fits = |n: &&String| endings.iter().any(|e| n.ends_with(e)) && !NOT_WEIGHTS.contains(&n.as_str());
        let mut fitting = names.iter().filter(fits);
        if let (Some(name), None) = (fitting.next(), fitting.next()) {
            return Ok(dir.join(name));
        }
    }
    Err(missing(dir, &WEIGHTS))
}

/// What stands behind the network by a folder's `modules.json`.
pub(crate) fn sentence_modules(dir: &Path) -> Result<Vec<SentenceModule>, FormatError> {
    Ok(Modules::read(dir)?.rest)
}

/// What `modules.json` says.
#[derive(Default)]
struct Modules {
    transformer: Option<PathBuf>,
    rest: Vec<SentenceModule>,
}

impl Modules {
    fn read(top: &Path) -> Result<Self, FormatError> {
        let mut modules = Modules::default();
        let path = top.join("modules.json");
        let Some(list) = json(&path)? else {
            let pooling = pooling(&top.join("1_Pooling").join("config.json"))?;
            modules.rest.extend(pooling.map(SentenceModule::Pooling));
            return Ok(modules);
        };
        let list =
            list.as_array().ok_or_else(|| FormatError::malformed(&path, "list of modules", "not a list"))?;
        for module in list {
            let class = module["type"].as_str().unwrap_or_default();
            let name = module["path"].as_str().unwrap_or_default();
            let folder = if name.is_empty() { top.to_path_buf() } else { inside(&path, name)? };
            modules.rest.push(match class.rsplit('.').next().unwrap_or_default() {
                "Transformer" => {
                    if folder != top {
                        modules.transformer = Some(folder);
                    }
                    continue;
                }
                "Pooling" => {
                    let found = pooling(&folder.join("config.json"))?;
                    SentenceModule::Pooling(found.ok_or_else(|| missing(&folder, &["config.json"]))?)
                }
                "Dense" => SentenceModule::Dense(dense(&folder, name)?),
                "Normalize" => SentenceModule::Normalize,
                _ => SentenceModule::Other(class.into()),
            });
        }
        Ok(modules)
    }
}

fn dense(folder: &Path, name: &str) -> Result<DenseModule, FormatError> {
    let path = folder.join("config.json");
    let config = json(&path)?.ok_or_else(|| missing(folder, &["config.json"]))?;
    let out = length(&config["out_features"]).ok_or_else(|| {
        FormatError::malformed(
            &path,
            "dense configuration",
            format!("out_features is {}", config["out_features"]),
        )
    })?;
    // Files that say nothing have the library's defaults.
    let activation = config["activation_function"].as_str().unwrap_or("torch.nn.modules.activation.Tanh");
    Ok(DenseModule {
        name: name.into(),
        out_features: out,
        bias: config["bias"].as_bool().unwrap_or(true),
        activation: activation.rsplit('.').next().unwrap_or_default().into(),
        weights_path: find_weights(folder)?,
    })
}

/// The one pooling mode that is switched on.
fn pooling(path: &Path) -> Result<Option<Pooling>, FormatError> {
    let Some(config) = json(path)? else { return Ok(None) };
    let mut on: Vec<&str> = config
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(_, v)| **v == Value::Bool(true))
        .filter_map(|(k, _)| k.strip_prefix("pooling_mode_"))
        .collect();
    // Newer files name the mode instead.
    on.extend(config["pooling_mode"].as_str());
    match on[..] {
        ["mean_tokens" | "mean"] => Ok(Some(Pooling::Mean)),
        ["cls_token" | "cls"] => Ok(Some(Pooling::Cls)),
        ["max_tokens" | "max"] => Ok(Some(Pooling::Max)),
        _ => {
            let what = format!("pooling is `{}` (known: mean, cls or max, one of them)", on.join(", "));
            Err(FormatError::malformed(path, "pooling configuration", what))
        }
    }
}

/// A JSON file; none if it does not exist.
pub(crate) fn json(path: &Path) -> Result<Option<Value>, FormatError> {
    if !path.exists() {
        return Ok(None);
    }
    let bytes = mapped::map(path)?;
    if bytes.len() as u64 > JSON_BYTES_MAX {
        let what = format!("a JSON file of {} bytes", bytes.len());
        return Err(FormatError::Limit { path: path.into(), what, max: JSON_BYTES_MAX });
    }
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|e| FormatError::malformed(path, "JSON file", e.to_string()))
}

/// A number of tokens; "no limit" is written as 1e30, which nothing can be cut to.
fn length(value: &Value) -> Option<usize> {
    const LENGTH_MAX: f64 = 1e9;
    value.as_f64().filter(|n| *n >= 1.0 && *n < LENGTH_MAX).map(|n| n as usize)
}

pub(crate) fn missing(dir: &Path, wanted: &[&str]) -> FormatError {
    let wanted = wanted.iter().map(|w| w.to_string()).collect();
    match names(dir) {
        Ok(there) => FormatError::MissingFile { dir: dir.into(), wanted, there },
        Err(e) => e,
    }
}

/// Names of the folder's files, sorted.
fn names(dir: &Path) -> Result<Vec<String>, FormatError> {
    let entries = std::fs::read_dir(dir).map_err(FormatError::read(dir))?;
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.map_err(FormatError::read(dir))?;
        if entry.path().is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}
