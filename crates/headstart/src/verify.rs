//! `verify`: runs a run again and compares the bundles, byte by byte.

use std::path::{Path, PathBuf};

use headstart_data::{LoadOptions, SplitOptions};
use headstart_recipe::Recipe;
use serde::{Deserialize, Serialize};

use crate::{Error, FitOptions, PrecisionChoice, Session, SourceOptions, fit};

/// What was asked of a run: `request.json` in its folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Request {
    data: PathBuf,
    source: String,
    #[serde(flatten)]
    source_options: SourceOptions,
    recipe: String,
    tap: Option<String>,
    load: LoadOptions,
    split: SplitOptions,
    metric: Option<headstart_core::Metric>,
    #[serde(default)]
    precision: PrecisionChoice,
    seed: u64,
    baseline_budget: f64,
    settings: headstart_recipe::Settings,
    augmentation: String,
    targets: Vec<String>,
    unlabelled: Option<PathBuf>,
    time_limit: Option<f64>,
    keep_transfer: bool,
}

impl Request {
    /// The request for a fit of some data; paths are made absolute, so that it can be repeated from anywhere.
    pub(crate) fn of(data: &Path, options: &FitOptions) -> Self {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
        Request {
            data: absolute(data),
            source: options.source.clone(),
            source_options: options.source_options.clone(),
            recipe: options.recipe.name(),
            tap: options.tap.clone(),
            load: options.load.clone(),
            split: options.split,
            metric: options.metric,
            precision: options.precision,
            seed: options.seed,
            baseline_budget: options.baseline_budget,
            settings: options.settings.clone(),
            augmentation: options.augmentation.clone(),
            targets: options.targets.clone(),
            unlabelled: options.unlabelled.as_deref().map(absolute),
            time_limit: options.time_limit,
            keep_transfer: options.keep_transfer,
        }
    }

    fn options(&self) -> Result<FitOptions, Error> {
        let mut options = FitOptions::new(self.source.clone());
        options.source_options = self.source_options.clone();
        options.recipe = Recipe::parse(&self.recipe)?;
        options.tap = self.tap.clone();
        options.load = self.load.clone();
        options.split = self.split;
        options.metric = self.metric;
        options.precision = self.precision;
        options.seed = self.seed;
        options.baseline_budget = self.baseline_budget;
        options.settings = self.settings.clone();
        options.augmentation = self.augmentation.clone();
        options.targets = self.targets.clone();
        options.unlabelled = self.unlabelled.clone();
        options.time_limit = self.time_limit;
        options.keep_transfer = self.keep_transfer;
        Ok(options)
    }
}

/// What `verify` answers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Verification {
    /// The run that was run again.
    pub run: PathBuf,
    /// True if every file of the bundle came out the same.
    pub same: bool,
    /// Files of the bundle that were compared.
    pub n_files: usize,
    /// Files that differ, or that only one of the two has.
    pub different: Vec<String>,
}

/// Runs a run again in a temporary folder beside it and compares the bundles.
///
/// # Errors
/// [`Error::Request`] if the folder is no run; whatever the fit reports.
pub fn verify(session: &Session, run: &Path) -> Result<Verification, Error> {
    let path = run.join("request.json");
    let bytes = std::fs::read(&path).map_err(|_| {
        Error::request(
            format!("{} is not the folder of a run: it has no request.json", run.display()),
            "name the folder that `headstart fit --out` made",
        )
    })?;
    let request: Request = serde_json::from_slice(&bytes)
        .map_err(|e| Error::request(format!("{}: {e}", path.display()), "run the fit anew"))?;
    let parent = run.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let again = tempfile::Builder::new().prefix(".verify-").tempdir_in(parent).map_err(Error::io(parent))?;
    fit(session, &request.data, again.path(), &request.options()?)?;
    let [before, after] = [run, again.path()].map(|dir| hashes(&dir.join("bundle")));
    let (before, after) = (before?, after?);
    let names: std::collections::BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let different =
        names.iter().filter(|n| before.get(**n) != after.get(**n)).map(|n| n.to_string()).collect::<Vec<_>>();
    Ok(Verification { run: run.into(), same: different.is_empty(), n_files: names.len(), different })
}

/// Files of a folder and their hashes.
fn hashes(dir: &Path) -> Result<std::collections::BTreeMap<String, blake3::Hash>, Error> {
    let mut all = std::collections::BTreeMap::new();
    for entry in std::fs::read_dir(dir).map_err(Error::io(dir))? {
        let path = entry.map_err(Error::io(dir))?.path();
        if path.is_file() {
            let bytes = std::fs::read(&path).map_err(Error::io(&path))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            all.insert(name, blake3::hash(&bytes));
        }
    }
    Ok(all)
}
