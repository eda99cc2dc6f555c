//! PyTorch files (`.pt`, `.pth`, `.bin`) of both kinds that `torch.save` has written: zip archives (since 1.6) and the
//! pickle stream before.
//!
//! Nothing in them is executed: see `pytorch/pickle.rs` for how that is possible, and
//! `docs/decisions/0004-reading-pytorch-files.md` for why it is our own.

mod archive;
mod legacy;
mod pickle;
mod rebuild;
mod state_dict;
mod storage;

use std::path::Path;

use bytes::Bytes;
use headstart_graph::Weights;

use crate::detect::{self, Kind};
use crate::{FormatError, mapped};

/// The weights of a PyTorch file, and what was decided on the way to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// The tensors, in the order of the state dict.
    pub weights: Weights,
    /// Where in the file the state dict was found, `model.state_dict`; empty if it is the whole file.
    pub state_dict: String,
    /// What every name began with and was taken off: `module.`, `_orig_mod.` or both.
    pub prefix_stripped: String,
    /// What else the file holds, by name: optimisers, epochs, numbers, other copies of the network
    /// (the first 10 000).
    pub ignored: Vec<String>,
}

/// Reads the weights of a file; `open` says more.
pub fn load(path: impl AsRef<Path>) -> Result<Weights, FormatError> {
    Ok(open(path)?.weights)
}

/// Reads a file and says where in it the weights were.
///
/// The state dict is found by structure: the dictionary itself if it holds tensors, else the first of `state_dict`,
/// `model_state_dict`, `model`, … that does, else all dictionaries that do, their names joined by dots.
pub fn open(path: impl AsRef<Path>) -> Result<Checkpoint, FormatError> {
    let path = path.as_ref();
    read(path, &mapped::map(path)?)
}

/// Reads a file's bytes; `path` is for messages.
pub fn read(path: &Path, bytes: &Bytes) -> Result<Checkpoint, FormatError> {
    match detect::detect(path, bytes)? {
        Kind::TorchZip => read_zip(path, bytes),
        Kind::TorchLegacy => read_legacy(path, bytes),
        Kind::Safetensors => Err(malformed(path, "it is a safetensors file")),
        Kind::Keras => Err(malformed(path, "it is an HDF5 file (Keras)")),
    }
}

/// The HDF5 file inside an archive of Keras 3; none if the archive is not one.
pub(crate) fn keras_entry(path: &Path, bytes: &Bytes) -> Result<Option<Bytes>, FormatError> {
    archive::entry(path, bytes, "model.weights.h5")
}

pub(crate) fn read_zip(path: &Path, bytes: &Bytes) -> Result<Checkpoint, FormatError> {
    let (pickle, storages) = archive::open(path, bytes)?;
    let (pickle, _) = pickle::Pickle::parse(&pickle).map_err(|e| malformed(path, e.to_string()))?;
    state_dict::find(path, &pickle, &storages, bytes.len())
}

pub(crate) fn read_legacy(path: &Path, bytes: &Bytes) -> Result<Checkpoint, FormatError> {
    let (pickle, storages) = legacy::open(path, bytes)?;
    state_dict::find(path, &pickle, &storages, bytes.len())
}

fn malformed(path: &Path, what: impl Into<String>) -> FormatError {
    FormatError::malformed(path, "PyTorch file", what)
}
