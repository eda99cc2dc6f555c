//! `evaluate`: a bundle judged on labelled data.

use std::path::Path;

use headstart_core::{Diagnostic, Input, Interval, Metric, Metrics, Scorer, SplitName, Target, Targets};
use headstart_data::LoadOptions;
use headstart_trust::score_interval;
use serde::Serialize;

use crate::fit::check_bad;
use crate::proof::RESAMPLES;
use crate::{Error, Predictor, Session};

/// What `evaluate` answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evaluation {
    /// Name of the measure.
    pub metric: Metric,
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
    let predictor = Predictor::open(bundle, &session.device)?;
    let task = predictor.task();
    if let Some(asked) = load.task.filter(|asked| *asked != task) {
        return Err(Error::request(
            format!("the bundle answers {task}, but --task is {asked}"),
            "leave --task out: the bundle knows its task",
        ));
    }
    let load = &LoadOptions { task: Some(task), ..load.clone() };
    let dataset = headstart_data::load(data, load, &|done, total| {
        observer.progress("reading the data", done as u64, total as u64);
    })?;
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
    let (mut outputs, mut truth): (Vec<f32>, Vec<Target>) = (Vec::new(), Vec::new());
    for (&i, answer) in chosen.iter().zip(answers) {
        let example = &dataset.examples[i];
        match answer {
            Ok(p) => {
                truth.push(renumbered(&example.target, &class_idx));
                outputs.extend(p.outputs);
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
    let truth = Targets::of(task, &truth);
    let metrics = Metrics::of(known, &outputs, &truth);
    let metric = predictor.manifest().plan.metric;
    let n_outputs = task.n_outputs(known.len());
    Ok(Evaluation {
        metric,
        test: Scorer::new(metric, n_outputs, &outputs, &truth).score(&vec![1; truth.len()]),
        test_ci95: score_interval(metric, n_outputs, &outputs, &truth, RESAMPLES, 0),
        seen_in_training: split.is_none()
            && predictor.manifest().provenance.data_blake3 == dataset.hash().to_hex().to_string(),
        metrics,
        diagnostics,
    })
}

/// A target with the positions that its classes have elsewhere.
fn renumbered(target: &Target, position: &[usize]) -> Target {
    match target {
        Target::Class(class_idx) => Target::Class(position[*class_idx]),
        Target::Classes(classes) => {
            let mut classes: Vec<usize> = classes.iter().map(|&c| position[c]).collect();
            classes.sort_unstable();
            Target::Classes(classes)
        }
        Target::Number(value) => Target::Number(*value),
    }
}
