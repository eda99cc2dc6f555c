//! [safetensors](https://github.com/huggingface/safetensors): eight bytes of length, a JSON header, raw tensors.
//!
//! The format to prefer: nothing in it can run, and tensors are used where they lie.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::io::Write;
use std::path::Path;

use bytes::Bytes;
use headstart_graph::{DType, Tensor, Weights};
use safetensors::tensor::{Dtype, SafeTensors};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};

use crate::listing::brief;
use crate::{FormatError, mapped};

const FORMAT: &str = "safetensors file";
/// The header's key that is not a tensor.
const METADATA: &str = "__metadata__";

/// Reads a file; tensors are in the order of their data and share the memory-mapped file.
pub fn load(path: impl AsRef<Path>) -> Result<Weights, FormatError> {
    let path = path.as_ref();
    read(path, mapped::map(path)?)
}

/// The bytes of a file with these tensors and key-value pairs: same input, same bytes.
///
/// Tensors keep their order, but for wider element types coming first, so that each is aligned.
///
/// # Panics
/// If a tensor is called `__metadata__`, which the format reserves; [`save`] returns an error instead.
///
/// ```
/// use headstart_formats::safetensors;
/// use headstart_graph::{Tensor, Weights};
/// let mut weights = Weights::new();
/// weights.insert("b", Tensor::from_f32(&[1], &[2.5])?);
/// let bytes = safetensors::to_bytes(&weights, &[("format".into(), "pt".into())]);
/// assert_eq!(&bytes[8..42], br#"{"__metadata__":{"format":"pt"},"b"#);
/// assert_eq!(&bytes[bytes.len() - 4..], 2.5f32.to_le_bytes());
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn to_bytes(weights: &Weights, metadata: &[(String, String)]) -> Vec<u8> {
    assert!(weights.get(METADATA).is_none(), "safetensors reserves the tensor name `{METADATA}`");
    let (mut out, tensors) = header(weights, metadata);
    for tensor in tensors {
        out.extend_from_slice(tensor.bytes());
    }
    out
}

/// Writes a file: it appears whole, by rename, or not at all.
pub fn save(
    path: impl AsRef<Path>,
    weights: &Weights,
    metadata: &[(String, String)],
) -> Result<(), FormatError> {
    let path = path.as_ref();
    if weights.get(METADATA).is_some() {
        return Err(FormatError::ReservedName(METADATA.into()));
    }
    let (head, tensors) = header(weights, metadata);
    let dir = path.parent().filter(|d| !d.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = temp_file(dir)?;
        file.write_all(&head)?;
        for tensor in tensors {
            file.write_all(tensor.bytes())?;
        }
        file.as_file().sync_all()?;
        file.persist(path)?;
        sync_folder(dir)
    };
    write().map_err(FormatError::write(path))
}

/// Reads a file's bytes; `path` is for messages.
pub fn read(path: &Path, bytes: Bytes) -> Result<Weights, FormatError> {
    let malformed = |what: String| FormatError::malformed(path, FORMAT, what);
    let (n_header, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| malformed(e.to_string()))?;
    refuse_duplicates(&bytes[8..8 + n_header]).map_err(|e| malformed(e.to_string()))?;
    let start = 8 + n_header;
    metadata
        .offset_keys()
        .into_iter()
        .map(|name| {
            let info = metadata.info(&name).expect("offset_keys lists the names of tensors");
            let (from, to) = info.data_offsets;
            let dtype = dtype(info.dtype).ok_or_else(|| FormatError::UnsupportedTensor {
                path: path.into(),
                tensor: brief(&name),
                got: format!("of type {:?}", info.dtype),
            })?;
            // read_metadata checked that offsets lie in the file and fit shape and type.
            let tensor = Tensor::new(dtype, info.shape.clone(), bytes.slice(start + from..start + to))?;
            Ok((name, tensor))
        })
        .collect()
}

/// The key-value pairs of a file's header, sorted by key.
pub fn metadata(path: impl AsRef<Path>) -> Result<Vec<(String, String)>, FormatError> {
    let path = path.as_ref();
    let bytes = mapped::map(path)?;
    let (_, header) = SafeTensors::read_metadata(&bytes)
        .map_err(|e| FormatError::malformed(path, FORMAT, e.to_string()))?;
    let pairs: BTreeMap<String, String> = header.metadata().clone().into_iter().flatten().collect();
    Ok(pairs.into_iter().collect())
}

fn dtype(theirs: Dtype) -> Option<DType> {
    Some(match theirs {
        Dtype::F64 => DType::F64,
        Dtype::F32 => DType::F32,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::I64 => DType::I64,
        Dtype::I32 => DType::I32,
        Dtype::I16 => DType::I16,
        Dtype::I8 => DType::I8,
        Dtype::U8 => DType::U8,
        Dtype::BOOL => DType::Bool,
        _ => return None,
    })
}

