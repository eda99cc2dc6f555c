//! The measures, over all and by class.

use headstart_core::{ClassMetrics, ClassificationMetrics, LabelMetrics, Metric, Metrics};
use maud::{Markup, html};

use crate::ReportData;
use crate::number::{count, counted, score, share, sig3};

/// More classes than this, and the table opens on demand after the weakest few.
const CLASSES_OPEN: usize = 30;
const WEAKEST_SHOWN: usize = 15;

pub(crate) fn section(d: &ReportData) -> Markup {
    html! {
        p.dek { "On " (counted(d.metrics.n(), "test example")) " that nothing saw before the model was final." }
        div.scroll {
            table.measures {
                caption.hidden { "Measures on the test examples" }
                thead { tr { th scope="col" { "Measure" } th.num scope="col" { "Value" } th scope="col" { "Meaning" } } }
                tbody {
                    @for (metric, value) in d.metrics.all() {
                        @let (what, meaning) = words(metric);
                        tr {
                            th scope="row" { (what) }
                            td.num {
                                (score(metric, value))
                                @if metric == d.plan.metric {
                                    " " span.range {
                                        "[" (score(metric, d.score_ci95.lo)) "–" (score(metric, d.score_ci95.hi)) "]"
                                    }
                                }
                            }
                            td.quiet { (meaning) }
                        }
                    }
                    (further(&d.metrics))
                }
            }
        }
        @match &d.metrics {
            Metrics::Classification(m) => { (by_class(m)) }
            Metrics::MultiLabel(m) => { h3 { "By label" } (label_table(&m.labels)) }
            Metrics::Regression(_) => {}
        }
    }
}

/// A measure's name and what it means.
fn words(metric: Metric) -> (&'static str, &'static str) {
    match metric {
        Metric::Accuracy => ("Accuracy", "share of examples whose most probable class is theirs"),
        Metric::BalancedAccuracy => ("Balanced accuracy", "recall, each class counting the same"),
        Metric::MacroF1 => ("Macro F1", "balance of precision and recall, each class counting the same"),
        Metric::Auroc => {
            ("AUROC", "chance that an example of a class ranks above one that is not; 0.5 is chance")
        }
        Metric::AveragePrecision => (
            "Mean average precision",
            "precision down the ranking of each class; chance is the class's share",
        ),
        Metric::Mae => {
            ("Mean absolute error", "how far off predictions are on average, in the target's unit")
        }
        Metric::Rmse => ("Root mean squared error", "the same, large errors weighing more"),
        Metric::R2 => ("R²", "share of the variance that is explained; 0 is always saying the mean"),
    }
}

/// What a task has beside its metrics.
fn further(metrics: &Metrics) -> Markup {
    let (what, value, meaning) = match metrics {
        Metrics::Classification(m) => {
            ("Calibration error", share(m.ece), "how far confidence is from accuracy, on average; 0 is best")
        }
        Metrics::MultiLabel(m) => {
            ("Exact match", share(m.exact_match), "share of examples whose labels are all right and complete")
        }
        Metrics::Regression(m) => {
            ("Mean error", sig3(m.bias), "above 0: predictions are too high on the whole, below 0: too low")
        }
    };
    html! { tr { th scope="row" { (what) } td.num { (value) } td.quiet { (meaning) } } }
}

fn by_class(m: &ClassificationMetrics) -> Markup {
    html! {
        h3 { "By class" }
        @if m.classes.len() <= CLASSES_OPEN {
            (table(&m.classes.iter().collect::<Vec<_>>(), "Measures of each class"))
        } @else {
            @let weakest = weakest(&m.classes);
            p.dek { "The " (weakest.len()) " weakest of " (count(m.classes.len())) " classes." }
            (table(&weakest, "Measures of the weakest classes"))
            details {
                summary { "All " (count(m.classes.len())) " classes" }
                (table(&m.classes.iter().collect::<Vec<_>>(), "Measures of each class"))
            }
        }
    }
}

/// Classes that occur in the test, lowest F1 first.
fn weakest(classes: &[ClassMetrics]) -> Vec<&ClassMetrics> {
    let mut some: Vec<&ClassMetrics> = classes.iter().filter(|c| c.n > 0).collect();
    some.sort_by(|a, b| a.f1.total_cmp(&b.f1));
    some.truncate(WEAKEST_SHOWN);
    some
}

fn table(classes: &[&ClassMetrics], caption: &str) -> Markup {
    html! {
        div.scroll {
            table.classes {
                caption.hidden { (caption) }
                thead {
                    tr {
                        th scope="col" { "Class" }
                        th.num scope="col" { "Test examples" }
                        th.num scope="col" { "Precision" }
                        th.num scope="col" { "Recall" }
                        th.num scope="col" { "F1" }
                        td.plot {}
                    }
                }
                tbody {
                    @for c in classes {
                        tr {
                            th scope="row" { (super::name(&c.class)) }
                            td.num { (count(c.n)) }
                            td.num { (share(c.precision)) }
                            td.num { (share(c.recall)) }
                            td.num { (share(c.f1)) }
                            td.plot { span.meter { span style=(format!("width:{:.1}%", 100.0 * c.f1.clamp(0.0, 1.0))) {} } }
                        }
                    }
                }
            }
        }
    }
}

fn label_table(labels: &[LabelMetrics]) -> Markup {
    let defined = |x: Option<f64>| x.map_or("–".into(), share);
    html! {
        div.scroll {
            table.classes {
                caption.hidden { "Measures of each label" }
                thead {
                    tr {
                        th scope="col" { "Label" }
                        th.num scope="col" { "Test examples" }
                        th.num scope="col" { "Average precision" }
                        th.num scope="col" { "AUROC" }
                        th.num scope="col" { "Precision" }
                        th.num scope="col" { "Recall" }
                        th.num scope="col" { "F1" }
                        td.plot {}
                    }
                }
                tbody {
                    @for l in labels {
                        @let ap = l.average_precision.unwrap_or_default();
                        tr {
                            th scope="row" { (super::name(&l.class)) }
                            td.num { (count(l.n)) }
                            td.num { (defined(l.average_precision)) }
                            td.num { (defined(l.auroc)) }
                            td.num { (share(l.precision)) }
                            td.num { (share(l.recall)) }
                            td.num { (share(l.f1)) }
                            td.plot { span.meter { span style=(format!("width:{:.1}%", 100.0 * ap.clamp(0.0, 1.0))) {} } }
                        }
                    }
                }
            }
        }
        p.caption { "Precision, recall and F1 are taken where a label is said to apply from a probability of 0.5 on." }
    }
}
