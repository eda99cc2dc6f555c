//! Networks inside a folder that is none itself: what an unpacked package holds.

use std::fs;
use std::path::{Path, PathBuf};

use crate::Error;

/// Endings of files that hold networks.
const NETWORKS: [&str; 7] = ["onnx", "safetensors", "pt", "pth", "h5", "keras", "bin"];
/// Files that make a folder a network.
const NAMES: [&str; 5] =
    ["config.json", "modules.json", "headstart.json", "bundle/headstart.json", "adapter_config.json"];
/// Files and folders that are looked at, and folders inside each other.
const ENTRIES_MAX: usize = 20_000;
const DEPTH_MAX: usize = 8;
/// Networks that a message names.
const NAMED_MAX: usize = 6;

/// Nothing for a folder of a network; for one that holds networks deeper down, an error that names them.
///
/// `asked` is what the user typed.
///
/// # Errors
/// If there is none at the top and some below it, or if a folder cannot be read.
pub(crate) fn check(dir: &Path, asked: &str) -> Result<(), Error> {
    if NAMES.iter().any(|name| dir.join(name).is_file()) {
        return Ok(());
    }
    let mut found = Vec::new();
    collect(dir, 0, &mut 0, &mut found)?;
    let is_top = |path: &PathBuf| path.parent() == Some(dir);
    if found.is_empty() || found.iter().any(is_top) {
        return Ok(());
    }
    let is_folder = Path::new(asked).exists();
    let typed = |path: &PathBuf| {
        let inner = path.strip_prefix(dir).unwrap_or(path).to_string_lossy().replace('\\', "/");
        if is_folder {
            format!("{}/{inner}", asked.trim_end_matches('/'))
        } else {
            format!("{asked}!{inner}")
        }
    };
    let mut named: Vec<String> = found.iter().take(NAMED_MAX).map(typed).collect();
    if found.len() > NAMED_MAX {
        named.push(format!("or one of {} more", found.len() - NAMED_MAX));
    }
    Err(Error::request(
        format!("{asked} is no network itself, but holds {}", found.len()),
        format!("name one of them: {}", named.join(", ")),
    ))
}

/// Files of networks, and folders that are one, in order of name.
fn collect(dir: &Path, depth: usize, seen: &mut usize, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    let entries = fs::read_dir(dir).map_err(Error::io(dir))?;
    let mut paths =
        entries.map(|e| e.map(|e| e.path())).collect::<Result<Vec<_>, _>>().map_err(Error::io(dir))?;
    paths.sort();
    for path in paths {
        *seen += 1;
        if *seen > ENTRIES_MAX {
            return Ok(());
        }
        // Links may lead in circles.
        if path.is_symlink() {
            continue;
        }
        let ending = path.extension().and_then(|e| e.to_str());
        if path.is_file() && ending.is_some_and(|e| NETWORKS.contains(&e)) {
            found.push(path);
        } else if path.is_dir() && depth < DEPTH_MAX {
            if path.join("config.json").is_file() {
                found.push(path);
            } else {
                collect(&path, depth + 1, seen, found)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_is_no_network_names_those_in_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let inner = dir.path().join("a/models");
        fs::create_dir_all(&inner).expect("folders");
        fs::write(inner.join("read.me"), "").expect("a file");
        assert!(check(dir.path(), "pypi:some").is_ok(), "nothing to name");
        for name in ["one.onnx", "two.pt"] {
            fs::write(inner.join(name), "").expect("a file");
        }
        let error = check(dir.path(), "pypi:some==1.0").expect_err("it is no network");
        assert_eq!(error.to_string(), "pypi:some==1.0 is no network itself, but holds 2");
        let hint = error.hint().expect("a hint");
        assert!(hint.contains("pypi:some==1.0!a/models/one.onnx, pypi:some==1.0!a/models/two.pt"), "{hint}");
        let asked = dir.path().to_string_lossy();
        let hint = check(dir.path(), &asked).expect_err("no network").hint().expect("a hint");
        assert!(hint.contains(&format!("{asked}/a/models/one.onnx")), "{hint}");
        assert!(check(&inner, "pypi:some!a/models").is_ok(), "files at the top speak for themselves");
    }
}