/// The length, the header and the tensors in the order of their data.
///
/// The crate's own writer sorts by name and writes metadata in the order of a hash map; ours keeps the order of the
/// tensors and is deterministic.
fn header<'a>(weights: &'a Weights, metadata: &[(String, String)]) -> (Vec<u8>, Vec<&'a Tensor>) {
    let mut tensors: Vec<(&str, &Tensor)> = weights.iter().collect();
    tensors.sort_by_key(|(_, t)| std::cmp::Reverse(t.dtype().size()));
    let quote = |s: &str| serde_json::Value::from(s).to_string();
    let mut fields = Vec::with_capacity(tensors.len() + 1);
    if !metadata.is_empty() {
        let sorted: BTreeMap<&str, &str> = metadata.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        let pairs: Vec<String> = sorted.iter().map(|(k, v)| format!("{}:{}", quote(k), quote(v))).collect();
        fields.push(format!("\"{METADATA}\":{{{}}}", pairs.join(",")));
    }
    let mut from = 0;
    for (name, t) in &tensors {
        let to = from + t.bytes().len();
        let shape: Vec<String> = t.shape().iter().map(usize::to_string).collect();
        let dtype = t.dtype().to_string().to_uppercase();
        let (name, shape) = (quote(name), shape.join(","));
        fields.push(format!(
            "{name}:{{\"dtype\":\"{dtype}\",\"shape\":[{shape}],\"data_offsets\":[{from},{to}]}}"
        ));
        from = to;
    }
    let mut json = format!("{{{}}}", fields.join(","));
    // Spaces up to a multiple of eight, so that the data is aligned in the file.
    json.extend(std::iter::repeat_n(' ', json.len().next_multiple_of(8) - json.len()));
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(json.as_bytes());
    (out, tensors.into_iter().map(|(_, t)| t).collect())
}

/// A name that is listed twice could mean one tensor to us and the other to another reader.
fn refuse_duplicates(header: &[u8]) -> Result<(), serde_json::Error> {
    struct Names;
    impl<'de> Visitor<'de> for Names {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<(), M::Error> {
            let mut seen = HashSet::new();
            while let Some(name) = map.next_key::<String>()? {
                map.next_value::<IgnoredAny>()?;
                if seen.contains(&name) {
                    return Err(serde::de::Error::custom(format!("`{}` is listed twice", brief(&name))));
                }
                seen.insert(name);
            }
            Ok(())
        }
    }
    serde_json::Deserializer::from_slice(header).deserialize_map(Names)
}

fn temp_file(dir: &Path) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    // As for any new file: the user's umask decides, not the privacy of temporary files.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.prefix(".safetensors-").tempfile_in(dir)
}

/// Makes the rename itself durable.
fn sync_folder(dir: &Path) -> std::io::Result<()> {
    if cfg!(unix) { std::fs::File::open(dir)?.sync_all() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Weights {
        let mut w = Weights::new();
        w.insert("z.\"quoted\"", Tensor::from_f32(&[2], &[1.0, -1.0]).unwrap());
        w.insert("mask", Tensor::new(DType::Bool, vec![3], Bytes::from_static(&[1, 0, 1])).unwrap());
        w.insert("a", Tensor::from_f32(&[0, 4], &[]).unwrap());
        w.insert("step", Tensor::new(DType::I64, vec![], 7i64.to_le_bytes().to_vec().into()).unwrap());
        w
    }

    #[test]
    fn what_is_written_is_read_and_the_bytes_do_not_vary() {
        let meta = [("format".to_string(), "pt".to_string()), ("a".into(), "b".into())];
        let bytes = to_bytes(&sample(), &meta);
        assert_eq!(bytes, to_bytes(&sample(), &meta));
        let got = read(Path::new("mem"), bytes.into()).unwrap();
        assert_eq!(got.hash(), sample().hash());
        let names: Vec<&str> = got.iter().map(|(n, _)| n).collect();
        assert_eq!(names[0], "step");
    }

    #[test]
    fn saving_leaves_one_file_and_reserved_names_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w.safetensors");
        save(&path, &sample(), &[]).unwrap();
        save(&path, &sample(), &[]).unwrap();
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert_eq!(load(&path).unwrap().hash(), sample().hash());
        let mut bad = Weights::new();
        bad.insert(METADATA, Tensor::from_f32(&[1], &[0.0]).unwrap());
        assert!(matches!(save(&path, &bad, &[]), Err(FormatError::ReservedName(_))));
        assert_eq!(load(&path).unwrap().hash(), sample().hash(), "the old file is untouched");
    }
}
