//! `fit`: data and source in, a proven and sealed model out.  The whole flow on one page.

use std::path::{Path, PathBuf};

use headstart_core::{
    Dataset, Diagnostic, Features, Forecast, Metric, Modality, Plan, SealedTest, SplitPlan, Splits,
};
use headstart_data::{Augmentation, LoadOptions, Preparer, SplitOptions};
use headstart_graph::Preprocess;
use headstart_graph::rewrite::{Tap, tap_at};
use headstart_recipe::{Facts, Recipe, Settings};
use headstart_train::{HeadFit, predict_head};

use crate::auto;
use crate::checkpoint::CheckpointFile;
use crate::forecast::forecast;
use crate::precision::{self, PrecisionChoice};
use crate::prefix::{Extracted, Prefix};
use crate::proof::Proof;
use crate::rival::Rival;
use crate::run::Run;
use crate::runner::tokens_mean;
use crate::source::modality_of;
use crate::tune::{Resume, Start, Tuned, tune};
use crate::verify::Request;
use crate::{Error, FitSummary, Session, Source, SourceOptions, record};

/// A request for a fit.
#[derive(Debug, Clone)]
pub struct FitOptions {
    /// Catalogue id, specifier or path of the source.
    pub source: String,
    /// How to read a source that does not say what it is.
    pub source_options: SourceOptions,
    /// The recipe.
    pub recipe: Recipe,
    /// Node to tap instead of the classifier's input.
    pub tap: Option<String>,
    /// How to read the data.
    pub load: LoadOptions,
    /// How to divide it, if it does not come divided.
    pub split: SplitOptions,
    /// What the verdict compares; the task's default if none.
    pub metric: Option<Metric>,
    /// What products of the frozen network are computed in.
    pub precision: PrecisionChoice,
    /// Seed of everything random but the split.
    pub seed: u64,
    /// How many times the cost of the features the rival from random weights may cost; 0 declines it.
    pub baseline_budget: f64,
    /// Overridden hyper-parameters.
    pub settings: Settings,
    /// What changes examples while learning: `flip,crop=0.6-1`, or `none`; empty for the recipe's default.
    pub augmentation: String,
    /// Layers that adapters stand beside, as patterns with `*`; the recipe's own if empty.
    pub targets: Vec<String>,
    /// A folder of pictures without labels, to learn from by consistency.
    pub unlabelled: Option<PathBuf>,
    /// Checkpoints: how often, and whether to go on from one.
    pub resume: Resume,
    /// Seconds that `auto` may take; no bound if none.
    pub time_limit: Option<f64>,
    /// On a verdict of harm, seal the transferred network all the same.
    pub keep_transfer: bool,
}

impl FitOptions {
    /// A probe of `source` with the defaults.
    pub fn new(source: impl Into<String>) -> Self {
        FitOptions {
            source: source.into(),
            source_options: SourceOptions::default(),
            recipe: Recipe::Probe,
            tap: None,
            load: LoadOptions::default(),
            split: SplitOptions::default(),
            metric: None,
            precision: PrecisionChoice::default(),
            seed: 0,
            baseline_budget: 5.0,
            settings: Settings::default(),
            augmentation: String::new(),
            targets: Vec::new(),
            unlabelled: None,
            resume: Resume { seconds: 30.0, resume: false },
            time_limit: None,
            keep_transfer: false,
        }
    }
}

/// Share of the examples that `auto` chooses by, where the user names none and the data have no such part.
const VALID_FRACTION_AUTO: f64 = 0.2;

/// Everything that is decided before anything runs.
pub(crate) struct Prepared {
    pub(crate) dataset: Dataset,
    pub(crate) splits: Splits,
    pub(crate) source: Source,
    pub(crate) tap: Tap,
    pub(crate) plan: Plan,
    pub(crate) known: Known,
    /// What was noticed while dividing the data.
    pub(crate) notices: Vec<Diagnostic>,
    /// Examples without labels, where there are some.
    pub(crate) unlabelled: Option<Dataset>,
}

/// What recipes are told, besides network and classes.
pub(crate) struct Known {
    train_counts: Vec<usize>,
    unused_weights: Vec<String>,
    split: SplitPlan,
    sequence: usize,
    n_unlabelled: usize,
    /// `none`, or empty for the recipe's own.
    augmentation: String,
    pub(crate) precision: precision::Decided,
}

