//! `README.md`: the model card, in the shape that the hub reads.

use std::fmt::Write;

use headstart_core::{Metric, Modality, Task};
use headstart_graph::{ImagePreprocess, Preprocess, Resize};

use crate::Manifest;

/// Classes named in full on the card.
const CLASSES_SHOWN: usize = 50;

/// The model card: YAML front matter for the hub, then a page for people.
pub fn readme(manifest: &Manifest) -> String {
    [
        front_matter(manifest),
        head(manifest),
        usage(manifest),
        results(manifest),
        training(manifest),
        source(manifest),
        integrity(manifest),
    ]
    .join("\n")
}

fn front_matter(m: &Manifest) -> String {
    let (license, license_name) = hub_licence(&m.card.licence);
    let mut out = format!("---\nlicense: {license}\n");
    if let Some(name) = license_name {
        let _ = writeln!(out, "license_name: {}", yaml(name));
    }
    let _ = writeln!(out, "library_name: headstart\npipeline_tag: {}", yaml(&pipeline_tag(m)));
    out.push_str("tags:\n- headstart\n- transfer-learning\n");
    if !m.card.architecture.is_empty() {
        let _ = writeln!(out, "- {}", yaml(&m.card.architecture));
    }
    let _ = writeln!(out, "metrics:\n- {}", m.results.metric);
    if let Some(base) = hub_repository(&m.card.origin) {
        let _ = writeln!(out, "base_model: {}\nbase_model_relation: finetune", yaml(base));
    }
    out.push_str("---\n");
    out
}

fn head(m: &Manifest) -> String {
    let mut out = format!("# {}\n\n{}\n", text(&m.name), text(&m.results.sentence));
    if let Some(fallback) = &m.results.fallback {
        let _ = writeln!(
            out,
            "\n**This bundle does not hold the transferred network.**  Transfer hurt, so it holds the better baseline: {}.",
            text(fallback)
        );
    }
    let n = m.labels.len();
    let _ = match m.plan.task {
        Task::Classification => writeln!(out, "\nIt tells {n} classes apart: {}.", classes(&m.labels)),
        Task::MultiLabel => writeln!(out, "\nIt says which of {n} labels apply: {}.", classes(&m.labels)),
        Task::Regression => writeln!(out, "\nIt puts out a number."),
    };
    out
}

fn usage(m: &Manifest) -> String {
    let example = match m.preprocess {
        Preprocess::Image(_) => "photo.jpg",
        Preprocess::Text(_) => "'a text'",
    };
    format!(
        "## Use\n\n```sh\nheadstart predict THIS_FOLDER {example}\n```\n\nPreprocessing is part of the bundle: {}.\n",
        preprocess(&m.preprocess)
    )
}

fn results(m: &Manifest) -> String {
    let r = &m.results;
    let mut out = format!(
        "## Results\n\nOn {} test examples that nothing else saw:\n\n| measure | value |\n|---|---:|\n\
         | {} | {:.3} (95 % interval {:.3} to {:.3}) |\n",
        r.n_test,
        r.metric.words(),
        r.score,
        r.score_ci95.lo,
        r.score_ci95.hi
    );
    for (name, value) in r.measures.iter().filter(|(name, _)| **name != r.metric.to_string()) {
        let words = name.parse::<Metric>().map_or_else(|_| name.replace('_', " "), |m| m.words().into());
        let _ = writeln!(out, "| {} | {value:.3} |", text(&words));
    }
    if !r.comparisons.is_empty() {
        let _ = writeln!(
            out,
            "\n| baseline | {} | gain over it (95 % interval) |\n|---|---:|---:|",
            r.metric.words()
        );
        for c in &r.comparisons {
            let _ = writeln!(
                out,
                "| {} | {:.3} | {:+.3} ({:+.3} to {:+.3}) |",
                text(&c.baseline),
                c.score,
                c.gain,
                c.gain_ci95.lo,
                c.gain_ci95.hi
            );
        }
    }
    let _ = writeln!(out, "\nVerdict on the transfer: **{}**.", r.verdict);
    out
}

fn training(m: &Manifest) -> String {
    let (p, s) = (&m.plan, &m.plan.split);
    let division =
        if s.given { "as the data set came divided".into() } else { format!("divided with seed {}", s.seed) };
    format!(
        "## Training\n\nRecipe `{}` from `{}`, seed {}, on {} training examples ({} for validation, {} for the test, \
         {division}).  The whole plan is in `headstart.json`.\n",
        code(&p.recipe),
        code(&p.source),
        p.seed,
        s.n_train,
        s.n_valid,
        s.n_test
    )
}

fn source(m: &Manifest) -> String {
    let c = &m.card;
    let mut out = String::from("## Source network\n\n");
    for (what, value) in [
        ("Network", &c.id),
        ("Architecture", &c.architecture),
        ("Origin", &c.origin),
        ("Licence", &c.licence),
        ("Trained on", &c.trained_on),
        ("Paper", &c.paper),
        ("Limits", &c.limits),
    ] {
        if !value.is_empty() {
            let _ = writeln!(out, "- {what}: {}", text(value));
        }
    }
    out.push_str(
        "\nThe licence of the source and that of your data both bear on this bundle.  Only the test examples above were \
         judged: expect less on pictures or texts that differ from them.\n",
    );
    out
}

