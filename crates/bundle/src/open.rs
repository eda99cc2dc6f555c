//! Reading a bundle: nothing in it is believed before it is checked.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;

use crate::golden::compare;
use crate::{BundleError, FORMAT, FileEntry, MANIFEST_NAME, Manifest};

/// Longest manifest that is read: a plan of ten thousand classes takes a few megabytes.
const MANIFEST_BYTES_MAX: u64 = 64 << 20;

/// A bundle whose files are those that were sealed.
#[derive(Debug, Clone, PartialEq)]
pub struct OpenBundle {
    /// What it says of itself.
    pub manifest: Manifest,
    /// Where it lies.
    pub dir: PathBuf,
}

/// Opens a bundle: checks the format's version, every name, every size and hash, and that nothing else lies in the
/// folder.  Hidden entries (`.DS_Store`, `.gitattributes`) are no part of a bundle and are passed over.
///
/// The golden predictions are the caller's to replay, as this crate runs no network.
pub fn open(dir: &Path) -> Result<OpenBundle, BundleError> {
    let manifest = read_manifest(dir)?;
    manifest.check()?;
    let bundle = OpenBundle { manifest, dir: dir.to_path_buf() };
    bundle.check_nothing_else()?;
    for (name, entry) in &bundle.manifest.files {
        check_file(&bundle.dir, name, entry)?;
    }
    Ok(bundle)
}

impl OpenBundle {
    /// The content of a file, checked once more as it is read, so that what is used is what was sealed.
    pub fn read(&self, name: &str) -> Result<Bytes, BundleError> {
        let Some(entry) = self.manifest.files.get(name) else {
            return Err(BundleError::Missing { name: name.into() });
        };
        let mut file = open_file(&self.dir, name, entry)?;
        let mut bytes = Vec::new();
        let path = self.dir.join(name);
        file.by_ref()
            .take(entry.size_bytes + 1)
            .read_to_end(&mut bytes)
            .map_err(BundleError::io("read", path))?;
        let got = FileEntry::of(&bytes);
        if got != *entry {
            return Err(difference(name, got, entry));
        }
        Ok(bytes.into())
    }

    /// Where a file of the bundle lies, if the bundle has it: for readers that map it into memory.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.manifest.files.contains_key(name).then(|| self.dir.join(name))
    }

    /// Refuses predictions for the golden inputs that are not those that were sealed.
    pub fn check_golden(&self, got: &[Vec<f32>]) -> Result<(), BundleError> {
        compare(&self.manifest.golden, got, &self.manifest.labels)
    }

    /// Looks for entries that the manifest does not list.  Only folders that hold a listed file are entered, so the
    /// walk is no deeper than the manifest.
    fn check_nothing_else(&self) -> Result<(), BundleError> {
        let folders: BTreeSet<&str> = self
            .manifest
            .files
            .keys()
            .flat_map(|name| name.match_indices('/').map(|(at, _)| &name[..at]))
            .collect();
        for folder in std::iter::once("").chain(folders.iter().copied()) {
            let path = self.dir.join(folder);
            let entries = match fs::read_dir(&path) {
                Ok(entries) => entries,
                // Then a listed file is missing, which is the better message.
                Err(_) => continue,
            };
            for entry in entries {
                let entry = entry.map_err(BundleError::io("list", &path))?;
                let file_name = entry.file_name();
                let file_name = file_name.to_string_lossy();
                let name =
                    if folder.is_empty() { file_name.into_owned() } else { format!("{folder}/{file_name}") };
                let hidden = name.rsplit('/').next().is_some_and(|last| last.starts_with('.'));
                let known = hidden
                    || name == MANIFEST_NAME
                    || self.manifest.files.contains_key(&name)
                    || folders.contains(name.as_str());
                if !known {
                    return Err(BundleError::Unlisted { name: name.escape_debug().to_string() });
                }
            }
        }
        Ok(())
    }
}

fn read_manifest(dir: &Path) -> Result<Manifest, BundleError> {
    let path = dir.join(MANIFEST_NAME);
    if !path.is_file() {
        return Err(BundleError::NotABundle { path: dir.into() });
    }
    let bad = |why: String| BundleError::Manifest { path: path.clone(), why };
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|f| f.take(MANIFEST_BYTES_MAX + 1).read_to_end(&mut bytes))
        .map_err(BundleError::io("read", &path))?;
    if bytes.len() as u64 > MANIFEST_BYTES_MAX {
        return Err(bad(format!("it is longer than {MANIFEST_BYTES_MAX} bytes")));
    }

    /// The version alone, so that a newer format is called newer and not malformed.
    #[derive(Deserialize)]
    struct Version {
        format: u64,
    }
    let version: Version = serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))?;
    if version.format > u64::from(FORMAT) {
        return Err(BundleError::Future { got: version.format, newest: FORMAT });
    }
    serde_json::from_slice(&bytes).map_err(|e| bad(e.to_string()))
}

/// Opens a file after looking at its kind and length, so that a device or a giant is never read.
fn open_file(dir: &Path, name: &str, entry: &FileEntry) -> Result<File, BundleError> {
    let path = dir.join(name);
    // Links are followed: hub caches are made of them, and the hash speaks for the content.
    let meta = match fs::metadata(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            return Err(BundleError::Missing { name: name.into() });
        }
        other => other.map_err(BundleError::io("look at", &path))?,
    };
    if !meta.is_file() {
        return Err(BundleError::Missing { name: name.into() });
    }
    if meta.len() != entry.size_bytes {
        return Err(BundleError::Size { name: name.into(), got: meta.len(), want: entry.size_bytes });
    }
    File::open(&path).map_err(BundleError::io("read", &path))
}

fn check_file(dir: &Path, name: &str, entry: &FileEntry) -> Result<(), BundleError> {
    let file = open_file(dir, name, entry)?;
    let mut hasher = blake3::Hasher::new();
    let n = std::io::copy(&mut file.take(entry.size_bytes + 1), &mut hasher)
        .map_err(BundleError::io("read", dir.join(name)))?;
    let got = FileEntry { size_bytes: n, blake3: hasher.finalize().to_hex().to_string() };
    if got == *entry { Ok(()) } else { Err(difference(name, got, entry)) }
}

fn difference(name: &str, got: FileEntry, want: &FileEntry) -> BundleError {
    if got.size_bytes != want.size_bytes {
        return BundleError::Size { name: name.into(), got: got.size_bytes, want: want.size_bytes };
    }
    BundleError::Hash { name: name.into(), got: got.blake3, want: want.blake3.clone() }
}
