//! `full`: everything learns, from the source's weights and a head of zeros (Girshick et al., 2014; Devlin et al., 2019).
//!
//! Pictures: AdamW, network 3e-4, head 3e-3, batch norm by the source's statistics.  Texts: 5e-5 throughout (Devlin et al.
//! take 2e-5 to 5e-5), the head ten times as fast.  `lr_decay` below 1 makes lower groups learn slower.

use headstart_core::HeadStart;
use headstart_graph::Graph;
use headstart_graph::rewrite::Part;

use crate::training::{Course, Rates, group_names, n_passes, phase};
use crate::{Facts, RecipeError};

/// Rates of full fine-tuning, pictures and texts.
pub(crate) const IMAGE: Rates = Rates { network: 3e-4, head: 3e-3 };
/// The same for texts.
pub(crate) const TEXT: Rates = Rates { network: 5e-5, head: 5e-4 };

pub(crate) fn course(graph: &Graph, facts: &Facts<'_>) -> Result<Course, RecipeError> {
    let rates = Rates::of(facts, IMAGE, TEXT);
    let decay = facts.settings.get("lr_decay");
    let whole = phase("everything", n_passes(facts), &group_names(graph), Part::All, rates, decay);
    Ok(Course { phases: vec![whole], head_start: HeadStart::Zero, adapters: Vec::new() })
}
