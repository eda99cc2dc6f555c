//! Named tensors as they lie in a file: typed bytes, shared without copying.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::GraphError;

/// Element type of a tensor, little-endian.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum DType {
    F64,
    F32,
    F16,
    BF16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

impl DType {
    /// Bytes an element takes.
    pub const fn size(self) -> usize {
        match self {
            DType::F64 | DType::I64 => 8,
            DType::F32 | DType::I32 => 4,
            DType::F16 | DType::BF16 | DType::I16 => 2,
            DType::I8 | DType::U8 | DType::Bool => 1,
        }
    }

    /// True for floating point.
    pub const fn is_float(self) -> bool {
        matches!(self, DType::F64 | DType::F32 | DType::F16 | DType::BF16)
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DType::F64 => "f64",
            DType::F32 => "f32",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::I64 => "i64",
            DType::I32 => "i32",
            DType::I16 => "i16",
            DType::I8 => "i8",
            DType::U8 => "u8",
            DType::Bool => "bool",
        })
    }
}

/// A dense row-major tensor.  The bytes may belong to a memory-mapped file; cloning shares them.
#[derive(Clone, PartialEq, Eq)]
pub struct Tensor {
    dtype: DType,
    shape: Vec<usize>,
    bytes: Bytes,
}

impl Tensor {
    /// Takes bytes as they are; their number must fit shape and type.
    pub fn new(dtype: DType, shape: Vec<usize>, bytes: Bytes) -> Result<Self, GraphError> {
        let want = shape
            .iter()
            .try_fold(dtype.size(), |n, &d| n.checked_mul(d))
            .ok_or_else(|| GraphError::TooLarge(shape.clone()))?;
        if bytes.len() != want {
            return Err(GraphError::ByteLength { dtype, shape, want, got: bytes.len() });
        }
        Ok(Tensor { dtype, shape, bytes })
    }

    /// A tensor of f32.
    ///
    /// ```
    /// use headstart_graph::Tensor;
    /// let t = Tensor::from_f32(&[2, 2], &[1.0, 2.0, 3.0, 4.0])?;
    /// assert_eq!(t.to_f32()?[3], 4.0);
    /// assert!(Tensor::from_f32(&[3], &[1.0]).is_err());
    /// # Ok::<(), headstart_graph::GraphError>(())
    /// ```
    pub fn from_f32(shape: &[usize], values: &[f32]) -> Result<Self, GraphError> {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
        Tensor::new(DType::F32, shape.to_vec(), bytes.into())
    }

    /// Element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.dtype.size()
    }

    /// True if a dimension is 0.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The raw little-endian bytes.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same elements under another shape of the same size.
    pub fn reshaped(&self, shape: &[usize]) -> Result<Self, GraphError> {
        Tensor::new(self.dtype, shape.to_vec(), self.bytes.clone())
    }

    /// A matrix with rows and columns exchanged, of the same element type.
    ///
    /// # Errors
    /// If it is no matrix.
    ///
    /// ```
    /// use headstart_graph::Tensor;
    /// let m = Tensor::from_f32(&[2, 3], &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?.transposed()?;
    /// assert_eq!((m.shape(), &m.to_f32()?[..]), (&[3, 2][..], &[1.0, 4.0, 2.0, 5.0, 3.0, 6.0][..]));
    /// # Ok::<(), headstart_graph::GraphError>(())
    /// ```
    pub fn transposed(&self) -> Result<Self, GraphError> {
        match self.shape[..] {
            [_, _] => self.permuted(&[1, 0]),
            _ => Err(GraphError::NotMatrix(self.shape.clone())),
        }
    }

    /// The same elements with the axes in another order: axis `i` of the result is axis `perm[i]`.
    ///
    /// # Panics
    /// If `perm` does not name every axis once.
    ///
    /// ```
    /// use headstart_graph::Tensor;
    /// let t = Tensor::from_f32(&[1, 2, 2], &[1.0, 2.0, 3.0, 4.0])?.permuted(&[2, 1, 0])?;
    /// assert_eq!((t.shape(), &t.to_f32()?[..]), (&[2, 2, 1][..], &[1.0, 3.0, 2.0, 4.0][..]));
    /// # Ok::<(), headstart_graph::GraphError>(())
    /// ```
    pub fn permuted(&self, perm: &[usize]) -> Result<Self, GraphError> {
        let mut named = perm.to_vec();
        named.sort_unstable();
        assert!(
            named.into_iter().eq(0..self.shape.len()),
            "{perm:?} names every axis of {:?} once",
            self.shape
        );
        let size = self.dtype.size();
        let mut strides = vec![size; perm.len()];
        for axis in (1..perm.len()).rev() {
            strides[axis - 1] = strides[axis] * self.shape[axis];
        }
        let shape: Vec<usize> = perm.iter().map(|&axis| self.shape[axis]).collect();
        let mut bytes = Vec::with_capacity(self.bytes.len());
        // Lines along the result's last axis, from where each begins.
        let (line, step) = shape.last().zip(perm.last()).map_or((1, size), |(&n, &axis)| (n, strides[axis]));
        let mut at = vec![0; perm.len().saturating_sub(1)];
        for _ in 0..self.len() / line.max(1) {
            let start: usize = perm.iter().zip(&at).map(|(&axis, &i)| strides[axis] * i).sum();
            (0..line).for_each(|i| bytes.extend_from_slice(&self.bytes[start + i * step..][..size]));
            for place in (0..at.len()).rev() {
                at[place] += 1;
                if at[place] < shape[place] {
                    break;
                }
                at[place] = 0;
            }
        }
        Tensor::new(self.dtype, shape, bytes.into())
    }

    /// The elements as f32, converted from any floating-point type.
    pub fn to_f32(&self) -> Result<Cow<'_, [f32]>, GraphError> {
        fn each<const N: usize>(bytes: &[u8], f: impl Fn([u8; N]) -> f32) -> Cow<'_, [f32]> {
            Cow::Owned(bytes.as_chunks::<N>().0.iter().map(|c| f(*c)).collect())
        }
        Ok(match self.dtype {
            DType::F32 => each(&self.bytes, f32::from_le_bytes),
            DType::F64 => each(&self.bytes, |b| f64::from_le_bytes(b) as f32),
            DType::F16 => each(&self.bytes, |b| half::f16::from_le_bytes(b).to_f32()),
            DType::BF16 => each(&self.bytes, |b| half::bf16::from_le_bytes(b).to_f32()),
            other => return Err(GraphError::NotFloat(other)),
        })
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({} {:?})", self.dtype, self.shape)
    }
}

