//! A file's bytes, mapped into memory: tensors share them without copying.

use std::fs::File;
use std::path::Path;

use bytes::Bytes;

use crate::FormatError;

/// Maps a file.  The bytes stay valid as long as any slice of them lives.
///
/// Weights lie in a cache or a bundle, where files appear by rename and are never written again.  A program that
/// truncates such a file while it is mapped breaks that contract, and the reader with it.
pub(crate) fn map(path: &Path) -> Result<Bytes, FormatError> {
    // Asked before opening: opening a pipe would wait for a writer.
    let kind = std::fs::metadata(path).map_err(FormatError::read(path))?;
    if !kind.is_file() {
        return Err(FormatError::NotWeights { path: path.into(), found: "not a regular file" });
    }
    if kind.len() == 0 {
        return Ok(Bytes::new());
    }
    let file = File::open(path).map_err(FormatError::read(path))?;
    // SAFETY: the map is read-only and private to this process's view; see the contract above.
    let map = unsafe { memmap2::Mmap::map(&file) }.map_err(FormatError::read(path))?;
    Ok(Bytes::from_owner(map))
}