impl Known {
    /// The plan of a recipe.
    pub(crate) fn plan(
        &self,
        recipe: Recipe,
        options: &FitOptions,
        dataset: &Dataset,
        source: &Source,
    ) -> Result<Plan, Error> {
        let facts = Facts {
            graph: &source.model.graph,
            source: &options.source,
            tap: options.tap.as_deref(),
            unused_weights: self.unused_weights.clone(),
            modality: dataset.modality,
            task: dataset.task,
            metric: options.metric.unwrap_or(Metric::of_task(dataset.task)[0]),
            classes: &dataset.classes,
            train_counts: &self.train_counts,
            split: self.split.clone(),
            sequence: self.sequence,
            size_px: match &source.model.preprocess {
                // The rival's smaller pictures are square: a network for others keeps its size.
                Preprocess::Image(image) if image.size_px[0] == image.size_px[1] => Some(image.size_px[0]),
                Preprocess::Image(_) => None,
                Preprocess::Text(_) => None,
            },
            baseline_budget: options.baseline_budget,
            seed: options.seed,
            augmentation: &self.augmentation,
            targets: &options.targets,
            n_unlabelled: self.n_unlabelled,
            settings: options.settings.clone(),
        };
        let mut plan = recipe.plan(&facts)?;
        self.precision.record(&mut plan);
        Ok(plan)
    }
}

/// A plan, and what it is expected to cost on this machine.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Planned {
    /// What would happen.
    #[serde(flatten)]
    pub plan: Plan,
    /// What it would cost; none for `auto`, whose cost is its time limit.
    pub forecast: Option<Forecast>,
}

/// Decides a run.  Nothing is fitted; a little of everything is tried, to tell what the run will cost.
pub fn plan(session: &Session, data: &Path, options: &FitOptions) -> Result<Planned, Error> {
    let mut prepared = prepare(session, data, options)?;
    let prefix = precision::prefix(session, &mut prepared, options)?;
    let forecast = match options.recipe {
        Recipe::Auto => None,
        _ => Some(forecast_of(session, &prepared, &prefix, options)?.0),
    };
    Ok(Planned { plan: prepared.plan, forecast })
}

fn forecast_of(
    session: &Session,
    p: &Prepared,
    prefix: &Prefix,
    options: &FitOptions,
) -> Result<(Forecast, Extracted), Error> {
    let (width, k) = (p.plan.feature_width, p.dataset.n_outputs());
    let head = HeadFit {
        weight: vec![0.0; width * k],
        bias: vec![0.0; k],
        l2: 0.0,
        cv: Vec::new(),
        n_iterations: 0,
        converged: true,
        notes: Vec::new(),
    };
    let start = Start {
        session,
        model: &p.source.model,
        dataset: &p.dataset,
        plan: &p.plan,
        tap: options.tap.as_deref(),
        train_idx: &p.splits.train,
        valid_idx: &p.splits.valid,
        head: &head,
        unlabelled: p.unlabelled.as_ref(),
    };
    let rival = p
        .plan
        .baseline
        .as_ref()
        .map(|b| Rival::new(session, &p.source.model, p.tap, b, &p.dataset, &p.splits.train))
        .transpose()?;
    let n_judged = p.splits.valid.len() + p.splits.test.len();
    forecast(session, &start, prefix, rival.as_ref(), n_judged)
}

