//! Weights cut into several files, with an index that says which tensor lies where
//! (`model.safetensors.index.json`, `pytorch_model.bin.index.json`).

use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

use bytes::Bytes;
use headstart_graph::Weights;
use indexmap::IndexMap;
use serde::Deserialize;

use crate::listing::{brief, list};
use crate::{FormatError, load_file, mapped};

/// Longest index that is read; one of a million tensors is about 100 MB.
const INDEX_BYTES_MAX: u64 = 128 << 20;

#[derive(Deserialize)]
struct Index {
    weight_map: IndexMap<String, String>,
}

/// Reads a file of weights, or all files that an index names.
pub(crate) fn load(path: &Path) -> Result<Weights, FormatError> {
    let bytes = mapped::map(path)?;
    if !is_index(&bytes) {
        return load_file(path, bytes);
    }
    let index = read_index(path, &bytes)?;
    let shards: BTreeSet<&String> = index.weight_map.values().collect();
    let mut weights = Weights::new();
    for shard in shards {
        let file = inside(path, shard)?;
        for (name, tensor) in load_file(&file, mapped::map(&file)?)?.iter() {
            if weights.insert(name, tensor.clone()).is_some() {
                let what = format!("tensor `{}` lies in two shards, one of them {shard}", brief(name));
                return Err(FormatError::Shards { path: path.into(), what });
            }
        }
    }
    let missing: Vec<&String> = index.weight_map.keys().filter(|name| weights.get(name).is_none()).collect();
    if !missing.is_empty() {
        let what = format!("{} tensors of the index are in no shard: {}", missing.len(), list(&missing));
        return Err(FormatError::Shards { path: path.into(), what });
    }
    Ok(weights)
}

/// The files of weights behind a path: the file itself, or the index and the shards that it names.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, FormatError> {
    let mut files = vec![path.to_path_buf()];
    let bytes = mapped::map(path)?;
    if is_index(&bytes) {
        let shards: BTreeSet<String> = read_index(path, &bytes)?.weight_map.into_values().collect();
        for shard in &shards {
            files.push(inside(path, shard)?);
        }
    }
    Ok(files)
}

/// Joins a name that a file mentions to that file's folder, and refuses to leave it.
pub(crate) fn inside(file: &Path, name: &str) -> Result<PathBuf, FormatError> {
    let parts_normal = Path::new(name).components().all(|c| matches!(c, Component::Normal(_)));
    if name.is_empty() || !parts_normal || name.contains(['\\', ':']) {
        return Err(FormatError::EscapingPath { path: file.into(), name: brief(name) });
    }
    Ok(file.parent().unwrap_or(Path::new("")).join(name))
}

/// JSON begins with a brace; safetensors has one only after eight bytes of length.
pub(crate) fn is_index(bytes: &[u8]) -> bool {
    bytes.iter().take(64).find(|b| !b.is_ascii_whitespace()) == Some(&b'{') && bytes.get(8) != Some(&b'{')
}

fn read_index(path: &Path, bytes: &Bytes) -> Result<Index, FormatError> {
    if bytes.len() as u64 > INDEX_BYTES_MAX {
        let what = format!("an index of {} bytes", bytes.len());
        return Err(FormatError::Limit { path: path.into(), what, max: INDEX_BYTES_MAX });
    }
    let index: Index = serde_json::from_slice(bytes).map_err(|e| {
        FormatError::malformed(path, "index of shards (JSON with a `weight_map`)", e.to_string())
    })?;
    if index.weight_map.is_empty() {
        return Err(FormatError::malformed(path, "index of shards", "its `weight_map` is empty"));
    }
    Ok(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_stay_inside_the_folder() {
        let index = Path::new("models/x/index.json");
        assert_eq!(inside(index, "a.bin").unwrap(), Path::new("models/x/a.bin"));
        for bad in ["../a.bin", "/etc/passwd", "", ".", "a/../../b", "c:\\x", "..\\x"] {
            assert!(matches!(inside(index, bad), Err(FormatError::EscapingPath { .. })), "{bad}");
        }
    }
}
