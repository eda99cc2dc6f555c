//! Run and bundle to one HTML page that a person wants to read.
//!
//! [`ReportData`] is all that a report says, as plain data.  [`html`] makes one self-contained page of it, [`markdown`]
//! a short text for a pull request, [`summary`] a block for the terminal.  All three are functions of their argument:
//! no clock, no files, no network.  Every name and text that came with the user's data is escaped.

mod data;
mod markdown;
mod number;
mod page;
mod plot;
mod sections;
mod sentence;
mod summary;

pub use data::{
    Answer, CacheFacts, ClassCounts, DataSummary, Fact, ForecastFacts, L2Curve, L2Point, MediaType, Mistake,
    MistakeContent, Mistakes, NumberCounts, PhaseCurve, Picture, ReportData, ScratchCurve, ScratchPass,
    Timing,
};
pub use markdown::markdown;
pub use number::bytes;
pub use page::html;
pub use sentence::verdict_sentence;
pub use summary::summary;
