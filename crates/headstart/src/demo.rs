//! `demo`: real weights, real pictures, the whole way, in a few minutes.

use std::path::{Path, PathBuf};

use headstart_core::Input;
use headstart_source::Spec;
use headstart_zoo::catalogue;
use serde_json::Value;

use crate::source::fetch;
use crate::{Error, FitOptions, FitSummary, Predictor, Session, by_rename, fit};

/// What the demo shows.
#[derive(Debug, Clone)]
pub struct DemoOutcome {
    /// The fit's answer.
    pub summary: FitSummary,
    /// Emoji that were never learned from: picture, its name and category, the predicted category and probability.
    pub predictions: Vec<DemoPrediction>,
}

/// One unseen emoji.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct DemoPrediction {
    /// The picture.
    pub path: PathBuf,
    /// What it shows, in words.
    pub name: String,
    /// Its category.
    pub category: String,
    /// The predicted category.
    pub predicted: String,
    /// Its probability.
    pub probability: f32,
}

/// Unseen emoji that the demo predicts.
const N_SHOWN: usize = 6;

/// Fetches EfficientNet-Lite0 and the emoji, learns from half of them to tell their nine categories, judges on the other
/// half, and predicts a few of those.
pub fn demo(session: &Session, out: &Path) -> Result<DemoOutcome, Error> {
    let (table, names) = emoji_table(session, out)?;
    let mut options = FitOptions::new("efficientnet-lite0");
    options.split.test_fraction = 0.5;
    options.baseline_budget = 2.0;
    let summary = fit(session, &table, out, &options)?;
    let predictor = Predictor::open(&summary.bundle, &session.device)?;
    let chosen = unseen(&summary.run, &names)?;
    let inputs: Vec<Input> = chosen.iter().map(|(path, _, _)| Input::File(path.clone())).collect();
    let predictions = predictor
        .predict(&inputs, &|_| {})?
        .into_iter()
        .zip(chosen)
        .map(|(answer, (path, name, category))| {
            let answer = answer?;
            Ok(DemoPrediction {
                path,
                name,
                category,
                predicted: predictor.labels()[answer.class_idx()].clone(),
                probability: answer.outputs[answer.class_idx()],
            })
        })
        .collect::<Result<_, Error>>()?;
    Ok(DemoOutcome { summary, predictions })
}

/// Writes `emoji.csv` beside the run: picture and category of every emoji, with its name for people.
fn emoji_table(session: &Session, out: &Path) -> Result<(PathBuf, Vec<(String, String)>), Error> {
    let entry = catalogue().dataset("emoji")?;
    let spec = Spec::parse(&entry.origin)?;
    let package = fetch(session, &spec, Some(&entry.sha256))?.path;
    let strip = |path: &str| path.strip_prefix("package/").unwrap_or(path).to_string();
    let table = package.join(strip(&entry.table));
    let bytes = std::fs::read(&table).map_err(Error::io(&table))?;
    let rows: Vec<Value> = serde_json::from_slice(&bytes)
        .map_err(|e| Error::Request { message: format!("{}: {e}", table.display()), hint: None })?;
    let images = package.join(strip(&entry.images));
    let mut csv = csv::Writer::from_writer(Vec::new());
    let path = out.with_file_name("emoji.csv");
    let io = |e: csv::Error| Error::Io { path: out.with_file_name("emoji.csv"), source: e.into() };
    csv.write_record(["path", "label"]).map_err(io)?;
    let mut names = Vec::new();
    for row in &rows {
        let text = |key: &str| row[key].as_str().unwrap_or_default().to_string();
        let (image, label) = (images.join(text(&entry.image_column)), text(&entry.label_column));
        if label.is_empty() || entry.labels_excluded.contains(&label) || !image.exists() {
            continue;
        }
        let image = image.display().to_string();
        csv.write_record([&image, &label]).map_err(io)?;
        names.push((image, text("name").to_lowercase()));
    }
    let bytes = csv.into_inner().map_err(|e| Error::Io { path: path.clone(), source: e.into_error() })?;
    if let Some(dir) = path.parent().filter(|d| !d.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).map_err(Error::io(dir))?;
    }
    by_rename::write(&path, &bytes)?;
    Ok((path, names))
}

/// A few test examples, evenly spread over `predictions.csv`: picture, name, category.
fn unseen(run: &Path, names: &[(String, String)]) -> Result<Vec<(PathBuf, String, String)>, Error> {
    let path = run.join("predictions.csv");
    let io = |e: csv::Error| Error::Io { path: run.join("predictions.csv"), source: e.into() };
    let rows: Vec<csv::StringRecord> =
        csv::Reader::from_path(&path).map_err(io)?.records().collect::<Result<_, _>>().map_err(io)?;
    let step = (rows.len() / N_SHOWN).max(1);
    Ok(rows
        .iter()
        .skip(step / 2)
        .step_by(step)
        .take(N_SHOWN)
        .filter_map(|row| {
            let (image, name) = names.iter().find(|(image, _)| *image == row[0])?;
            Some((PathBuf::from(image), name.clone(), row[1].to_string()))
        })
        .collect())
}
