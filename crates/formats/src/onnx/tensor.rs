//! Tensors of an ONNX file: typed fields, raw bytes, or bytes of another file.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use headstart_graph::{DType, Tensor};

use super::proto::{self, elem};
use crate::{FormatError, mapped};

/// Files beside the model that hold tensors, mapped once each.
pub(super) struct External {
    /// The model's own path.
    path: PathBuf,
    files: HashMap<String, Bytes>,
}

impl External {
    pub(super) fn beside(path: &Path) -> Self {
        External { path: path.into(), files: HashMap::new() }
    }

    /// The bytes a tensor claims of a file in the model's folder, or below it.
    fn bytes(&mut self, t: &proto::Tensor) -> Result<Bytes, FormatError> {
        let entry = |key: &str| t.external_data.iter().find(|p| p.key == key).map(|p| p.value.as_str());
        let bounds = |what: String| FormatError::TensorBounds {
            path: self.path.clone(),
            tensor: t.name.clone(),
            what,
        };
        let name = entry("location").ok_or_else(|| bounds("names no file for its external data".into()))?;
        let inside = !name.is_empty()
            && !name.contains('\\')
            && Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
        let escapes = || FormatError::EscapingPath { path: self.path.clone(), name: name.into() };
        if !inside {
            return Err(escapes());
        }
        let number = |key: &str| match entry(key) {
            None => Ok(None),
            Some(text) => {
                text.parse::<usize>().map(Some).map_err(|_| bounds(format!("has the {key} `{text}`")))
            }
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);
        let whole = match self.files.get(name) {
            Some(whole) => whole.clone(),
            None => {
                let dir = self.path.parent().unwrap_or(Path::new(""));
                let file = dir.join(name);
                // A link may lead out of the folder though its name does not.
                let real = file.canonicalize().map_err(FormatError::read(&file))?;
                let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
                let root = dir.canonicalize().map_err(FormatError::read(dir))?;
                if !real.starts_with(&root) {
                    return Err(escapes());
                }
                let whole = mapped::map(&file)?;
                self.files.insert(name.into(), whole.clone());
                whole
            }
        };
        let end = match length {
            Some(n) => offset.checked_add(n),
            None => Some(whole.len()),
        };
        match end.filter(|&end| offset <= end && end <= whole.len()) {
            Some(end) => Ok(whole.slice(offset..end)),
            None => Err(bounds(format!(
                "claims {} bytes from {offset} of `{name}`, which has {}",
                length.unwrap_or(0),
                whole.len()
            ))),
        }
    }
}

/// Reads a tensor; bytes are shared with the file where they lie in it raw.
pub(super) fn read(t: &proto::Tensor, external: &mut External) -> Result<Tensor, FormatError> {
    let path = external.path.clone();
    let unsupported =
        |got: String| FormatError::UnsupportedTensor { path: path.clone(), tensor: t.name.clone(), got };
    let bounds =
        |what: String| FormatError::TensorBounds { path: path.clone(), tensor: t.name.clone(), what };
    let shape = t
        .dims
        .iter()
        .map(|&d| usize::try_from(d).map_err(|_| bounds(format!("has the dimension {d}"))))
        .collect::<Result<Vec<_>, _>>()?;
    // Unsigned and wide types become the next type that holds them.
    let (dtype, file_size) = match t.data_type {
        elem::FLOAT => (DType::F32, 4),
        elem::DOUBLE => (DType::F64, 8),
        elem::FLOAT16 => (DType::F16, 2),
        elem::BFLOAT16 => (DType::BF16, 2),
        elem::INT64 => (DType::I64, 8),
        elem::INT32 => (DType::I32, 4),
        elem::INT16 => (DType::I16, 2),
        elem::INT8 => (DType::I8, 1),
        elem::UINT8 => (DType::U8, 1),
        elem::BOOL => (DType::Bool, 1),
        elem::UINT16 => (DType::I64, 2),
        elem::UINT32 => (DType::I64, 4),
        elem::UINT64 => (DType::I64, 8),
        other => return Err(unsupported(elem::name(other))),
    };
    let n = shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .ok_or_else(|| bounds(format!("has the shape {shape:?}, which no machine can address")))?;
    let raw = if t.data_location == 1 {
        external.bytes(t)?
    } else if !t.raw_data.is_empty() {
        t.raw_data.clone()
    } else {
        from_fields(t, dtype, file_size)
    };
    if Some(raw.len()) != n.checked_mul(file_size) {
        return Err(bounds(format!(
            "of type {} and shape {shape:?} needs {n} elements of {file_size} bytes, its data have {} bytes",
            elem::name(t.data_type),
            raw.len()
        )));
    }
    let raw = match t.data_type {
        elem::UINT16 => widen(&raw, |b: [u8; 2]| u16::from_le_bytes(b).into()),
        elem::UINT32 => widen(&raw, |b: [u8; 4]| u32::from_le_bytes(b).into()),
        // ONNX writes truth as one byte, of which any but 0 is true.
        elem::BOOL => raw.iter().map(|&b| u8::from(b != 0)).collect::<Vec<u8>>().into(),
        _ => raw,
    };
    Ok(Tensor::new(dtype, shape, raw)?)
}

fn widen<const N: usize>(raw: &[u8], f: impl Fn([u8; N]) -> i64) -> Bytes {
    raw.as_chunks::<N>().0.iter().flat_map(|b| f(*b).to_le_bytes()).collect::<Vec<u8>>().into()
}

/// The typed fields, as the bytes that `raw_data` would hold.
fn from_fields(t: &proto::Tensor, dtype: DType, size: usize) -> Bytes {
    let bytes: Vec<u8> = match t.data_type {
        elem::FLOAT => t.float_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        elem::DOUBLE => t.double_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        // 64-bit numbers, signed or not, are one field of varints each; unsigned ones are not read from it.
        _ if dtype == DType::I64 && size == 8 => t.int64_data.iter().flat_map(|v| v.to_le_bytes()).collect(),
        // Everything narrower is in `int32_data`, its low bytes first.
        _ => t.int32_data.iter().flat_map(|v| v.to_le_bytes()[..size.min(4)].to_vec()).collect(),
    };
    bytes.into()
}
