//! `predictions.csv`: what the model said of every test example, beside the truth.

use headstart_core::{Dataset, Targets};

use crate::Error;
use crate::proof::{Proof, most_probable};

/// A label is said to apply from this probability on.
pub(crate) const THRESHOLD: f32 = 0.5;

/// Writes a row an example.  Classes: `id, label, predicted, probability, p(class)…`; labels: `id, labels, predicted,
/// p(label)…`, several parted by `;`; numbers: `id, target, predicted`.
pub(crate) fn write(dataset: &Dataset, proof: &Proof) -> Result<Vec<u8>, Error> {
    let k = dataset.n_outputs();
    let mut csv = csv::Writer::from_writer(Vec::new());
    let first: &[&str] = match proof.truth {
        Targets::Class(_) => &["id", "label", "predicted", "probability"],
        Targets::Classes(_) => &["id", "labels", "predicted"],
        Targets::Number(_) => &["id", "target", "predicted"],
    };
    let head: Vec<String> = first
        .iter()
        .map(|s| s.to_string())
        .chain(dataset.classes.iter().map(|c| format!("p({c})")))
        .collect();
    let written = csv.write_record(&head).and_then(|()| {
        for (n, row) in proof.outputs.chunks_exact(k).enumerate() {
            let mut record = vec![dataset.name_of(proof.example_idx[n])];
            record.extend(answers(dataset, &proof.truth, n, row));
            if proof.truth.task() != headstart_core::Task::Regression {
                record.extend(row.iter().map(f32::to_string));
            }
            csv.write_record(&record)?;
        }
        Ok(())
    });
    let memory = |e: std::io::Error| Error::Io { path: "predictions.csv".into(), source: e };
    written.map_err(|e| memory(e.into()))?;
    csv.into_inner().map_err(|e| memory(e.into_error()))
}

fn answers(dataset: &Dataset, truth: &Targets, n: usize, row: &[f32]) -> Vec<String> {
    let joined = |classes: &[usize]| {
        classes.iter().map(|&c| dataset.classes[c].as_str()).collect::<Vec<_>>().join(";")
    };
    match truth {
        Targets::Class(truth) => {
            let said = most_probable(row);
            vec![dataset.classes[truth[n]].clone(), dataset.classes[said].clone(), row[said].to_string()]
        }
        Targets::Classes(truth) => {
            let said: Vec<usize> = (0..row.len()).filter(|&c| row[c] >= THRESHOLD).collect();
            vec![joined(&truth[n]), joined(&said)]
        }
        Targets::Number(truth) => vec![truth[n].to_string(), row[0].to_string()],
    }
}
