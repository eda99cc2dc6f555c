//! A stretch of a network that runs on some examples at once, and where to part a network into two.

use std::collections::HashMap;

use headstart_graph::{Graph, GraphError, ValueId, Weights};
use headstart_kernels::Precision;
use headstart_kernels::channels_last::View;

use super::fusion::{Fused, FusedGraph};
use super::placement::place;
use super::steps::{Step, steps};

/// Steps over an arena.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) input: View,
    pub(super) outputs: Vec<View>,
    /// Elements of the arena for one example.
    pub(super) len: usize,
    steps: Vec<Step>,
}

impl Part {
    /// The steps of fused operators, or why they cannot be placed.
    pub(super) fn new(
        graph: &Graph,
        fused: &FusedGraph,
        weights: &Weights,
        precision: Precision,
    ) -> Result<Result<Self, String>, GraphError> {
        let placement = match place(fused) {
            Ok(placement) => placement,
            Err(why) => return Ok(Err(why)),
        };
        let steps = steps(graph, fused, &placement, weights, precision)?;
        let outputs = fused.outputs.iter().map(|&id| placement.view(id)).collect();
        Ok(Ok(Part { input: placement.view(fused.input), outputs, len: placement.len, steps }))
    }

    /// Runs `n` examples, of which the input lies in the arena.
    pub(super) fn run(&self, arena: &mut [f32], n: usize, in_parallel: bool) {
        self.steps.iter().for_each(|step| step.run(arena, n, in_parallel));
    }
}

/// Elements that an operator reads and writes of one example from which on examples are better taken one by one: several
/// would push each other out of the second cache.
const LARGE: usize = 160_000;

/// The early operators, on large images, and the late ones, which read many weights for small images.  The first are run
/// example by example, the others on several at once.  None where no single value lies between them.
pub(super) fn parted(graph: &FusedGraph) -> Option<[FusedGraph; 2]> {
    let elements = |id: ValueId| graph.shapes[&id].iter().product::<usize>();
    let is_large = |i: &usize| {
        let f = &graph.fused[*i];
        f.reads().chain([f.output]).map(elements).sum::<usize>() > LARGE
    };
    let n = graph.fused.len();
    let first_small = (0..n).rev().find(is_large)? + 1;
    let made_at = graph.made_at();
    let (at, value) = (first_small..n).find_map(|at| Some((at, only_value(graph, &made_at, at)?)))?;
    let early = FusedGraph {
        input: graph.input,
        fused: graph.fused[..at].to_vec(),
        shapes: graph.shapes.clone(),
        outputs: vec![value],
    };
    let late = FusedGraph {
        input: value,
        fused: graph.fused[at..].to_vec(),
        shapes: graph.shapes.clone(),
        outputs: graph.outputs.clone(),
    };
    Some([early, late])
}

/// The one value made before operator `at` that is still read from there on.
fn only_value(graph: &FusedGraph, made_at: &HashMap<ValueId, usize>, at: usize) -> Option<ValueId> {
    let is_early = |id: &ValueId| made_at.get(id).is_some_and(|&step| step <= at);
    let late = graph.fused[at..].iter().flat_map(Fused::reads);
    let mut crossing: Vec<ValueId> = late.chain(graph.outputs.iter().copied()).filter(is_early).collect();
    crossing.sort_unstable();
    crossing.dedup();
    match crossing[..] {
        [value] if value != graph.input => Some(value),
        _ => None,
    }
}
