//! Memory of values: large ones lie in the kernels' arena, and go back to it when nobody holds them any more.

use std::mem::MaybeUninit;

use burn_backend::{AllocationProperty, Bytes, DType, Shape, TensorData};
use burn_dispatch::backends::flex::FlexTensor;
use burn_std::{AccessError, AccessPolicy, AllocationController};
use headstart_kernels::arena::{self, Block};

/// Elements of a value from which it lies there.
const LEAST: usize = 1 << 14;

/// A tensor of which `fill` writes every number.
pub(super) fn made(shape: Shape, fill: impl FnOnce(&mut [f32])) -> FlexTensor {
    let len = shape.num_elements();
    match (len >= LEAST).then(|| arena::take(len)).flatten() {
        Some(mut block) => {
            fill(&mut block);
            // SAFETY: a block of numbers, all of which are written or were before.
            let bytes = unsafe { Bytes::from_controller(Box::new(Held(block)), size_of::<f32>() * len) };
            FlexTensor::from_data(TensorData::from_bytes(bytes, shape, DType::F32))
        }
        None => {
            let mut values = vec![0.0; len];
            fill(&mut values);
            FlexTensor::from_data(TensorData::new(values, shape))
        }
    }
}

/// A block as Burn holds it.
struct Held(Block);

impl AllocationController for Held {
    fn alloc_align(&self) -> usize {
        align_of::<f32>()
    }

    fn property(&self) -> AllocationProperty {
        AllocationProperty::Other
    }

    unsafe fn memory_mut(&mut self, _: AccessPolicy) -> Result<&mut [MaybeUninit<u8>], AccessError> {
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(&mut self.0);
        // SAFETY: the caller writes initialised bytes alone, as the trait demands.
        Ok(unsafe { &mut *(std::ptr::from_mut(bytes) as *mut [MaybeUninit<u8>]) })
    }

    fn memory(&self, _: AccessPolicy) -> Result<&[MaybeUninit<u8>], AccessError> {
        let bytes: &[u8] = bytemuck::cast_slice(&self.0);
        // SAFETY: initialised bytes may be seen as such that may not be.
        Ok(unsafe { &*(std::ptr::from_ref(bytes) as *const [MaybeUninit<u8>]) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a tensor holds stays as it is, and is copied where two hold it.
    #[test]
    fn values_are_held_and_end() {
        let shape = || Shape::new([3, LEAST]);
        let filled = |value: f32| made(shape(), |x| x.fill(value));
        let (mut a, b) = (filled(1.0), filled(2.0));
        let shared = a.clone();
        a.storage_mut::<f32>()[0] = 5.0;
        assert_eq!((a.storage::<f32>()[..2].to_vec(), shared.storage::<f32>()[0]), (vec![5.0, 1.0], 1.0));
        assert!(b.storage::<f32>().iter().all(|x| *x == 2.0));
        let values = b.into_data().try_into_vec::<f32>().unwrap();
        assert!(values.len() == 3 * LEAST && values.iter().all(|x| *x == 2.0));
    }
}
