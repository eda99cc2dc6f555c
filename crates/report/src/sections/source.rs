//! The network that the head start comes from.

use maud::{Markup, html};

use crate::ReportData;

pub(crate) fn section(d: &ReportData) -> Markup {
    let c = &d.source;
    html! {
        p.dek { "The network that the head start comes from." }
        dl.facts {
            @for (what, value) in [
                ("Network", &c.id),
                ("Architecture", &c.architecture),
                ("Trained on", &c.trained_on),
                ("Licence", &c.licence),
                ("Limits", &c.limits),
            ] {
                @if !value.is_empty() { dt { (what) } dd { (value) } }
            }
            @if !c.paper.is_empty() { dt { "Paper" } dd { (linked(&c.paper)) } }
            @if !c.origin.is_empty() { dt { "Origin" } dd { code { (c.origin) } } }
            @if !c.sha256.is_empty() { dt { "SHA-256" } dd { code { (c.sha256) } } }
        }
    }
}

/// A text whose addresses can be followed; nothing but `https:` becomes a link.
fn linked(s: &str) -> Markup {
    html! {
        @for (i, word) in s.split(' ').enumerate() {
            @if i > 0 { " " }
            @if word.starts_with("https://") {
                @let address = word.trim_end_matches(['.', ',', ';', ')']);
                a href=(address) rel="noreferrer noopener" { (address) } (word[address.len()..])
            } @else { (word) }
        }
    }
}
