//! Between host arrays and device tensors, and the few tensor sentences that several operators share.

use burn_backend::TensorMetadata;
use burn_backend::ops::{FloatTensorOps, IntTensorOps};
use burn_backend::{DType, Scalar, Shape, TensorData};
use burn_dispatch::{Dispatch as B, DispatchDevice, DispatchTensor};
use headstart_core::{Array, Values};

use crate::EngineError;

/// A tensor of any rank and element type on any device.
pub(crate) type T = DispatchTensor;

pub(crate) fn from_f32(shape: &[usize], values: Vec<f32>, device: &DispatchDevice) -> T {
    B::float_from_data(TensorData::new(values, Shape::from(shape.to_vec())), device)
}

pub(crate) fn from_array(array: &Array, device: &DispatchDevice) -> T {
    match &array.values {
        Values::F32(v) => from_f32(&array.shape, v.clone(), device),
        Values::I64(v) => {
            B::int_from_data(TensorData::new(v.clone(), Shape::from(array.shape.clone())), device)
        }
    }
}

/// Reads a float tensor back.
pub(crate) fn to_array(tensor: T) -> Result<Array, EngineError> {
    let shape: Vec<usize> = tensor.shape().to_vec();
    let data = burn_backend::try_read_sync(B::float_into_data(tensor))
        .ok_or_else(|| EngineError::Read("the device cannot be waited for on this platform".into()))?
        .map_err(|e| EngineError::Read(e.to_string()))?;
    let values = data
        .convert_dtype(DType::F32)
        .try_into_vec::<f32>()
        .map_err(|e| EngineError::Read(format!("{e:?}")))?;
    Ok(Array::f32(&shape, values))
}

pub(crate) fn dims(t: &T) -> Vec<usize> {
    t.shape().to_vec()
}

pub(crate) fn reshape(t: T, shape: &[usize]) -> T {
    B::float_reshape(t, Shape::from(shape.to_vec()))
}

pub(crate) fn scale(t: T, by: f64) -> T {
    B::float_mul_scalar(t, Scalar::Float(by))
}

/// The same values without gradients.
pub(crate) fn untracked(t: T) -> T {
    if t.autodiff == burn_dispatch::DispatchAutodiffContext::Disabled {
        t
    } else {
        <B as burn_backend::AutodiffBackend>::inner(t)
    }
}
