//! Between host arrays and device tensors, and the tensor sentences that several operators share.

use burn_backend::TensorMetadata;
use burn_backend::ops::{BoolTensorOps, FloatTensorOps, IntTensorOps};
use burn_backend::{DType, IntDType, Scalar, Shape, Slice, TensorData};
use burn_dispatch::backends::flex::FlexTensor;
use burn_dispatch::{BackendTensor, Dispatch as B, DispatchDevice, DispatchTensor, DispatchTensorKind};
use bytes::Bytes;
use headstart_core::{Array, Values};
use headstart_graph::Tensor;

use crate::EngineError;
use crate::custom::{on_host, on_processor};

/// A tensor of any rank and element type on any device.
pub(crate) type T = DispatchTensor;

/// What a tensor's elements are: floats are f32, integers i64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Float,
    Int,
    Bool,
}

pub(crate) fn kind(t: &T) -> Kind {
    // On the processor the element type alone does not tell: truth values may be bytes.
    match &t.kind {
        DispatchTensorKind::Flex(BackendTensor::Int(_)) => return Kind::Int,
        DispatchTensorKind::Flex(BackendTensor::Bool(_)) => return Kind::Bool,
        DispatchTensorKind::Flex(_) | DispatchTensorKind::Autodiff(_) => return Kind::Float,
        #[allow(unreachable_patterns, reason = "other devices are features")]
        _ => {}
    }
    #[allow(unreachable_code, reason = "other devices are features")]
    match t.dtype() {
        DType::Bool(_) => Kind::Bool,
        d if d.is_float() => Kind::Float,
        _ => Kind::Int,
    }
}

pub(crate) fn from_f32(shape: &[usize], values: Vec<f32>, device: &DispatchDevice) -> T {
    B::float_from_data(TensorData::new(values, Shape::from(shape.to_vec())), device)
}

pub(crate) fn from_i64(shape: &[usize], values: Vec<i64>, device: &DispatchDevice) -> T {
    B::int_from_data(TensorData::new(values, Shape::from(shape.to_vec())), device)
}

pub(crate) fn from_bool(shape: &[usize], values: Vec<bool>, device: &DispatchDevice) -> T {
    B::bool_from_data(TensorData::new(values, Shape::from(shape.to_vec())), device)
}

/// Reads an integer tensor back.
pub(crate) fn to_i64(tensor: T) -> Result<Vec<i64>, EngineError> {
    let data = burn_backend::try_read_sync(B::int_into_data(tensor))
        .ok_or_else(|| EngineError::Read("the device cannot be waited for on this platform".into()))?
        .map_err(|e| EngineError::Read(e.to_string()))?;
    data.convert_dtype(DType::I64).try_into_vec::<i64>().map_err(|e| EngineError::Read(format!("{e:?}")))
}

pub(crate) fn from_array(array: &Array, device: &DispatchDevice) -> T {
    match &array.values {
        Values::F32(v) => from_f32(&array.shape, v.clone(), device),
        Values::I64(v) => from_i64(&array.shape, v.clone(), device),
    }
}

/// Reads a tensor back; truth values become 0 and 1.
pub(crate) fn to_array(tensor: T) -> Result<Array, EngineError> {
    let shape: Vec<usize> = tensor.shape().to_vec();
    match kind(&tensor) {
        Kind::Float => {}
        Kind::Int => return Ok(Array::i64(&shape, to_i64(tensor)?)),
        Kind::Bool => return Ok(Array::i64(&shape, to_i64(B::bool_into_int(tensor, IntDType::I64))?)),
    }
    let data = burn_backend::try_read_sync(B::float_into_data(tensor))
        .ok_or_else(|| EngineError::Read("the device cannot be waited for on this platform".into()))?
        .map_err(|e| EngineError::Read(e.to_string()))?;
    let values = data
        .convert_dtype(DType::F32)
        .try_into_vec::<f32>()
        .map_err(|e| EngineError::Read(format!("{e:?}")))?;
    Ok(Array::f32(&shape, values))
}

