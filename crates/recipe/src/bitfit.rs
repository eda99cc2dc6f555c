//! `bitfit`: only biases and the head learn (Ben Zaken, Goldberg and Ravfogel, 2022, *BitFit*).

use headstart_core::HeadStart;
use headstart_graph::Graph;
use headstart_graph::rewrite::{Part, params_of};

use crate::training::{Course, Rates, group_names, n_passes, phase};
use crate::{Facts, RecipeError};

pub(crate) fn course(graph: &Graph, facts: &Facts<'_>) -> Result<Course, RecipeError> {
    only(graph, facts, Part::Biases)
}

/// One part of every group that has it.  Few numbers want a higher rate than many.
pub(crate) fn only(graph: &Graph, facts: &Facts<'_>, part: Part) -> Result<Course, RecipeError> {
    let of: Vec<String> =
        group_names(graph).into_iter().filter(|g| !params_of(graph, g, part).is_empty()).collect();
    let image = Rates { network: 3e-3, head: 3e-3 };
    let text = Rates { network: 1e-3, head: 1e-3 };
    let decay = facts.settings.get("lr_decay");
    let phases = vec![phase(
        "the chosen parameters",
        n_passes(facts),
        &of,
        part,
        Rates::of(facts, image, text),
        decay,
    )];
    Ok(Course { phases, head_start: HeadStart::Probe, adapters: Vec::new() })
}
