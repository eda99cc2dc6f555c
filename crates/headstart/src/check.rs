//! `check`: is the data fit to learn from?  Reads and decodes everything, trains nothing.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use headstart_core::{Diagnostic, Input, Modality, NumberSummary, Targets, Task};
use headstart_data::{LoadOptions, SplitOptions, decode_thumbnail};
use rayon::prelude::*;
use serde::Serialize;

use crate::{Error, Session};

/// What `check` answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CheckReport {
    /// Kind of examples.
    pub modality: Modality,
    /// What would be asked about them.
    pub task: Task,
    /// Examples that can be read.
    pub n_examples: usize,
    /// Examples that cannot.
    pub n_skipped: usize,
    /// Class or label and number of its examples; none for numbers.
    pub classes: Vec<(String, usize)>,
    /// How the numbers are spread, where numbers are to be predicted.
    pub numbers: Option<NumberSummary>,
    /// Examples that are byte-identical to an earlier one.
    pub n_duplicates: usize,
    /// Sizes of the parts it would be divided into: train, valid, test.
    pub split: [usize; 3],
    /// What was found, skipped examples first.
    pub diagnostics: Vec<Diagnostic>,
    /// True if every example can be read.
    pub ok: bool,
}

/// Reads, decodes and divides a data set.
pub fn check(
    session: &Session,
    data: &Path,
    load: &LoadOptions,
    split: &SplitOptions,
) -> Result<CheckReport, Error> {
    let observer = &session.observer;
    let dataset = headstart_data::load(data, load, &|done, total| {
        observer.progress("reading the data", done as u64, total as u64);
    })?;
    let (splits, notices) = headstart_data::split(&dataset, split)?;
    let done = AtomicUsize::new(0);
    let decode = |input: &Input| match input {
        Input::Text(_) => None,
        picture => decode_thumbnail(picture, 1).err().map(|e| e.to_string()),
    };
    let undecodable: Vec<Diagnostic> = dataset
        .examples
        .par_iter()
        .enumerate()
        .filter_map(|(i, example)| {
            let message = decode(&example.input);
            observer.progress(
                "decoding",
                done.fetch_add(1, Ordering::Relaxed) as u64 + 1,
                dataset.examples.len() as u64,
            );
            Some(Diagnostic { path: dataset.name_of(i), line: None, message: message?, skipped: true })
        })
        .collect();
    let mut seen: HashMap<[u8; 32], ()> = HashMap::new();
    let n_duplicates = dataset.examples.iter().filter(|e| seen.insert(e.hash, ()).is_some()).count();
    let n_examples = dataset.examples.len() - undecodable.len();
    let mut diagnostics = [dataset.diagnostics.clone(), undecodable, notices].concat();
    diagnostics.sort_by_key(|d| !d.skipped);
    let n_skipped = diagnostics.iter().filter(|d| d.skipped).count();
    let all: Vec<usize> = (0..dataset.examples.len()).collect();
    let numbers = match dataset.targets(&all) {
        Targets::Number(values) => NumberSummary::of(&values),
        _ => None,
    };
    Ok(CheckReport {
        modality: dataset.modality,
        task: dataset.task,
        numbers,
        n_examples,
        n_skipped,
        classes: dataset.classes.iter().cloned().zip(dataset.class_counts()).collect(),
        n_duplicates,
        split: [splits.train.len(), splits.valid.len(), splits.test.len()],
        ok: n_skipped == 0,
        diagnostics,
    })
}
