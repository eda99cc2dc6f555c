//! Operators that are ours where they are differentiated on the processor, with kernels of `headstart-kernels`; on
//! every other device, and in inference, they are Burn's.
//!
//! Burn composes the backward passes of convolution and batch norm of general operators: one small convolution a group
//! for a grouped weight (1,152 of them in a layer of EfficientNet), a dozen passes over memory for batch norm.

use burn_backend::ops::{ActivationOps, ConvOptions, FloatTensorOps, ModuleOps};
use burn_backend::{AutodiffBackend, Scalar, Shape, TensorData, TensorMetadata};
use burn_dispatch::backends::autodiff::NodeId;
use burn_dispatch::backends::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn_dispatch::backends::autodiff::grads::Gradients;
use burn_dispatch::backends::autodiff::ops::{Backward, Ops, OpsKind};
use burn_dispatch::backends::flex::FlexTensor;
use burn_dispatch::backends::{Autodiff, Flex};
use burn_dispatch::{
    BackendTensor, Dispatch as B, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind as Kind,
};
use headstart_kernels::adamw::{self, Step};
use headstart_kernels::batch_norm::{self, Statistics};
use headstart_kernels::{Window, clip as clipping, convolution, depthwise};

use crate::tensor::{T, dims, reshape};

type Tracked = <Autodiff<Flex> as burn_backend::BackendTypes>::FloatTensorPrimitive;

/// Convolution.  Ours where it is dense or depthwise.
pub(crate) fn conv2d(x: T, weight: T, bias: Option<T>, options: ConvOptions<2>) -> T {
    let [out, per_group, ..] = weight.shape().dims::<4>();
    let is_depthwise = options.groups == out && per_group == 1;
    let Some(context) = context([&x, &weight]).filter(|_| options.groups == 1 || is_depthwise) else {
        return B::conv2d(x, weight, bias, options);
    };
    let (x, weight) = (tracked(x), tracked(weight));
    let step = ConvStep.prepare::<NoCheckpointing>([x.node(), weight.node()]).compute_bound().stateful();
    let result = match step {
        OpsKind::Tracked(mut prep) => {
            let state = (prep.checkpoint(&x), prep.checkpoint(&weight), options.clone());
            prep.finish(state, conv2d_forward(x.into_primitive(), weight.into_primitive(), options))
        }
        OpsKind::UnTracked(prep) => {
            prep.finish(conv2d_forward(x.into_primitive(), weight.into_primitive(), options))
        }
    };
    let result = wrap(result, context);
    match bias {
        Some(bias) => B::float_add(result, reshape(bias, &[1, out, 1, 1])),
        None => result,
    }
}

/// `max(x, 0)`.
pub(crate) fn relu(x: T) -> T {
    if context([&x]).is_some() { clip(x, 0.0, f64::INFINITY) } else { B::relu(x) }
}

/// `min(max(x, min), max)`.
pub(crate) fn clip(x: T, min: f64, max: f64) -> T {
    let Some(context) = context([&x]) else {
        return B::float_clamp(x, Scalar::Float(min), Scalar::Float(max));
    };
    let x = tracked(x);
    let range = [min as f32, max as f32];
    let forward = |x: FlexTensor| {
        let x = x.to_contiguous();
        made(x.shape(), |y| clipping::forward(slice(&x), range, y))
    };
    let result = match ClipStep.prepare::<NoCheckpointing>([x.node()]).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let state = (prep.checkpoint(&x), range);
            prep.finish(state, forward(x.into_primitive()))
        }
        OpsKind::UnTracked(prep) => prep.finish(forward(x.into_primitive())),
    };
    wrap(result, context)
}

/// Batch norm by the statistics of the batch: `[result, mean, biased variance]`, the last two without gradients where
/// the operator is ours.
pub(crate) fn batch_norm_train(x: T, weight: T, bias: T, eps: f64) -> [T; 3] {
    let Some(context) = context([&x, &weight, &bias]) else {
        let out = B::batch_norm_train(x, weight, bias, eps);
        return [out.output, out.mean, out.variance];
    };
    let (shape, plane) = (x.shape(), dims(&x)[2..].iter().product::<usize>());
    let [x, weight, bias] = [x, weight, bias].map(tracked);
    let [x_in, weight_in, bias_in] = [&x, &weight, &bias].map(|t| t.clone().into_primitive().to_contiguous());
    let statistics = batch_norm::statistics(slice(&x_in), shape[1], plane);
    let affine = [slice(&weight_in), slice(&bias_in)];
    let y = made(shape, |y| batch_norm::forward(slice(&x_in), affine, &statistics, eps, plane, y));
    let parents = [x.node(), weight.node(), bias.node()];
    let by_channel = |values: &[f32]| plain(tensor(values.to_vec(), Shape::new([values.len()])));
    let [mean, variance] = [&statistics.mean, &statistics.variance].map(|v| by_channel(v));
    let result = match BatchNormStep.prepare::<NoCheckpointing>(parents).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let state = (prep.checkpoint(&x), prep.checkpoint(&weight), statistics, eps);
            prep.finish(state, y)
        }
        OpsKind::UnTracked(prep) => prep.finish(y),
    };
    [wrap(result, context), mean, variance]
}

