//! What a fit leaves behind: bundle, metrics, predictions, report, summary.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use headstart_bundle::{
    GOLDEN_TOLERANCE, Golden, GoldenInput, Manifest, Provenance, Results, golden_inputs_image, golden_texts,
};
use headstart_core::{
    Dataset, Diagnostic, Forecast, Input, Metric, Modality, NumberSummary, Plan, Precision, SplitName,
    Targets, Task, Verdict,
};
use headstart_formats::safetensors;
use headstart_graph::rewrite::{HeadSpec, Tap, graft};
use headstart_graph::{Graph, Preprocess, Tensor, Weights};
use headstart_report::{
    Answer, CacheFacts, ClassCounts, DataSummary, Fact, ForecastFacts, L2Curve, L2Point, MediaType, Mistake,
    MistakeContent, Mistakes, NumberCounts, PhaseCurve, Picture, ReportData, ScratchCurve, ScratchPass,
    Timing, verdict_sentence,
};
use headstart_train::{HeadFit, TargetScale};
use headstart_trust::Simplest;
use serde::Serialize;

use crate::fit::{FitOptions, Stage, default_out};
use crate::peft::AdapterRecord;
use crate::predict::Predictor;
use crate::predictions_csv;
use crate::prefix::Extracted;
use crate::proof::{Proof, measures, predictions};
use crate::rival::Rival;
use crate::run::{Run, cpu_seconds, peak_mb};
use crate::tune::Tuned;
use crate::{Error, Session, Source};

/// Diagnostics that the report lists; the rest is counted.
const DIAGNOSTICS_SHOWN: usize = 50;
/// Mistakes that the report shows.
const MISTAKES_SHOWN: usize = 24;
/// Longer side of the report's pictures, pixels.
const THUMBNAIL_PX: u32 = 160;

/// What is known when all has run.
pub(crate) struct Fitted<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) plan: &'a Plan,
    pub(crate) source: &'a Source,
    pub(crate) tap: Tap,
    pub(crate) head: &'a HeadFit,
    /// The trained network, where the plan trains one.
    pub(crate) tuned: Option<&'a Tuned>,
    pub(crate) train_targets: &'a Targets,
    pub(crate) diagnostics: &'a [Diagnostic],
    pub(crate) extracted: Extracted,
    pub(crate) forecast: Option<Forecast>,
    /// Seconds that forecasting took, which the forecast does not speak of.
    pub(crate) seconds_forecast: f64,
    pub(crate) timings: Vec<(Stage, f64)>,
}

/// What `fit` answers; `--json` prints it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FitSummary {
    /// The run's folder.
    pub run: PathBuf,
    /// The sealed bundle.
    pub bundle: PathBuf,
    /// The page to read.
    pub report: PathBuf,
    /// `image-classification`, `text-multi-label`, `image-regression`, …
    pub task: String,
    /// The source.
    pub source: String,
    /// The recipe.
    pub recipe: String,
    /// Examples learned from.
    pub n_train: usize,
    /// Examples chosen by.
    pub n_valid: usize,
    /// Examples judged by.
    pub n_test: usize,
    /// Examples that were left out because they could not be read.
    pub n_skipped: usize,
    /// Name of the measure.
    pub metric: Metric,
    /// Its value on the test split.
    pub test: f64,
    /// Its 95 % interval.
    pub test_ci95: [f64; 2],
    /// Everything that was measured, by name.
    #[serde(flatten)]
    pub measures: BTreeMap<String, f64>,
    /// The same measure of what it had to beat.
    pub baselines: BTreeMap<String, f64>,
    /// `helped`, `no measurable gain` or `hurt`.
    pub verdict: Verdict,
    /// On `hurt`, the baseline that the bundle holds.
    pub fallback: Option<String>,
    /// What the run was expected to cost; none for `auto`.
    pub forecast: Option<Forecast>,
    /// Where the time went.
    pub seconds: BTreeMap<&'static str, f64>,
    /// Processor seconds of all threads: over those of the clock, the cores that were busy.
    pub cpu_seconds: Option<f64>,
    /// Most memory held, MiB.
    pub peak_mb: Option<f64>,
    /// Seed of everything random but the split.
    pub seed: u64,
    /// Seed of the split.
    pub split_seed: u64,
    /// Distinct examples whose features came from the cache.
    pub features_cached: usize,
    /// The verdict and its grounds in a few lines.
    #[serde(skip)]
    pub text: String,
}

