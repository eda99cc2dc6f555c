//! `norm`: only scales and shifts of batch and layer norms, and the head, learn (Frankle, Schwab and Morcos, 2021,
//! *Training BatchNorm and Only BatchNorm*).

use headstart_graph::Graph;
use headstart_graph::rewrite::Part;

use crate::bitfit::only;
use crate::training::Course;
use crate::{Facts, RecipeError};

pub(crate) fn course(graph: &Graph, facts: &Facts<'_>) -> Result<Course, RecipeError> {
    only(graph, facts, Part::Norms)
}
