//! Files and folders that appear whole: they are written beside their place and renamed there.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use tempfile::{NamedTempFile, TempDir};

use crate::Error;

/// How names of files begin that are not whole yet.
pub(crate) const TEMPORARY: &str = ".tmp";

/// The folder that a path lies in.
fn parent(path: &Path) -> &Path {
    path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The same, made if it is not there.
pub(crate) fn made_parent(path: &Path) -> Result<&Path, Error> {
    let dir = parent(path);
    fs::create_dir_all(dir).map_err(Error::io(dir))?;
    Ok(dir)
}

/// Writes a file into a folder that is there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let written = (|| {
        let mut file = temporary(parent(path))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        Ok(())
    })();
    written.map_err(Error::io(path))
}

/// A temporary file with the permissions that any new file of the user gets, not the private ones of a secret.
pub(crate) fn temporary(dir: &Path) -> std::io::Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(dir)
}

/// A folder that `fill` makes; on an error nothing stays behind.
///
/// # Errors
/// If it exists, or what `fill` reports.
pub(crate) fn folder<T>(dir: &Path, fill: impl FnOnce(&Path) -> Result<T, Error>) -> Result<T, Error> {
    if dir.exists() {
        return Err(Error::request(
            format!("{} exists", dir.display()),
            "name a folder that is not there yet, or remove it",
        ));
    }
    let beside = made_parent(dir)?;
    // Deleted when dropped.
    let fresh = temporary_folder(beside).map_err(Error::io(beside))?;
    let made = fill(fresh.path())?;
    fs::rename(fresh.path(), dir).map_err(Error::io(dir))?;
    let _ = fresh.keep();
    Ok(made)
}

/// A temporary folder with the permissions of any new one.
fn temporary_folder(parent: &Path) -> std::io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".new-");
    // The process's mask still applies.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn what_appears_has_the_permissions_of_anything_new() {
        use std::os::unix::fs::PermissionsExt;
        let root = tempfile::tempdir().expect("a folder");
        let (plain, made) = (root.path().join("plain"), root.path().join("made"));
        fs::create_dir(&plain).expect("a folder");
        fs::write(root.path().join("plain.txt"), b"x").expect("a file");
        folder(&made, |dir| write(&dir.join("a"), b"x")).expect("a folder");
        let mode = |p: &Path| fs::metadata(p).expect("is there").permissions().mode();
        assert_eq!(mode(&made), mode(&plain));
        assert_eq!(mode(&made.join("a")), mode(&root.path().join("plain.txt")));
    }

    #[test]
    fn a_folder_that_fails_leaves_nothing() {
        let root = tempfile::tempdir().expect("a folder");
        let failed = folder(&root.path().join("a"), |_| Err::<(), _>(Error::request("no", "")));
        assert!(failed.is_err());
        assert_eq!(fs::read_dir(root.path()).expect("is there").count(), 0);
    }
}
