//! Everything that can go wrong between a spec and a verified file, with the data to say what to do next.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use crate::spec::{ALLOWED_FORMS, Origin};

/// Why a model or data set could not be fetched.  [`SourceError::hint`] gives the next thing to type or try.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The text names no source.
    #[error("`{text}` is not a source: {reason} (allowed: {ALLOWED_FORMS})")]
    BadSpec {
        /// What the user typed.
        text: String,
        /// Which rule it breaks.
        reason: String,
    },
    /// The expected hash is not 64 hexadecimal digits.
    #[error("`{text}` is not a SHA-256: it needs 64 hexadecimal digits and has {} characters", text.chars().count())]
    BadHash {
        /// What was given as a hash.
        text: String,
    },
    /// A folder from the hub was asked for together with one hash for it.
    #[error("`{spec}` is a folder of many files, so one SHA-256 cannot be expected of it")]
    HashOfFolder {
        /// The source that was asked for.
        spec: String,
    },
    /// A `file:` source does not exist.
    #[error("{} does not exist", path.display())]
    FileMissing {
        /// The path that was asked for.
        path: PathBuf,
    },
    /// Offline, and not in the cache.
    #[error("`{spec}` is not in the cache at {}, and this run is offline", cache_dir.display())]
    Offline {
        /// The source that was asked for.
        spec: String,
        /// Where it was looked for.
        cache_dir: PathBuf,
    },
    /// Offline, and what the cache holds is damaged.
    #[error("the cached copy of `{spec}` is damaged, and this run is offline: {reason}")]
    Damaged {
        /// The source that was asked for.
        spec: String,
        /// Which file, and what is wrong with it.
        reason: String,
    },
    /// The origin knows no such package, repository, version or revision.
    #[error("`{spec}` was not found: {reason}")]
    NotFound {
        /// The source that was asked for.
        spec: String,
        /// Where it was asked for.
        origin: Origin,
        /// What the origin said.
        reason: String,
        /// The versions that it does have, when it said so.
        versions: Vec<String>,
    },
    /// The package or repository has no such file.
    #[error("`{spec}` has no file `{path}`{}", list(" (it has: ", near, ")"))]
    NoSuchEntry {
        /// The package that was asked for, without the path.
        spec: String,
        /// The path in it that was asked for.
        path: String,
        /// Files in it that might be meant.
        near: Vec<String>,
    },
    /// The file is not the one that was expected.  Nothing of it was kept.
    #[error("`{spec}` has SHA-256 {got}, but {expected} was expected ({bytes} bytes)")]
    HashMismatch {
        /// The source that was asked for.
        spec: String,
        /// The hash that the caller, or the origin, promised.
        expected: String,
        /// The hash of what came.
        got: String,
        /// The size of what came.
        bytes: u64,
    },
    /// The client program is not installed.
    #[error("fetching from {origin} needs `{program}`, which could not be started (tried: {})", tried.join(", "))]
    ProgramMissing {
        /// The origin that needs it.
        origin: Origin,
        /// The program's usual name.
        program: &'static str,
        /// The commands that were tried.
        tried: Vec<String>,
    },
    /// The client program failed.
    #[error("`{command}` failed ({status}){}", list(":\n  ", stderr_tail, ""))]
    ProgramFailed {
        /// The command, as one could type it.
        command: String,
        /// How it ended.
        status: String,
        /// The last lines that it wrote to standard error.
        stderr_tail: Vec<String>,
    },
    /// The client program did not finish in time and was stopped.
    #[error("`{command}` was stopped after {} seconds", limit.as_secs())]
    ProgramTimeout {
        /// The command, as one could type it.
        command: String,
        /// The limit, [`FetcherOptions::process_timeout`](crate::FetcherOptions::process_timeout).
        limit: Duration,
        /// The last lines that it wrote to standard error.
        stderr_tail: Vec<String>,
    },
    /// The client succeeded, but what it left is not what was asked for.
    #[error("`{command}` succeeded but {reason}")]
    UnexpectedOutput {
        /// The command, as one could type it.
        command: String,
        /// What is odd about its output.
        reason: String,
    },
    /// The hub, or the way to it, failed.
    #[error("fetching `{spec}` from the hub failed: {reason}")]
    Hub {
        /// The source that was asked for.
        spec: String,
        /// The HTTP status, when there was an answer.
        status: Option<u16>,
        /// What went wrong.
        reason: String,
    },
    /// The hub answered, but with nothing that can be used.
    #[error("the hub's answer for `{spec}` is of no use: {reason}")]
    HubAnswer {
        /// The source that was asked for.
        spec: String,
        /// What is odd, or missing.
        reason: String,
    },
    /// The archive is broken or hostile.
    #[error("refused to unpack {}: {fault}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        fault: ArchiveFault,
    },
    /// The file system refused.
    #[error("could not {doing} {}: {error}", path.display())]
    Io {
        /// What was being done: "create", "read", "write", …
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        #[source]
        error: io::Error,
    },
}

