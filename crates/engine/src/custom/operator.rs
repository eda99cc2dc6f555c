//! How an operator of ours joins Burn's autodiff.

use std::fmt::Debug;

use burn_backend::{AutodiffBackend, DType, Shape, TensorData, TensorMetadata};
use burn_dispatch::backends::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn_dispatch::backends::autodiff::grads::Gradients;
use burn_dispatch::backends::autodiff::ops::{Backward, Ops, OpsKind};
use burn_dispatch::backends::flex::FlexTensor;
use burn_dispatch::backends::{Autodiff, Flex};
use burn_dispatch::{
    BackendTensor, Dispatch as B, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind as Kind,
};

use crate::tensor::T;

type Tracked = <Autodiff<Flex> as burn_backend::BackendTypes>::FloatTensorPrimitive;

/// An operator over f32 tensors on the processor, with a backward pass of its own.  What it is given is contiguous.
pub(crate) trait Operator<const N: usize>: Debug + Send + 'static {
    /// What the backward pass needs of the forward pass.
    type Saved: Clone + Debug + Send + 'static;

    /// The result, and what to keep if there will be a backward pass.
    fn forward(&self, inputs: [FlexTensor; N]) -> (FlexTensor, Self::Saved);

    /// Gradients of the inputs from that of the result, where `wanted`.
    fn backward(self, saved: Self::Saved, grad: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N];
}

/// Whether [`run`] can take these inputs: f32 on the processor, with or without gradients.
pub(crate) fn is_ours<const N: usize>(inputs: [&T; N]) -> bool {
    inputs.into_iter().all(|t| on_processor(t) || context([t]).is_some()) && inputs.into_iter().all(is_f32)
}

/// Runs an operator on inputs that are [`is_ours`].
pub(crate) fn run<O: Operator<N>, const N: usize>(operator: O, inputs: [T; N]) -> T {
    let Some(context) = context(inputs.each_ref()) else {
        return plain(operator.forward(inputs.map(untracked)).0);
    };
    let inputs = inputs.map(tracked);
    let nodes = inputs.each_ref().map(|t| t.node());
    // Nothing here holds the inputs any more, so that an operator may write over one that nobody else holds either.
    let (result, saved) = operator.forward(inputs.map(|t| whole(t.into_primitive())));
    let result = match Step(operator).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(saved, result),
        OpsKind::UnTracked(prep) => prep.finish(result),
    };
    let kind = Kind::Autodiff(Box::new(Kind::Flex(BackendTensor::Autodiff(result))));
    DispatchTensor { kind, autodiff: context }
}

/// An operator as Burn records it.
#[derive(Debug)]
struct Step<O>(O);

impl<O: Operator<N>, const N: usize> Backward<Flex, N> for Step<O> {
    type State = O::Saved;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = whole(grads.consume::<Flex>(&ops.node));
        let wanted = ops.parents.each_ref().map(Option::is_some);
        for (node, gradient) in ops.parents.into_iter().zip(self.0.backward(ops.state, grad, wanted)) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                grads.register::<Flex>(node.id, gradient);
            }
        }
    }
}

/// Whether it is a float tensor on the processor, without gradients.
pub(crate) fn on_processor(t: &T) -> bool {
    matches!(&t.kind, Kind::Flex(BackendTensor::Float(_)))
}

fn is_f32(t: &T) -> bool {
    t.dtype() == DType::F32
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

pub(super) fn plain(t: FlexTensor) -> T {
    DispatchTensor { kind: Kind::Flex(BackendTensor::Float(t)), autodiff: DispatchAutodiffContext::Disabled }
}

/// A tensor that is [`on_processor`], with storage that is its elements in order and nothing else.
pub(super) fn untracked(t: T) -> FlexTensor {
    let Kind::Flex(BackendTensor::Float(t)) = t.kind else { unreachable!("checked by on_processor") };
    whole(t)
}

/// The same numbers in storage that is the elements in order and nothing else.
fn whole(t: FlexTensor) -> FlexTensor {
    let is_whole = t.as_slice::<f32>().is_some_and(|s| s.len() == t.storage::<f32>().len());
    if is_whole { t } else { t.to_contiguous() }
}

/// The elements of a tensor of integers on the processor.
pub(super) fn integers(t: &T) -> Option<Vec<i64>> {
    let Kind::Flex(BackendTensor::Int(t)) = &t.kind else { return None };
    let t = t.to_contiguous();
    match t.dtype() {
        DType::I64 => t.as_slice::<i64>().map(<[i64]>::to_vec),
        DType::I32 => t.as_slice::<i32>().map(|s| s.iter().map(|&v| i64::from(v)).collect()),
        _ => None,
    }
}

pub(super) fn slice(t: &FlexTensor) -> &[f32] {
    t.as_slice::<f32>().expect("contiguous f32: made so by run")
}

/// The elements, to be written over: of a copy if somebody else holds the tensor.
pub(super) fn slice_mut(t: &mut FlexTensor) -> &mut [f32] {
    t.storage_mut()
}

pub(super) fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A tensor of zeros that `fill` writes.
pub(super) fn made(shape: Shape, fill: impl FnOnce(&mut [f32])) -> FlexTensor {
    let mut values = vec![0.0f32; shape.num_elements()];
    fill(&mut values);
    tensor(values, shape)
}
