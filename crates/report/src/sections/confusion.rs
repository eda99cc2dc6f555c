//! Which classes are taken for which.

use maud::{Markup, html};

use crate::number::{count, share};
use crate::plot::matrix;

/// More classes than this, and a matrix of numbers helps nobody.
const CLASSES_IN_TABLE: usize = 20;
const PAIRS_SHOWN: usize = 15;

pub(crate) fn section(classes: &[String], confusion: &[Vec<usize>]) -> Markup {
    if confusion.len() <= CLASSES_IN_TABLE {
        return html! {
            p.dek { "Each row holds the test examples of one class, by what they were taken for.  Shade is the share of the row." }
            (heat_table(classes, confusion))
        };
    }
    let pairs = pairs(confusion);
    html! {
        p.dek { "The pairs that are confused most often, and all " (count(confusion.len())) " classes at a glance." }
        div.columns {
            (pair_table(classes, confusion, &pairs))
            figure {
                (matrix(confusion, "Confusion matrix: rows are true classes, columns predicted ones"))
                figcaption { "Rows: true class.  Columns: predicted class.  Off the diagonal: mistakes." }
            }
        }
    }
}

fn heat_table(classes: &[String], confusion: &[Vec<usize>]) -> Markup {
    html! {
        div.scroll {
            table.heat {
                caption.hidden { "Confusion matrix: rows are true classes, columns predicted ones, cells counts" }
                thead {
                    tr {
                        td.corner { "true ↓ predicted →" }
                        @for c in 0..confusion.len() {
                            th scope="col" { span { (super::class(classes, c)) } }
                        }
                    }
                }
                tbody {
                    @for (t, row) in confusion.iter().enumerate() {
                        @let total = row.iter().sum::<usize>().max(1) as f64;
                        tr {
                            th scope="row" { (super::class(classes, t)) }
                            @for (p, &n) in row.iter().enumerate() { (cell(n, n as f64 / total, t == p)) }
                        }
                    }
                }
            }
        }
    }
}

fn cell(n: usize, share_of_row: f64, right: bool) -> Markup {
    if n == 0 {
        return html! { td.none { "·" } };
    }
    let side = if right { "right" } else { "wrong" };
    // The style sheet turns the text where the shade is strong.
    let shade = match share_of_row {
        a if a > 0.78 => " strong",
        a if a > 0.55 => " medium",
        _ => "",
    };
    let class = format!("{side}{shade}");
    html! { td class=(class) style=(format!("--a:{:.2}", 0.10 + 0.90 * share_of_row)) { (count(n)) } }
}

/// True class, predicted class and count of every kind of mistake, the most frequent first.
pub(crate) fn pairs(confusion: &[Vec<usize>]) -> Vec<(usize, usize, usize)> {
    let mut pairs: Vec<_> = confusion
        .iter()
        .enumerate()
        .flat_map(|(t, row)| row.iter().enumerate().map(move |(p, &n)| (t, p, n)))
        .filter(|&(t, p, n)| t != p && n > 0)
        .collect();
    pairs.sort_by_key(|&(t, p, n)| (std::cmp::Reverse(n), t, p));
    pairs
}

fn pair_table(classes: &[String], confusion: &[Vec<usize>], pairs: &[(usize, usize, usize)]) -> Markup {
    html! {
        div.scroll {
            table {
                caption.hidden { "The most confused pairs" }
                thead {
                    tr {
                        th scope="col" { "True" }
                        th scope="col" { "Taken for" }
                        th.num scope="col" { "Times" }
                        th.num scope="col" { "Share of class" }
                    }
                }
                tbody {
                    @for &(t, p, n) in pairs.iter().take(PAIRS_SHOWN) {
                        tr {
                            th scope="row" { (super::class(classes, t)) }
                            td { (super::class(classes, p)) }
                            td.num { (count(n)) }
                            td.num { (share(n as f64 / confusion[t].iter().sum::<usize>() as f64)) }
                        }
                    }
                }
            }
            @if pairs.len() > PAIRS_SHOWN {
                p.caption { "And " (count(pairs.len() - PAIRS_SHOWN)) " rarer pairs." }
            }
        }
    }
}
