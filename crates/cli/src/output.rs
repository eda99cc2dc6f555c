//! What is printed: JSON for programs, lines for people.

use headstart::{Diagnostic, Error, Plan, Task};
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
pub(crate) fn plan(plan: &Plan) {
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
    println!("\n  {:<44} {:>12}  state", "group", "parameters");
    for g in &plan.groups {
        println!("  {:<44} {:>12}  {:?}", g.name, g.n_parameters, g.state);
    }
    let all: usize = plan.groups.iter().map(|g| g.n_parameters).sum();
    let trained: usize =
        plan.groups.iter().filter(|g| format!("{:?}", g.state) == "Trained").map(|g| g.n_parameters).sum();
    println!(
        "\n  {trained} of {all} parameters are trained ({:.2} %)",
        100.0 * trained as f64 / all.max(1) as f64
    );
    for note in &plan.notes {
        println!("  note: {note}");
    }
}

fn brief(names: &[String]) -> String {
    let shown = names.iter().take(6).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > 6 { format!("{shown}, …") } else { shown }
}
