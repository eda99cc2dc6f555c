//! The sections of the page, one a file, in the order in which a reader asks.

pub(crate) mod again;
pub(crate) mod calibration;
pub(crate) mod confusion;
pub(crate) mod cost;
pub(crate) mod data;
pub(crate) mod fitting;
pub(crate) mod measures;
pub(crate) mod mistakes;
pub(crate) mod plan;
pub(crate) mod scatter;
pub(crate) mod source;
pub(crate) mod verdict;

use maud::{Markup, html};

/// A name that came with the data: escaped, and kept from turning the direction of what stands around it.
fn name(s: &str) -> Markup {
    html! { bdi { (s) } }
}

/// The name of a class by its position; a position out of range is the caller's mistake, but no reason to lose a page.
fn class(classes: &[String], idx: usize) -> Markup {
    match classes.get(idx) {
        Some(s) => name(s),
        None => html! { "class " (idx) },
    }
}
