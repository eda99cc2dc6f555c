//! `headstart.json`: what a bundle says of itself.

use std::collections::{BTreeMap, BTreeSet};

use headstart_core::{Comparison, Interval, Metric, Modality, Plan, Precision, Task, Verdict};
use headstart_graph::{Card, Preprocess};
use serde::{Deserialize, Serialize};

use crate::name::check_name;
use crate::{BundleError, Golden, GoldenInput};

/// The version of the format that this crate writes, and the newest that it reads.
pub const FORMAT: u32 = 1;
/// The manifest's name in the folder.
pub const MANIFEST_NAME: &str = "headstart.json";
/// The model card's name in the folder.
pub const README_NAME: &str = "README.md";

/// Everything but the tensors and the operators.
///
/// It holds no clock times, no paths of a machine and no names of hosts: the same inputs make the same bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// What people call it: `flowers-resnet18`.
    pub name: String,
    /// `image-classification`, `text-multi-label`, `image-regression`, …
    pub task: String,
    /// What it looks at.
    pub modality: Modality,
    /// Names of the classes, by position of the output; none where the output is a number.
    pub labels: Vec<String>,
    /// From a file to the graph's inputs.
    pub preprocess: Preprocess,
    /// What products of the network are computed in.
    #[serde(default)]
    pub precision: Precision,
    /// The run that made it.
    pub plan: Plan,
    /// What the sealed test split said of it.
    pub results: Results,
    /// The source network: origin, licence, limits.
    pub card: Card,
    /// What to cite when asked where it comes from.
    pub provenance: Provenance,
    /// Inputs and the predictions that must come back.
    pub golden: Golden,
    /// Every other file of the folder; [`crate::seal`] fills this in.
    #[serde(default)]
    pub files: BTreeMap<String, FileEntry>,
}

/// What the sealed test split said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// Examples judged.
    pub n_test: usize,
    /// What the verdict compares.
    pub metric: Metric,
    /// It.
    pub score: f64,
    /// Its 95 % interval.
    pub score_ci95: Interval,
    /// Everything that was measured, by name.
    pub measures: BTreeMap<String, f64>,
    /// What it had to beat.
    pub comparisons: Vec<Comparison>,
    /// Whether it did.
    pub verdict: Verdict,
    /// The verdict in words.
    pub sentence: String,
    /// On a verdict of harm, the baseline that the bundle holds in the transferred network's place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
}

/// Where the bundle comes from, besides its [`Card`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Provenance {
    /// Version of Headstart.
    pub headstart: String,
    /// blake3 of all examples and labels.
    pub data_blake3: String,
    /// Class of the device that computed it: `cpu-f32`, …
    pub device: String,
}

/// A file as it was sealed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its length.
    pub size_bytes: u64,
    /// Its blake3, 64 lower-case hexadecimal digits.
    pub blake3: String,
}

impl FileEntry {
    /// Measures a file.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        FileEntry { size_bytes: bytes.len() as u64, blake3: blake3::hash(bytes).to_hex().to_string() }
    }
}

impl Manifest {
    /// Checks what can be checked without the files: names, and that labels and golden predictions fit each other.
    pub(crate) fn check(&self) -> Result<(), BundleError> {
        let contradiction = |why: String| Err(BundleError::Inconsistent(why));
        if self.format == 0 || self.format > FORMAT {
            return Err(BundleError::Future { got: self.format.into(), newest: FORMAT });
        }
        if self.labels != self.plan.classes {
            return contradiction(format!(
                "{} labels differ from the {} classes of the plan",
                self.labels.len(),
                self.plan.classes.len()
            ));
        }
        let preprocess = match self.preprocess {
            Preprocess::Image(_) => Modality::Image,
            Preprocess::Text(_) => Modality::Text,
        };
        if self.modality != self.plan.modality || self.modality != preprocess {
            return contradiction(format!(
                "modality {}, plan {}, preprocessing {preprocess}",
                self.modality, self.plan.modality
            ));
        }
        // What JSON cannot hold would be written as null, and refused only on opening.
        let r = &self.results;
        let numbers =
            [r.score, r.score_ci95.lo, r.score_ci95.hi].into_iter().chain(r.measures.values().copied());
        let compared = r.comparisons.iter().flat_map(|c| [c.score, c.gain, c.gain_ci95.lo, c.gain_ci95.hi]);
        if !numbers.chain(compared).all(f64::is_finite) {
            return contradiction("a result is not a finite number".into());
        }
        if self.task != self.plan.task.on(self.modality) {
            return contradiction(format!("task {}, plan {}", self.task, self.plan.task.on(self.modality)));
        }
        if (self.plan.task == Task::Regression) != self.labels.is_empty() {
            return contradiction(format!("{} labels for {}", self.labels.len(), self.task));
        }
        self.golden.check(self.plan.task.n_outputs(self.labels.len()), self.plan.task)?;
        self.check_files()
    }

    fn check_files(&self) -> Result<(), BundleError> {
        let mut folded = BTreeSet::new();
        for (name, entry) in &self.files {
            check_name(name)?;
            // Two names that differ in case are one file on some systems.
            if !folded.insert(name.to_ascii_lowercase()) {
                return Err(BundleError::Name {
                    name: name.clone(),
                    why: "another file differs only in case",
                });
            }
            if entry.blake3.len() != 64
                || !entry.blake3.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
            {
                return Err(BundleError::Inconsistent(format!(
                    "the hash of `{name}` is not 64 hexadecimal digits: `{}`",
                    entry.blake3.escape_default()
                )));
            }
        }
        for input in &self.golden.inputs {
            if let GoldenInput::File(name) = input
                && !self.files.contains_key(name)
            {
                return Err(BundleError::Inconsistent(format!(
                    "golden input `{name}` is not among the files"
                )));
            }
        }
        Ok(())
    }

    /// The bytes of `headstart.json`.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes =
            serde_json::to_vec_pretty(self).expect("a manifest has string keys and finite numbers");
        bytes.push(b'\n');
        bytes
    }
}