/// Seals the bundle, writes the run's files and sums up.
pub(crate) fn leave(
    session: &Session,
    run: &Run,
    options: &FitOptions,
    fitted: &Fitted<'_>,
    proof: &mut Proof,
    mut rival: Option<Rival<'_>>,
) -> Result<FitSummary, Error> {
    let Fitted { dataset, plan, source, .. } = *fitted;
    let sentence = verdict_sentence(
        proof.verdict,
        proof.score,
        proof.score_ci95,
        &proof.comparisons,
        plan,
        proof.truth.len(),
    );
    let best = proof.best_baseline().map(|c| c.baseline.clone());
    let fallback = best.filter(|_| proof.verdict == Verdict::Hurt && !options.keep_transfer);
    let network = winner(options, fitted, fallback.as_deref(), rival.as_mut())?;
    // As for the features that the head was fitted to.  How a trained network or a rival fares in fewer bits was not measured.
    let precision =
        if fitted.tuned.is_some() || fallback.is_some() { Precision::F32 } else { plan.precision };
    let manifest = Manifest {
        format: headstart_bundle::FORMAT,
        name: model_name(&dataset.path, plan),
        task: plan.task.on(plan.modality),
        modality: plan.modality,
        labels: dataset.classes.clone(),
        preprocess: network.preprocess.clone(),
        precision,
        plan: plan.clone(),
        results: Results {
            n_test: proof.metrics.n(),
            metric: plan.metric,
            score: proof.score,
            score_ci95: proof.score_ci95,
            measures: measures(&proof.metrics),
            comparisons: proof.comparisons.clone(),
            verdict: proof.verdict,
            sentence: sentence.clone(),
            fallback: fallback.clone(),
        },
        card: source.model.card.clone(),
        provenance: Provenance {
            headstart: env!("CARGO_PKG_VERSION").into(),
            data_blake3: dataset.hash().to_hex().to_string(),
            device: format!("{}-{precision}", session.device),
        },
        golden: Golden {
            inputs: Vec::new(),
            outputs: Vec::new(),
            tolerance: tolerance(fitted.train_targets, precision),
        },
        files: BTreeMap::new(),
    };
    let bundle = seal(session, run, &network, manifest, source.model.tokenizer.as_deref())?;
    run.write("predictions.csv", &predictions_csv::write(dataset, proof)?)?;

    let seconds_total = run.seconds();
    let peak = peak_mb();
    let data = report_data(session, run, options, fitted, proof, rival.as_ref(), &sentence, &fallback);
    run.write("report.html", headstart_report::html(&data).as_bytes())?;
    let spent = |on: &[Stage]| fitted.timings.iter().filter(|(what, _)| on.contains(what)).map(|t| t.1).sum();
    let seconds: BTreeMap<&'static str, f64> = [
        ("total", seconds_total),
        ("features", spent(&[Stage::Extract])),
        ("train", spent(&[Stage::FitHead, Stage::Tune])),
        ("scratch", spent(&[Stage::Rival])),
    ]
    .into_iter()
    .map(|(name, s)| (name, (s * 1000.0).round() / 1000.0))
    .collect();
    let summary = FitSummary {
        run: run.dir.clone(),
        bundle,
        report: run.dir.join("report.html"),
        task: plan.task.on(plan.modality),
        source: plan.source.clone(),
        recipe: plan.recipe.clone(),
        n_train: fitted.train_targets.len(),
        n_valid: plan.split.n_valid,
        n_test: proof.metrics.n(),
        n_skipped: fitted.diagnostics.iter().filter(|d| d.skipped).count(),
        metric: plan.metric,
        test: proof.score,
        test_ci95: proof.score_ci95.into(),
        measures: measures(&proof.metrics),
        baselines: proof.comparisons.iter().map(|c| (c.baseline.clone(), c.score)).collect(),
        verdict: proof.verdict,
        fallback,
        forecast: fitted.forecast.clone(),
        seconds,
        cpu_seconds: cpu_seconds(),
        peak_mb: peak,
        seed: plan.seed,
        split_seed: plan.split.seed,
        features_cached: fitted.extracted.n_cached,
        text: headstart_report::summary(&data),
    };
    #[derive(Serialize)]
    struct MetricsFile<'a> {
        summary: &'a FitSummary,
        metrics: &'a headstart_core::Metrics,
        comparisons: &'a [headstart_core::Comparison],
        diagnostics: &'a [Diagnostic],
    }
    let file = MetricsFile {
        summary: &summary,
        metrics: &proof.metrics,
        comparisons: &proof.comparisons,
        diagnostics: fitted.diagnostics,
    };
    run.write("metrics.json", &serde_json::to_vec_pretty(&file).expect("plain data"))?;
    run.event("sealed", serde_json::json!({"verdict": proof.verdict}))?;
    Ok(summary)
}

