//! The verbs: each turns its arguments into one call of the library and prints the answer.

mod adapters;
mod bench;
mod convert;
mod export;
mod inspect;
mod predict;
mod sources;

use std::path::{Path, PathBuf};

use headstart::{Device, Error, FitOptions, FitSummary, Modality, Session, SessionOptions, Task, Verdict};

use crate::args::{
    CheckArgs, Cli, DemoArgs, EvaluateArgs, FeaturesArgs, FitArgs, Global, PlanArgs, Verb, VerifyArgs,
};
use crate::output;
use crate::progress::Bars;

/// Runs a verb; the exit code.
pub(crate) fn run(cli: &Cli) -> Result<u8, Error> {
    let session = session(&cli.global)?;
    let json = cli.global.json;
    match &cli.verb {
        Verb::Fit(args) => fit(&session, args, json),
        Verb::Plan(args) => plan(&session, args, json),
        Verb::Predict(args) => predict::run(&session, args, json),
        Verb::Evaluate(args) => evaluate(&session, args, json),
        Verb::Verify(args) => verify(&session, args, json),
        Verb::Export(args) => export::run(&session, args, json),
        Verb::Inspect(args) => inspect::run(&session, args, json),
        Verb::Convert(args) => convert::run(&session, args, json),
        Verb::Adapters(args) => adapters::run(&session, args, json),
        Verb::Features(args) => features(&session, args, json),
        Verb::Sources(args) => sources::run(&session, args, json),
        Verb::Check(args) => check(&session, args, json),
        Verb::Bench(args) => bench::run(args, json),
        Verb::Demo(args) => demo(&session, args, json),
    }
}

fn session(global: &Global) -> Result<Session, Error> {
    if let Some(threads) = global.threads {
        if threads == 0 {
            return Err(Error::Request { message: "--threads is 0 (1 or more)".into(), hint: None });
        }
        // Fails only if the pool exists already, and nothing has asked for it yet.
        let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
    }
    let cache = global.cache.clone().or_else(headstart::default_cache_dir).ok_or_else(|| Error::Request {
        message: "there is no folder for the cache: neither HEADSTART_CACHE, XDG_CACHE_HOME nor HOME is set"
            .into(),
        hint: Some("name one with --cache DIR".into()),
    })?;
    let mut options = SessionOptions::new(cache);
    options.offline = global.offline;
    options.device = Device::parse(&global.device)?;
    options.feature_cache_bytes_max = (global.cache_max.max(0.0) * (1u64 << 30) as f64) as u64;
    Ok(Session::new(options, Box::new(Bars::new())))
}

fn fit(session: &Session, args: &FitArgs, json: bool) -> Result<u8, Error> {
    let data = &args.plan.data.data;
    let mut options = args.options()?;
    choose_source(data, &mut options)?;
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| headstart::default_out(data, &options.source, &options.recipe.name()));
    let summary = headstart::fit(session, data, &out, &options)?;
    print_summary(&summary, json);
    Ok(u8::from(summary.verdict == Verdict::Hurt))
}

fn plan(session: &Session, args: &PlanArgs, json: bool) -> Result<u8, Error> {
    let mut options = args.options()?;
    choose_source(&args.data.data, &mut options)?;
    let plan = headstart::plan(session, &args.data.data, &options)?;
    if json {
        output::json(&plan)
    } else {
        output::plan(&plan.plan, plan.forecast.as_ref())
    }
    Ok(0)
}

fn evaluate(session: &Session, args: &EvaluateArgs, json: bool) -> Result<u8, Error> {
    let only = args.only.map(Into::into);
    let result =
        headstart::evaluate(session, &bundle_dir(&args.bundle), &args.data.data, &args.data.load()?, only)?;
    output::diagnostics(&result.diagnostics);
    if json {
        output::json(&result);
        return Ok(0);
    }
    let m = &result.metrics;
    println!(
        "{:<24} {:.3} [{:.3}–{:.3}] on {} examples",
        result.metric.words(),
        result.test,
        result.test_ci95.lo,
        result.test_ci95.hi,
        m.n()
    );
    for (metric, value) in m.all().into_iter().filter(|(metric, _)| *metric != result.metric) {
        println!("{:<24} {value:.3}", metric.words());
    }
    if let Some(m) = m.classification() {
        println!("{:<24} {:.3}", "calibration error", m.ece);
    }
    if result.seen_in_training {
        println!("note: these are the data that the bundle was fitted on; the numbers flatter it");
    }
    Ok(0)
}

