//! The report as a few lines for the terminal.

use std::fmt::Write;

use crate::ReportData;
use crate::number::{counted, duration, gain, share};
use crate::sentence::baseline_label;

/// A few lines for the terminal: the verdict, what it was compared with, what it cost.  No colours: the caller knows
/// its terminal.
pub fn summary(d: &ReportData) -> String {
    let mut out = format!("{}\n\n", plain(&d.sentence));
    let ours = format!("Transfer ({})", plain(&d.plan.recipe));
    let labels: Vec<String> = d.comparisons.iter().map(|c| plain(baseline_label(&c.baseline))).collect();
    let width = labels.iter().chain([&ours]).map(|l| l.chars().count()).max().unwrap_or(0);
    let _ = writeln!(
        out,
        "  {ours:<width$}  {}  [{}–{}]",
        share(d.metrics.accuracy),
        share(d.accuracy_ci95.lo),
        share(d.accuracy_ci95.hi)
    );
    for (c, label) in d.comparisons.iter().zip(&labels) {
        let _ = writeln!(
            out,
            "  {label:<width$}  {}  gain {} [{}, {}]",
            share(c.score),
            gain(c.gain),
            gain(c.gain_ci95.lo),
            gain(c.gain_ci95.hi)
        );
    }
    if let Some(fallback) = &d.fallback {
        let _ =
            writeln!(out, "\n  The bundle holds the better baseline: {}.", plain(baseline_label(fallback)));
    }
    let _ = write!(
        out,
        "\n  macro F1 {}, calibration error {}, {}",
        share(d.metrics.macro_f1),
        share(d.metrics.ece),
        counted(d.metrics.n, "test example")
    );
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

/// Without what a terminal would obey.
fn plain(s: &str) -> String {
    s.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