/// One step of AdamW, in place where nobody else holds the tensors: the new parameter and moments, which start at 0.
/// For tensors that are [`on_processor`].
pub(crate) fn adamw(step: &Step, param: T, gradient: T, moments: Option<(T, T)>) -> (T, (T, T)) {
    let [mut param, gradient] = [param, gradient].map(untracked);
    let (mut m, mut v) = match moments {
        Some((m, v)) => (untracked(m), untracked(v)),
        None => (made(param.shape(), |_| {}), made(param.shape(), |_| {})),
    };
    adamw::update(step, slice(&gradient), param.storage_mut(), m.storage_mut(), v.storage_mut());
    (plain(param), (plain(m), plain(v)))
}

/// Whether it is a float tensor on the processor, without gradients.
pub(crate) fn on_processor(t: &T) -> bool {
    matches!(&t.kind, Kind::Flex(BackendTensor::Float(_)))
}

fn conv2d_forward(x: FlexTensor, weight: FlexTensor, options: ConvOptions<2>) -> FlexTensor {
    let (x, weight) = (x.to_contiguous(), weight.to_contiguous());
    let d = window(&x, &weight, &options);
    let [oh, ow] = d.out();
    let [out, ..] = weight.shape().dims::<4>();
    let forward = if options.groups > 1 { depthwise::forward } else { convolution::forward };
    made(Shape::new([d.n, out, oh, ow]), |y| forward(&d, slice(&x), slice(&weight), y))
}

#[derive(Debug)]
struct ConvStep;

impl Backward<Flex, 2> for ConvStep {
    type State = (NodeId, NodeId, ConvOptions<2>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let (x_id, weight_id, options) = ops.state;
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let x = checkpointer.retrieve_node_output::<FlexTensor>(x_id).to_contiguous();
        let weight = checkpointer.retrieve_node_output::<FlexTensor>(weight_id).to_contiguous();
        let d = window(&x, &weight, &options);
        if let Some(node) = x_node {
            let backward =
                if options.groups > 1 { depthwise::backward_data } else { convolution::backward_data };
            let dx = made(x.shape(), |dx| backward(&d, slice(&weight), slice(&grad), dx));
            grads.register::<Flex>(node.id, dx);
        }
        if let Some(node) = weight_node {
            let backward =
                if options.groups > 1 { depthwise::backward_weight } else { convolution::backward_weight };
            let dw = made(weight.shape(), |dw| backward(&d, slice(&x), slice(&grad), dw));
            grads.register::<Flex>(node.id, dw);
        }
    }
}

#[derive(Debug)]
struct ClipStep;

impl Backward<Flex, 1> for ClipStep {
    type State = (NodeId, [f32; 2]);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [x_node] = ops.parents;
        let (x_id, range) = ops.state;
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let x = checkpointer.retrieve_node_output::<FlexTensor>(x_id).to_contiguous();
        if let Some(node) = x_node {
            let dx = made(x.shape(), |dx| clipping::backward(slice(&x), slice(&grad), range, dx));
            grads.register::<Flex>(node.id, dx);
        }
    }
}

#[derive(Debug)]
struct BatchNormStep;

