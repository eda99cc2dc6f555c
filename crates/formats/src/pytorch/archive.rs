//! The zip archive that `torch.save` writes since PyTorch 1.6:
//! `NAME/data.pkl`, `NAME/byteorder`, `NAME/data/0`, `NAME/data/1`, …, all stored without compression; that of TorchScript has the
//! same and its code, compressed, which nobody reads here.
//!
//! Nothing is ever extracted to a path, so what the entries are called cannot do harm.

use std::io::Cursor;
use std::path::Path;

use bytes::Bytes;
use zip::{CompressionMethod, ZipArchive};

use super::malformed;
use super::storage::Storages;
use crate::FormatError;
use crate::listing::brief;

/// Entries of an archive, at most; there is one for each storage.
const N_ENTRIES_MAX: usize = 1 << 20;

/// The pickle and the storages of an archive; they share its bytes.
pub(super) fn open(path: &Path, bytes: &Bytes) -> Result<(Bytes, Storages), FormatError> {
    let entries = entries(path, bytes)?;
    let root = root(path, &entries)?;
    let mut pickle = None;
    let mut storages = Storages::new();
    for (name, data) in entries {
        match name.strip_prefix(&root) {
            Some("data.pkl") => pickle = Some(stored(path, &name, data)?),
            Some("byteorder") if data.as_ref().is_some_and(|d| d.trim_ascii() != b"little") => {
                let what = format!(
                    "its numbers are {}-endian; load and save it again on a little-endian machine",
                    brief(&String::from_utf8_lossy(&data.unwrap_or_default()))
                );
                return Err(malformed(path, what));
            }
            Some(rest) => {
                if let Some(key) = rest.strip_prefix("data/") {
                    storages.insert(key.into(), stored(path, &name, data)?);
                }
            }
            None => {}
        }
    }
    let pickle = pickle.ok_or_else(|| malformed(path, "no data.pkl"))?;
    Ok((pickle, storages))
}

/// The bytes of one entry, if the archive has it.
pub(super) fn entry(path: &Path, bytes: &Bytes, name: &str) -> Result<Option<Bytes>, FormatError> {
    // Asked first, without reading more than the directory: what else is wrong with it is for its own reader to say.
    let has = ZipArchive::new(Cursor::new(bytes)).is_ok_and(|zip| zip.index_for_name(name).is_some());
    if !has {
        return Ok(None);
    }
    let found = entries(path, bytes)?.into_iter().find(|(n, _)| n == name);
    found.map(|(name, data)| stored(path, &name, data)).transpose()
}

/// The bytes of an entry that is needed.
fn stored(path: &Path, name: &str, data: Option<Bytes>) -> Result<Bytes, FormatError> {
    data.ok_or_else(|| {
        let why = "is compressed, which torch.save never does; save the file again with PyTorch";
        malformed(path, format!("zip entry `{}` {why}", brief(name)))
    })
}

/// An entry's name, and its bytes unless they are compressed.
type Entry = (String, Option<Bytes>);

/// All entries, after making sure that none lies about itself.
fn entries(path: &Path, bytes: &Bytes) -> Result<Vec<Entry>, FormatError> {
    let zip_error = |e: zip::result::ZipError| malformed(path, format!("zip archive: {e}"));
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(zip_error)?;
    if zip.len() > N_ENTRIES_MAX {
        let what = format!("an archive of {} entries", zip.len());
        return Err(FormatError::Limit { path: path.into(), what, max: N_ENTRIES_MAX as u64 });
    }
    if zip.has_duplicate_names() {
        return Err(malformed(path, "zip archive: two entries have the same name"));
    }
    if zip.has_overlapping_files().map_err(zip_error)? {
        return Err(malformed(path, "zip archive: entries overlap"));
    }
    let mut entries = Vec::with_capacity(zip.len());
    for i in 0..zip.len() {
        let entry = zip.by_index_raw(i).map_err(zip_error)?;
        let name = entry.name().map_err(zip_error)?.into_owned();
        let lie = |what: String| malformed(path, format!("zip entry `{}` {what}", brief(&name)));
        if entry.encrypted() {
            return Err(lie("is encrypted".into()));
        }
        if entry.compression() != CompressionMethod::Stored {
            entries.push((name, None));
            continue;
        }
        let (size, stored) = (entry.size(), entry.compressed_size());
        if size != stored {
            return Err(lie(format!("claims {size} bytes, but {stored} are stored")));
        }
        let start = entry.data_start().and_then(|n| usize::try_from(n).ok());
        let end =
            start.and_then(|n| n.checked_add(usize::try_from(size).ok()?)).filter(|&n| n <= bytes.len());
        let (Some(start), Some(end)) = (start, end) else {
            return Err(lie(format!("claims {size} bytes, more than the file has")));
        };
        entries.push((name.clone(), Some(bytes.slice(start..end))));
    }
    Ok(entries)
}

/// The folder that the pickle lies in, with its slash; or what the archive is instead.
fn root(path: &Path, entries: &[Entry]) -> Result<String, FormatError> {
    let names = || entries.iter().map(|(name, _)| name.as_str());
    let roots: Vec<&str> = names()
        .filter_map(|n| n.strip_suffix("data.pkl"))
        .filter(|root| root.is_empty() || root.ends_with('/'))
        .collect();
    let found = match roots[..] {
        [root] => return Ok(root.into()),
        [] if names().any(|n| n.ends_with(".npy")) => "a NumPy archive",
        [] if names().any(|n| n.ends_with(".weights.h5")) => "a Keras archive",
        [] => "a zip archive without data.pkl",
        _ => return Err(malformed(path, "more than one data.pkl")),
    };
    Err(FormatError::NotWeights { path: path.into(), found })
}
