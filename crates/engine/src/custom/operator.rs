//! How an operator of ours joins Burn's autodiff.

use std::cell::RefCell;
use std::collections::HashSet;
use std::fmt::Debug;

use burn_backend::ops::FloatTensorOps;
use burn_backend::{AutodiffBackend, DType, Shape, TensorData, TensorMetadata};
use burn_dispatch::backends::autodiff::NodeId;
use burn_dispatch::backends::autodiff::checkpoint::{base::Checkpointer, strategy::NoCheckpointing};
use burn_dispatch::backends::autodiff::grads::Gradients;
use burn_dispatch::backends::autodiff::ops::{Backward, Ops, OpsKind};
use burn_dispatch::backends::flex::FlexTensor;
use burn_dispatch::backends::{Autodiff, Flex};
use burn_dispatch::{
    BackendTensor, Dispatch as B, DispatchAutodiffContext, DispatchTensor, DispatchTensorKind as Kind,
};
use headstart_kernels::channels_last::training::{add, interleave};

use super::memory::made;
use crate::tensor::T;

type Tracked = <Autodiff<Flex> as burn_backend::BackendTypes>::FloatTensorPrimitive;

/// An operator over f32 tensors on the processor, with a backward pass of its own.  What it is given is contiguous.
///
/// Images `[n, c, …]` may lie with channels last, which their strides say: such a tensor means the same to every operator, and
/// those that ask for it are given `[n, …, c]` without a copy.
pub(crate) trait Operator<const N: usize>: Debug + Send + 'static {
    /// What the backward pass needs of the forward pass.
    type Saved: Clone + Debug + Send + 'static;

    /// The result, and what to keep if there will be a backward pass.
    fn forward(&self, inputs: [FlexTensor; N]) -> (FlexTensor, Self::Saved);

    /// Gradients of the inputs from that of the result, where `wanted`.
    fn backward(self, saved: Self::Saved, grad: FlexTensor, wanted: [bool; N]) -> [Option<FlexTensor>; N];

    /// Which inputs and their gradients are images with channels last, `[n, …, c]`.
    fn images(&self) -> [bool; N] {
        [false; N]
    }

    /// Whether the result and its gradient are.
    fn makes_image(&self) -> bool {
        false
    }
}

/// Whether [`run`] can take these inputs: f32 on the processor, with or without gradients.
pub(crate) fn is_ours<const N: usize>(inputs: [&T; N]) -> bool {
    inputs.into_iter().all(|t| on_processor(t) || context([t]).is_some()) && inputs.into_iter().all(is_f32)
}

/// Runs an operator on inputs that are [`is_ours`].
pub(crate) fn run<O: Operator<N>, const N: usize>(operator: O, inputs: [T; N]) -> T {
    let (mut images, makes_image) = (operator.images().into_iter(), operator.makes_image());
    let mut arrange = |t: FlexTensor| if images.next() == Some(true) { pixels(t) } else { whole(t) };
    let Some(context) = context(inputs.each_ref()) else {
        return plain(made_of(operator.forward(inputs.map(|t| arrange(as_it_lies(t)))).0, makes_image));
    };
    let inputs = inputs.map(tracked);
    let nodes = inputs.each_ref().map(|t| t.node());
    // Nothing here holds the inputs any more, so that an operator may write over one that nobody else holds either.
    let (result, saved) = operator.forward(inputs.map(|t| arrange(t.into_primitive())));
    let result = made_of(result, makes_image);
    let result = match Step(operator).prepare::<NoCheckpointing>(nodes).compute_bound().stateful() {
        OpsKind::Tracked(prep) => prep.finish(saved, result),
        OpsKind::UnTracked(prep) => prep.finish(result),
    };
    let kind = Kind::Autodiff(Box::new(Kind::Flex(BackendTensor::Autodiff(result))));
    DispatchTensor { kind, autodiff: context }
}

thread_local! {
    /// Values whose gradients were registered here and not consumed yet.
    static WAITING: RefCell<HashSet<NodeId>> = RefCell::default();
}

/// Forgets what an earlier backward pass left: values that operators of Burn made.
pub(crate) fn begin_backward() {
    WAITING.with_borrow_mut(HashSet::clear);
}

