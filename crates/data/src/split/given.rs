//! Parts that came with the data set.

use std::collections::{HashMap, HashSet};

use headstart_core::{Dataset, Diagnostic, SplitName};

use super::Parts;
use crate::DataError;
use crate::assemble::{note, some_of};

/// The given parts without what leaks between them; none if no part was given.  The test part is empty if only train was
/// given.
pub(super) fn parts(
    dataset: &Dataset,
    diagnostics: &mut Vec<Diagnostic>,
) -> Result<Option<Parts>, DataError> {
    if dataset.examples.iter().all(|e| e.split.is_none()) {
        return Ok(None);
    }
    let of =
        |part| (0..dataset.examples.len()).filter(|&i| dataset.examples[i].split == part).collect::<Vec<_>>();
    let mut parts = Parts {
        train: of(Some(SplitName::Train)),
        valid: of(Some(SplitName::Valid)),
        test: of(Some(SplitName::Test)),
    };
    let mut tell = |message: String| diagnostics.push(note(&dataset.path, message));
    if parts.train.is_empty() {
        let why = "parts are given, but none of the examples is in train".into();
        return Err(DataError::CannotSplit { path: dataset.path.clone(), why });
    }
    let without = ids(dataset, &of(None));
    if !without.is_empty() {
        tell(format!("{} in no part, and left out", some_of(&without, "example", "examples")));
    }
    if parts.test.is_empty() && !parts.valid.is_empty() {
        parts.test = std::mem::take(&mut parts.valid);
        tell(format!(
            "no test part was given; the {} validation examples are the test part",
            parts.test.len()
        ));
    }
    if parts.test.is_empty() {
        tell("only a train part was given; a test part is taken from it".into());
    }
    let Parts { train, valid, test } = &mut parts;
    diagnostics.extend(drop_copies(dataset, valid, "validation", test, "test"));
    diagnostics.extend(drop_copies(dataset, train, "train", test, "test"));
    diagnostics.extend(drop_copies(dataset, train, "train", valid, "validation"));
    diagnostics.extend(parted_groups(dataset, &parts));
    if parts.train.is_empty() {
        let why = "every example of the train part is byte-identical to one that judges".into();
        return Err(DataError::CannotSplit { path: dataset.path.clone(), why });
    }
    Ok(Some(parts))
}

fn drop_copies(
    dataset: &Dataset,
    part: &mut Vec<usize>,
    part_name: &str,
    of: &[usize],
    of_name: &str,
) -> Option<Diagnostic> {
    let hashes: HashSet<&[u8; 32]> = of.iter().map(|&i| &dataset.examples[i].hash).collect();
    let (copies, rest) = part.iter().partition(|&&i| hashes.contains(&dataset.examples[i].hash));
    *part = rest;
    let copies = ids(dataset, &copies);
    if copies.is_empty() {
        return None;
    }
    let what = some_of(&copies, &format!("{part_name} example"), &format!("{part_name} examples"));
    let message = format!("{what} byte-identical to {of_name} examples, and left out");
    Some(note(&dataset.path, message))
}

/// Given parts are not changed for a group's sake, but its scores will flatter.
fn parted_groups(dataset: &Dataset, parts: &Parts) -> Option<Diagnostic> {
    let group = |i: &usize| dataset.examples[*i].group.as_deref();
    let mut in_test: HashMap<&str, bool> = parts.test.iter().filter_map(group).map(|g| (g, false)).collect();
    for g in parts.train.iter().chain(&parts.valid).filter_map(group) {
        in_test.entry(g).and_modify(|parted| *parted = true);
    }
    let mut parted: Vec<String> =
        in_test.into_iter().filter(|(_, p)| *p).map(|(g, _)| g.to_string()).collect();
    parted.sort();
    let message = || format!("{} on both sides of the given split", some_of(&parted, "group", "groups"));
    (!parted.is_empty()).then(|| note(&dataset.path, message()))
}

fn ids(dataset: &Dataset, examples: &[usize]) -> Vec<String> {
    examples.iter().map(|&i| dataset.examples[i].id.clone()).collect()
}
