//! What there was to learn from, and what could not be read.

use headstart_core::{SplitName, Task};
use maud::{Markup, html};

use crate::ReportData;
use crate::data::{ClassCounts, DataSummary, NumberCounts};
use crate::number::{count, counted, sig3};

const CLASSES_OPEN: usize = 30;

pub(crate) fn section(d: &ReportData) -> Markup {
    let s = &d.plan.split;
    html! {
        p.dek {
            (counted(d.data.n_examples(), "example"))
            @match d.plan.task {
                Task::Classification => { " in " (counted(d.data.classes.len(), "class")) }
                Task::MultiLabel => { " with " (counted(d.data.classes.len(), "label")) }
                Task::Regression => { " with a number each" }
            }
            ", "
            @if s.given { "divided as they came." }
            @else {
                "divided by Headstart (seed " (s.seed) "), "
                (match d.plan.task {
                    Task::Classification => "every class alike.",
                    Task::MultiLabel => "the rarest label of each example alike.",
                    Task::Regression => "low, middle and high numbers alike.",
                })
            }
        }
        @if d.plan.task == Task::Regression {
            (number_table(&d.data.numbers))
        } @else if d.data.classes.len() <= CLASSES_OPEN {
            (table(&d.data.classes))
        } @else {
            details { summary { "All " (count(d.data.classes.len())) " classes" } (table(&d.data.classes)) }
        }
        (diagnostics(&d.data))
    }
}

fn number_table(splits: &[NumberCounts]) -> Markup {
    html! {
        div.scroll {
            table.counts {
                caption.hidden { "How the numbers are spread, by split" }
                thead {
                    tr {
                        th scope="col" { "Split" }
                        @for what in ["Examples", "Smallest", "Mean", "Standard deviation", "Largest"] {
                            th.num scope="col" { (what) }
                        }
                    }
                }
                tbody {
                    @for c in splits {
                        tr {
                            th scope="row" {
                                (match c.split {
                                    SplitName::Train => "Train",
                                    SplitName::Valid => "Validation",
                                    SplitName::Test => "Test",
                                })
                            }
                            td.num { (count(c.numbers.n)) }
                            @for v in [c.numbers.min, c.numbers.mean, c.numbers.std, c.numbers.max] {
                                td.num { (sig3(v)) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn table(classes: &[ClassCounts]) -> Markup {
    let most = classes.iter().map(ClassCounts::n).max().unwrap_or(1).max(1) as f64;
    let width = |n: usize| format!("width:{:.1}%", 100.0 * n as f64 / most);
    let has_valid = classes.iter().any(|c| c.n_valid > 0);
    let total = |f: fn(&ClassCounts) -> usize| count(classes.iter().map(f).sum());
    html! {
        div.scroll {
            table.counts {
                caption.hidden { "Examples by class and split" }
                thead {
                    tr {
                        th scope="col" { "Class" }
                        th.num scope="col" { i.key.train {} "Train" }
                        @if has_valid { th.num scope="col" { i.key.valid {} "Validation" } }
                        th.num scope="col" { i.key.test {} "Test" }
                        td.plot {}
                    }
                }
                tbody {
                    @for c in classes {
                        tr {
                            th scope="row" { (super::name(&c.class)) }
                            td.num { (count(c.n_train)) }
                            @if has_valid { td.num { (count(c.n_valid)) } }
                            td.num { (count(c.n_test)) }
                            td.plot {
                                span.stack {
                                    span.train style=(width(c.n_train)) {}
                                    span.valid style=(width(c.n_valid)) {}
                                    span.test style=(width(c.n_test)) {}
                                }
                            }
                        }
                    }
                }
                tfoot {
                    tr {
                        th scope="row" { "All" }
                        td.num { (total(|c| c.n_train)) }
                        @if has_valid { td.num { (total(|c| c.n_valid)) } }
                        td.num { (total(|c| c.n_test)) }
                        td.plot {}
                    }
                }
            }
        }
    }
}

fn diagnostics(data: &DataSummary) -> Markup {
    if data.n_diagnostics == 0 {
        return html! { p.caption { "Every file and row could be read." } };
    }
    html! {
        h3 { "What was noticed" }
        p.dek {
            (counted(data.n_diagnostics, "remark")) "; "
            @if data.n_skipped == 0 { "nothing was left out." } @else { (counted(data.n_skipped, "example")) " left out." }
        }
        ul.remarks {
            @for x in &data.diagnostics {
                li {
                    code { (super::name(&x.path)) @if let Some(line) = x.line { ":" (line) } }
                    " " (x.message)
                    @if x.skipped { " " span.tag { "left out" } }
                }
            }
        }
        @if data.n_diagnostics > data.diagnostics.len() {
            p.caption { "And " (count(data.n_diagnostics - data.diagnostics.len())) " more; " code { "headstart check" } " lists them all." }
        }
    }
}
