//! What it got wrong, the surest first: often the labels are at fault, and the reader sees it at once.

use headstart_core::Task;
use maud::{Markup, html};

use crate::data::{Answer, Mistake, MistakeContent};
use crate::number::{count, counted, share, sig3};
use crate::{Picture, ReportData};

/// Longest text that is shown in full, characters.
const TEXT_MAX: usize = 600;

pub(crate) fn section(d: &ReportData) -> Markup {
    let classes = &d.plan.classes;
    let mut shown: Vec<&Mistake> = d.mistakes.shown.iter().collect();
    // Stable: what is not a class keeps the order it came in.
    let sure = |m: &Mistake| if let Answer::Class { probability, .. } = m.answer { probability } else { 0.0 };
    shown.sort_by(|a, b| sure(b).total_cmp(&sure(a)));
    let (pictures, texts): (Vec<_>, Vec<_>) =
        shown.into_iter().partition(|m| matches!(m.content, MistakeContent::Picture(_)));
    html! {
        @if d.plan.task == Task::Regression {
            p.dek { "The test examples that are farthest off, the worst first: look for wrong numbers among them." }
        } @else {
            p.dek {
                (counted(d.mistakes.n, "test example")) " of " (count(d.metrics.n())) " went wrong"
                @if d.mistakes.n > d.mistakes.shown.len() { "; here are " (count(d.mistakes.shown.len())) }
                ".  The surest come first: look for wrong labels among them."
            }
        }
        @if !pictures.is_empty() {
            ul.gallery {
                @for m in pictures {
                    @if let MistakeContent::Picture(p) = &m.content { (picture(classes, m, p)) }
                }
            }
        }
        @if !texts.is_empty() {
            ol.texts {
                @for m in texts {
                    @if let MistakeContent::Text(t) = &m.content { (text(classes, m, t)) }
                }
            }
        }
    }
}

fn picture(classes: &[String], m: &Mistake, p: &Picture) -> Markup {
    html! {
        li {
            figure {
                img src=(p.data_uri()) alt=(format!("Test example {}", m.id)) loading="lazy";
                figcaption {
                    (said(classes, m))
                    span.id title=(m.id) { (super::name(&m.id)) }
                }
            }
        }
    }
}

fn text(classes: &[String], m: &Mistake, t: &str) -> Markup {
    let short: String = t.chars().take(TEXT_MAX).collect();
    html! {
        li {
            blockquote dir="auto" {
                (short)
                @if short.len() < t.len() { "…" }
            }
            p.said { (said(classes, m)) span.id { (super::name(&m.id)) } }
        }
    }
}

fn said(classes: &[String], m: &Mistake) -> Markup {
    let names = |idx: &[usize]| {
        html! { @for (i, &c) in idx.iter().enumerate() { @if i > 0 { ", " } strong { (super::class(classes, c)) } } }
    };
    html! {
        @match &m.answer {
            Answer::Class { truth_idx, predicted_idx, probability, probability_truth } => {
                span.predicted {
                    "said " strong { (super::class(classes, *predicted_idx)) } " " (share(f64::from(*probability)))
                }
                span.truth {
                    "is " strong { (super::class(classes, *truth_idx)) } " " (share(f64::from(*probability_truth)))
                }
            }
            Answer::Labels { missed, invented } => {
                @if !invented.is_empty() { span.predicted { "is not " (names(invented)) } }
                @if !missed.is_empty() { span.truth { "missed " (names(missed)) } }
            }
            Answer::Number { truth, predicted } => {
                span.predicted { "said " strong { (sig3(*predicted)) } }
                span.truth { "is " strong { (sig3(*truth)) } }
            }
        }
    }
}
