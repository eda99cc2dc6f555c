//! `evaluate`: a bundle judged on labelled data.

use std::path::Path;

use headstart_core::{Diagnostic, Input, Interval, Metrics, SplitName};
use headstart_data::LoadOptions;
use headstart_trust::clopper_pearson;
use serde::Serialize;

use crate::fit::check_bad;
use crate::{Error, Predictor, Session};

/// What `evaluate` answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Name of the measure.
    pub metric: &'static str,
    /// Its value.
    pub test: f64,
    /// Its 95 % interval.
    pub test_ci95: Interval,
    /// Everything that was measured.
    pub metrics: Metrics,
    /// True if these are the data that the bundle was fitted on, so that the numbers flatter it.
    pub seen_in_training: bool,
    /// What could not be read.
    pub diagnostics: Vec<Diagnostic>,
}

/// Judges a bundle on the examples of a data set, or on one of its splits.
pub fn evaluate(
    session: &Session,
    bundle: &Path,
    data: &Path,
    load: &LoadOptions,
    split: Option<SplitName>,
) -> Result<Evaluation, Error> {
    let observer = &session.observer;
    let dataset = headstart_data::load(data, load, &|done, total| {
        observer.progress("reading the data", done as u64, total as u64);
    })?;
    let predictor = Predictor::open(bundle, &session.device)?;
    let known = predictor.labels();
    let class_idx: Vec<usize> = dataset
        .classes
        .iter()
        .map(|class| {
            known.iter().position(|l| l == class).ok_or_else(|| {
                Error::request(
                    format!(
                        "class `{class}` of {} is not among the bundle's labels ({})",
                        data.display(),
                        known.join(", ")
                    ),
                    "evaluate on data with the labels that the bundle was fitted on",
                )
            })
        })
        .collect::<Result<_, _>>()?;
    let chosen: Vec<usize> = (0..dataset.examples.len())
        .filter(|&i| split.is_none() || dataset.examples[i].split == split)
        .collect();
    if chosen.is_empty() {
        return Err(Error::request(
            "no example is in that split",
            "leave --split out to evaluate on all examples",
        ));
    }
    let inputs: Vec<Input> = chosen.iter().map(|&i| dataset.examples[i].input.clone()).collect();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let answers = predictor.predict(&inputs, &|n| {
        let now = done.fetch_add(n, std::sync::atomic::Ordering::Relaxed) + n;
        observer.progress("predicting", now as u64, inputs.len() as u64);
    })?;
    let mut diagnostics = dataset.diagnostics.clone();
    let (mut probabilities, mut truth, mut n_right) = (Vec::new(), Vec::new(), 0);
    for (&i, answer) in chosen.iter().zip(answers) {
        let example = &dataset.examples[i];
        match answer {
            Ok(p) => {
                let label = class_idx[example.label_idx];
                n_right += usize::from(p.class_idx == label);
                truth.push(label);
                probabilities.extend(p.probabilities);
            }
            Err(e) => diagnostics.push(Diagnostic {
                path: dataset.name_of(i),
                line: None,
                message: e.to_string(),
                skipped: true,
            }),
        }
    }
    check_bad(&diagnostics, dataset.examples.len(), load.bad_fraction_max)?;
    let metrics = Metrics::of(known, &probabilities, &truth);
    Ok(Evaluation {
        metric: "accuracy",
        test: metrics.accuracy,
        test_ci95: clopper_pearson(n_right, truth.len()),
        seen_in_training: split.is_none()
            && predictor.manifest().provenance.data_blake3 == dataset.hash().to_hex().to_string(),
        metrics,
        diagnostics,
    })
}
