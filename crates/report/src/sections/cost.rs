//! Where the time and the memory went.

use maud::{Markup, html};

use crate::ReportData;
use crate::data::ForecastFacts;
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
        @if let Some(f) = &d.forecast { (forecast(f)) }
        p.caption {
            @if let Some(mb) = d.peak_mb { "At most " (sig3(mb)) " MiB of memory.  " }
            @if let Some(c) = &d.cache {
                "Features of " (counted(c.n_hits, "example")) " came from the cache, " (count(c.n_misses))
                " were computed; it now takes " (bytes(c.size_bytes)) "."
            }
        }
    }
}

/// What was expected beside what came.
fn forecast(f: &ForecastFacts) -> Markup {
    let row = |what: &str, expected: String, came: String| {
        html! { tr { th scope="row" { (what) } td.num { (expected) } td.num { (came) } } }
    };
    let mib = |mb: f64| format!("{} MiB", sig3(mb));
    html! {
        h3 { "Forecast and fact" }
        div.scroll {
            table {
                caption.hidden { "Cost expected before the run, and what it came to" }
                thead { tr { td {} th.num scope="col" { "Forecast" } th.num scope="col" { "Fact" } } }
                tbody {
                    (row("Time", duration(f.forecast.seconds), duration(f.seconds)))
                    (row("Memory at most", mib(f.forecast.peak_mb), f.peak_mb.map_or("unknown".into(), mib)))
                    (row("Features written", mib(f.forecast.cache_mb), mib(f.cache_mb)))
                }
            }
        }
        @if f.forecast.saved_share > 0.005 {
            p.caption {
                "What is frozen ran once an example: " (sig3(100.0 * f.forecast.saved_share))
                " % of the multiply-adds of training the whole network were saved."
            }
        }
    }
}