/// Loss by pass of each phase.
fn training_curves(fitted: &Fitted<'_>) -> Vec<PhaseCurve> {
    let (Some(tuned), Some(training)) = (fitted.tuned, &fitted.plan.training) else { return Vec::new() };
    let passes =
        |curve: &[headstart_train::TunedPass]| curve.iter().map(|p| (p.train_loss, p.valid_loss)).collect();
    let phases = training.phases.iter().zip(&tuned.curves);
    phases.map(|(phase, curve)| PhaseCurve { name: phase.name.clone(), passes: passes(curve) }).collect()
}

/// The network that goes into the bundle.
struct Winner {
    graph: Graph,
    weights: Weights,
    preprocess: Preprocess,
    /// What the bundle keeps beside it, by name.
    beside: Vec<(String, Vec<u8>)>,
}

fn winner(
    options: &FitOptions,
    fitted: &Fitted<'_>,
    fallback: Option<&str>,
    rival: Option<&mut Rival<'_>>,
) -> Result<Winner, Error> {
    if let (Some("scratch"), Some(rival)) = (fallback, rival) {
        let weights = rival.weights()?;
        return Ok(Winner {
            graph: rival.graph.clone(),
            weights,
            preprocess: rival.preprocess.clone(),
            beside: Vec::new(),
        });
    }
    let model = &fitted.source.model;
    if let (None, Some(tuned)) = (fallback, fitted.tuned) {
        let (graph, weights) = (tuned.graph.clone(), tuned.weights.clone());
        let adapter = options.source_options.adapter.clone();
        let files = |u| AdapterRecord::files(u, model, adapter).to_vec();
        let beside = tuned.unmerged.as_ref().map(files).unwrap_or_default();
        return Ok(Winner { graph, weights, preprocess: model.preprocess.clone(), beside });
    }
    let k = fitted.dataset.n_outputs();
    let graph = graft(&model.graph, fitted.tap, &HeadSpec::Linear { n_classes: k })?;
    let width = fitted.plan.feature_width;
    let (weight, bias) = match fallback {
        None | Some("probe") => (fitted.head.weight.clone(), fitted.head.bias.clone()),
        // No feature counts; the bias alone says what the simplest baseline says.
        Some(_) => (vec![0.0; k * width], constant_bias(fitted.train_targets, k)),
    };
    let mut weights = Weights::new();
    for (_, name, _) in graph.params() {
        let tensor = match name {
            "head.weight" => Tensor::from_f32(&[k, width], &weight)?,
            "head.bias" => Tensor::from_f32(&[k], &bias)?,
            _ => model.weights.require(name)?.clone(),
        };
        weights.insert(name, tensor);
    }
    Ok(Winner { graph, weights, preprocess: model.preprocess.clone(), beside: Vec::new() })
}

