//! `dora`: low-rank updates of direction and learned magnitudes beside frozen weights (Liu et al., 2024).

use headstart_graph::Graph;
use headstart_graph::rewrite::AdapterKind;

use crate::lora::{IMAGE, TEXT, spec};
use crate::targets::{course_of, is_layer, layers, one};
use crate::training::Course;
use crate::{Facts, RecipeError};

pub(crate) fn course(graph: &Graph, facts: &Facts<'_>) -> Result<Course, RecipeError> {
    let targets = layers(graph, facts, "dora", |n| is_layer(graph, n))?;
    course_of(graph, facts, one(AdapterKind::Dora(spec(facts)), targets), IMAGE, TEXT)
}