/// Fits, proves and seals; leaves a run folder at `out`.
pub fn fit(session: &Session, data: &Path, out: &Path, options: &FitOptions) -> Result<FitSummary, Error> {
    let run = Run::create(out)?;
    let mut prepared = prepare(session, data, options)?;
    let prefix = precision::prefix(session, &mut prepared, options)?;
    let seconds_prepared = run.seconds();
    let (forecast, tried) = match options.recipe {
        Recipe::Auto => (None, Extracted::default()),
        _ => forecast_of(session, &prepared, &prefix, options).map(|(f, tried)| (Some(f), tried))?,
    };
    let seconds_forecast = run.seconds() - seconds_prepared;
    let Prepared { dataset, mut splits, source, tap, mut plan, known, notices, unlabelled } = prepared;
    run.write("plan.toml", toml::to_string(&plan).expect("a plan is plain data").as_bytes())?;
    run.write("request.json", &serde_json::to_vec_pretty(&Request::of(data, options)).expect("plain data"))?;
    run.event("planned", &plan.split)?;
    let mut clock = Clock::start(&run);

    let (features, unread, mut extracted) =
        prefix.extract(session, &dataset, &splits.train, "extracting features of the training split")?;
    // What was computed to forecast the run was computed for the run.
    extracted.n_cached -= tried.n_computed.min(extracted.n_cached);
    extracted.n_computed += tried.n_computed;
    extracted.n_bytes += tried.n_bytes;
    let mut diagnostics = [dataset.diagnostics.clone(), notices, unread].concat();
    check_bad(&diagnostics, dataset.examples.len(), options.load.bad_fraction_max)?;
    let facts = serde_json::json!({"computed": extracted.n_computed, "cached": extracted.n_cached});
    run.event("extracted", facts)?;
    clock.lap(Stage::Extract);

    let head = fit_head(session, &dataset, &features, &plan)?;
    head.notes.iter().for_each(|note| session.observer.note(note));
    run.event("fitted", serde_json::json!({"l2": head.l2, "cv": head.cv.len()}))?;
    clock.lap(Stage::FitHead);

    // A probe asks nothing of the validation split.
    let asks = options.recipe == Recipe::Auto || plan.training.is_some();
    let valid_idx: &[usize] = if asks { &splits.valid } else { &[] };
    let (valid, unread, extracted_valid) =
        prefix.extract(session, &dataset, valid_idx, "reading the validation split")?;
    diagnostics.extend(unread);
    extracted += extracted_valid;
    // A training wants room for itself; what reads the test split is loaded again by then.
    let (precision, prefix) = (prefix.precision, (!asks).then_some(prefix));
    let start = Start {
        session,
        model: &source.model,
        dataset: &dataset,
        plan: &plan,
        tap: options.tap.as_deref(),
        train_idx: &features.example_idx,
        valid_idx: &valid.example_idx,
        head: &head,
        unlabelled: unlabelled.as_ref(),
    };
    let (tuned, checkpoints): (Option<Tuned>, Vec<CheckpointFile>);
    if options.recipe == Recipe::Auto {
        let plan_of = |recipe| known.plan(recipe, options, &dataset, &source);
        let chosen = auto::choose(&start, &run, &options.resume, options.time_limit, &valid, &plan_of)?;
        run.event("chosen", serde_json::json!({"recipe": chosen.plan.recipe, "tried": chosen.tried}))?;
        (plan, tuned, checkpoints) = (chosen.plan, chosen.tuned, chosen.files);
        run.write("plan.toml", toml::to_string(&plan).expect("a plan is plain data").as_bytes())?;
    } else if plan.training.is_some() {
        let mut file = CheckpointFile::new(&run.dir, "training", options.resume.seconds);
        tuned = Some(tune(&start, &run, &mut file, options.resume.resume)?);
        checkpoints = vec![file];
    } else {
        (tuned, checkpoints) = (None, Vec::new());
    }
    if let Some(tuned) = &tuned {
        tuned.notes.iter().for_each(|note| session.observer.note(note));
        extracted += tuned.extracted;
        run.event("tuned", serde_json::json!({"valid_loss": tuned.valid_loss}))?;
    }
    clock.lap(Stage::Tune);

    let mut rival = plan
        .baseline
        .as_ref()
        .map(|b| Rival::new(session, &source.model, tap, b, &dataset, &features.example_idx))
        .transpose()?;
    if let Some(rival) = &mut rival {
        rival.train()?;
        run.event("rival trained", serde_json::json!({"curve": rival.curve()}))?;
    }
    clock.lap(Stage::Rival);

    // The seal of the test split breaks here, once; nothing above could read it.
    let prefix = match prefix {
        Some(prefix) => prefix,
        None => precision::prefix_in(precision, session, &source.model, tap)?,
    };
    let (test, unread, extracted_test) = open_test(session, &prefix, &dataset, &mut splits.test)?;
    run.event("test opened", serde_json::json!({"examples": test.len()}))?;
    diagnostics.extend(unread);
    check_bad(&diagnostics, dataset.examples.len(), options.load.bad_fraction_max)?;
    extracted += extracted_test;
    let train_targets = dataset.targets(&features.example_idx);
    let of_probe = predict_head(dataset.task, &test, &head.weight, &head.bias);
    let mut others = Vec::new();
    if let Some(rival) = &mut rival {
        others.push(("scratch", rival.predict(&test.example_idx)?));
    }
    let outputs = match &tuned {
        Some(tuned) => {
            others.push(("probe", of_probe));
            tuned.predict(session, &source.model, &dataset, &test.example_idx)?
        }
        None => of_probe,
    };
    let mut proof = Proof::of(&dataset, &plan, &test.example_idx, outputs, &train_targets, &others)?;
    clock.lap(Stage::Judge);
    let fitted = record::Fitted {
        dataset: &dataset,
        plan: &plan,
        source: &source,
        tap,
        head: &head,
        tuned: tuned.as_ref(),
        train_targets: &train_targets,
        diagnostics: &diagnostics,
        extracted,
        forecast,
        seconds_forecast,
        timings: clock.laps,
    };
    let summary = record::leave(session, &run, options, &fitted, &mut proof, rival)?;
    checkpoints.iter().for_each(CheckpointFile::remove);
    Ok(summary)
}

