//! The commands to predict and to make it again, and what "the same" means.

use maud::{Markup, html};

use crate::ReportData;

pub(crate) fn section(d: &ReportData) -> Markup {
    html! {
        h3 { "Predict" }
        pre.command { code { (d.command_predict) } }
        h3 { "Make this run again" }
        pre.command { code { (d.command_reproduce) } }
        dl.facts {
            dt { "Data" } dd { code { (d.data.path) } }
            dt { "Data, blake3" } dd { code { (d.data.blake3) } }
            dt { "Seed" } dd { code { (d.plan.seed) } }
            @for f in &d.facts { dt { (f.name) } dd { code { (f.value) } } }
        }
    }
}