/// Named tensors, in the order in which their file lists them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Weights(IndexMap<String, Tensor>);

impl Weights {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a tensor; returns the one replaced.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Option<Tensor> {
        self.0.insert(name.into(), tensor)
    }

    /// Looks a tensor up.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.0.get(name)
    }

    /// Looks a tensor up, or says that it is missing.
    pub fn require(&self, name: &str) -> Result<&Tensor, GraphError> {
        self.get(name).ok_or_else(|| GraphError::MissingWeight(name.into()))
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.0.shift_remove(name)
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.0.iter().map(|(k, v)| (k.as_str(), v))
    }

    /// How many tensors.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// A hash of names, types, shapes and bytes that does not depend on the order of the tensors.
    pub fn hash(&self) -> blake3::Hash {
        let mut names: Vec<&String> = self.0.keys().collect();
        names.sort();
        let mut h = blake3::Hasher::new();
        for name in names {
            let t = &self.0[name];
            h.update(format!("{name}\0{}\0{:?}\0", t.dtype, t.shape).as_bytes());
            h.update(&t.bytes);
        }
        h.finalize()
    }
}

impl FromIterator<(String, Tensor)> for Weights {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(iter: I) -> Self {
        Weights(iter.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_precision_reads_as_f32() {
        let bytes: Vec<u8> =
            [1.5f32, -2.0].iter().flat_map(|&v| half::bf16::from_f32(v).to_le_bytes()).collect();
        let t = Tensor::new(DType::BF16, vec![2], bytes.into()).expect("two elements");
        assert_eq!(t.to_f32().expect("float").as_ref(), &[1.5, -2.0]);
    }

    #[test]
    fn a_shape_that_overflows_is_an_error() {
        let e = Tensor::new(DType::F32, vec![usize::MAX, 2], Bytes::new());
        assert_eq!(e, Err(GraphError::TooLarge(vec![usize::MAX, 2])));
    }

    #[test]
    fn the_hash_ignores_order_and_sees_values() {
        let t = |v| Tensor::from_f32(&[1], &[v]).expect("one element");
        let ab: Weights = [("a".into(), t(1.0)), ("b".into(), t(2.0))].into_iter().collect();
        let ba: Weights = [("b".into(), t(2.0)), ("a".into(), t(1.0))].into_iter().collect();
        let ac: Weights = [("a".into(), t(1.0)), ("b".into(), t(3.0))].into_iter().collect();
        assert_eq!(ab.hash(), ba.hash());
        assert_ne!(ab.hash(), ac.hash());
    }
}
