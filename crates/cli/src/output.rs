//! What is printed: JSON for programs, lines for people.

use headstart::{Diagnostic, Error, Forecast, Plan, Task, TrainingPlan};
use serde::Serialize;

/// Diagnostics shown before the rest is counted.
const DIAGNOSTICS_SHOWN: usize = 10;

/// One JSON object on a line of standard output.
pub(crate) fn json(value: &impl Serialize) {
    println!("{}", serde_json::to_string(value).expect("answers are plain data with string keys"));
}

/// `error:` and `hint:` on standard error; with `--json` an object on standard output as well.
pub(crate) fn error(e: &Error, as_json: bool) {
    eprintln!("error: {e}");
    let hint = e.hint();
    if let Some(hint) = &hint {
        eprintln!("\nhint: {hint}");
    }
    if as_json {
        json(&serde_json::json!({"error": e.to_string(), "hint": hint, "exit_code": e.exit_code()}));
    }
}

/// The first diagnostics, one a line, on standard error.
pub(crate) fn diagnostics(all: &[Diagnostic]) {
    for d in all.iter().take(DIAGNOSTICS_SHOWN) {
        eprintln!("{}: {d}", if d.skipped { "skipped" } else { "note" });
    }
    if all.len() > DIAGNOSTICS_SHOWN {
        eprintln!("… and {} more", all.len() - DIAGNOSTICS_SHOWN);
    }
}

/// A plan as a page.
pub(crate) fn plan(plan: &Plan, forecast: Option<&Forecast>) {
    let s = &plan.split;
    println!("{} by `{}` on `{}`", plan.task.on(plan.modality), plan.recipe, plan.source);
    match plan.task {
        Task::Classification => println!("  classes    {} ({})", plan.classes.len(), brief(&plan.classes)),
        Task::MultiLabel => println!("  labels     {} ({})", plan.classes.len(), brief(&plan.classes)),
        Task::Regression => {}
    }
    println!("  metric     {}", plan.metric.words());
    let how = if s.given { "as given".to_string() } else { format!("split seed {}", s.seed) };
    println!("  examples   {} train, {} valid, {} test ({how})", s.n_train, s.n_valid, s.n_test);
    println!("  features   {} numbers at `{}`", plan.feature_width, plan.tap);
    let h = &plan.head;
    println!(
        "  head       {}, {} strengths of L2 by {}-fold cross-validation{}",
        match plan.task {
            Task::Classification => "logistic regression",
            Task::MultiLabel => "a logistic regression for each label",
            Task::Regression => "ridge regression",
        },
        h.l2_candidates.len(),
        h.n_folds,
        if h.class_weights { ", classes weighed equally" } else { "" }
    );
    match &plan.baseline {
        Some(b) => println!(
            "  rival      the same network from random weights: {} ({} × the features' cost)",
            b.why, b.cost_ratio
        ),
        None => println!("  rival      declined"),
    }
    println!("  seed       {}", plan.seed);
    if !plan.unused_weights.is_empty() {
        println!(
            "  unused     {} tensors of the source ({})",
            plan.unused_weights.len(),
            brief(&plan.unused_weights)
        );
    }
    if let Some(training) = &plan.training {
        training_lines(training);
    }
    println!("\n  {:<44} {:>12} {:>12}  {:<8} learning rate", "group", "parameters", "learning", "state");
    for g in &plan.groups {
        let state = format!("{:?}", g.state).to_lowercase();
        let lr = g.lr_max.map_or(String::new(), |lr| format!("{lr:.1e}"));
        println!("  {:<44} {:>12} {:>12}  {state:<8} {lr}", g.name, g.n_parameters, g.n_learning);
    }
    let learning: usize = plan.groups.iter().map(|g| g.n_learning).sum();
    println!("\n  {learning} parameters learn ({:.2} % of all)", 100.0 * plan.trainable_share());
    if let Some(f) = forecast {
        println!(
            "  forecast   {:.0} s, at most {:.0} MiB of memory, {:.1} MiB written to the cache",
            f.seconds, f.peak_mb, f.cache_mb
        );
        if f.saved_share > 0.005 {
            println!(
                "             the frozen part runs once an example: {:.0} % of the work of training it is saved",
                100.0 * f.saved_share
            );
        }
    }
    for note in &plan.notes {
        println!("  note: {note}");
    }
}

fn training_lines(t: &TrainingPlan) {
    let phases: Vec<String> = t
        .phases
        .iter()
        .map(|p| format!("{} ({} {})", p.name, p.n_passes, if p.n_passes == 1 { "pass" } else { "passes" }))
        .collect();
    println!("  training   {}; batches of {}", phases.join(", then "), t.batch_size * t.n_accumulated);
    if !t.augmentation.is_empty() {
        println!("  augment    {}, {} views of each example", t.augmentation, t.n_views);
    }
    for guard in &t.regularisers {
        println!("  guard      {guard:?}");
    }
}

fn brief(names: &[String]) -> String {
    let shown = names.iter().take(6).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 6 { format!("{shown}, …") } else { shown }
}
