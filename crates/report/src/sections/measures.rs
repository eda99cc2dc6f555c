//! The measures, over all and by class.

use headstart_core::ClassMetrics;
use maud::{Markup, html};

use crate::ReportData;
use crate::number::{count, counted, share};

/// More classes than this, and the table opens on demand after the weakest few.
const CLASSES_OPEN: usize = 30;
const WEAKEST_SHOWN: usize = 15;

pub(crate) fn section(d: &ReportData) -> Markup {
    let m = &d.metrics;
    let rows = [
        ("Accuracy", m.accuracy, "share of examples whose most probable class is theirs"),
        ("Balanced accuracy", m.balanced_accuracy, "recall, each class counting the same"),
        ("Macro F1", m.macro_f1, "balance of precision and recall, each class counting the same"),
        ("Calibration error", m.ece, "how far confidence is from accuracy, on average; 0 is best"),
    ];
    html! {
        p.dek { "On " (counted(m.n, "test example")) " that nothing saw before the model was final." }
        div.scroll {
            table.measures {
                caption.hidden { "Measures on the test examples" }
                thead { tr { th scope="col" { "Measure" } th.num scope="col" { "Value" } th scope="col" { "Meaning" } } }
                tbody {
                    @for (i, (what, value, meaning)) in rows.into_iter().enumerate() {
                        tr {
                            th scope="row" { (what) }
                            td.num {
                                (share(value))
                                @if i == 0 {
                                    " " span.range { "[" (share(d.accuracy_ci95.lo)) "–" (share(d.accuracy_ci95.hi)) "]" }
                                }
                            }
                            td.quiet { (meaning) }
                        }
                    }
                }
            }
        }
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
