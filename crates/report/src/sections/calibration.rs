//! Is it as sure as it is right?

use maud::{Markup, html};

use crate::ReportData;
use crate::number::{count, share};
use crate::plot::reliability;

/// Below this calibration error nobody would act differently.
const ECE_SMALL: f64 = 0.05;

pub(crate) fn section(d: &ReportData) -> Markup {
    html! {
        p.dek { (in_words(d)) }
        div.columns {
            figure {
                (reliability(&d.reliability))
                figcaption { "A dot below the diagonal is too sure, above it too modest.  Its area is the number of examples." }
            }
            (table(d))
        }
    }
}

fn in_words(d: &ReportData) -> String {
    let n: usize = d.reliability.iter().map(|b| b.n).sum();
    let mean = |f: fn(&headstart_core::ReliabilityBin) -> f64| {
        d.reliability.iter().map(|b| f(b) * b.n as f64).sum::<f64>() / n.max(1) as f64
    };
    let (confidence, accuracy) = (mean(|b| b.confidence), mean(|b| b.accuracy));
    let judgement = match confidence - accuracy {
        _ if d.metrics.classification().is_some_and(|m| m.ece < ECE_SMALL) => {
            "so its probabilities can be taken at their word"
        }
        gap if gap > 0.0 => "so it is surer than it should be",
        _ => "so it is more modest than it need be",
    };
    format!(
        "It gives its answers a probability of {} on average and is right in {} of cases, {judgement}.",
        share(confidence),
        share(accuracy)
    )
}

fn table(d: &ReportData) -> Markup {
    html! {
        div.scroll {
            table {
                caption.hidden { "Confidence and accuracy by bin" }
                thead {
                    tr {
                        th.num scope="col" { "Confidence" }
                        th.num scope="col" { "Right" }
                        th.num scope="col" { "Examples" }
                    }
                }
                tbody {
                    @for b in &d.reliability {
                        tr {
                            td.num { (share(b.confidence)) }
                            td.num { (share(b.accuracy)) }
                            td.num { (count(b.n)) }
                        }
                    }
                }
            }
        }
    }
}
