//! What was frozen, what learned, and what a person should know of it.

use headstart_core::{GroupPlan, GroupState, HeadKind, Plan, Task};
use maud::{Markup, html};

use crate::ReportData;
use crate::number::{count, counted, rounded, short, sig3};

pub(crate) fn section(d: &ReportData) -> Markup {
    let p = &d.plan;
    let total: usize = p.groups.iter().map(|g| g.n_parameters).sum();
    let trained: usize = p.groups.iter().map(|g| g.n_learning).sum();
    html! {
        p.dek {
            "Recipe " strong { (p.recipe) } ": of " (rounded(total)) " numbers, " (rounded(trained)) " were learned ("
            (sig3(100.0 * trained as f64 / total.max(1) as f64)) " %).  Features of width " (count(p.feature_width))
            " are taken at " code { (p.tap) } "."
        }
        (table(&collapse(&p.groups)))
        p { (head(p)) }
        @if let Some(b) = &p.baseline { @if !b.why.is_empty() { p { "Baseline from random weights: " (b.why) } } }
        @if !p.notes.is_empty() {
            ul.remarks { @for note in &p.notes { li { (note) } } }
        }
        @if !p.unused_weights.is_empty() {
            details {
                summary { (counted(p.unused_weights.len(), "tensor")) " of the source not used" }
                p { @for (i, w) in p.unused_weights.iter().enumerate() { @if i > 0 { ", " } code { (w) } } }
            }
        }
    }
}

/// Neighbours of one state under one first name: `layer1.0`, `layer1.1` → `layer1`.
struct Block<'a> {
    name: &'a str,
    n_groups: usize,
    n_parameters: usize,
    n_learning: usize,
    state: GroupState,
    lr_max: Option<f64>,
}

fn collapse(groups: &[GroupPlan]) -> Vec<Block<'_>> {
    let mut blocks: Vec<Block<'_>> = Vec::new();
    for g in groups {
        let first = g.name.split('.').next().unwrap_or(&g.name);
        match blocks.last_mut() {
            Some(b)
                if b.state == g.state && b.lr_max == g.lr_max && b.name.split('.').next() == Some(first) =>
            {
                b.name = first;
                b.n_groups += 1;
                b.n_parameters += g.n_parameters;
                b.n_learning += g.n_learning;
            }
            _ => blocks.push(Block {
                name: &g.name,
                n_groups: 1,
                n_parameters: g.n_parameters,
                n_learning: g.n_learning,
                state: g.state,
                lr_max: g.lr_max,
            }),
        }
    }
    blocks
}

fn table(blocks: &[Block<'_>]) -> Markup {
    html! {
        div.scroll {
            table.plan {
                caption.hidden { "Groups of parameters, from the input to the head" }
                thead {
                    tr {
                        th scope="col" { "Group" }
                        th.num scope="col" { "Parameters" }
                        th.num scope="col" { "Learning" }
                        th scope="col" { "State" }
                        th.num scope="col" { "Highest rate" }
                    }
                }
                tbody {
                    @for b in blocks {
                        @let (class, words) = match b.state {
                            GroupState::Frozen => ("frozen", "frozen"),
                            GroupState::Trained => ("trained", "trained"),
                            GroupState::Adapted => ("adapted", "adapted"),
                        };
                        tr class=(class) {
                            th scope="row" {
                                code { (b.name) }
                                @if b.n_groups > 1 { span.quiet { " · " (counted(b.n_groups, "group")) } }
                            }
                            td.num { (count(b.n_parameters)) }
                            td.num { (count(b.n_learning)) }
                            td { span.tag { (words) } }
                            td.num { @if let Some(lr) = b.lr_max { (short(lr)) } }
                        }
                    }
                }
            }
        }
    }
}

fn head(p: &Plan) -> String {
    let h = &p.head;
    // What is trained starts from, or is compared with, a head on the frozen features.
    let which = if p.training.is_some() { "The probe's head" } else { "The head" };
    if h.kind == HeadKind::Prototype {
        return format!("{which} knows each class by the mean of its examples.");
    }
    format!(
        "{which} is {}{}{}; its L2 penalty was picked from {} by {}-fold cross-validation \
         inside the training examples.",
        match p.task {
            Task::Classification => "a multinomial logistic regression",
            Task::MultiLabel => "a logistic regression for each label",
            Task::Regression => "a ridge regression",
        },
        if h.scaling == headstart_core::Scaling::PerFeature {
            " on features each divided by its own spread"
        } else {
            ""
        },
        if h.class_weights { ", every class counting the same" } else { "" },
        counted(h.l2_candidates.len(), "strength"),
        h.n_folds
    )
}
