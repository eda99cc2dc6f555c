//! The answer first, with its grounds beside it.

use headstart_core::{Metric, Task, Verdict};
use maud::{Markup, html};

use crate::ReportData;
use crate::number::{count, counted, duration, score, score_gain};
use crate::plot::{Scale, strip, strip_axis};
use crate::sentence::baseline_label;

pub(crate) fn section(d: &ReportData) -> Markup {
    let (class, sign, words) = match d.verdict {
        Verdict::Helped => ("helped", "▲", "Transfer helped"),
        Verdict::NoMeasurableGain => ("unclear", "≈", "No measurable gain"),
        Verdict::Hurt => ("hurt", "▼", "Transfer hurt"),
    };
    // The words stand above it already.
    let grounds = d.sentence.strip_prefix(words).and_then(|s| s.strip_prefix(": ")).unwrap_or(&d.sentence);
    html! {
        header {
            p.kicker { "Headstart · " (d.plan.task.on(d.plan.modality).replace('-', " ")) }
            h1 { (super::name(&d.title)) }
            p class=(format!("verdict {class}")) { span.sign aria-hidden="true" { (sign) } " " (words) }
            p.grounds { (grounds) }
            @if let Some(fallback) = &d.fallback {
                p.note {
                    "The bundle therefore holds the better baseline, not the transferred network: "
                    strong { (baseline_label(fallback)) } "."
                }
            }
        }
        (comparison(d))
        (figures(d))
    }
}

fn comparison(d: &ReportData) -> Markup {
    if d.comparisons.is_empty() {
        return html! {};
    }
    let gains = Scale::around(d.comparisons.iter().flat_map(|c| [0.0, c.gain_ci95.lo, c.gain_ci95.hi]));
    let (ci, metric) = (d.score_ci95, d.plan.metric);
    let words = metric.words();
    let mut letters = words.chars();
    let title: String = letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    let share = |x| score(metric, x);
    let gain = |x| score_gain(metric, x);
    let scale = match metric {
        Metric::Mae | Metric::Rmse | Metric::R2 => {
            let scores = d.comparisons.iter().map(|c| c.score);
            Scale::around(scores.chain([0.0, d.score, ci.lo, ci.hi]))
        }
        _ => Scale::UNIT,
    };
    html! {
        div.scroll {
            table.comparison {
                caption.hidden { (title) " of the transferred network and of what it must beat" }
                thead {
                    tr {
                        th scope="col" { "Model" }
                        th.num scope="col" { (title) }
                        td.plot {}
                        th.num scope="col" { "Gain of transfer over it" }
                        td.plot.second {}
                    }
                }
                tbody {
                    tr.ours {
                        th scope="row" { "Transfer " span.quiet { "(" (d.plan.recipe) ")" } }
                        td.num { (share(d.score)) }
                        td.plot { (strip(scale, d.score, Some([ci.lo, ci.hi]), "ours")) }
                        td.num {}
                        td.plot.second {}
                    }
                    @for c in &d.comparisons {
                        @let side = if c.gain_ci95.lo > 0.0 { "up" } else if c.gain_ci95.hi < 0.0 { "down" } else { "even" };
                        tr {
                            th scope="row" { (baseline_label(&c.baseline)) }
                            td.num { (share(c.score)) }
                            td.plot { (strip(scale, c.score, None, "rival")) }
                            td.num {
                                (gain(c.gain)) " "
                                span.range { "[" (gain(c.gain_ci95.lo)) ", " (gain(c.gain_ci95.hi)) "]" }
                            }
                            td.plot.second { (strip(gains, c.gain, Some([c.gain_ci95.lo, c.gain_ci95.hi]), side)) }
                        }
                    }
                }
                tfoot aria-hidden="true" {
                    tr { td {} td {} td.plot { (strip_axis(scale)) } td {} td.plot.second { (strip_axis(gains)) } }
                }
            }
        }
        p.caption {
            span.strips { "Dots are what was measured on the test examples, bars and brackets are 95 % intervals.  " }
            "A gain's interval keeps the two models paired, example by example; transfer "
            "helps where it lies wholly above 0."
            @if metric.is_error() { "  The measure is an error: less is better, and a gain is what transfer takes off it." }
        }
    }
}

fn figures(d: &ReportData) -> Markup {
    let total: f64 = d.timings.iter().map(|t| t.seconds).sum();
    html! {
        dl.figures {
            @match d.plan.task {
                Task::Classification => { div { dt { "Classes" } dd { (count(d.plan.classes.len())) } } }
                Task::MultiLabel => { div { dt { "Labels" } dd { (count(d.plan.classes.len())) } } }
                Task::Regression => {}
            }
            div { dt { "Learned from" } dd { (counted(d.data.n_train, "example")) } }
            div { dt { "Judged by" } dd { (counted(d.metrics.n(), "example")) } }
            div { dt { "Source" } dd { (d.source.id) } }
            @if !d.timings.is_empty() {
                div { dt { "Took" } dd { (duration(total)) } }
            }
        }
    }
}
