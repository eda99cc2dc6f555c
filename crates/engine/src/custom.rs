//! Operators whose backward pass on the processor is ours; on every other device, and in inference, they are Burn's.
//!
//! Burn computes the gradient of a grouped convolution's weight in one small convolution a group (1,152 of them in a
//! layer of EfficientNet), and that of clipping through masks on one thread.

use burn_backend::ops::{ConvOptions, FloatTensorOps, ModuleOps};
use burn_backend::{AutodiffBackend, Scalar, Shape, TensorData, TensorMetadata};
use burn_dispatch::backends::autodiff::NodeId;
use burn_dispatch::backends::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn_dispatch::backends::autodiff::grads::Gradients;
use burn_dispatch::backends::autodiff::ops::{Backward, Ops, OpsKind};
use burn_dispatch::backends::flex::FlexTensor;
use burn_dispatch::backends::{Autodiff, Flex};
use burn_dispatch::{BackendTensor, Dispatch as B, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind as Kind};
use headstart_kernels::{Depthwise, backward_data, backward_weight, clip_backward};

use crate::tensor::T;

type Tracked = <Autodiff<Flex> as burn_backend::BackendTypes>::FloatTensorPrimitive;

/// Convolution.  Ours where it is depthwise, without bias, and differentiated on the processor.
pub(crate) fn conv2d(x: T, weight: T, bias: Option<T>, options: ConvOptions<2>) -> T {
    let [out, per_group, ..] = weight.shape().dims::<4>();
    let depthwise = options.groups == out && per_group == 1 && bias.is_none();
    if !depthwise || !is_tracked_flex(&x) {
        return B::conv2d(x, weight, bias, options);
    }
    let context = x.autodiff;
    let weight = if is_tracked_flex(&weight) { weight } else { <B as AutodiffBackend>::from_inner(weight) };
    let (x, weight) = (tracked(x), tracked(weight));
    let step = DepthwiseStep.prepare::<NoCheckpointing>([x.node(), weight.node()]).compute_bound().stateful();
    let result = match step {
        OpsKind::Tracked(mut prep) => {
            let state = (prep.checkpoint(&x), prep.checkpoint(&weight), options.clone());
            prep.finish(state, Flex::conv2d(x.into_primitive(), weight.into_primitive(), None, options))
        }
        OpsKind::UnTracked(prep) => {
            prep.finish(Flex::conv2d(x.into_primitive(), weight.into_primitive(), None, options))
        }
    };
    wrap(result, context)
}

/// `min(max(x, min), max)`.  Ours where it is differentiated on the processor.
pub(crate) fn clip(x: T, min: f64, max: f64) -> T {
    let (lo, hi) = (Scalar::Float(min), Scalar::Float(max));
    if !is_tracked_flex(&x) {
        return B::float_clamp(x, lo, hi);
    }
    let context = x.autodiff;
    let x = tracked(x);
    let result = match ClipStep.prepare::<NoCheckpointing>([x.node()]).compute_bound().stateful() {
        OpsKind::Tracked(mut prep) => {
            let state = (prep.checkpoint(&x), [min as f32, max as f32]);
            prep.finish(state, Flex::float_clamp(x.into_primitive(), lo, hi))
        }
        OpsKind::UnTracked(prep) => prep.finish(Flex::float_clamp(x.into_primitive(), lo, hi)),
    };
    wrap(result, context)
}

#[derive(Debug)]
struct DepthwiseStep;

impl Backward<Flex, 2> for DepthwiseStep {
    type State = (NodeId, NodeId, ConvOptions<2>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [x_node, weight_node] = ops.parents;
        let (x_id, weight_id, options) = ops.state;
        let grad = grads.consume::<Flex>(&ops.node).to_contiguous();
        let x = checkpointer.retrieve_node_output::<FlexTensor>(x_id).to_contiguous();
        let weight = checkpointer.retrieve_node_output::<FlexTensor>(weight_id).to_contiguous();
        let [n, c, h, w] = x.shape().dims();
        let [_, _, kh, kw] = weight.shape().dims();
        let [(top, bottom), (left, right)] = options.padding;
        let d = Depthwise {
            n,
            c,
            size: [h, w],
            kernel: [kh, kw],
            stride: options.stride,
            dilation: options.dilation,
            padding: [top, left, bottom, right],
        };
        if let Some(node) = x_node {
            let mut dx = vec![0.0f32; n * c * h * w];
            backward_data(&d, slice(&weight), slice(&grad), &mut dx);
            grads.register::<Flex>(node.id, tensor(dx, x.shape()));
        }
        if let Some(node) = weight_node {
            let mut dw = vec![0.0f32; c * kh * kw];
            backward_weight(&d, slice(&x), slice(&grad), &mut dw);
            grads.register::<Flex>(node.id, tensor(dw, weight.shape()));
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
            let mut dx = vec![0.0f32; slice(&x).len()];
            clip_backward(slice(&x), slice(&grad), range, &mut dx);
            grads.register::<Flex>(node.id, tensor(dx, x.shape()));
        }
    }
}

fn is_tracked_flex(t: &T) -> bool {
    matches!(&t.kind, Kind::Autodiff(inner) if matches!(**inner, Kind::Flex(BackendTensor::Autodiff(_))))
}

fn tracked(t: T) -> Tracked {
    match t.kind {
        Kind::Autodiff(inner) => match *inner {
            Kind::Flex(tensor) => tensor.autodiff(),
            _ => unreachable!("checked by is_tracked_flex"),
        },
        _ => unreachable!("checked by is_tracked_flex"),
    }
}

fn wrap(result: Tracked, autodiff: DispatchAutodiffContext) -> T {
    let kind = Kind::Autodiff(Box::new(Kind::Flex(BackendTensor::Autodiff(result))));
    DispatchTensor { kind, autodiff }
}

fn slice(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>().expect("contiguous f32: made so above")
}

fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}
