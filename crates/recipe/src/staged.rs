//! `staged`: probe first, then fine-tune everything from the probe's head (LP-FT; Kumar et al., 2022, *Fine-Tuning can
//! Distort Pretrained Features and Underperform Out-of-Distribution*).
//!
//! A head of zeros sends large gradients through good features in its first steps.  The probe's head is the optimum on
//! those features, so what follows moves them only where that helps.

use headstart_core::HeadStart;
use headstart_graph::Graph;

use crate::full;
use crate::training::Course;
use crate::{Facts, RecipeError};

pub(crate) fn course(graph: &Graph, facts: &Facts<'_>) -> Result<Course, RecipeError> {
    Ok(Course { head_start: HeadStart::Probe, ..full::course(graph, facts)? })
}