/// What a run spends its time on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Prepare,
    Extract,
    FitHead,
    Tune,
    Rival,
    Judge,
}

impl Stage {
    /// As the report says it.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Stage::Prepare => "Read data and source, plan",
            Stage::Extract => "Extract features",
            Stage::FitHead => "Fit the head",
            Stage::Tune => "Train the network",
            Stage::Rival => "Train the rival from random weights",
            Stage::Judge => "Judge on the test split",
        }
    }
}

/// Where the time of a run goes.
struct Clock<'a> {
    run: &'a Run,
    last: f64,
    laps: Vec<(Stage, f64)>,
}

impl<'a> Clock<'a> {
    /// What happened so far was preparation.
    fn start(run: &'a Run) -> Self {
        let last = run.seconds();
        Clock { run, last, laps: vec![(Stage::Prepare, last)] }
    }

    fn lap(&mut self, what: Stage) {
        let now = self.run.seconds();
        self.laps.push((what, now - self.last));
        self.last = now;
    }
}

pub(crate) fn prepare(session: &Session, data: &Path, options: &FitOptions) -> Result<Prepared, Error> {
    let observer = &session.observer;
    let dataset = headstart_data::load(data, &options.load, &|done, total| {
        observer.progress("reading the data", done as u64, total as u64);
    })?;
    let allowed = Metric::of_task(dataset.task);
    if let Some(metric) = options.metric.filter(|m| !allowed.contains(m)) {
        let names: Vec<String> = allowed.iter().map(Metric::to_string).collect();
        return Err(Error::request(
            format!("{metric} does not measure {} (measures: {})", dataset.task, names.join(", ")),
            format!("pass --metric {}, or another --task", allowed[0]),
        ));
    }
    let is_none = Augmentation::parse(&options.augmentation, dataset.modality)?.is_none();
    let augmentation = if is_none && !options.augmentation.is_empty() {
        "none".into()
    } else {
        options.augmentation.clone()
    };
    // Divided before the source is fetched: a wrong request should fail before a long download.
    let mut split = options.split;
    if options.recipe == Recipe::Auto && split.valid_fraction == 0.0 {
        split.valid_fraction = VALID_FRACTION_AUTO;
    }
    let (splits, notices) = headstart_data::split(&dataset, &split)?;
    let source = Source::open(session, &options.source, &options.source_options)?;
    let modality = modality_of(&source.model.preprocess);
    if modality != dataset.modality {
        return Err(Error::request(
            format!("the data are {}s, but source `{}` takes {modality}s", dataset.modality, options.source),
            format!("choose a source for {}s from `headstart sources`", dataset.modality),
        ));
    }
    let unlabelled = options.unlabelled.as_deref().map(headstart_data::load_unlabelled).transpose()?;
    let train_counts = dataset.targets(&splits.train).class_counts(dataset.classes.len());
    let preparer = Preparer::new(&source.model.preprocess, source.model.tokenizer.as_deref())?;
    let sample: Vec<_> = splits.train.iter().take(256).map(|&i| &dataset.examples[i].input).collect();
    let known = Known {
        train_counts,
        unused_weights: source.report.unexpected.iter().map(|t| t.to_string()).collect(),
        split: SplitPlan {
            given: dataset.examples.iter().any(|e| e.split.is_some()),
            seed: options.split.seed,
            n_train: splits.train.len(),
            n_valid: splits.valid.len(),
            n_test: splits.test.len(),
        },
        sequence: if modality == Modality::Text { tokens_mean(&preparer, &sample) } else { 1 },
        n_unlabelled: unlabelled.as_ref().map_or(0, |u| u.examples.len()),
        augmentation,
        precision: precision::Decided::default(),
    };
    let plan = known.plan(options.recipe, options, &dataset, &source)?;
    let tap = match &options.tap {
        Some(path) => tap_at(&source.model.graph, path)?,
        None => headstart_graph::rewrite::tap(&source.model.graph)?,
    };
    Ok(Prepared { dataset, splits, source, tap, plan, known, notices, unlabelled })
}