impl Backward<Flex, 3> for BatchNormStep {
    type State = (NodeId, NodeId, Statistics, f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (x_id, weight_id, statistics, eps) = ops.state;
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let x = checkpointer.retrieve_node_output::<FlexTensor>(x_id).to_contiguous();
        let weight = checkpointer.retrieve_node_output::<FlexTensor>(weight_id).to_contiguous();
        let plane = x.shape()[2..].iter().product();
        let (x_in, g, gamma) = (slice(&x), slice(&grad), slice(&weight));
        let mut affine = [Vec::new(), Vec::new()];
        let dx =
            made(x.shape(), |dx| affine = batch_norm::backward(x_in, g, gamma, &statistics, eps, plane, dx));
        let affine = affine.map(|values| tensor(values, weight.shape()));
        for (node, gradient) in ops.parents.into_iter().zip([dx].into_iter().chain(affine)) {
            if let Some(node) = node {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

fn window(x: &FlexTensor, weight: &FlexTensor, options: &ConvOptions<2>) -> Window {
    let [n, c, h, w] = x.shape().dims();
    let [_, _, kh, kw] = weight.shape().dims();
    let [(top, bottom), (left, right)] = options.padding;
    Window {
        n,
        c,
        size: [h, w],
        kernel: [kh, kw],
        stride: options.stride,
        dilation: options.dilation,
        padding: [top, left, bottom, right],
    }
}

/// Where gradients are recorded, if one of the inputs is differentiated on the processor.
fn context<const N: usize>(inputs: [&T; N]) -> Option<DispatchAutodiffContext> {
    let is_tracked_flex = |t: &&T| matches!(&t.kind, Kind::Autodiff(inner) if matches!(**inner, Kind::Flex(BackendTensor::Autodiff(_))));
    inputs.into_iter().find(is_tracked_flex).map(|t| t.autodiff)
}

/// An input of an operator that has a [`context`]; what is not differentiated becomes a constant.
fn tracked(t: T) -> Tracked {
    let t = if context([&t]).is_some() { t } else { <B as AutodiffBackend>::from_inner(t) };
    match t.kind {
        Kind::Autodiff(inner) => match *inner {
            Kind::Flex(tensor) => tensor.autodiff(),
            _ => unreachable!("operators take tensors of one device"),
        },
        _ => unreachable!("from_inner tracks"),
    }
}

fn wrap(result: Tracked, autodiff: DispatchAutodiffContext) -> T {
    let kind = Kind::Autodiff(Box::new(Kind::Flex(BackendTensor::Autodiff(result))));
    DispatchTensor { kind, autodiff }
}

fn plain(t: FlexTensor) -> T {
    DispatchTensor { kind: Kind::Flex(BackendTensor::Float(t)), autodiff: DispatchAutodiffContext::Disabled }
}

/// A tensor that is [`on_processor`], with storage that is its elements in order and nothing else.
fn untracked(t: T) -> FlexTensor {
    let Kind::Flex(BackendTensor::Float(t)) = t.kind else { unreachable!("checked by on_processor") };
    let whole = t.as_slice::<f32>().is_some_and(|s| s.len() == t.storage::<f32>().len());
    if whole { t } else { t.to_contiguous() }
}

fn slice(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>().expect("contiguous f32: made so above")
}

fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A tensor of zeros that `fill` writes.
fn made(shape: Shape, fill: impl FnOnce(&mut [f32])) -> FlexTensor {
    let mut values = vec![0.0f32; shape.num_elements()];
    fill(&mut values);
    tensor(values, shape)
}

#[cfg(test)]
mod tests {
    use headstart_core::{Array, Batch, Rng};
    use headstart_graph::{Conv, GraphBuilder, Op, Padding, Weights};

    use crate::{AdamW, Device, Network, cross_entropy, random_weights};

    /// Every operator of this file, small and large planes, strides, and padding that differs by side.
    fn train(n_threads: usize) -> (Vec<f32>, Weights) {
        let mut b = GraphBuilder::new("small");
        let mut x = b.image("image", [3, 40, 40]);
        let convs = [
            Conv::new(24, 3).stride(2).pad(Padding::SameUpper).no_bias(),
            Conv::new(24, 3).groups(24).pad(Padding::SameUpper).no_bias(),
            Conv::new(70, 1).no_bias(),
            Conv::new(70, 5).groups(70).stride(2).pad(Padding::SameUpper),
            Conv::new(40, 3).stride(3),
            Conv::new(40, 1),
        ];
        for (i, conv) in convs.into_iter().enumerate() {
            x = b.conv(&format!("conv{i}"), x, conv).expect("fits");
            x = b.batch_norm(&format!("norm{i}"), x, 1e-5, 0.1).expect("fits");
            let act = if i % 2 == 0 { Op::Relu } else { Op::Clip { min: 0.0, max: 6.0 } };
            x = b.node(&format!("act{i}"), act, &[x]).expect("fits");
        }
        x = b.global_avg_pool("pool", x).expect("fits");
        let y = b.linear("fc", x, 4).expect("fits");
        let graph = b.finish([("logits", y)]).expect("a graph");
        let weights = random_weights(&graph, 0).expect("weights");
        let mut net = Network::load(graph, &weights, &Device::cpu()).expect("loads");
        let mut rng = Rng::new(1);
        let pixels = (0..9 * 3 * 40 * 40).map(|_| rng.normal() as f32).collect();
        let batch = Batch::image(Array::f32(&[9, 3, 40, 40], pixels));
        let labels: Vec<usize> = (0..9).map(|i| i % 4).collect();
        let mut optimiser = AdamW::new(1e-2, 0.05);
        let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("a pool");
        let losses = pool.install(|| {
            let mut step = || {
                let loss = |i: crate::LossInput<'_>| cross_entropy(i.output(), &labels, i.device);
                net.step(&batch, &|_| true, &loss, &mut optimiser, &mut rng).expect("a step")
            };
            (0..4).map(|_| step()).collect()
        });
        (losses, net.weights().expect("weights"))
    }

    #[test]
    fn training_is_the_same_to_the_bit_on_any_number_of_threads() {
        let (losses, weights) = train(1);
        assert!(losses[3] < losses[0] / 2.0, "it learns: {losses:?}");
        for n_threads in [2, 3, 7] {
            let (losses_other, weights_other) = train(n_threads);
            assert_eq!(losses, losses_other);
            for ((name, a), (_, b)) in weights.iter().zip(weights_other.iter()) {
                assert_eq!(
                    a.to_f32().expect("f32"),
                    b.to_f32().expect("f32"),
                    "{name} on {n_threads} threads"
                );
            }
        }
    }
}