fn verify(session: &Session, args: &VerifyArgs, json: bool) -> Result<u8, Error> {
    let answer = headstart::verify(session, &args.run)?;
    if json {
        output::json(&answer);
    } else if answer.same {
        println!("the same: all {} files of the bundle came out byte for byte", answer.n_files);
    } else {
        println!("different: {}", answer.different.join(", "));
    }
    Ok(u8::from(!answer.same))
}

fn features(session: &Session, args: &FeaturesArgs, json: bool) -> Result<u8, Error> {
    let mut options = args.options()?;
    choose_source(&args.data.data, &mut options)?;
    let summary = headstart::features(session, &args.data.data, &args.out, &options)?;
    output::diagnostics(&summary.diagnostics);
    if json {
        output::json(&summary);
    } else {
        println!("{} rows of {} features in {}", summary.n, summary.width, args.out.display());
    }
    Ok(0)
}

fn check(session: &Session, args: &CheckArgs, json: bool) -> Result<u8, Error> {
    let report = headstart::check(session, &args.data.data, &args.data.load()?, &args.split.options())?;
    if json {
        output::json(&report);
    } else {
        let [train, valid, test] = report.split;
        let (n, modality, k) = (report.n_examples, report.modality, report.classes.len());
        match (report.task, report.numbers) {
            (Task::Classification, _) => println!("{n} {modality}s in {k} classes"),
            (Task::MultiLabel, _) => println!("{n} {modality}s with {k} labels"),
            (Task::Regression, None) => println!("{n} {modality}s with a number each"),
            (Task::Regression, Some(s)) => println!(
                "{n} {modality}s with numbers from {} to {}, mean {:.4}, standard deviation {:.4}",
                s.min, s.max, s.mean, s.std
            ),
        }
        for (class, n) in &report.classes {
            println!("  {n:>7}  {class}");
        }
        println!("split: {train} train, {valid} valid, {test} test");
        println!("{} byte-identical copies, {} unreadable", report.n_duplicates, report.n_skipped);
        output::diagnostics(&report.diagnostics);
        println!("{}", if report.ok { "ok" } else { "not ok: some examples cannot be read" });
    }
    Ok(u8::from(!report.ok))
}

fn demo(session: &Session, args: &DemoArgs, json: bool) -> Result<u8, Error> {
    if !json {
        println!(
            "EfficientNet-Lite0, trained on photographs, learns the categories of emoji from half of them."
        );
    }
    let outcome = headstart::demo(session, &args.out)?;
    if json {
        let mut value = serde_json::to_value(&outcome.summary).expect("plain data");
        value["predictions"] = serde_json::to_value(&outcome.predictions).expect("plain data");
        output::json(&value);
    } else {
        println!("{}", outcome.summary.text);
        println!("\nunseen emoji:");
        for p in &outcome.predictions {
            let mark = if p.predicted == p.category { "right" } else { "wrong" };
            println!("  {:<36} → {:<18} {:>4.0} %  {mark}", p.name, p.predicted, 100.0 * p.probability);
        }
        print_places(&outcome.summary);
    }
    Ok(u8::from(outcome.summary.verdict == Verdict::Hurt))
}

fn print_summary(summary: &FitSummary, json: bool) {
    if json {
        output::json(summary);
    } else {
        println!("{}", summary.text);
        print_places(summary);
    }
}

fn print_places(summary: &FitSummary) {
    println!("\nreport   {}", summary.report.display());
    println!("bundle   {}", summary.bundle.display());
    println!("predict  headstart predict {} INPUT…", summary.bundle.display());
}

/// A source that fits the data, where the user named none.
fn choose_source(data: &Path, options: &mut FitOptions) -> Result<(), Error> {
    if options.source.is_empty() {
        options.source = match headstart::modality(data, &options.load)? {
            Modality::Image => "efficientnet-lite0".into(),
            Modality::Text => "minilm-l6".into(),
        };
    }
    Ok(())
}

/// The bundle in the folder of a run, or the folder itself.
fn bundle_dir(path: &Path) -> PathBuf {
    let inner = path.join("bundle");
    if !path.join("headstart.json").exists() && inner.is_dir() { inner } else { path.into() }
}
