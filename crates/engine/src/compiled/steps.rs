//! From placed operators to kernels with packed weights.

use headstart_graph::{Graph, GraphError, ValueId, Weights};
use headstart_kernels::channels_last::{
    Convolution, Depthwise, Finish, GlobalMean, Pointwise, Pool, View, Winograd, clear_margin,
};
use headstart_kernels::{Precision, Window};

use super::fusion::{Fused, FusedGraph, Kind, is_depthwise};
use super::placement::Placement;

/// One call of a kernel.
#[derive(Debug)]
pub(super) enum Step {
    ClearMargin(View),
    Convolution(Box<Convolution>),
    Winograd(Box<Winograd>),
    Depthwise(Depthwise),
    Pool(Pool),
    GlobalMean(GlobalMean),
    Pointwise(Pointwise),
}

impl Step {
    pub(super) fn run(&self, arena: &mut [f32], n: usize, in_parallel: bool) {
        match self {
            Step::ClearMargin(view) => clear_margin(arena, n, view),
            Step::Convolution(c) => c.run(arena, n, in_parallel),
            Step::Winograd(w) => w.run(arena, n, in_parallel),
            Step::Depthwise(d) => d.run(arena, n, in_parallel),
            Step::Pool(p) => p.run(arena, n, in_parallel),
            Step::GlobalMean(m) => m.run(arena, n),
            Step::Pointwise(p) => p.run(arena, n, in_parallel),
        }
    }
}

/// The steps of a graph, the margins of its input first.
pub(super) fn steps(
    graph: &Graph,
    fused: &FusedGraph,
    placement: &Placement,
    weights: &Weights,
    precision: Precision,
) -> Result<Vec<Step>, GraphError> {
    let mut steps: Vec<Step> = placement.cleared[0].iter().copied().map(Step::ClearMargin).collect();
    let maker = Maker { graph, placement, weights, precision };
    for (f, cleared) in fused.fused.iter().zip(&placement.cleared[1..]) {
        steps.extend(cleared.iter().copied().map(Step::ClearMargin));
        maker.make(f, &mut steps)?;
    }
    Ok(steps)
}

struct Maker<'a> {
    graph: &'a Graph,
    placement: &'a Placement,
    weights: &'a Weights,
    precision: Precision,
}

impl Maker<'_> {
    fn param(&self, id: ValueId) -> Result<Vec<f32>, GraphError> {
        Ok(self.weights.require(&self.graph.value(id).name)?.to_f32()?.into_owned())
    }

    fn make(&self, f: &Fused, steps: &mut Vec<Step>) -> Result<(), GraphError> {
        let to = self.placement.view(f.output);
        let input = |i: usize| self.placement.view(f.inputs[i]);
        let views = [input(0), to];
        match &f.kind {
            Kind::Convolution { window, groups, weight, bias } => {
                let weight = self.param(*weight)?;
                let bias = bias.map(|b| self.param(b)).transpose()?;
                if is_depthwise(&f.kind) && to.channels == *groups {
                    let window = Window { c: *groups, ..*window };
                    steps.push(Step::Depthwise(Depthwise::new(
                        &weight,
                        bias.as_deref(),
                        window,
                        views,
                        f.finish,
                    )));
                    return Ok(());
                }
                let residual = f.residual.map(|r| self.placement.view(r));
                let part = |view: View, g: usize| {
                    let c = view.channels / groups;
                    view.channels(g * c..(g + 1) * c)
                };
                let out = to.channels / groups;
                for (g, weight) in weight.chunks_exact(weight.len() / groups).enumerate() {
                    let bias = bias.as_ref().map(|b| &b[g * out..(g + 1) * out]);
                    let (views, residual) =
                        (views.map(|view| part(view, g)), residual.map(|view| part(view, g)));
                    // What is a result is not averaged by anything behind it.
                    let is_result = self.graph.outputs().iter().any(|o| o.value == f.output);
                    let precision = if is_result { Precision::F32 } else { self.precision };
                    let precision = Convolution::paying(precision, window, out);
                    // A fourth of the products in f32 is less than all of them in bf16.
                    let is_winograd = precision != Precision::Int8 && Winograd::pays(window, out);
                    steps.push(if is_winograd {
                        let winograd = Winograd::new(weight, bias, *window, views, residual, f.finish);
                        Step::Winograd(Box::new(winograd))
                    } else {
                        let direct =
                            Convolution::new(precision, weight, bias, *window, views, residual, f.finish);
                        Step::Convolution(Box::new(direct))
                    });
                }
            }
            Kind::Pool(kind, window) => steps.push(Step::Pool(Pool::new(*kind, *window, views))),
            Kind::GlobalMean => steps.push(Step::GlobalMean(GlobalMean::new(views))),
            Kind::BatchNorm { parameters, eps } => {
                let [weight, bias, mean, variance] = parameters.map(|id| self.param(id));
                let (weight, bias, mean, variance) = (weight?, bias?, mean?, variance?);
                let scale = |i: usize| f64::from(weight[i]) / (f64::from(variance[i]) + eps).sqrt();
                let scales: Vec<f32> = (0..weight.len()).map(|i| scale(i) as f32).collect();
                let biases: Vec<f32> = (0..weight.len())
                    .map(|i| (f64::from(bias[i]) - f64::from(mean[i]) * scale(i)) as f32)
                    .collect();
                steps.push(Step::Pointwise(Pointwise::affine(views, &scales, &biases, f.finish)));
            }
            Kind::Gate => steps.push(Step::Pointwise(Pointwise::gate(views, input(1), f.finish))),
            Kind::Add => steps.push(Step::Pointwise(Pointwise::add(views, input(1), f.finish))),
            Kind::Copy => steps.push(Step::Pointwise(Pointwise::copy(views, f.finish))),
            Kind::Concat => {
                let mut first = 0;
                for i in 0..f.inputs.len() {
                    let part = to.channels(first..first + input(i).channels);
                    first += part.channels;
                    // Most parts were made where they belong.
                    if part != input(i) {
                        steps.push(Step::Pointwise(Pointwise::copy([input(i), part], Finish::default())));
                    }
                }
            }
        }
        Ok(())
    }
}
