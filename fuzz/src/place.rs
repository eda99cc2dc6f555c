//! A folder for readers of files, empty for every input.

use std::fs;
use std::path::{Path, PathBuf};

/// A folder that is emptied when dropped.
pub(crate) struct Place(PathBuf);

impl Place {
    /// One a process and target, in memory where the system has a folder there.
    pub(crate) fn new(target: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { memory.to_path_buf() } else { std::env::temp_dir() };
        let dir = root.join(format!("headstart-fuzz-{target}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).expect("a folder for the fuzzer");
        Place(dir)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.0.join(name);
        fs::create_dir_all(path.parent().expect("lies in the folder")).expect("a folder for the fuzzer");
        fs::write(path, bytes).expect("a file for the fuzzer");
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
