//! Candidates from a folder or a table → a [`Dataset`]: read, hashed, checked, sorted into classes.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic;

use headstart_core::{Dataset, Diagnostic, Example, Input, Modality, Progress, SplitName, Task};
use rayon::prelude::*;

use crate::files::{EXAMPLE_BYTES_MAX, decode_text, read};
use crate::label::{Label, doubt_classes};
use crate::{DataError, image};

/// What a folder or a table promises, before any example was read.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) modality: Modality,
    pub(crate) candidates: Vec<Candidate>,
    /// Every class that was named, also by what cannot be read.
    pub(crate) classes: BTreeSet<String>,
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// An example that may turn out to be unreadable.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) id: String,
    /// Its line, if it came from a table.
    pub(crate) line: Option<usize>,
    pub(crate) input: Input,
    pub(crate) label: Label,
    pub(crate) group: Option<String>,
    pub(crate) split: Option<SplitName>,
}

/// Reads all candidates in parallel and keeps the good ones, in order.
pub(crate) fn assemble(
    path: &Path,
    found: Found,
    task: Option<Task>,
    bad_fraction_max: f64,
    progress: Progress<'_>,
) -> Result<Dataset, DataError> {
    let Found { modality, candidates, classes: classes_named, mut diagnostics } = found;
    let n = candidates.len() + diagnostics.iter().filter(|d| d.skipped).count();
    if n == 0 {
        return Err(DataError::Empty { path: path.to_path_buf() });
    }

    let n_done = atomic::AtomicUsize::new(0);
    let n_candidates = candidates.len();
    progress(0, n_candidates);
    let read: Vec<(Candidate, Result<Read, String>)> = candidates
        .into_par_iter()
        .map(|candidate| {
            let outcome = examine(modality, &candidate.input);
            progress(n_done.fetch_add(1, atomic::Ordering::Relaxed) + 1, n_candidates);
            (candidate, outcome)
        })
        .collect();

    let mut good = Vec::with_capacity(read.len());
    let mut latin1 = Vec::new();
    for (candidate, outcome) in read {
        match outcome {
            Ok(read) => {
                if read.latin1 {
                    latin1.push(candidate.id.clone());
                }
                good.push((candidate, read));
            }
            Err(message) => diagnostics.push(bad(path, &candidate, message)),
        }
    }
    if !latin1.is_empty() {
        diagnostics
            .push(note(path, format!("{} not UTF-8; read as Latin-1", some_of(&latin1, "file", "files"))));
    }
    // Stable, so that notes stay before what was skipped without a line.
    diagnostics.sort_by_key(|d| d.line);
    refuse_too_many_bad(path, n, bad_fraction_max, &diagnostics)?;

    let labels: Vec<&Label> = good.iter().map(|(c, _)| &c.label).collect();
    if task.is_none() {
        diagnostics.extend(doubt_classes(path, &labels)?);
    }
    let task = task.unwrap_or_default();
    let mut classes: Vec<String> =
        labels.iter().flat_map(|l| l.names()).cloned().collect::<BTreeSet<_>>().into_iter().collect();
    classes.sort_by(|a, b| natural(a, b));
    refuse_without_choice(path, task, &labels, &classes)?;
    for class in classes_named.iter().filter(|c| !classes.contains(c)) {
        diagnostics.push(note(path, format!("class `{class}` has no readable examples; it is left out")));
    }
    let label_idx: BTreeMap<String, usize> = classes.iter().cloned().zip(0..).collect();
    let mut examples: Vec<Example> = good
        .into_iter()
        .map(|(candidate, read)| Example {
            target: candidate.label.target(|name| label_idx[name]),
            id: candidate.id,
            input: read.input.unwrap_or(candidate.input),
            group: candidate.group,
            split: candidate.split,
            hash: read.hash,
        })
        .collect();
    diagnostics.extend(let_valid_judge(path, &mut examples));

    let dataset = Dataset { path: path.to_path_buf(), modality, task, classes, examples, diagnostics };
    Ok(with_lonely_classes_noted(dataset))
}

/// There must be something to tell apart.
fn refuse_without_choice(
    path: &Path,
    task: Task,
    labels: &[&Label],
    classes: &[String],
) -> Result<(), DataError> {
    match task {
        Task::Classification if classes.len() < 2 => {
            Err(DataError::OneClass { path: path.to_path_buf(), classes: classes.to_vec() })
        }
        Task::MultiLabel if classes.is_empty() => Err(DataError::NoLabel { path: path.to_path_buf() }),
        Task::Regression if labels.windows(2).all(|pair| pair[0] == pair[1]) => {
            Err(DataError::OneNumber { path: path.to_path_buf() })
        }
        _ => Ok(()),
    }
}

/// A candidate once read.
struct Read {
    hash: [u8; 32],
    /// The text of a text file, which replaces its path.
    input: Option<Input>,
    latin1: bool,
}

