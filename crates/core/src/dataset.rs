//! A labelled data set as it was found: examples, their targets, and what could not be read.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Target, Targets, Task};

/// What the examples are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// Pictures.
    Image,
    /// Texts.
    Text,
}

impl fmt::Display for Modality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Modality::Image => "image",
            Modality::Text => "text",
        })
    }
}

/// The content of one example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// A file, read when needed.
    File(PathBuf),
    /// An encoded file that lay inside a table.
    Bytes(Arc<[u8]>),
    /// A text.
    Text(Arc<str>),
}

/// A part of a data set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitName {
    /// Learned from.
    Train,
    /// Chosen by.
    Valid,
    /// Judged by, once.
    Test,
}

/// One labelled example.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// How people find it again: the file's path relative to the data set, or `table.csv:17`.
    pub id: String,
    /// Its content.
    pub input: Input,
    /// The right answer, of the data set's task; classes by position in [`Dataset::classes`].
    pub target: Target,
    /// Examples of one group never stand on both sides of a split.
    pub group: Option<String>,
    /// The part it was given to, if the data set says so.
    pub split: Option<SplitName>,
    /// blake3 of its bytes: equal hashes are byte-identical examples.
    pub hash: [u8; 32],
}

/// Something that could not be read, or that a person should know of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Diagnostic {
    /// The file.
    pub path: String,
    /// The line in it, counted from 1, for tables.
    pub line: Option<usize>,
    /// What is wrong.
    pub message: String,
    /// True if the example was left out because of it.
    pub skipped: bool,
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// A labelled data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Where it lies, as the user named it.
    pub path: PathBuf,
    /// What its examples are.
    pub modality: Modality,
    /// What is asked about them.
    pub task: Task,
    /// Class names, sorted; none for numbers.
    pub classes: Vec<String>,
    /// The examples, in an order that does not depend on the file system.
    pub examples: Vec<Example>,
    /// What was skipped or noticed.
    pub diagnostics: Vec<Diagnostic>,
}

impl Dataset {
    /// Examples of each class.
    pub fn class_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.classes.len()];
        self.examples.iter().flat_map(|e| e.target.classes()).for_each(|&c| counts[c] += 1);
        counts
    }

    /// Numbers that a model puts out for an example.
    pub fn n_outputs(&self) -> usize {
        self.task.n_outputs(self.classes.len())
    }

    /// The targets of some examples.
    pub fn targets(&self, example_idx: &[usize]) -> Targets {
        Targets::of(self.task, example_idx.iter().map(|&i| &self.examples[i].target))
    }

    /// What to call an example when speaking to people: its file, relative to the data set where it lies below it, or
    /// the row it stands in.
    pub fn name_of(&self, example_idx: usize) -> String {
        let example = &self.examples[example_idx];
        let Input::File(file) = &example.input else { return example.id.clone() };
        let below = |dir: &Path| file.strip_prefix(dir).ok().filter(|p| !p.as_os_str().is_empty());
        below(&self.path).or_else(|| below(self.path.parent()?)).unwrap_or(file).display().to_string()
    }

    /// A hash of all examples and labels: what "the same data" means.
    pub fn hash(&self) -> blake3::Hash {
        let mut h = blake3::Hasher::new();
        for class in &self.classes {
            h.update(class.as_bytes()).update(b"\0");
        }
        for e in &self.examples {
            h.update(&e.hash);
            e.target.hash_into(&mut h);
            h.update(format!("{:?}\0{}\0", e.split, e.group.as_deref().unwrap_or_default()).as_bytes());
        }
        h.finalize()
    }
}
