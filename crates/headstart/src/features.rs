//! `features`: what the frozen network says of every example, as a file for other tools.

use std::path::Path;

use headstart_core::{Diagnostic, Target, Targets};
use headstart_formats::safetensors;
use headstart_graph::rewrite::{cut, tap, tap_at};
use headstart_graph::{DType, Tensor, Weights};
use serde::Serialize;

use crate::fit::{FitOptions, check_bad};
use crate::prefix::Prefix;
use crate::{Error, Session, Source, by_rename};

/// What `features` answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FeaturesSummary {
    /// Rows written.
    pub n: usize,
    /// Length of a row.
    pub width: usize,
    /// Class names by number of the `labels`.
    pub classes: Vec<String>,
    /// What could not be read.
    pub diagnostics: Vec<Diagnostic>,
}

/// Extracts features of all examples and writes them to `out`: `.safetensors` with tensors `features [n, width]` and
/// `labels [n]` (numbers of the classes; `[n, n_labels]` of 0 and 1 where there may be several; `targets [n]` for numbers), or
/// `.csv` with columns `id, label, 0, 1, …`, several labels parted by `;`.
pub fn features(
    session: &Session,
    data: &Path,
    out: &Path,
    options: &FitOptions,
) -> Result<FeaturesSummary, Error> {
    let kind = out.extension().and_then(|e| e.to_str()).unwrap_or_default().to_string();
    if !["csv", "safetensors"].contains(&kind.as_str()) {
        return Err(Error::request(
            format!("cannot write features to {}: its ending is `{kind}` (csv, safetensors)", out.display()),
            "name the file features.safetensors or features.csv",
        ));
    }
    let observer = &session.observer;
    let dataset = headstart_data::load(data, &options.load, &|done, total| {
        observer.progress("reading the data", done as u64, total as u64);
    })?;
    let source = Source::open(session, &options.source, &options.source_options)?;
    let graph = &source.model.graph;
    let tap = options.tap.as_deref().map_or_else(|| tap(graph), |path| tap_at(graph, path))?;
    let prefix = Prefix::new(session, &source.model, &cut(graph, tap)?)?;
    let all: Vec<usize> = (0..dataset.examples.len()).collect();
    let (features, unread, _) = prefix.extract(session, &dataset, &all, "extracting features")?;
    let diagnostics = [dataset.diagnostics.clone(), unread].concat();
    check_bad(&diagnostics, dataset.examples.len(), options.load.bad_fraction_max)?;
    let bytes = if kind == "csv" {
        let mut csv = csv::Writer::from_writer(Vec::new());
        let io = |e: csv::Error| Error::Io { path: out.into(), source: e.into() };
        let mut head = vec!["id".to_string(), "label".to_string()];
        head.extend((0..features.width).map(|i| i.to_string()));
        csv.write_record(&head).map_err(io)?;
        for (n, &i) in features.example_idx.iter().enumerate() {
            let e = &dataset.examples[i];
            let label = match &e.target {
                Target::Number(value) => value.to_string(),
                other => {
                    other.classes().iter().map(|&c| dataset.classes[c].as_str()).collect::<Vec<_>>().join(";")
                }
            };
            let mut row = vec![e.id.clone(), label];
            row.extend(features.row(n).iter().map(f32::to_string));
            csv.write_record(&row).map_err(io)?;
        }
        csv.into_inner().map_err(|e| Error::Io { path: out.into(), source: e.into_error() })?
    } else {
        let n = features.len();
        let targets = dataset.targets(&features.example_idx);
        let bytes =
            |values: &mut dyn Iterator<Item = i64>| values.flat_map(i64::to_le_bytes).collect::<Vec<u8>>();
        let labels = match &targets {
            Targets::Class(labels) => {
                let all = bytes(&mut labels.iter().map(|&l| l as i64));
                ("labels", Tensor::new(DType::I64, vec![n], all.into())?)
            }
            Targets::Classes(_) => {
                let rows = targets.rows(dataset.classes.len());
                let all = bytes(&mut rows.values.iter().map(|&v| v as i64));
                ("labels", Tensor::new(DType::I64, vec![n, rows.width], all.into())?)
            }
            Targets::Number(_) => ("targets", Tensor::from_f32(&[n], &targets.rows(1).values)?),
        };
        let tensors: Weights = [
            ("features".to_string(), Tensor::from_f32(&[n, features.width], &features.values)?),
            (labels.0.to_string(), labels.1),
        ]
        .into_iter()
        .collect();
        let classes = serde_json::to_string(&dataset.classes).expect("a list of strings");
        safetensors::to_bytes(&tensors, &[("classes".into(), classes)])
    };
    by_rename::write(out, &bytes)?;
    Ok(FeaturesSummary { n: features.len(), width: features.width, classes: dataset.classes, diagnostics })
}
