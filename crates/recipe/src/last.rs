//! `last:N`: the last N groups learn with the head; what lies before them runs once an example and is cached (Yosinski et
//! al., 2014, *How transferable are features in deep neural networks?*).

use headstart_core::HeadStart;
use headstart_graph::Graph;
use headstart_graph::rewrite::Part;

use crate::full::{IMAGE, TEXT};
use crate::training::{Course, HEAD, Rates, group_names, n_passes, phase};
use crate::{Facts, RecipeError};

pub(crate) fn course(graph: &Graph, facts: &Facts<'_>, n: usize) -> Result<Course, RecipeError> {
    let body: Vec<String> = group_names(graph).into_iter().filter(|g| g != HEAD).collect();
    if n > body.len() {
        let why = format!("asks for {n} groups, the network has {}", body.len());
        return Err(RecipeError::Unsuitable { recipe: "last:N", why });
    }
    let open = &body[body.len() - n..];
    let rates = Rates::of(facts, IMAGE, TEXT);
    let decay = facts.settings.get("lr_decay");
    let phases = vec![phase("the last groups", n_passes(facts), open, Part::All, rates, decay)];
    Ok(Course { phases, head_start: HeadStart::Probe, adapters: Vec::new() })
}
