//! Adapters as the PEFT library keeps them: a folder of `adapter_config.json` and `adapter_model.safetensors`.
//!
//! LoRA with its variants (rsLoRA, DoRA, ranks and scales by layer) and (IA)³ are read and written.  What a layer has is read
//! from the tensors, and the configuration must agree with them.  Every tensor and every field of the configuration is either
//! understood or named in an error.
//!
//! Names are those of the network's modules in transformers; which layers of a graph they are is the caller's to know.

mod config;
mod pattern;
mod read;
mod write;

use std::path::{Path, PathBuf};

use headstart_graph::rewrite::AdapterKind;
use headstart_graph::{Tensor, Weights};

use crate::hf::{SentenceModule, WEIGHTS, json, missing, sentence_modules};
use crate::{FormatError, sharded};

pub use config::{Bias, PeftConfig};
pub use pattern::{Modules, Pattern};

/// The configuration's name.
pub const CONFIG_NAME: &str = "adapter_config.json";
/// The weights' names, the preferred first.
const ADAPTER_WEIGHTS: [&str; 2] = ["adapter_model.safetensors", "adapter_model.bin"];

/// An adapter for a network that lies elsewhere.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftAdapter {
    /// What `adapter_config.json` says of the whole.
    pub config: PeftConfig,
    /// What stands beside each layer.
    pub layers: Vec<PeftLayer>,
    /// Tensors that take the place of the base's own: a trained head (`modules_to_save`), biases, embeddings.
    pub saved: Weights,
    /// What `modules.json` in the folder says stands behind the network.
    pub modules: Vec<SentenceModule>,
}

/// What stands beside a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct PeftLayer {
    /// The module's name, `bert.encoder.layer.0.attention.self.query`.
    pub module: String,
    /// What it computes.
    pub kind: AdapterKind,
    /// Whether the module is a convolution.
    pub is_convolution: bool,
    /// Tensors as a graph's adapter names them behind the layer's path (`lora_A.weight`), in its shapes.
    pub tensors: Vec<(&'static str, Tensor)>,
}

impl PeftAdapter {
    /// Whether a folder holds an adapter and no network of its own.
    pub fn is_at(dir: &Path) -> bool {
        dir.join(CONFIG_NAME).is_file() && !WEIGHTS.iter().any(|name| dir.join(name).is_file())
    }

    /// Reads a folder.
    ///
    /// # Errors
    /// [`FormatError::Peft`] names the fields, tensors or modules that are not supported or contradict each other;
    /// [`FormatError::MissingFile`] the file that is not there.
    ///
    /// ```
    /// use headstart_formats::peft::PeftAdapter;
    /// let dir = tempfile::tempdir()?;
    /// std::fs::write(dir.path().join("adapter_config.json"), r#"{"peft_type": "PREFIX_TUNING"}"#)?;
    /// let error = PeftAdapter::open(dir.path()).unwrap_err().to_string();
    /// assert!(error.ends_with("peft_type is `PREFIX_TUNING` (known: LORA, IA3)"), "{error}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn open(dir: impl AsRef<Path>) -> Result<Self, FormatError> {
        let dir = dir.as_ref();
        let path = dir.join(CONFIG_NAME);
        let json = json(&path)?.ok_or_else(|| missing(dir, &[CONFIG_NAME]))?;
        let (config, method) = config::parse(&path, &json)?;
        let weights_path = weights_path(dir)?;
        let weights = sharded::load(&weights_path)?;
        let (layers, saved) = read::layers(&path, &config, &method, &weights)?;
        Ok(PeftAdapter { config, layers, saved, modules: sentence_modules(dir)? })
    }

    /// Writes the two files into a folder that exists.
    ///
    /// # Errors
    /// [`FormatError::Peft`] if the layers are adapted in ways that one PEFT adapter cannot hold together.
    pub fn save(&self, dir: impl AsRef<Path>) -> Result<(), FormatError> {
        write::save(self, dir.as_ref())
    }
}

fn weights_path(dir: &Path) -> Result<PathBuf, FormatError> {
    let found = ADAPTER_WEIGHTS.iter().map(|name| dir.join(name)).find(|p| p.is_file());
    found.ok_or_else(|| missing(dir, &ADAPTER_WEIGHTS))
}

fn error(path: &Path, what: impl Into<String>) -> FormatError {
    FormatError::Peft { path: path.into(), what: what.into() }
}

#[cfg(test)]
mod tests;
