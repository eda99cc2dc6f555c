//! Where the time and the memory went.

use maud::{Markup, html};

use crate::ReportData;
use crate::number::{bytes, count, counted, duration, sig3};

pub(crate) fn section(d: &ReportData) -> Markup {
    let total: f64 = d.timings.iter().map(|t| t.seconds).sum();
    let longest = d.timings.iter().map(|t| t.seconds).fold(0.0, f64::max).max(1e-9);
    html! {
        div.scroll {
            table.timings {
                caption.hidden { "Time by stage" }
                thead { tr { th scope="col" { "Stage" } th.num scope="col" { "Time" } td.plot {} } }
                tbody {
                    @for t in &d.timings {
                        tr {
                            th scope="row" { (t.what) }
                            td.num { (duration(t.seconds)) }
                            td.plot { span.meter { span style=(format!("width:{:.1}%", 100.0 * (t.seconds / longest).clamp(0.0, 1.0))) {} } }
                        }
                    }
                }
                tfoot { tr { th scope="row" { "All" } td.num { (duration(total)) } td.plot {} } }
            }
        }
        p.caption {
            @if let Some(mb) = d.peak_mb { "At most " (sig3(mb)) " MiB of memory.  " }
            @if let Some(c) = &d.cache {
                "Features of " (counted(c.n_hits, "example")) " came from the cache, " (count(c.n_misses))
                " were computed; it now takes " (bytes(c.size_bytes)) "."
            }
        }
    }
}