pub(crate) fn fit_head(
    session: &Session,
    dataset: &Dataset,
    features: &Features,
    plan: &Plan,
) -> Result<HeadFit, Error> {
    let groups = fold_groups(dataset, &features.example_idx);
    let observer = &session.observer;
    let truth = dataset.targets(&features.example_idx);
    let progress =
        |done: usize, total: usize| observer.progress("fitting the head", done as u64, total as u64);
    let (k, head) = (dataset.n_outputs(), &plan.head);
    Ok(headstart_train::fit_head(features, &truth, k, Some(&groups), head, plan.seed, &progress)?)
}

/// Rows that must share a fold: those of one group, and byte-identical ones.
fn fold_groups(dataset: &Dataset, example_idx: &[usize]) -> Vec<u64> {
    let name = |i: usize| match &dataset.examples[i].group {
        Some(group) => blake3::hash(group.as_bytes()),
        None => blake3::Hash::from_bytes(dataset.examples[i].hash),
    };
    let first_eight =
        |h: blake3::Hash| u64::from_le_bytes(h.as_bytes()[..8].try_into().expect("a hash has 32 bytes"));
    example_idx.iter().map(|&i| first_eight(name(i))).collect()
}

fn open_test(
    session: &Session,
    prefix: &Prefix,
    dataset: &Dataset,
    test: &mut SealedTest,
) -> Result<(Features, Vec<Diagnostic>, Extracted), Error> {
    let opened = prefix.extract(session, dataset, test.open()?, "extracting features of the test split")?;
    if opened.0.is_empty() {
        return Err(Error::request(
            "no example of the test split can be read",
            "see the diagnostics of `headstart check`",
        ));
    }
    Ok(opened)
}

/// Stops when more examples than allowed had to be left out.
pub(crate) fn check_bad(diagnostics: &[Diagnostic], n_read: usize, fraction_max: f64) -> Result<(), Error> {
    let skipped: Vec<&Diagnostic> = diagnostics.iter().filter(|d| d.skipped).collect();
    let n_all = n_read + skipped.len();
    if skipped.len() as f64 <= fraction_max * n_all as f64 {
        return Ok(());
    }
    let first: Vec<String> = skipped.iter().take(3).map(|d| d.to_string()).collect();
    Err(Error::request(
        format!("{} of {n_all} examples cannot be read, for example {}", skipped.len(), first.join("; ")),
        "mend or remove them, or raise --bad-fraction-max",
    ))
}

/// Where a run goes when nobody says.
pub fn default_out(data: &Path, source: &str, recipe: &str) -> PathBuf {
    // `flowers/labels.csv` is known as flowers.
    let named = match data.parent().filter(|_| data.is_file()) {
        Some(folder) if folder.file_name().is_some() => folder,
        _ => data,
    };
    let data = named.file_stem().map_or("data".into(), |s| s.to_string_lossy().into_owned());
    let tame = |s: &str| {
        s.chars().map(|c| if c.is_alphanumeric() || c == '-' { c } else { '-' }).collect::<String>()
    };
    PathBuf::from("runs").join(format!("{}-{}-{}", tame(&data), tame(source), recipe))
}