/// The raw outputs with which a network says the same of everything.
fn constant_bias(train: &Targets, k: usize) -> Vec<f32> {
    let counts: Vec<f32> = train.class_counts(k).into_iter().map(|n| n as f32).collect();
    let n = train.len() as f32;
    match train {
        Targets::Number(_) => Simplest::of(train, k).output,
        // Half an example more on either side: nothing is impossible because it was not seen.
        Targets::Classes(_) => counts.iter().map(|c| ((c + 0.5) / (n - c + 0.5)).ln()).collect(),
        Targets::Class(_) => {
            let most = counts.iter().copied().fold(0.0, f32::max);
            let first = counts.iter().position(|c| *c == most);
            counts
                .iter()
                .enumerate()
                .map(|(i, c)| (c + if Some(i) == first { 2.0 } else { 1.0 }).ln())
                .collect()
        }
    }
}

/// How far golden predictions may be off: numbers by a share of their spread.  In fewer bits than f32, what is the last bit on
/// one machine may be a step of rounding on another.
fn tolerance(train: &Targets, precision: Precision) -> f32 {
    let tolerance = if precision == Precision::F32 { GOLDEN_TOLERANCE } else { 10.0 * GOLDEN_TOLERANCE };
    match train.task() {
        Task::Regression => tolerance * TargetScale::of(train).std as f32,
        Task::Classification | Task::MultiLabel => tolerance,
    }
}

/// Writes the bundle and opens it again, which replays its golden predictions.
fn seal(
    session: &Session,
    run: &Run,
    network: &Winner,
    mut manifest: Manifest,
    tokenizer: Option<&[u8]>,
) -> Result<PathBuf, Error> {
    let mut files: Vec<(String, Vec<u8>)> = vec![
        ("model.safetensors".into(), safetensors::to_bytes(&network.weights, &[])),
        ("graph.json".into(), serde_json::to_vec(&network.graph).expect("a graph is plain data")),
    ];
    files.extend(network.beside.iter().cloned());
    files.extend(tokenizer.map(|t| ("tokenizer.json".to_string(), t.to_vec())));
    let golden: Vec<(GoldenInput, Input)> = match manifest.modality {
        Modality::Image => golden_inputs_image(0)
            .into_iter()
            .map(|(name, bytes)| {
                files.push((name.clone(), bytes.clone()));
                (GoldenInput::File(name), Input::Bytes(bytes.into()))
            })
            .collect(),
        Modality::Text => golden_texts()
            .into_iter()
            .map(|text| (GoldenInput::Text(text.clone()), Input::Text(text.into())))
            .collect(),
    };
    let (names, inputs): (Vec<GoldenInput>, Vec<Input>) = golden.into_iter().unzip();
    let predictor = Predictor::new(
        network.graph.clone(),
        &network.weights,
        tokenizer,
        manifest.clone(),
        &session.device,
    )?;
    manifest.golden.inputs = names;
    manifest.golden.outputs = predictor
        .predict(&inputs, &|_| {})?
        .into_iter()
        .map(|p| Ok(p?.outputs))
        .collect::<Result<_, Error>>()?;
    let dir = headstart_bundle::seal(&run.dir.join("bundle"), manifest, &files)?;
    Predictor::open(&dir, &session.device)?;
    Ok(dir)
}

