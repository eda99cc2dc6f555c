//! `gradual`: from the probe's head down, one part of the network after the other joins, lower parts learning slower
//! (Howard and Ruder, 2018, *Universal Language Model Fine-tuning for Text Classification*, gradual unfreezing and
//! discriminative fine-tuning).
//!
//! The groups are divided into `stages` parts.  Each stage but the last takes one pass; a part learns 2.6 times slower
//! than the one above it, or by `lr_decay` where that is set.
//!
//! **Deviation:** the paper's slanted triangle runs over the whole training; here each stage has a course of its own.

use headstart_core::{GroupRate, HeadStart, Phase};
use headstart_graph::Graph;
use headstart_graph::rewrite::Part;

use crate::full::{IMAGE, TEXT};
use crate::training::{Course, HEAD, Rates, group_names, n_passes};
use crate::{Facts, RecipeError};

pub(crate) fn course(graph: &Graph, facts: &Facts<'_>) -> Result<Course, RecipeError> {
    let rates = Rates::of(facts, IMAGE, TEXT);
    let set = facts.settings.get("lr_decay");
    let decay = if set < 1.0 { set } else { 1.0 / 2.6 };
    let body: Vec<String> = group_names(graph).into_iter().filter(|g| g != HEAD).collect();
    let n_stages = (facts.settings.get("stages") as usize).min(body.len().max(1));
    let size = body.len().div_ceil(n_stages).max(1);
    // The last part is the one nearest to the head.
    let parts: Vec<&[String]> = body.rchunks(size).collect();
    let passes = n_passes(facts);
    let phases = (1..=parts.len())
        .map(|n_open| {
            let rates_of = parts[..n_open].iter().enumerate().rev().flat_map(|(depth, part)| {
                let lr_max = rates.network * decay.powi(depth as i32);
                part.iter().map(move |g| GroupRate { group: g.clone(), part: Part::All, lr_max })
            });
            let head = GroupRate { group: HEAD.into(), part: Part::All, lr_max: rates.head };
            let n_passes =
                if n_open < parts.len() { 1 } else { passes.saturating_sub(parts.len() - 1).max(1) };
            Phase {
                name: format!("{n_open} of {}", parts.len()),
                n_passes,
                rates: rates_of.chain([head]).collect(),
            }
        })
        .collect();
    Ok(Course { phases, head_start: HeadStart::Probe, adapters: Vec::new() })
}
