//! The report as a few lines for the terminal.

use std::fmt::Write;

use crate::ReportData;
use crate::number::{counted, duration, score, score_gain, share};
use crate::sentence::baseline_label;

/// A few lines for the terminal: the verdict, what it was compared with, what it cost.  No colours: the caller knows
/// its terminal.
pub fn summary(d: &ReportData) -> String {
    let mut out = format!("{}\n\n", plain(&d.sentence));
    let metric = d.plan.metric;
    let value = |x| score(metric, x);
    let gain = |x| score_gain(metric, x);
    let ours = format!("Transfer ({})", plain(&d.plan.recipe));
    let labels: Vec<String> = d.comparisons.iter().map(|c| plain(baseline_label(&c.baseline))).collect();
    let width = labels.iter().chain([&ours]).map(|l| l.chars().count()).max().unwrap_or(0);
    let _ = writeln!(
        out,
        "  {ours:<width$}  {}  [{}–{}]",
        value(d.score),
        value(d.score_ci95.lo),
        value(d.score_ci95.hi)
    );
    for (c, label) in d.comparisons.iter().zip(&labels) {
        let _ = writeln!(
            out,
            "  {label:<width$}  {}  gain {} [{}, {}]",
            value(c.score),
            gain(c.gain),
            gain(c.gain_ci95.lo),
            gain(c.gain_ci95.hi)
        );
    }
    if let Some(fallback) = &d.fallback {
        let _ =
            writeln!(out, "\n  The bundle holds the better baseline: {}.", plain(baseline_label(fallback)));
    }
    let _ = write!(out, "\n  {}, {}", other_measures(d).join(", "), counted(d.metrics.n(), "test example"));
    if !d.timings.is_empty() {
        let _ = write!(out, ", {}", duration(d.timings.iter().map(|t| t.seconds).sum()));
    }
    if d.data.n_diagnostics > 0 {
        let _ = write!(
            out,
            "\n  {} about the data, {} left out",
            counted(d.data.n_diagnostics, "remark"),
            counted(d.data.n_skipped, "example")
        );
    }
    out.push('\n');
    out
}

/// The measures beside the one that the verdict compares, `macro F1 0.812`.
pub(crate) fn other_measures(d: &ReportData) -> Vec<String> {
    let others = d.metrics.all().into_iter().filter(|(m, _)| *m != d.plan.metric);
    let mut all: Vec<String> = others.map(|(m, v)| format!("{} {}", m.words(), score(m, v))).collect();
    if let Some(m) = d.metrics.classification() {
        all.push(format!("calibration error {}", share(m.ece)));
    }
    all
}

/// Without what a terminal would obey.
fn plain(s: &str) -> String {
    s.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
