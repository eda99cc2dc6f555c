//! Few examples a class, drawn by seed: what would a smaller collection have given?

use std::collections::HashSet;

use headstart_core::{Dataset, Diagnostic, Task};

use crate::DataError;
use crate::assemble::note;

/// Keeps `shots` examples of each class of `train`, different ones for every seed.  Byte-identical examples count once; a
/// class that has fewer keeps them all.
pub(super) fn draw(
    dataset: &Dataset,
    train: &mut Vec<usize>,
    shots: usize,
    seed: u64,
) -> Result<Diagnostic, DataError> {
    if shots == 0 {
        return Err(DataError::OutOfRange { name: "shots", value: 0.0, allowed: "1 and above" });
    }
    if dataset.task != Task::Classification {
        let why = format!("`shots` are examples of one class each, and the task is {}", dataset.task);
        return Err(DataError::CannotSplit { path: dataset.path.clone(), why });
    }
    let order = |i: &usize| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"shots").update(&seed.to_le_bytes()).update(&dataset.examples[*i].hash);
        *hasher.finalize().as_bytes()
    };
    train.sort_by_cached_key(order);
    let n_before = train.len();
    let mut counts = vec![0; dataset.classes.len()];
    let mut seen = HashSet::new();
    train.retain(|&i| {
        let example = &dataset.examples[i];
        let of_class = example.target.classes().first().map(|&class| &mut counts[class]);
        let Some(count) = of_class.filter(|count| **count < shots) else { return false };
        let is_new = seen.insert(example.hash);
        *count += usize::from(is_new);
        is_new
    });
    let message = format!(
        "{} examples were drawn to learn from, up to {shots} of each class; {} of the train part are not used",
        train.len(),
        n_before - train.len()
    );
    Ok(note(&dataset.path, message))
}
