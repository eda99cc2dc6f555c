//! What it got wrong, the surest first: often the labels are at fault, and the reader sees it at once.

use maud::{Markup, html};

use crate::data::{Mistake, MistakeContent};
use crate::number::{count, counted, share};
use crate::{Picture, ReportData};

/// Longest text that is shown in full, characters.
const TEXT_MAX: usize = 600;

pub(crate) fn section(d: &ReportData) -> Markup {
    let classes = &d.plan.classes;
    let mut shown: Vec<&Mistake> = d.mistakes.shown.iter().collect();
    shown.sort_by(|a, b| b.probability.total_cmp(&a.probability).then_with(|| a.id.cmp(&b.id)));
    let (pictures, texts): (Vec<_>, Vec<_>) =
        shown.into_iter().partition(|m| matches!(m.content, MistakeContent::Picture(_)));
    html! {
        p.dek {
            (counted(d.mistakes.n, "test example")) " of " (count(d.metrics.n)) " went wrong"
            @if d.mistakes.n > d.mistakes.shown.len() { "; here are " (count(d.mistakes.shown.len())) }
            ".  The surest come first: look for wrong labels among them."
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
    html! {
        span.predicted { "said " strong { (super::class(classes, m.predicted_idx)) } " " (share(m.probability.into())) }
        span.truth { "is " strong { (super::class(classes, m.truth_idx)) } " " (share(m.probability_truth.into())) }
    }
}