fn integrity(m: &Manifest) -> String {
    format!(
        "## Integrity\n\nHeadstart {} made this bundle.  `headstart.json` holds the size and blake3 of every file and the \
         predictions for {} made-up inputs; opening the bundle checks the ones and replays the others.  The data set's \
         blake3 is `{}`.\n",
        text(&m.provenance.headstart),
        m.golden.inputs.len(),
        code(&m.provenance.data_blake3)
    )
}

/// The hub's name of the task, where it has one.
fn pipeline_tag(m: &Manifest) -> String {
    match (m.plan.task, m.modality) {
        (Task::Classification | Task::MultiLabel, Modality::Image) => "image-classification".into(),
        (Task::Classification | Task::MultiLabel, Modality::Text) => "text-classification".into(),
        (Task::Regression, _) => m.task.clone(),
    }
}

fn classes(labels: &[String]) -> String {
    let mut out: Vec<String> = labels.iter().take(CLASSES_SHOWN).map(|l| text(l)).collect();
    if labels.len() > CLASSES_SHOWN {
        out.push(format!("and {} more", labels.len() - CLASSES_SHOWN));
    }
    out.join(", ")
}

fn preprocess(p: &Preprocess) -> String {
    match p {
        Preprocess::Image(ImagePreprocess { size_px: [h, w], resize, .. }) => match resize {
            Resize::Squash => format!("pictures of any size are resized to {w}×{h} pixels"),
            Resize::SquashThenCrop { squashed_px: [to_h, to_w] } => {
                format!(
                    "pictures of any size are resized to {to_w}×{to_h} pixels and the middle {w}×{h} is used"
                )
            }
            Resize::ShorterThenCrop { shorter_px } => {
                format!("the shorter side is resized to {shorter_px} pixels and the middle {w}×{h} are used")
            }
        },
        Preprocess::Text(t) => format!("texts are cut after {} tokens", t.length_max),
    }
}

/// The hub's name of a licence, and the licence's own name where the hub has none.
fn hub_licence(spdx: &str) -> (String, Option<&str>) {
    const HUB: [&str; 16] = [
        "apache-2.0",
        "mit",
        "bsd-2-clause",
        "bsd-3-clause",
        "bsd-3-clause-clear",
        "cc0-1.0",
        "cc-by-4.0",
        "cc-by-sa-4.0",
        "cc-by-nc-4.0",
        "cc-by-nc-sa-4.0",
        "gpl-3.0",
        "lgpl-3.0",
        "agpl-3.0",
        "mpl-2.0",
        "openrail",
        "unknown",
    ];
    let lower = spdx.trim().to_ascii_lowercase();
    let bare = lower.trim_end_matches("-only").trim_end_matches("-or-later");
    match bare {
        "" => ("unknown".into(), None),
        _ if HUB.contains(&bare) => (bare.into(), None),
        _ => ("other".into(), Some(spdx)),
    }
}

/// `owner/repo` of `hf:owner/repo@rev`.
fn hub_repository(origin: &str) -> Option<&str> {
    let repo = origin.strip_prefix("hf:")?.split(['@', '!']).next()?;
    let (owner, name) = repo.split_once('/')?;
    let plain =
        |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
    (plain(owner) && plain(name)).then_some(repo)
}

/// A YAML scalar: bare if it cannot be mistaken for anything else, else quoted as JSON, which YAML includes.
fn yaml(s: &str) -> String {
    let bare = s.starts_with(|c: char| c.is_ascii_alphabetic())
        && s.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_./".contains(&b))
        && !["true", "false", "yes", "no", "on", "off", "null", "y", "n"]
            .contains(&s.to_ascii_lowercase().as_str());
    if bare { s.into() } else { serde_json::to_string(s).expect("a string is JSON") }
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

/// Text between backquotes.
fn code(s: &str) -> String {
    s.chars().map(|c| if c == '`' || c == '|' || c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_are_the_hubs() {
        assert_eq!(hub_licence("Apache-2.0"), ("apache-2.0".into(), None));
        assert_eq!(hub_licence("GPL-3.0-or-later"), ("gpl-3.0".into(), None));
        assert_eq!(hub_licence("MIT OR Apache-2.0"), ("other".into(), Some("MIT OR Apache-2.0")));
        assert_eq!(hub_licence(""), ("unknown".into(), None));
    }

    #[test]
    fn hostile_text_stays_text() {
        assert_eq!(text("<b>|a`\n# x"), "&lt;b&gt;\\|a\\` \\# x");
        assert_eq!(yaml("a: b\n- c"), "\"a: b\\n- c\"");
        assert_eq!(yaml("no"), "\"no\"");
        assert_eq!(yaml("resnet18"), "resnet18");
        assert_eq!(hub_repository("hf:owner/repo@abc"), Some("owner/repo"));
        assert_eq!(hub_repository("hf:../x y"), None);
    }
}
