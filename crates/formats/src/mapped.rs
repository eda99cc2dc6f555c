//! A file's bytes, mapped into memory: tensors share them without copying.

use std::fs::File;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use memmap2::Mmap;

use crate::FormatError;

/// Every map that somebody may still read.
static MAPS: Mutex<Vec<Weak<Mmap>>> = Mutex::new(Vec::new());

/// A map as the owner of its bytes.
struct Mapped(Arc<Mmap>);

impl AsRef<[u8]> for Mapped {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

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
    let map = Arc::new(unsafe { Mmap::map(&file) }.map_err(FormatError::read(path))?);
    let mut maps = MAPS.lock().unwrap_or_else(PoisonError::into_inner);
    maps.retain(|map| map.strong_count() > 0);
    maps.push(Arc::downgrade(&map));
    Ok(Bytes::from_owner(Mapped(map)))
}

/// Takes the pages of all mapped files out of this process's memory: those that are read again come back from the file.  For a
/// moment at which weights have been loaded and will not be read for long.
pub fn release_pages() {
    for map in MAPS.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
        // SAFETY: the pages are those of a file, and nobody wrote to them: what comes back is the same.
        #[cfg(unix)]
        let _ = unsafe { map.unchecked_advise(memmap2::UncheckedAdvice::DontNeed) };
        #[cfg(not(unix))]
        drop(map);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_that_were_released_come_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("bytes");
        let want: Vec<u8> = (0..100_000).map(|i| (i % 251) as u8).collect();
        std::fs::write(&path, &want).unwrap();
        let bytes = map(&path).unwrap();
        assert_eq!(bytes, want);
        release_pages();
        assert_eq!(bytes, want);
        let part = bytes.slice(5..50);
        drop(bytes);
        release_pages();
        assert_eq!(part, want[5..50]);
    }
}