/// The sum of two gradients, over the one that nobody else holds if they lie in the same way.
fn sum(a: FlexTensor, b: FlexTensor) -> FlexTensor {
    let is_dense = |t: &FlexTensor| t.storage::<f32>().len() == t.layout().num_elements();
    if a.layout() != b.layout() || !is_dense(&a) || !is_dense(&b) {
        return <Flex as FloatTensorOps<Flex>>::float_add(a, b);
    }
    let (mut to, from) = if a.is_unique() { (a, b) } else { (b, a) };
    add(to.storage_mut(), from.storage());
    to
}

/// An operator as Burn records it.
#[derive(Debug)]
struct Step<O>(O);

impl<O: Operator<N>, const N: usize> Backward<Flex, N> for Step<O> {
    type State = O::Saved;

    fn backward(self, ops: Ops<Self::State, N>, grads: &mut Gradients, _: &mut Checkpointer) {
        let grad = grads.consume::<Flex>(&ops.node);
        WAITING.with_borrow_mut(|waiting| waiting.remove(&ops.node.id));
        let grad = if self.0.makes_image() { pixels(grad) } else { whole(grad) };
        let (images, wanted) = (self.0.images(), ops.parents.each_ref().map(Option::is_some));
        let gradients = self.0.backward(ops.state, grad, wanted);
        for ((node, gradient), is_image) in ops.parents.into_iter().zip(gradients).zip(images) {
            let (Some(node), Some(mut gradient)) = (node, gradient) else { continue };
            gradient = made_of(gradient, is_image);
            // Burn's own sum of two images would lay them out anew.  Leaves, which alone have no parents, keep theirs.
            if !node.parents.is_empty() && WAITING.with_borrow_mut(|waiting| !waiting.insert(node.id)) {
                gradient = sum(grads.consume::<Flex>(&node), gradient);
            }
            grads.register::<Flex>(node.id, gradient);
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

/// A tensor that is [`on_processor`].
pub(super) fn as_it_lies(t: T) -> FlexTensor {
    let Kind::Flex(BackendTensor::Float(t)) = t.kind else { unreachable!("checked by on_processor") };
    t
}

/// A tensor that is [`on_processor`], with storage that is its elements in order and nothing else.
pub(crate) fn untracked(t: T) -> FlexTensor {
    whole(as_it_lies(t))
}

/// Whether it lies on the processor with channels last, as images do between operators that make them so.
pub(crate) fn is_image(t: &T) -> bool {
    let layout = match &t.kind {
        Kind::Flex(BackendTensor::Float(t)) => t.layout(),
        Kind::Autodiff(inner) => match &**inner {
            Kind::Flex(BackendTensor::Autodiff(t)) => t.primitive().layout(),
            _ => return false,
        },
        _ => return false,
    };
    let rank = layout.num_dims();
    rank > 2 && !layout.is_contiguous() && layout.permute(&last(rank)).is_contiguous()
}

/// An image `[n, c, …]` as `[n, …, c]`, its elements in that order in storage of their own.
pub(super) fn pixels(t: FlexTensor) -> FlexTensor {
    let layout = t.layout().permute(&last(t.layout().num_dims()));
    if t.layout().is_contiguous() && !layout.is_contiguous() {
        let shape = t.layout().shape();
        let (channels, plane) = (shape[1], shape[2..].iter().product());
        return made(layout.shape().clone(), |to| interleave(slice(&t), channels, plane, to));
    }
    whole(t.with_layout(layout))
}

/// A result as it is, or an image `[n, …, c]` as `[n, c, …]` without moving it.
fn made_of(t: FlexTensor, is_image: bool) -> FlexTensor {
    if !is_image {
        return t;
    }
    let rank = t.layout().num_dims();
    let axes: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
    let layout = t.layout().permute(&axes);
    t.with_layout(layout)
}

/// The axes of `[n, c, …]` in the order `[n, …, c]`.
fn last(rank: usize) -> Vec<usize> {
    [0].into_iter().chain(2..rank).chain([1]).collect()
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
    if !t.is_unique() {
        *t = made(t.shape(), |copy| copy.copy_from_slice(slice(t)));
    }
    t.storage_mut()
}

pub(super) fn tensor(values: Vec<f32>, shape: Shape) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A tensor of zeros.
pub(super) fn zeros(shape: Shape) -> FlexTensor {
    tensor(vec![0.0; shape.num_elements()], shape)
}