#[allow(clippy::too_many_arguments, reason = "a report tells of everything")]
fn report_data(
    session: &Session,
    run: &Run,
    options: &FitOptions,
    fitted: &Fitted<'_>,
    proof: &Proof,
    rival: Option<&Rival<'_>>,
    sentence: &str,
    fallback: &Option<String>,
) -> ReportData {
    let Fitted { dataset, plan, source, .. } = *fitted;
    let path = dataset.path.display().to_string();
    let fact = |name: &str, value: String| Fact { name: name.into(), value };
    ReportData {
        title: run_name(run),
        plan: plan.clone(),
        source: source.model.card.clone(),
        data: data_summary(fitted, proof),
        verdict: proof.verdict,
        sentence: sentence.into(),
        fallback: fallback.clone(),
        metrics: proof.metrics.clone(),
        score: proof.score,
        score_ci95: proof.score_ci95,
        comparisons: proof.comparisons.clone(),
        reliability: match &proof.truth {
            Targets::Class(truth) => {
                headstart_core::reliability(dataset.classes.len(), &proof.outputs, truth)
            }
            Targets::Classes(_) | Targets::Number(_) => Vec::new(),
        },
        scatter: match &proof.truth {
            Targets::Number(truth) => {
                truth.iter().zip(&proof.outputs).map(|(t, p)| [*t, f64::from(*p)]).collect()
            }
            Targets::Class(_) | Targets::Classes(_) => Vec::new(),
        },
        scratch: rival.map(|r| ScratchCurve {
            passes: r
                .curve()
                .iter()
                .map(|p| ScratchPass { train_loss: p.train_loss, accuracy: None })
                .collect(),
            accuracy_split: headstart_core::SplitName::Train,
        }),
        training: training_curves(fitted),
        forecast: fitted.forecast.clone().map(|forecast| ForecastFacts {
            forecast,
            seconds: fitted.timings.iter().map(|t| t.1).sum::<f64>() - fitted.seconds_forecast,
            peak_mb: peak_mb(),
            cache_mb: fitted.extracted.n_bytes as f64 / (1024.0 * 1024.0),
        }),
        l2: (!fitted.head.cv.is_empty()).then(|| L2Curve {
            points: fitted
                .head
                .cv
                .iter()
                .map(|p| L2Point {
                    l2: p.l2,
                    loss: p.loss,
                    loss_se: Some(p.loss_std / (plan.head.n_folds as f64).sqrt()),
                })
                .collect(),
            chosen: fitted.head.l2,
            n_folds: plan.head.n_folds,
        }),
        mistakes: mistakes(dataset, proof),
        timings: fitted
            .timings
            .iter()
            .map(|(what, s)| Timing { what: what.words().into(), seconds: *s })
            .collect(),
        peak_mb: peak_mb(),
        cache: Some(CacheFacts {
            n_hits: fitted.extracted.n_cached,
            n_misses: fitted.extracted.n_computed,
            size_bytes: session.features.size(),
        }),
        facts: vec![
            fact("Headstart", env!("CARGO_PKG_VERSION").into()),
            fact("Device", format!("{}, f32", session.device)),
            fact("Seed", plan.seed.to_string()),
            fact("Seed of the split", plan.split.seed.to_string()),
            fact("Data (blake3)", dataset.hash().to_hex().to_string()),
            fact("Source weights (SHA-256)", source.model.card.sha256.clone()),
            fact("Tensors loaded", source.report.matched.len().to_string()),
        ],
        command_predict: format!("headstart predict {} INPUT…", run.dir.join("bundle").display()),
        command_reproduce: format!(
            "headstart fit {path}{} --source {} --recipe {} --seed {} --split-seed {} --out {}",
            questions(options),
            options.source,
            plan.recipe,
            plan.seed,
            plan.split.seed,
            run.dir.display()
        ),
    }
}

fn data_summary(fitted: &Fitted<'_>, proof: &Proof) -> DataSummary {
    let dataset = fitted.dataset;
    let mut classes: Vec<ClassCounts> = dataset
        .classes
        .iter()
        .map(|c| ClassCounts { class: c.clone(), n_train: 0, n_valid: 0, n_test: 0 })
        .collect();
    let k = classes.len();
    let counts = [fitted.train_targets.class_counts(k), proof.truth.class_counts(k)];
    for (c, class) in classes.iter_mut().enumerate() {
        (class.n_train, class.n_test) = (counts[0][c], counts[1][c]);
    }
    let numbers = [(SplitName::Train, fitted.train_targets), (SplitName::Test, &proof.truth)];
    let numbers = numbers.into_iter().filter_map(|(split, targets)| match targets {
        Targets::Number(values) => Some(NumberCounts { split, numbers: NumberSummary::of(values)? }),
        Targets::Class(_) | Targets::Classes(_) => None,
    });
    DataSummary {
        path: dataset.path.display().to_string(),
        blake3: dataset.hash().to_hex().to_string(),
        n_train: fitted.train_targets.len(),
        n_test: proof.truth.len(),
        numbers: numbers.collect(),
        classes,
        diagnostics: fitted.diagnostics.iter().take(DIAGNOSTICS_SHOWN).cloned().collect(),
        n_diagnostics: fitted.diagnostics.len(),
        n_skipped: fitted.diagnostics.iter().filter(|d| d.skipped).count(),
    }
}

