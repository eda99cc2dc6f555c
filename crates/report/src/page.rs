//! The page: head, style, sections in the order in which a reader asks, script.

use headstart_core::Task;
use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::ReportData;
use crate::sections;

const STYLE: &str = include_str!("style.css");
/// Adds copy buttons; the page says everything without it.
const SCRIPT: &str = include_str!("page.js");
/// Nothing may be loaded from anywhere, and no script may run but ours: a second wall behind the escaping.
const POLICY: &str = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; \
                      form-action 'none'; script-src 'sha256-advem1GT4uA62lzGl8v11zOzZPHzWQBSacuMTqrpIOE='";

/// One self-contained HTML page: no network, no fonts to load, readable without scripts, in the dark and on paper.
pub fn html(d: &ReportData) -> String {
    let parts = parts(d);
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (d.title) " – Headstart report" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                main {
                    (sections::verdict::section(d))
                    nav aria-label="Sections" {
                        @for p in &parts {
                            a href=(format!("#{}", p.id)) { (p.title) }
                        }
                    }
                    @for p in &parts {
                        section id=(p.id) aria-labelledby=(format!("{}-title", p.id)) {
                            h2 id=(format!("{}-title", p.id)) { (p.title) }
                            (p.body)
                        }
                    }
                }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    };
    // HTML has no place for control characters, not even escaped.
    page.into_string()
        .chars()
        .map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c })
        .collect()
}

/// A titled part of the page.
pub(crate) struct Part {
    id: &'static str,
    title: &'static str,
    body: Markup,
}

fn parts(d: &ReportData) -> Vec<Part> {
    let part = |id, title, body| Part { id, title, body };
    let mut parts = vec![part("measures", "Measures", sections::measures::section(d))];
    if let Some(m) = d.metrics.classification() {
        parts.push(part(
            "confusion",
            "Confusions",
            sections::confusion::section(&d.plan.classes, &m.confusion),
        ));
    }
    if !d.scatter.is_empty() {
        parts.push(part("scatter", "Predicted and true", sections::scatter::section(d)));
    }
    if d.mistakes.n > 0 {
        let title = if d.plan.task == Task::Regression { "Largest errors" } else { "Mistakes" };
        parts.push(part("mistakes", title, sections::mistakes::section(d)));
    }
    if !d.reliability.is_empty() {
        parts.push(part("calibration", "Calibration", sections::calibration::section(d)));
    }
    parts.push(part("data", "Data", sections::data::section(d)));
    parts.push(part("source", "Source", sections::source::section(d)));
    parts.push(part("plan", "Plan", sections::plan::section(d)));
    if d.l2.is_some() || d.scratch.is_some() {
        parts.push(part("fitting", "Fitting", sections::fitting::section(d)));
    }
    if !d.timings.is_empty() {
        parts.push(part("cost", "Cost", sections::cost::section(d)));
    }
    parts.push(part("again", "Use it, make it again", sections::again::section(d)));
    parts
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use sha2::Digest;

    use super::*;

    #[test]
    fn the_policy_names_the_script() {
        let hash = base64::engine::general_purpose::STANDARD.encode(sha2::Sha256::digest(SCRIPT));
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "put sha256-{hash} into POLICY");
    }
}
