//! Writing a bundle: all of it or nothing, and never at the cost of the one that was there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::{BundleError, FileEntry, MANIFEST_NAME, Manifest, README_NAME, readme};

/// Writes a bundle to `dir` and returns `dir`.
///
/// The sizes and hashes of `files` are filled in here, and `README.md` is made from the manifest unless it is given.
/// Everything is written to a hidden sibling folder, flushed to the disk, and put in place by a rename, so that a
/// reader sees the old bundle or the new one.  A bundle that stands there is replaced; anything else is refused.
pub fn seal<B: AsRef<[u8]>>(
    dir: &Path,
    mut manifest: Manifest,
    files: &[(String, B)],
) -> Result<PathBuf, BundleError> {
    let replaces = check_place(dir)?;

    let mut contents: BTreeMap<&str, &[u8]> = BTreeMap::new();
    for (name, bytes) in files {
        if contents.insert(name, bytes.as_ref()).is_some() {
            return Err(BundleError::Name { name: name.clone(), why: "it was given twice" });
        }
    }
    manifest.files = contents.iter().map(|(name, bytes)| (name.to_string(), FileEntry::of(bytes))).collect();
    let card = readme(&manifest);
    if !contents.contains_key(README_NAME) {
        contents.insert(README_NAME, card.as_bytes());
        manifest.files.insert(README_NAME.into(), FileEntry::of(card.as_bytes()));
    }
    manifest.check()?;
    let manifest_bytes = manifest.to_bytes();

    let parent = match dir.parent() {
        Some(p) if !p.as_os_str().is_empty() => p,
        _ => Path::new("."),
    };
    fs::create_dir_all(parent).map_err(BundleError::io("create", parent))?;
    // Deleted when dropped: on every error below, nothing stays behind.
    let fresh = temporary_folder(parent)?;
    for (name, bytes) in &contents {
        write_synced(fresh.path(), name, bytes)?;
    }
    write_synced(fresh.path(), MANIFEST_NAME, &manifest_bytes)?;
    sync_folders(fresh.path(), contents.keys().copied())?;

    if replaces {
        swap(fresh.path(), dir)?;
        // What `fresh` names now is the old bundle, which goes when it is dropped.
    } else {
        fs::rename(fresh.path(), dir).map_err(BundleError::io("create", dir))?;
        let _ = fresh.keep();
    }
    sync_folder(parent)?;
    Ok(dir.to_path_buf())
}

/// True if a bundle stands at `dir`; false if the place is free.
fn check_place(dir: &Path) -> Result<bool, BundleError> {
    match fs::symlink_metadata(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(e) => Err(BundleError::io("look at", dir)(e)),
        Ok(m) if m.is_dir() => {
            let mut entries = fs::read_dir(dir).map_err(BundleError::io("list", dir))?;
            let empty = entries.next().is_none();
            if empty || dir.join(MANIFEST_NAME).is_file() {
                Ok(true)
            } else {
                Err(BundleError::InTheWay { path: dir.into() })
            }
        }
        Ok(_) => Err(BundleError::InTheWay { path: dir.into() }),
    }
}

fn temporary_folder(parent: &Path) -> Result<tempfile::TempDir, BundleError> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".headstart-sealing-");
    // A bundle is to be shared; the process's mask still applies.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(fs::Permissions::from_mode(0o777));
    }
    builder.tempdir_in(parent).map_err(BundleError::io("create a folder in", parent))
}

fn write_synced(root: &Path, name: &str, bytes: &[u8]) -> Result<(), BundleError> {
    let path = root.join(name);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(BundleError::io("create", folder))?;
    }
    let write = || {
        let mut file = File::create_new(&path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(BundleError::io("write", &path))
}

/// Flushes the folders' own entries, the deepest first.
fn sync_folders<'a>(root: &Path, names: impl Iterator<Item = &'a str>) -> Result<(), BundleError> {
    let mut folders: Vec<PathBuf> = names
        .flat_map(|name| Path::new(name).ancestors().skip(1))
        .map(|folder| root.join(folder))
        .chain([root.to_path_buf()])
        .collect();
    folders.sort_by_key(|f| std::cmp::Reverse(f.components().count()));
    folders.dedup();
    folders.iter().try_for_each(|f| sync_folder(f))
}

fn sync_folder(folder: &Path) -> Result<(), BundleError> {
    // Only Unix lets a folder be opened as a file.
    if cfg!(unix) {
        File::open(folder).and_then(|f| f.sync_all()).map_err(BundleError::io("flush", folder))?;
    }
    Ok(())
}

/// Exchanges two folders.  Where the system can, in one step; else the old one steps aside, and back if need be.
fn swap(fresh: &Path, dir: &Path) -> Result<(), BundleError> {
    #[cfg(any(target_os = "linux", target_os = "macos"))]
    {
        use rustix::fs::{CWD, RenameFlags, renameat_with};
        if renameat_with(CWD, fresh, CWD, dir, RenameFlags::EXCHANGE).is_ok() {
            return Ok(());
        }
        // Some network file systems cannot; the three renames below can.
    }
    let mut aside = fresh.as_os_str().to_owned();
    aside.push(".old");
    let aside = PathBuf::from(aside);
    fs::rename(dir, &aside).map_err(BundleError::io("move", dir))?;
    if let Err(e) = fs::rename(fresh, dir) {
        fs::rename(&aside, dir).map_err(BundleError::io("restore", dir))?;
        return Err(BundleError::io("replace", dir)(e));
    }
    fs::rename(&aside, fresh).map_err(BundleError::io("remove", &aside))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_swapped() {
        let root = tempfile::tempdir().unwrap();
        let (a, b) = (root.path().join("a"), root.path().join("b"));
        fs::create_dir(&a).unwrap();
        fs::create_dir(&b).unwrap();
        fs::write(a.join("from-a"), "").unwrap();
        swap(&a, &b).unwrap();
        assert!(b.join("from-a").exists() && !a.join("from-a").exists() && a.exists());
    }
}