fn examine(modality: Modality, input: &Input) -> Result<Read, String> {
    let image = |bytes: &[u8]| {
        image::check_header(bytes)?;
        Ok(Read { hash: *blake3::hash(bytes).as_bytes(), input: None, latin1: false })
    };
    match (modality, input) {
        (Modality::Image, Input::File(path)) => image(&read_example(path)?),
        (Modality::Image, Input::Bytes(bytes)) => image(bytes),
        (Modality::Image, Input::Text(_)) => Err("is a text, not an image".into()),
        (Modality::Text, Input::Text(text)) => {
            Ok(Read { hash: *blake3::hash(text.as_bytes()).as_bytes(), input: None, latin1: false })
        }
        (Modality::Text, Input::File(path)) => {
            let (text, latin1) = decode_text(read_example(path)?);
            if text.trim().is_empty() {
                return Err("has no text in it".into());
            }
            let hash = *blake3::hash(text.as_bytes()).as_bytes();
            Ok(Read { hash, input: Some(Input::Text(text.into())), latin1 })
        }
        (Modality::Text, Input::Bytes(_)) => Err("is binary, not a text".into()),
    }
}

fn read_example(path: &Path) -> Result<Vec<u8>, String> {
    read(path, EXAMPLE_BYTES_MAX).map_err(|error| match error {
        DataError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
            "no such file".into()
        }
        DataError::Io { source, .. } => source.to_string(),
        DataError::FileTooLarge { bytes, bytes_max, .. } => {
            format!("has {bytes} bytes; at most {bytes_max} are read")
        }
        other => other.to_string(),
    })
}

fn refuse_too_many_bad(
    path: &Path,
    n: usize,
    fraction_max: f64,
    diagnostics: &[Diagnostic],
) -> Result<(), DataError> {
    const N_SHOWN: usize = 5;
    let n_bad = diagnostics.iter().filter(|d| d.skipped).count();
    if n_bad as f64 <= fraction_max * n as f64 {
        return Ok(());
    }
    let first = diagnostics.iter().filter(|d| d.skipped).take(N_SHOWN).cloned().collect();
    Err(DataError::TooManyBad { path: path.to_path_buf(), n_bad, n, fraction_max, first })
}

/// Where nothing was put aside as test, what was put aside as validation judges.
pub(crate) fn let_valid_judge(path: &Path, examples: &mut [Example]) -> Option<Diagnostic> {
    let n = |part| examples.iter().filter(|e| e.split == Some(part)).count();
    let n_valid = n(SplitName::Valid);
    if n_valid == 0 || n(SplitName::Test) > 0 {
        return None;
    }
    for e in examples.iter_mut().filter(|e| e.split == Some(SplitName::Valid)) {
        e.split = Some(SplitName::Test);
    }
    Some(note(path, format!("no test part was given; the {n_valid} validation examples are the test part")))
}

fn with_lonely_classes_noted(mut dataset: Dataset) -> Dataset {
    let lonely: Vec<String> = dataset
        .class_counts()
        .into_iter()
        .zip(&dataset.classes)
        .filter(|(n, _)| *n == 1)
        .map(|(_, class)| class.clone())
        .collect();
    if !lonely.is_empty() {
        let message = format!("{} a single example", some_of_having(&lonely, "class", "classes"));
        dataset.diagnostics.push(note(&dataset.path, message));
    }
    dataset
}

/// Numbers by value and before all else; the rest by code point.
fn natural(a: &str, b: &str) -> Ordering {
    let number = |s: &str| s.parse::<f64>().ok().filter(|v| v.is_finite());
    match (number(a), number(b)) {
        (Some(x), Some(y)) => x.total_cmp(&y).then_with(|| a.cmp(b)),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Something to know about the data set as a whole.
pub(crate) fn note(path: &Path, message: String) -> Diagnostic {
    Diagnostic { path: path.display().to_string(), line: None, message, skipped: false }
}

fn bad(path: &Path, candidate: &Candidate, message: String) -> Diagnostic {
    let (at, message) = match (&candidate.line, &candidate.input) {
        (Some(_), Input::File(file)) => (path.to_path_buf(), format!("`{}`: {message}", file.display())),
        (Some(_), _) => (path.to_path_buf(), message),
        (None, _) => (path.join(&candidate.id), message),
    };
    Diagnostic { path: at.display().to_string(), line: candidate.line, message, skipped: true }
}

/// `1 file is (a)`, `2 files are (a, b)`, `9 files are (a, b, c, …)`.
pub(crate) fn some_of(names: &[String], one: &str, many: &str) -> String {
    counted(names, one, many, ["is", "are"])
}

/// The same with has and have.
pub(crate) fn some_of_having(names: &[String], one: &str, many: &str) -> String {
    counted(names, one, many, ["has", "have"])
}

fn counted(names: &[String], one: &str, many: &str, [singular, plural]: [&str; 2]) -> String {
    const N_SHOWN: usize = 3;
    let shown = names.iter().take(N_SHOWN).cloned().collect::<Vec<_>>().join(", ");
    let more = if names.len() > N_SHOWN { ", …" } else { "" };
    let (noun, verb) = if names.len() == 1 { (one, singular) } else { (many, plural) };
    format!("{} {noun} ({shown}{more}) {verb}", names.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_sort_by_value() {
        let mut classes = ["10", "b", "9", "-1", "B", "1.5", "NaN"];
        classes.sort_by(|a, b| natural(a, b));
        assert_eq!(classes, ["-1", "1.5", "9", "10", "B", "NaN", "b"]);
    }

    #[test]
    fn counts_are_in_words() {
        let names = ["a", "b", "c", "d"].map(String::from);
        assert_eq!(some_of(&names[..1], "file", "files"), "1 file (a) is");
        assert_eq!(some_of(&names, "file", "files"), "4 files (a, b, c, …) are");
        assert_eq!(some_of_having(&names[..2], "class", "classes"), "2 classes (a, b) have");
    }
}
