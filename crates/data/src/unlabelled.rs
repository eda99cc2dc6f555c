//! Pictures without labels: every readable one below a folder, for training by consistency.

use std::path::{Path, PathBuf};

use headstart_core::{Dataset, Diagnostic, Example, Input, Modality, Target, Task};
use rayon::prelude::*;

use crate::DataError;
use crate::files::{EXAMPLE_BYTES_MAX, Kind, kind_of, read};
use crate::image::decode;

/// Deepest nesting of folders that is read.
const DEPTH_MAX: usize = 32;

/// Every picture below a folder, in order of path.  Pictures that cannot be decoded become diagnostics.  Their targets are
/// all class 0 and mean nothing.
///
/// # Errors
/// [`DataError::Io`] if the folder cannot be read or holds no picture.
pub fn load_unlabelled(dir: &Path) -> Result<Dataset, DataError> {
    let mut paths = Vec::new();
    walk(dir, 0, &mut paths)?;
    paths.sort();
    let examples: Vec<Result<Example, Diagnostic>> =
        paths.par_iter().map(|path| example(dir, path)).collect();
    let mut dataset = Dataset {
        path: dir.into(),
        modality: Modality::Image,
        task: Task::Classification,
        classes: Vec::new(),
        examples: Vec::new(),
        diagnostics: Vec::new(),
    };
    for made in examples {
        match made {
            Ok(example) => dataset.examples.push(example),
            Err(diagnostic) => dataset.diagnostics.push(diagnostic),
        }
    }
    if dataset.examples.is_empty() {
        let source = std::io::Error::other("no picture that can be read lies below this folder");
        return Err(DataError::Io { path: dir.into(), source });
    }
    Ok(dataset)
}

fn walk(dir: &Path, depth: usize, paths: &mut Vec<PathBuf>) -> Result<(), DataError> {
    let io = |source| DataError::Io { path: dir.into(), source };
    for entry in std::fs::read_dir(dir).map_err(io)? {
        let entry = entry.map_err(io)?;
        let hidden = entry.file_name().to_string_lossy().starts_with('.');
        let kind = entry.file_type().map_err(io)?;
        if kind.is_dir() && !hidden && depth < DEPTH_MAX {
            walk(&entry.path(), depth + 1, paths)?;
        } else if kind.is_file() && !hidden && kind_of(&entry.path()) == Kind::Image {
            paths.push(entry.path());
        }
    }
    Ok(())
}

fn example(dir: &Path, path: &Path) -> Result<Example, Diagnostic> {
    let id = path.strip_prefix(dir).unwrap_or(path).display().to_string();
    let input = Input::File(path.into());
    let bytes = read(path, EXAMPLE_BYTES_MAX).and_then(|bytes| decode(&input).map(|_| bytes));
    match bytes {
        Ok(bytes) => Ok(Example {
            hash: *blake3::hash(&bytes).as_bytes(),
            id,
            input,
            target: Target::Class(0),
            group: None,
            split: None,
        }),
        Err(e) => Err(Diagnostic { path: id, line: None, message: e.to_string(), skipped: true }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_found_at_any_depth_and_what_is_damaged_is_said() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("a/b/x.pgm"), b"P5 1 1 255\n\x10").unwrap();
        std::fs::write(dir.path().join("y.pgm"), b"P5 1 1 255\n\x20").unwrap();
        std::fs::write(dir.path().join("bad.png"), b"no picture").unwrap();
        std::fs::write(dir.path().join("notes.txt"), b"no picture").unwrap();
        let found = load_unlabelled(dir.path()).unwrap();
        let ids: Vec<&str> = found.examples.iter().map(|e| e.id.as_str()).collect();
        assert_eq!(ids, ["a/b/x.pgm", "y.pgm"]);
        assert_eq!(found.diagnostics.len(), 1);
        assert!(load_unlabelled(&dir.path().join("nowhere")).is_err());
    }
}