/// Reads a float tensor back: on the processor without a copy, as long as nobody writes over it.
pub(crate) fn to_weight(t: T) -> Result<Tensor, EngineError> {
    let shape = dims(&t);
    if cfg!(target_endian = "little") && on_processor(&t) {
        let bytes = Bytes::from_owner(Held(on_host(t)));
        return Ok(Tensor::new(headstart_graph::DType::F32, shape, bytes)?);
    }
    let Values::F32(values) = to_array(t)?.values else { unreachable!("floats are read as f32") };
    Ok(Tensor::from_f32(&shape, &values)?)
}

/// The numbers of a tensor as bytes.
struct Held(FlexTensor);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(self.0.storage::<f32>())
    }
}

pub(crate) fn dims(t: &T) -> Vec<usize> {
    t.shape().to_vec()
}

pub(crate) fn reshape(t: T, shape: &[usize]) -> T {
    let shape = Shape::from(shape.to_vec());
    match kind(&t) {
        Kind::Float => B::float_reshape(t, shape),
        Kind::Int => B::int_reshape(t, shape),
        Kind::Bool => B::bool_reshape(t, shape),
    }
}

pub(crate) fn permute(t: T, perm: &[usize]) -> T {
    match kind(&t) {
        Kind::Float => B::float_permute(t, perm),
        Kind::Int => B::int_permute(t, perm),
        Kind::Bool => B::bool_permute(t, perm),
    }
}

/// Repeats along axes of length 1.
pub(crate) fn expand(t: T, shape: &[usize]) -> T {
    if dims(&t) == shape {
        return t;
    }
    let shape = Shape::from(shape.to_vec());
    match kind(&t) {
        Kind::Float => B::float_expand(t, shape),
        Kind::Int => B::int_expand(t, shape),
        Kind::Bool => B::bool_expand(t, shape),
    }
}

pub(crate) fn slice(t: T, slices: &[Slice]) -> T {
    match kind(&t) {
        Kind::Float => B::float_slice(t, slices),
        Kind::Int => B::int_slice(t, slices),
        Kind::Bool => B::bool_slice(t, slices),
    }
}

pub(crate) fn cat(all: Vec<T>, axis: usize) -> T {
    match all.first().map_or(Kind::Float, kind) {
        Kind::Float => B::float_cat(all, axis),
        Kind::Int => B::int_cat(all, axis),
        Kind::Bool => B::bool_cat(all, axis),
    }
}

/// Gives all the same number of dimensions, new ones in front, as numpy does before it broadcasts.
pub(crate) fn aligned<const N: usize>(all: [T; N]) -> [T; N] {
    let rank = all.iter().map(|t| dims(t).len()).max().unwrap_or(0);
    all.map(|t| {
        let shape = dims(&t);
        if shape.len() == rank {
            return t;
        }
        reshape(t, &[vec![1; rank - shape.len()], shape].concat())
    })
}

/// The shape of an elementwise operator's result, for shapes of one rank.
pub(crate) fn broadcast_shape(a: &[usize], b: &[usize]) -> Vec<usize> {
    a.iter().zip(b).map(|(&n, &m)| if n == 1 { m } else { n }).collect()
}

/// Repeats all to their common shape; they have one rank.
pub(crate) fn broadcast<const N: usize>(all: [T; N]) -> [T; N] {
    let mut shape = vec![1; all.first().map_or(0, |t| dims(t).len())];
    for t in &all {
        shape = broadcast_shape(&shape, &dims(t));
    }
    all.map(|t| expand(t, &shape))
}

pub(crate) fn scale(t: T, by: f64) -> T {
    B::float_mul_scalar(t, Scalar::Float(by))
}

/// The same values without gradients.
pub(crate) fn untracked(t: T) -> T {
    if is_tracked(&t) { <B as burn_backend::AutodiffBackend>::inner(t) } else { t }
}

/// Whether a value depends on something that has gradients.
pub(crate) fn is_tracked(t: &T) -> bool {
    t.autodiff != burn_dispatch::DispatchAutodiffContext::Disabled
}
