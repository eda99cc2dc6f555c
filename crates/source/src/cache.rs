//! The cache: files by their hash, packages by their version, and small records of what a spec stands for.
//!
//! ```text
//! objects/sha256/ab/abcdef…/NAME   single files; NAME keeps the extension that readers go by
//! trees/KEY/                       unpacked packages and folders of models, one a version
//! trees/KEY.json                   the sizes and hashes of a tree's files
//! refs/KEY.json                    spec → version, hash, size
//! locks/NAME.lock                  held while a package is fetched
//! tmp/                             work in progress, on the same file system, so that renaming is atomic
//! ```
//!
//! A name appears only when what it names is complete.  Trees are not flushed file by file, which would take minutes
//! for packages of many small files: what a power cut leaves of them is found by the check before use.

use std::{
    collections::HashSet,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    archive::Unpacked,
    error::{SourceError, at},
    spec::Spec,
    verify::{is_sha256, sha256_file, sha256_text},
};

/// Where fetched things are kept unless the user says otherwise: `headstart` in the system's folder for caches
/// (`XDG_CACHE_HOME` or `~/.cache` on Linux).  None when the user has no home folder.
pub fn default_cache_dir() -> Option<PathBuf> {
    Some(dirs::cache_dir()?.join("headstart"))
}

pub(crate) struct Cache {
    root: PathBuf,
    /// What this process has hashed and found good.
    checked: Mutex<HashSet<PathBuf>>,
}

/// What a spec stands for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) spec: String,
    pub(crate) version: String,
    /// Of the file, or of the archive that a tree was unpacked from.
    pub(crate) sha256: Option<String>,
    /// Of the file, or of all files of the tree.
    pub(crate) bytes: u64,
    pub(crate) kept: Kept,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kept {
    /// An object, by the name that its file has.
    Object { name: String },
    /// The tree of the package at this version.
    Tree,
}

#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    files: Vec<ManifestFile>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ManifestFile {
    path: String,
    bytes: u64,
    sha256: String,
}

/// What the cache has for a spec.
pub(crate) enum Found {
    Nothing,
    Good(Record, PathBuf),
    Damaged { path: PathBuf, reason: String },
}

impl Cache {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root, checked: Mutex::default() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Looks a spec up and checks what is found: sizes always, hashes the first time in this process.
    pub(crate) fn find(&self, spec: &Spec) -> Result<Found, SourceError> {
        let record_path = self.record_path(spec);
        let damaged = |path: PathBuf, reason: String| Ok(Found::Damaged { path, reason });
        let record: Record = match read_json(&record_path)? {
            ReadJson::Absent => return Ok(Found::Nothing),
            ReadJson::Broken(reason) => return damaged(record_path, reason),
            ReadJson::Good(record) => record,
        };
        if record.spec != spec.to_string() {
            return damaged(record_path, format!("the record is for `{}`", record.spec));
        }
        let (root, files) = match (&record.kept, &record.sha256) {
            (Kept::Object { name }, Some(sha256)) if is_sha256(sha256) && !name.contains('/') => {
                let path = name.clone();
                (
                    self.object_dir(sha256),
                    vec![ManifestFile { path, bytes: record.bytes, sha256: sha256.clone() }],
                )
            }
            (Kept::Object { .. }, _) => {
                return damaged(record_path, "the record has no valid hash".to_owned());
            }
            (Kept::Tree, _) => {
                let tree = self.tree_path(&spec.package().pinned(&record.version)?);
                let manifest_path = manifest_path(&tree);
                match read_json::<Manifest>(&manifest_path)? {
                    ReadJson::Good(manifest) => (tree, manifest.files),
                    ReadJson::Absent => {
                        return damaged(manifest_path, "the list of files is missing".to_owned());
                    }
                    ReadJson::Broken(reason) => return damaged(manifest_path, reason),
                }
            }
        };
        for file in &files {
            let path = root.join(&file.path);
            if let Some(reason) = self.fault_of(&path, file)? {
                return damaged(path, reason);
            }
        }
        self.checked().extend(files.iter().map(|file| root.join(&file.path)));
        let path = match &record.kept {
            Kept::Object { name } => root.join(name),
            Kept::Tree => root,
        };
        Ok(Found::Good(record, path))
    }