/// The options of the command line that say what is asked.
fn questions(options: &FitOptions) -> String {
    let task = options.load.task.map(|task| format!(" --task {task}"));
    let metric = options.metric.map(|metric| format!(" --metric {metric}"));
    task.into_iter().chain(metric).collect()
}

/// The surest mistakes or the largest errors, with their pictures or texts.
fn mistakes(dataset: &Dataset, proof: &Proof) -> Mistakes {
    let wrong = wrong_answers(dataset, proof);
    let shown = wrong
        .iter()
        .take(MISTAKES_SHOWN)
        .filter_map(|(n, answer)| {
            let example = &dataset.examples[proof.example_idx[*n]];
            let content = match &example.input {
                Input::Text(text) => MistakeContent::Text(text.to_string()),
                picture => MistakeContent::Picture(Picture {
                    media_type: MediaType::Jpeg,
                    bytes: headstart_data::decode_thumbnail(picture, THUMBNAIL_PX).ok()?,
                }),
            };
            Some(Mistake { id: dataset.name_of(proof.example_idx[*n]), content, answer: answer.clone() })
        })
        .collect();
    Mistakes { n: wrong.len(), shown }
}

/// Which test examples went wrong and how, the worst first: the surest of wrong classes, the most probable of labels that do
/// not apply or least probable of those that do, the largest errors (of which every example has one).
fn wrong_answers(dataset: &Dataset, proof: &Proof) -> Vec<(usize, Answer)> {
    let k = dataset.n_outputs();
    let p = |n: usize, c: usize| proof.outputs[n * k + c];
    let mut wrong: Vec<(f64, usize, Answer)> = match &proof.truth {
        Targets::Class(truth) => predictions(&proof.outputs, k)
            .into_iter()
            .enumerate()
            .filter(|&(n, said)| said != truth[n])
            .map(|(n, predicted_idx)| {
                let (probability, probability_truth) = (p(n, predicted_idx), p(n, truth[n]));
                let truth_idx = truth[n];
                let answer = Answer::Class { truth_idx, predicted_idx, probability, probability_truth };
                (f64::from(probability), n, answer)
            })
            .collect(),
        Targets::Classes(truth) => (0..truth.len())
            .filter_map(|n| {
                let has = |c: &usize| truth[n].contains(c);
                let missed: Vec<usize> =
                    (0..k).filter(|c| has(c) && p(n, *c) < predictions_csv::THRESHOLD).collect();
                let invented: Vec<usize> =
                    (0..k).filter(|c| !has(c) && p(n, *c) >= predictions_csv::THRESHOLD).collect();
                let sure = missed.iter().map(|&c| 1.0 - p(n, c)).chain(invented.iter().map(|&c| p(n, c)));
                let worst = sure.reduce(f32::max)?;
                Some((f64::from(worst), n, Answer::Labels { missed, invented }))
            })
            .collect(),
        Targets::Number(truth) => (0..truth.len())
            .map(|n| {
                let predicted = f64::from(proof.outputs[n]);
                ((predicted - truth[n]).abs(), n, Answer::Number { truth: truth[n], predicted })
            })
            .collect(),
    };
    wrong.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    wrong.into_iter().map(|(_, n, answer)| (n, answer)).collect()
}

/// What the bundle is called: data and source, not the folder it happens to be made in.
fn model_name(data: &Path, plan: &Plan) -> String {
    let out = default_out(data, &plan.source, &plan.recipe);
    out.file_name().map_or("model".into(), |n| n.to_string_lossy().into_owned())
}

fn run_name(run: &Run) -> String {
    run.dir.file_name().map_or("run".into(), |n| n.to_string_lossy().into_owned())
}
