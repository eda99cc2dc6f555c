//! What a file is, told by its content: extensions lie (`.bin` is used by five formats).

use std::path::Path;

use crate::FormatError;

/// A format of model files, as [`identify`] tells them apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileFormat {
    /// safetensors.
    Safetensors,
    /// The JSON that says which tensor lies in which file.
    ShardIndex,
    /// What `torch.save` writes since 1.6.
    TorchZip,
    /// What `torch.save` wrote before.
    TorchLegacy,
    /// HDF5, or a `.keras` archive that holds one.
    Keras,
    /// An ONNX network.
    Onnx,
}

impl std::fmt::Display for FileFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            FileFormat::Safetensors => "safetensors",
            FileFormat::ShardIndex => "index of shards",
            FileFormat::TorchZip => "PyTorch (zip)",
            FileFormat::TorchLegacy => "PyTorch (before 1.6)",
            FileFormat::Keras => "Keras (HDF5)",
            FileFormat::Onnx => "ONNX",
        })
    }
}

/// Tells what a file is, by its content.
///
/// # Errors
/// [`FormatError::NotWeights`] names the formats of others that it recognises.
///
/// ```
/// use headstart_formats::{FileFormat, identify, safetensors};
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("weights.bin");
/// safetensors::save(&path, &headstart_graph::Weights::new(), &[])?;
/// assert_eq!(identify(&path)?, FileFormat::Safetensors);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn identify(path: impl AsRef<Path>) -> Result<FileFormat, FormatError> {
    let path = path.as_ref();
    let bytes = crate::mapped::map(path)?;
    if crate::sharded::is_index(&bytes) {
        return Ok(FileFormat::ShardIndex);
    }
    Ok(match detect(path, &bytes) {
        Ok(Kind::Safetensors) => FileFormat::Safetensors,
        Ok(Kind::TorchZip) if crate::pytorch::keras_entry(path, &bytes)?.is_some() => FileFormat::Keras,
        Ok(Kind::TorchZip) => FileFormat::TorchZip,
        Ok(Kind::Keras) => FileFormat::Keras,
        Ok(Kind::TorchLegacy) => FileFormat::TorchLegacy,
        Err(_) if is_onnx(&bytes) => FileFormat::Onnx,
        Err(e) => return Err(e),
    })
}

/// A format that holds weights alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Safetensors,
    /// What `torch.save` writes since 1.6.
    TorchZip,
    /// What `torch.save` wrote before.
    TorchLegacy,
    /// HDF5.
    Keras,
}

/// Tells the format from the first bytes, or says what the file is instead.
pub(crate) fn detect(path: &Path, bytes: &[u8]) -> Result<Kind, FormatError> {
    if is_safetensors(bytes) {
        return Ok(Kind::Safetensors);
    }
    if bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06") {
        return Ok(Kind::TorchZip);
    }
    if bytes.starts_with(HDF5) {
        return Ok(Kind::Keras);
    }
    if bytes.first() == Some(&0x80) || bytes.starts_with(b"L119547037146038801333356L") {
        return Ok(Kind::TorchLegacy);
    }
    if let Some(found) = foreign(bytes) {
        return Err(FormatError::NotWeights { path: path.into(), found });
    }
    let found = if is_onnx(bytes) { "an ONNX model" } else { "of an unknown format" };
    Err(FormatError::NotWeights { path: path.into(), found })
}

const HDF5: &[u8] = b"\x89HDF\r\n\x1a\n";

/// Formats that people hand over in good faith.
fn foreign(bytes: &[u8]) -> Option<&'static str> {
    let starts: [(&[u8], &str); 11] = [
        (b"GGUF", "a GGUF file (llama.cpp)"),
        (b"\x93NUMPY", "a NumPy array"),
        (b"version https://git-lfs", "a Git LFS pointer"),
        (b"<!DOCTYPE", "a web page"),
        (b"<!doctype", "a web page"),
        (b"<html", "a web page"),
        (b"<HTML", "a web page"),
        (b"\x1f\x8b", "compressed with gzip"),
        (b"\x28\xb5\x2f\xfd", "compressed with zstd"),
        (b"\xfd7zXZ", "compressed with xz"),
        (b"\x7fELF", "a program"),
    ];
    if bytes.is_empty() {
        return Some("empty");
    }
    if let Some((_, found)) = starts.iter().find(|(magic, _)| bytes.starts_with(magic)) {
        return Some(found);
    }
    if bytes.get(4..8) == Some(b"TFL3") {
        return Some("a TensorFlow Lite model");
    }
    (bytes.get(257..262) == Some(b"ustar")).then_some("a tar archive")
}

/// A length that the format allows, then a brace.  Asked first: the length may begin like any other magic.
fn is_safetensors(bytes: &[u8]) -> bool {
    const HEADER_BYTES_MAX: u64 = 100_000_000;
    bytes.get(8) == Some(&b'{')
        && bytes.first_chunk().is_some_and(|n| u64::from_le_bytes(*n) <= HEADER_BYTES_MAX)
}

/// Protobuf has no magic: an ONNX model begins with field 1 (`ir_version`, a small number) and then another field.
pub(crate) fn is_onnx(bytes: &[u8]) -> bool {
    matches!(bytes, [0x08, 1..=32, next, ..] if matches!(next, 0x12 | 0x1a | 0x22 | 0x28 | 0x32 | 0x3a | 0x42 | 0x72))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(bytes: &[u8]) -> String {
        detect(Path::new("f"), bytes).unwrap_err().to_string()
    }

    #[test]
    fn other_formats_are_named() {
        assert!(found(b"GGUF\x03\0\0\0{").contains("GGUF"));
        assert!(found(b"\x08\x07\x12\x07pytorch").contains("ONNX"));
        assert!(found(b"version https://git-lfs.github.com/spec/v1").contains("LFS"));
        assert!(found(b"").contains("empty"));
        assert!(found(b"hello, world").contains("unknown"));
    }

    #[test]
    fn the_kinds_are_told_apart() {
        assert_eq!(detect(Path::new("f"), b"\x02\0\0\0\0\0\0\0{}").unwrap(), Kind::Safetensors);
        // A header of 128 bytes begins like a pickle.
        assert_eq!(detect(Path::new("f"), b"\x80\0\0\0\0\0\0\0{}").unwrap(), Kind::Safetensors);
        assert_eq!(detect(Path::new("f"), b"PK\x03\x04....").unwrap(), Kind::TorchZip);
        assert_eq!(detect(Path::new("f"), b"\x89HDF\r\n\x1a\n....").unwrap(), Kind::Keras);
        assert_eq!(detect(Path::new("f"), b"\x80\x02\x8a\x0a").unwrap(), Kind::TorchLegacy);
    }
}