/// What is wrong with an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveFault {
    /// An entry's name would be written outside the folder, or is no portable name.
    #[error("the entry `{name}` {reason}")]
    UnsafeName {
        /// The entry's name, shortened.
        name: String,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// An entry is neither a plain file nor a folder.
    #[error("the entry `{name}` is a {kind}, and only plain files and folders are unpacked")]
    NotAFile {
        /// The entry's name.
        name: String,
        /// What it is.
        kind: &'static str,
    },
    /// Two entries have the same name, or differ only in a way that this file system does not keep.
    #[error("the entry `{name}` comes twice")]
    Twice {
        /// The entry's name.
        name: String,
    },
    /// More entries than [`Limits::entries_max`](crate::Limits::entries_max).
    #[error("it has more than {limit} entries")]
    TooManyEntries {
        /// The limit.
        limit: u64,
    },
    /// It unpacks to more than the limits allow.
    #[error("it unpacks to more than {limit_bytes} bytes, which {why}")]
    TooLarge {
        /// The limit that was passed.
        limit_bytes: u64,
        /// Which limit it was.
        why: &'static str,
    },
    /// It cannot be read as what it should be.
    #[error("it cannot be read ({0})")]
    Unreadable(String),
}

impl SourceError {
    /// What to type or try next.
    ///
    /// ```
    /// use headstart_source::Spec;
    ///
    /// let error = Spec::parse("pypi:--index-url").unwrap_err();
    /// assert!(error.hint().unwrap().contains("pypi:name@version"));
    /// ```
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::BadSpec { .. } => {
                "write for example `hf:owner/repo`, `pypi:name@version`, `npm:name@version!path/in/package`, or the \
                 path of a file or folder that exists"
                    .to_owned()
            }
            Self::BadHash { .. } => "`sha256sum FILE` prints the hash of a file".to_owned(),
            Self::HashOfFolder { spec } => format!("name one file, as in `{spec}!model.safetensors`"),
            Self::FileMissing { .. } => "check the path; a relative path starts at the current folder".to_owned(),
            Self::Offline { spec, .. } | Self::Damaged { spec, .. } => {
                format!("run `headstart sources fetch '{spec}'` once without `--offline`")
            }
            Self::NotFound { origin, versions, .. } => return not_found_hint(*origin, versions),
            Self::NoSuchEntry { spec, near, .. } => match near.first() {
                Some(first) => format!("for example `{spec}!{first}`"),
                None => format!("leave out the path to fetch all of `{spec}`"),
            },
            Self::HashMismatch { .. } => {
                "nothing was kept; the publisher replaced the file, a mirror altered it, or the expected hash is of \
                 another version: pin the version and compare with the publisher's hash"
                    .to_owned()
            }
            Self::ProgramMissing { program, .. } => match *program {
                "pip" => "install Python 3 with pip, and check that `python3 -m pip --version` works".to_owned(),
                _ => "install Node.js, and check that `npm --version` works".to_owned(),
            },
            Self::ProgramFailed { command, .. } | Self::ProgramTimeout { command, .. } => {
                format!("mirrors, certificates and logins are the client's own settings; try it by hand: `{command}`")
            }
            Self::Hub { status: Some(401 | 403), .. } => {
                "there is no such repository, or it is private or gated: then accept its terms on its page and set HF_TOKEN".to_owned()
            }
            Self::Hub { status: None, .. } => {
                "check the connection; HF_ENDPOINT chooses another hub, and what came so far is resumed".to_owned()
            }
            Self::Archive { .. } => {
                "do not use this package; if you trust it, unpack it yourself and pass the folder's path".to_owned()
            }
            Self::Io { error, .. } => return io_hint(error.kind()),
            Self::UnexpectedOutput { .. } | Self::Hub { .. } | Self::HubAnswer { .. } => return None,
        })
    }
}

fn not_found_hint(origin: Origin, versions: &[String]) -> Option<String> {
    Some(match (origin, versions.last()) {
        (_, Some(last)) => format!("choose one of its versions, for example `@{last}`"),
        (Origin::PyPi, None) => {
            "check the name and version; a package that publishes only source distributions is not used, since \
             building one runs its code: download it yourself and pass the file's path"
                .to_owned()
        }
        (Origin::Hf, None) => {
            "check owner, repository and revision; a private repository also needs HF_TOKEN".to_owned()
        }
        (Origin::Npm | Origin::File, None) => "check the name and version".to_owned(),
    })
}

fn io_hint(kind: io::ErrorKind) -> Option<String> {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space, or put the cache elsewhere by setting HEADSTART_CACHE".to_owned())
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            Some("make it writable, or put the cache elsewhere by setting HEADSTART_CACHE".to_owned())
        }
        _ => None,
    }
}

/// Makes a `map_err` argument that says what was being done to which path.
pub(crate) fn at(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SourceError {
    let path = path.to_owned();
    move |error| SourceError::Io { doing, path, error }
}

/// `before a, b, c after`, or nothing for an empty list; lines when `before` starts lines.
fn list(before: &str, items: &[String], after: &str) -> String {
    if items.is_empty() {
        return String::new();
    }
    let between = if before.contains('\n') { "\n  " } else { ", " };
    format!("{before}{}{after}", items.join(between))
}
