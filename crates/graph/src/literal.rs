//! A tensor that is part of a graph's structure.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{DType, GraphError, Tensor};

/// A constant: indices, masks, scales; f32, i64 or bool.  It travels in the graph, not among the weights: no training changes
/// it and no random initialisation redraws it.
///
/// ```
/// use headstart_graph::Literal;
/// let two = Literal::f32(&[1], &[2.0])?;
/// let json = serde_json::to_string(&two).expect("plain data");
/// assert_eq!(json, r#"{"dtype":"f32","shape":[1],"hex":"00000040"}"#);
/// assert_eq!(serde_json::from_str::<Literal>(&json).expect("the same"), two);
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Literal(Tensor);

/// The elements of a [`Literal`].
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// Floating point.
    F32(Vec<f32>),
    /// Integers.
    I64(Vec<i64>),
    /// Truth values.
    Bool(Vec<bool>),
}

impl Literal {
    /// Floating-point numbers.
    pub fn f32(shape: &[usize], values: &[f32]) -> Result<Self, GraphError> {
        Tensor::from_f32(shape, values).map(Literal)
    }

    /// Integers.
    pub fn i64(shape: &[usize], values: &[i64]) -> Result<Self, GraphError> {
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        Tensor::new(DType::I64, shape.to_vec(), bytes.into()).map(Literal)
    }

    /// Truth values.
    pub fn bool(shape: &[usize], values: &[bool]) -> Result<Self, GraphError> {
        let bytes: Vec<u8> = values.iter().map(|&v| u8::from(v)).collect();
        Tensor::new(DType::Bool, shape.to_vec(), bytes.into()).map(Literal)
    }

    /// Any tensor, its numbers widened to f32, i64 or bool.
    pub fn of(tensor: &Tensor) -> Result<Self, GraphError> {
        let shape = tensor.shape();
        let bytes = tensor.bytes();
        let ints = |values: Vec<i64>| Literal::i64(shape, &values);
        match tensor.dtype() {
            DType::F32 | DType::I64 | DType::Bool => Ok(Literal(tensor.clone())),
            DType::I32 => ints(bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b).into()).collect()),
            DType::I16 => ints(bytes.as_chunks().0.iter().map(|b| i16::from_le_bytes(*b).into()).collect()),
            DType::I8 => ints(bytes.iter().map(|b| (*b as i8).into()).collect()),
            DType::U8 => ints(bytes.iter().map(|b| (*b).into()).collect()),
            _ => Literal::f32(shape, &tensor.to_f32()?),
        }
    }

    /// Shape.
    pub fn shape(&self) -> &[usize] {
        self.0.shape()
    }

    /// `f32`, `i64` or `bool`.
    pub fn dtype(&self) -> DType {
        self.0.dtype()
    }

    /// The tensor.
    pub fn tensor(&self) -> &Tensor {
        &self.0
    }

    /// The elements.
    pub fn elements(&self) -> Elements {
        let bytes = self.0.bytes();
        match self.0.dtype() {
            DType::I64 => Elements::I64(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b)).collect()),
            DType::Bool => Elements::Bool(bytes.iter().map(|b| *b != 0).collect()),
            _ => Elements::F32(bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()),
        }
    }
}

/// Shows a hash of the elements, so that a graph's hash tells constants apart.
impl fmt::Debug for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Literal({:?} {})", self.0, blake3::hash(self.0.bytes()).to_hex())
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    dtype: DType,
    shape: Vec<usize>,
    /// Little-endian bytes.
    hex: String,
}

impl Serialize for Literal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
        let hex = self.0.bytes().iter().flat_map(|b| [digit(b >> 4), digit(b & 15)]).collect();
        Written { dtype: self.0.dtype(), shape: self.0.shape().to_vec(), hex }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Literal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?;
        let digit = |c: u8| char::from(c).to_digit(16).map(|d| d as u8);
        let pairs = written.hex.as_bytes().chunks(2);
        let bytes: Option<Vec<u8>> = pairs
            .map(|pair| match pair {
                [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
                _ => None,
            })
            .collect();
        let bytes =
            bytes.ok_or_else(|| D::Error::custom("`hex` is not an even number of hexadecimal digits"))?;
        if !matches!(written.dtype, DType::F32 | DType::I64 | DType::Bool) {
            return Err(D::Error::custom(format!("a constant is f32, i64 or bool, not {}", written.dtype)));
        }
        Tensor::new(written.dtype, written.shape, bytes.into()).map(Literal).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_whose_bytes_do_not_fill_its_shape_is_refused() {
        for json in [
            r#"{"dtype":"f32","shape":[2],"hex":"00000040"}"#,
            r#"{"dtype":"f32","shape":[1],"hex":"0000004"}"#,
            r#"{"dtype":"f32","shape":[1],"hex":"0000004g"}"#,
            r#"{"dtype":"f16","shape":[1],"hex":"0000"}"#,
            r#"{"dtype":"i64","shape":[4294967296,4294967296],"hex":""}"#,
        ] {
            assert!(serde_json::from_str::<Literal>(json).is_err(), "{json}");
        }
    }

    #[test]
    fn narrow_integers_are_widened_with_their_signs() {
        let t = Tensor::new(DType::I16, vec![2], vec![0xff, 0xff, 2, 0].into()).expect("two elements");
        assert_eq!(Literal::of(&t).expect("widened").elements(), Elements::I64(vec![-1, 2]));
    }
}