    fn fault_of(&self, path: &Path, file: &ManifestFile) -> Result<Option<String>, SourceError> {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(Some("it is missing".to_owned()));
            }
            Err(error) => return Err(at("read", path)(error)),
        };
        if !metadata.is_file() {
            return Ok(Some("it is no plain file".to_owned()));
        }
        if metadata.len() != file.bytes {
            return Ok(Some(format!("it has {} bytes instead of {}", metadata.len(), file.bytes)));
        }
        if self.checked().contains(path) {
            return Ok(None);
        }
        let got = sha256_file(path)?;
        Ok((got != file.sha256).then(|| format!("its SHA-256 is {got} instead of {}", file.sha256)))
    }

    /// Moves a finished file into the objects and records it.  The file must lie in a [`WorkDir`].
    pub(crate) fn keep_file(
        &self,
        specs: &[&Spec],
        file: &Unpacked,
        at_path: &Path,
        version: &str,
    ) -> Result<(Record, PathBuf), SourceError> {
        let name = file.path.rsplit('/').next().unwrap_or(&file.path).to_owned();
        let dir = self.object_dir(&file.sha256);
        fs::create_dir_all(&dir).map_err(at("create", &dir))?;
        let path = dir.join(&name);
        File::open(at_path).and_then(|file| file.sync_all()).map_err(at("flush", at_path))?;
        fs::rename(at_path, &path).map_err(at("create", &path))?;
        self.checked().insert(path.clone());

        let sha256 = Some(file.sha256.clone());
        let kept = Kept::Object { name };
        let record = self.write_records(specs, version, sha256, file.bytes, &kept)?;
        Ok((record, path))
    }

    /// Moves a finished folder into the trees and records it.  The folder must lie in a [`WorkDir`].
    pub(crate) fn keep_tree(
        &self,
        specs: &[&Spec],
        files: Vec<Unpacked>,
        at_path: &Path,
        version: &str,
        sha256: Option<String>,
    ) -> Result<(Record, PathBuf), SourceError> {
        let Some(first) = specs.first() else { unreachable!("a tree is kept for a spec") };
        let pinned = first.package().pinned(version)?;
        let tree = self.tree_path(&pinned);
        let bytes = files.iter().map(|file| file.bytes).sum();
        // Somebody may be reading the tree of this version already: a good one stays where it is.
        if let Found::Good(record, path) = self.find(&pinned)?
            && (&record.sha256, record.bytes) == (&sha256, bytes)
        {
            return Ok((self.write_records(specs, version, sha256, bytes, &Kept::Tree)?, path));
        }
        let paths: Vec<PathBuf> = files.iter().map(|file| tree.join(&file.path)).collect();
        let files = files
            .into_iter()
            .map(|Unpacked { path, bytes, sha256 }| ManifestFile { path, bytes, sha256 })
            .collect();

        let parent = tree.parent().unwrap_or(&self.root);
        fs::create_dir_all(parent).map_err(at("create", parent))?;
        remove_tree(&tree)?;
        fs::rename(at_path, &tree).map_err(at("create", &tree))?;
        write_json(&manifest_path(&tree), &Manifest { files })?;
        self.checked().extend(paths);
        let record = self.write_records(specs, version, sha256, bytes, &Kept::Tree)?;
        Ok((record, tree))
    }

    fn write_records(
        &self,
        specs: &[&Spec],
        version: &str,
        sha256: Option<String>,
        bytes: u64,
        kept: &Kept,
    ) -> Result<Record, SourceError> {
        let mut records = specs.iter().map(|spec| Record {
            spec: spec.to_string(),
            version: version.to_owned(),
            sha256: sha256.clone(),
            bytes,
            kept: kept.clone(),
        });
        let Some(first) = records.next() else { unreachable!("a file is kept for a spec") };
        for (record, spec) in [first.clone()].into_iter().chain(records).zip(specs) {
            write_json(&self.record_path(spec), &record)?;
        }
        Ok(first)
    }

    /// Forgets a spec, so that it is fetched anew.  What it stood for is replaced by the next fetch.
    pub(crate) fn forget(&self, spec: &Spec, damaged: &Path) -> Result<(), SourceError> {
        self.checked().clear();
        for path in [damaged, &self.record_path(spec)] {
            let removed = match path.is_dir() && !path.is_symlink() {
                true => fs::remove_dir_all(path),
                false => fs::remove_file(path),
            };
            match removed {
                Err(error) if path.exists() => return Err(at("remove", path)(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits until no other process or thread fetches this package, and makes a folder to work in.
    pub(crate) fn lock(&self, spec: &Spec) -> Result<WorkDir, SourceError> {
        let key = key(&spec.unversioned());
        let locks = self.root.join("locks");
        fs::create_dir_all(&locks).map_err(at("create", &locks))?;
        let path = locks.join(format!("{key}.lock"));
        let lock = File::create(&path).map_err(at("create", &path))?;
        let locked = match lock.lock() {
            Ok(()) => true,
            // Some network file systems have no locks.  Then two processes may fetch twice, and the last rename wins.
            Err(error) if error.kind() == io::ErrorKind::Unsupported => false,
            Err(error) => return Err(at("lock", &path)(error)),
        };

        let tmp = self.root.join("tmp");
        fs::create_dir_all(&tmp).map_err(at("create", &tmp))?;
        let prefix = format!("{key}.");
        if locked {
            remove_leftovers(&tmp, &prefix)?;
        }
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir_in(&tmp).map_err(at("create", &tmp))?;
        Ok(WorkDir { dir, _lock: lock })
    }

    fn object_dir(&self, sha256: &str) -> PathBuf {
        self.root.join("objects/sha256").join(&sha256[..2]).join(sha256)
    }

    pub(crate) fn tree_path(&self, pinned: &Spec) -> PathBuf {
        self.root.join("trees").join(key(pinned))
    }

    fn record_path(&self, spec: &Spec) -> PathBuf {
        self.root.join("refs").join(format!("{}.json", key(spec)))
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, HashSet<PathBuf>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A folder to work in, which goes when the work is done or has failed, and the lock that makes it ours.
pub(crate) struct WorkDir {
    dir: tempfile::TempDir,
    _lock: File,
}

impl WorkDir {
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// A new folder in it.
    pub(crate) fn subdir(&self, name: &str) -> Result<PathBuf, SourceError> {
        let path = self.dir.path().join(name);
        fs::create_dir(&path).map_err(at("create", &path))?;
        Ok(path)
    }
}

/// What a killed process left behind.  Only called by whoever holds the lock for the prefix.
fn remove_leftovers(tmp: &Path, prefix: &str) -> Result<(), SourceError> {
    for entry in fs::read_dir(tmp).map_err(at("read", tmp))?.flatten() {
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            remove_tree(&entry.path())?;
        }
    }
    Ok(())
}

fn remove_tree(path: &Path) -> Result<(), SourceError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(at("remove", path)(error)),
        _ => Ok(()),
    }
}

/// A file name for a spec: readable in front, unique behind.
fn key(spec: &Spec) -> String {
    let text = spec.to_string();
    let readable: String = text
        .chars()
        .take(80)
        .map(|c| if c.is_ascii_alphanumeric() || "-_".contains(c) { c } else { '-' })
        .collect();
    format!("{readable}-{}", &sha256_text(&text)[..16])
}

fn manifest_path(tree: &Path) -> PathBuf {
    tree.with_added_extension("json")
}

enum ReadJson<T> {
    Absent,
    Broken(String),
    Good(T),
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<ReadJson<T>, SourceError> {
    match fs::read(path) {
        Ok(bytes) => Ok(match serde_json::from_slice(&bytes) {
            Ok(value) => ReadJson::Good(value),
            Err(error) => ReadJson::Broken(error.to_string()),
        }),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            Ok(ReadJson::Absent)
        }
        Err(error) => Err(at("read", path)(error)),
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), SourceError> {
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(parent).map_err(at("create", parent))?;
    let json = serde_json::to_vec_pretty(value).expect("records have only text keys");
    let mut file = tempfile::NamedTempFile::new_in(parent).map_err(at("create", parent))?;
    file.write_all(&json).and_then(|()| file.as_file().sync_all()).map_err(at("write", path))?;
    file.persist(path).map_err(|error| at("create", path)(error.error))?;
    Ok(())
}
