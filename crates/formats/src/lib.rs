//! Models in and out: ONNX, safetensors, PyTorch and Keras files, Hugging Face folders, PEFT adapters.
//!
//! One format a file.  A new one gets a module here, its magic bytes in `detect.rs` and an arm in [`load_weights`];
//! what it yields are [`Weights`] in the order of its file.  [`assign()`] then puts them onto a graph's parameters and
//! accounts for every tensor on both sides.
//!
//! This crate knows nothing of architectures, networks (the other sort) or devices, and executes nothing that a file
//! brings along.

mod assign;
mod detect;
mod error;
mod hf;
pub mod keras;
pub mod listing;
mod mapped;
pub mod onnx;
mod pattern;
pub mod peft;
pub mod pytorch;
pub mod safetensors;
mod sharded;

use std::path::Path;

use headstart_graph::Weights;

pub use assign::{AssignRules, Conversion, Ignored, LoadReport, Mismatch, assign};
pub use detect::{FileFormat, identify};
pub use error::FormatError;
pub use hf::{DenseModule, HfFolder, Pooling, SentenceModule};
pub use mapped::release_pages;

/// Reads the weights of a file or Hugging Face folder, told by its content and not by its extension.
///
/// Tensors are in the order of the file.  Their bytes belong to the memory-mapped file; nothing is copied but tensors
/// that lie in it transposed or strided.
///
/// # Errors
/// [`FormatError::NotWeights`] says what the file is instead; the others name the tensor.
///
/// ```
/// use headstart_formats::{load_weights, safetensors};
/// use headstart_graph::{Tensor, Weights};
/// let dir = tempfile::tempdir()?;
/// let path = dir.path().join("weights.bin");
/// let mut weights = Weights::new();
/// weights.insert("fc.weight", Tensor::from_f32(&[1, 2], &[1.0, 2.0])?);
/// safetensors::save(&path, &weights, &[])?;
/// assert_eq!(load_weights(&path)?, weights);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load_weights(path: impl AsRef<Path>) -> Result<Weights, FormatError> {
    let path = path.as_ref();
    if path.is_dir() {
        return sharded::load(&hf::find_weights(path)?);
    }
    sharded::load(path)
}

/// The files that hold the weights of a file or folder: an index of shards and all that it names, or one file.
///
/// # Errors
/// As [`load_weights`], as far as the index goes.
pub fn weight_files(path: impl AsRef<Path>) -> Result<Vec<std::path::PathBuf>, FormatError> {
    let path = path.as_ref();
    if path.is_dir() { sharded::files(&hf::find_weights(path)?) } else { sharded::files(path) }
}

/// Reads one file that is not an index of shards.
fn load_file(path: &Path, bytes: bytes::Bytes) -> Result<Weights, FormatError> {
    Ok(match detect::detect(path, &bytes)? {
        detect::Kind::Safetensors => safetensors::read(path, bytes)?,
        detect::Kind::TorchZip => match pytorch::keras_entry(path, &bytes)? {
            Some(inner) => keras::read(path, &inner)?,
            None => pytorch::read_zip(path, &bytes)?.weights,
        },
        detect::Kind::Keras => keras::read(path, &bytes)?,
        detect::Kind::TorchLegacy => pytorch::read_legacy(path, &bytes)?.weights,
    })
}
