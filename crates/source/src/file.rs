//! `file:`: what already lies on this machine, used where it is.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{
    error::{SourceError, at},
    fetch::Fetched,
    spec::Spec,
    verify::sha256_file,
};

pub(crate) fn fetch(spec: &Spec) -> Result<Fetched, SourceError> {
    let path = PathBuf::from(spec.name());
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(SourceError::FileMissing { path });
        }
        Err(error) => return Err(at("read", &path)(error)),
    };
    let (sha256, bytes) = match metadata.is_dir() {
        true => (None, size_of_folder(&path)?),
        false => (Some(sha256_file(&path)?), metadata.len()),
    };
    Ok(Fetched { path, sha256, version: String::new(), bytes, from_cache: true })
}

/// The sizes of all files below a folder.  Links are not followed, so there is no way in circles.
fn size_of_folder(folder: &Path) -> Result<u64, SourceError> {
    let mut bytes = 0;
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(at("read", &folder))? {
            let entry = entry.map_err(at("read", &folder))?;
            let metadata = entry.metadata().map_err(at("read", &entry.path()))?;
            match metadata.is_dir() {
                true => folders.push(entry.path()),
                false => bytes += metadata.len(),
            }
        }
    }
    Ok(bytes)
}

/// The names of all files below a folder, with `/` between their parts, largest first.
pub(crate) fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut prefixes = vec![String::new()];
    while let Some(prefix) = prefixes.pop() {
        for entry in fs::read_dir(folder.join(&prefix)).into_iter().flatten().flatten() {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            // Followed, since the hub's cache is made of links.
            match fs::metadata(entry.path()) {
                // Nothing nests deeper than this, and a link could lead in circles.
                Ok(metadata) if metadata.is_dir() && name.matches('/').count() < 16 => {
                    prefixes.push(format!("{name}/"));
                }
                Ok(metadata) if metadata.is_file() => files.push((metadata.len(), name)),
                _ => {}
            }
        }
    }
    files.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| a.1.cmp(&b.1)));
    files.into_iter().map(|(_, name)| name).collect()
}
