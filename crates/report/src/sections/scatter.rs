//! Predicted numbers against the true ones.

use maud::{Markup, html};

use crate::ReportData;
use crate::number::count;
use crate::plot;

/// More dots than this are a blot; evenly spaced ones are shown.
const DOTS_MAX: usize = 2000;

pub(crate) fn section(d: &ReportData) -> Markup {
    let n = d.scatter.len();
    let step = n.div_ceil(DOTS_MAX).max(1);
    let shown: Vec<[f64; 2]> = d.scatter.iter().step_by(step).copied().collect();
    html! {
        p.dek {
            "Each dot is a test example.  On the diagonal the prediction is right; a cloud flatter than the diagonal means that "
            "predictions keep too close to the mean."
        }
        figure {
            (plot::scatter(&shown))
            @if step > 1 { figcaption { (count(shown.len())) " of " (count(n)) " test examples, evenly picked." } }
        }
    }
}
