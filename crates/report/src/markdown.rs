//! The report as a short Markdown text: for a pull request or a note.

use std::fmt::Write;

use crate::ReportData;
use crate::number::{counted, duration, score, score_gain};
use crate::sections::confusion::pairs;
use crate::sentence::baseline_label;
use crate::summary::other_measures;

const PAIRS_SHOWN: usize = 5;

/// A short Markdown text: verdict, comparisons, measures, the worst confusions, the command.
pub fn markdown(d: &ReportData) -> String {
    let metric = d.plan.metric;
    let share = |x| score(metric, x);
    let gain = |x| score_gain(metric, x);
    let mut out = format!("# {}\n\n**{}**\n\n", text(&d.title), text(&d.sentence));
    if let Some(fallback) = &d.fallback {
        let _ = writeln!(out, "The bundle holds the better baseline: {}.\n", text(baseline_label(fallback)));
    }
    let _ = writeln!(
        out,
        "| model | {} | gain of transfer over it (95 % interval) |\n|---|---:|---:|",
        metric.words()
    );
    let _ = writeln!(
        out,
        "| transfer ({}) | {} [{}–{}] | |",
        text(&d.plan.recipe),
        share(d.score),
        share(d.score_ci95.lo),
        share(d.score_ci95.hi)
    );
    for c in &d.comparisons {
        let (lo, hi) = (gain(c.gain_ci95.lo), gain(c.gain_ci95.hi));
        let _ = writeln!(
            out,
            "| {} | {} | {} [{lo}, {hi}] |",
            text(baseline_label(&c.baseline)),
            share(c.score),
            gain(c.gain)
        );
    }
    let others = other_measures(d).join(", ");
    let mut letters = others.chars();
    let capital: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    let _ = writeln!(out, "\n{capital}, on {}.", counted(d.metrics.n(), "test example"));
    let confused = d.metrics.classification().map(|m| pairs(&m.confusion)).unwrap_or_default();
    let worst: Vec<String> = confused
        .iter()
        .take(PAIRS_SHOWN)
        .map(|&(t, p, n)| format!("{} taken for {} ({n}×)", class(d, t), class(d, p)))
        .collect();
    if !worst.is_empty() {
        let _ = writeln!(out, "\nMost confused: {}.", worst.join("; "));
    }
    let total: f64 = d.timings.iter().map(|t| t.seconds).sum();
    let _ = writeln!(
        out,
        "\nSource {} ({}), seed {}, {}.\n\n```sh\n{}\n```",
        text(&d.source.id),
        text(&d.source.licence),
        d.plan.seed,
        duration(total),
        d.command_reproduce.replace("```", "'''")
    );
    out
}

fn class(d: &ReportData, idx: usize) -> String {
    d.plan.classes.get(idx).map_or_else(|| format!("class {idx}"), |s| text(s))
}

/// Text that Markdown and HTML leave as it is, on one line.
fn text(s: &str) -> String {
    let mut out = String::with_capacity(s.len());
    for c in s.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' | '!' => out.extend(['\\', c]),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}
