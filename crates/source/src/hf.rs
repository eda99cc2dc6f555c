//! `hf:`: repositories of the Hugging Face hub, or of another hub with its interface, through the `hf-hub` client.
//!
//! Files land in the hub's own cache, which Python shares, and are linked from there into ours: what another
//! program has fetched is not fetched again, and what we fetch the other programs find.

use std::{
    fs, io,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use hf_hub::{
    Repo, RepoType,
    api::{
        Progress,
        sync::{Api, ApiBuilder, ApiError, ApiRepo},
    },
};
use serde::Deserialize;

use crate::{
    archive::Unpacked,
    cache::{Cache, WorkDir},
    error::{SourceError, at},
    fetch::{Came, FetchEvent, no_such_entry},
    file::files_below,
    hub_files::{is_commit, usual_files},
    hub_options::HubOptions,
    spec::{Origin, Spec, check_relative},
    verify::{is_sha256, sha256_file},
};

/// How often a file is tried.  Each time goes on where the last one was cut off.
const TRIES: u32 = 3;

pub(crate) fn fetch(
    spec: &Spec,
    work: WorkDir,
    options: &HubOptions,
    ours: &Path,
    anew: bool,
    progress: &(dyn Fn(FetchEvent) + Sync),
) -> Result<Came, SourceError> {
    let cache = options.cache(ours);
    let mut builder = ApiBuilder::from_cache(cache.clone()).with_progress(false);
    if let Some(endpoint) = &options.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    if let Some(token) = &options.token {
        builder = builder.with_token(Some(token.clone()));
    }
    let api = builder.build().map_err(|error| hub_error(spec, &error, &cache))?;

    let listing = list(&api, spec, &cache)?;
    let names: Vec<String> = listing.siblings.iter().map(|file| file.rfilename.clone()).collect();
    let wanted = match spec.path() {
        Some(path) if names.iter().any(|name| name == path) => vec![path.to_owned()],
        Some(path) => return Err(no_such_entry(spec, path, names)),
        None => usual_files(&names).map_err(|reason| odd(spec, reason))?,
    };

    let repo = repo_at(spec, &listing.sha);
    let mut download = Download { spec, api: &api, cache: &cache, repo, anew, progress };
    let tree = work.subdir("tree")?;
    let mut files = Vec::new();
    for name in &wanted {
        let sibling = listing.siblings.iter().find(|file| &file.rfilename == name);
        let published =
            sibling.and_then(|file| file.lfs.as_ref()?.sha256.as_deref()).filter(|sha| is_sha256(sha));
        let (path, sha256) = download.file(name, published)?;
        files.push(bring(&path, name, sha256, &tree)?);
    }
    Ok(came(spec, work, listing.sha, tree, files))
}

/// What another program, or an earlier run, left in the hub's own cache.  Opens no socket.
pub(crate) fn from_hub_cache(
    spec: &Spec,
    options: &HubOptions,
    ours: &Cache,
) -> Result<Option<Came>, SourceError> {
    let cache = options.cache(ours.root());
    let revision = spec.version().unwrap_or("main");
    let folder = cache.path().join(repo_at(spec, revision).folder_name());
    let commit = match fs::read_to_string(folder.join("refs").join(revision)) {
        Ok(commit) => commit.trim().to_owned(),
        Err(_) => revision.to_owned(),
    };
    if !is_commit(&commit) {
        return Ok(None);
    }
    let snapshot = folder.join("snapshots").join(&commit);
    let names = files_below(&snapshot);
    let wanted = match spec.path() {
        Some(path) if names.iter().any(|name| name == path) => vec![path.to_owned()],
        Some(_) => return Ok(None),
        None => match usual_files(&names) {
            Ok(wanted) => wanted,
            Err(_) => return Ok(None),
        },
    };

    let work = ours.lock(spec)?;
    let tree = work.subdir("tree")?;
    let mut files = Vec::new();
    for name in &wanted {
        let path = snapshot.join(name);
        let sha256 = sha256_file(&path)?;
        if published_by_name(&path).is_some_and(|published| published != sha256) {
            return Ok(None);
        }
        files.push(bring(&path, name, sha256, &tree)?);
    }
    Ok(Some(came(spec, work, commit, tree, files)))
}

/// The hub's answer about a revision, with the hashes of its large files.
#[derive(Deserialize)]
struct Listing {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
struct Sibling {
    rfilename: String,
    #[serde(default)]
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    #[serde(default)]
    sha256: Option<String>,
}

/// Resolves the revision to a commit and lists its files.
fn list(api: &Api, spec: &Spec, cache: &hf_hub::Cache) -> Result<Listing, SourceError> {
    let request = api.repo(repo_at(spec, spec.version().unwrap_or("main"))).info_request();
    let mut response = request
        .query("blobs", "true")
        .call()
        .map_err(|error| hub_error(spec, &Box::new(error).into(), cache))?;
    let text = response
        .body_mut()
        .read_to_string()
        .map_err(|error| hub_error(spec, &Box::new(error).into(), cache))?;
    let mut listing: Listing = serde_json::from_str(&text)
        .map_err(|error| odd(spec, format!("it answered with no list of files ({error})")))?;
    if !is_commit(&listing.sha) {
        return Err(odd(spec, format!("it answered with `{}` for a commit", listing.sha)));
    }
    // Names that could not be written are not on offer.
    listing.siblings.retain(|file| check_relative(&file.rfilename).is_ok());
    Ok(listing)
}

fn repo_at(spec: &Spec, revision: &str) -> Repo {
    Repo::with_revision(spec.name().to_owned(), RepoType::Model, revision.to_owned())
}

/// The way of one repository's files into the hub's cache.
struct Download<'a> {
    spec: &'a Spec,
    api: &'a Api,
    cache: &'a hf_hub::Cache,
    repo: Repo,
    /// Do not trust what lies in the hub's cache.
    anew: bool,
    progress: &'a (dyn Fn(FetchEvent) + Sync),
}

impl Download<'_> {
    /// A file in the hub's cache, and its hash, which is the published one if there is one.
    fn file(&mut self, name: &str, published: Option<&str>) -> Result<(PathBuf, String), SourceError> {
        if !self.anew
            && let Some(path) = self.cache.repo(self.repo.clone()).get(name)
        {
            let sha256 = sha256_file(&path)?;
            if published.or(published_by_name(&path).as_deref()).is_none_or(|published| published == sha256) {
                return Ok((path, sha256));
            }
        }
        // The client puts names into addresses as they are.
        if name.contains(['?', '#', '%', ' ']) {
            return Err(odd(self.spec, format!("the name `{name}` cannot be asked for")));
        }
        let mut tries = 1;
        loop {
            match self.try_file(name, published) {
                Err(error) if tries < TRIES && worth_retrying(&error) => {
                    thread::sleep(Duration::from_millis(250 << tries));
                    tries += 1;
                }
                outcome => return outcome,
            }
        }
    }

    fn try_file(&self, name: &str, published: Option<&str>) -> Result<(PathBuf, String), SourceError> {
        let failed = |error: ApiError| hub_error(self.spec, &error, self.cache);
        let repo: ApiRepo = self.api.repo(self.repo.clone());
        let metadata = self.api.metadata(&repo.url(name)).map_err(failed)?;
        let (etag, size) = (metadata.etag(), metadata.size() as u64);
        // The client uses it as a file name.
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if etag.is_empty()
            || etag.len() > 128
            || !etag.chars().all(plain)
            || metadata.commit_hash() != self.commit()
        {
            return Err(odd(self.spec, format!("it answered oddly for `{name}` (etag `{etag}`)")));
        }
        let blob = self.cache.repo(self.repo.clone()).blob_path(etag);
        let part = blob.with_extension("part");
        // The client would ask for what follows the end.
        if part.metadata().is_ok_and(|part| part.len() >= size) {
            fs::remove_file(&part).map_err(at("remove", &part))?;
        }

        let what = format!("{}!{name}", self.spec.package());
        (self.progress)(FetchEvent::Started { what, total: Some(size) });
        let tracker = Tracker { progress: self.progress, done: 0, total: size };
        let path = match repo.download_with_progress(name, tracker) {
            Ok(path) => path,
            Err(error) => {
                let error = failed(error);
                if matches!(error, SourceError::Io { .. }) {
                    let _ = fs::remove_file(&part);
                }
                return Err(error);
            }
        };
        let got = sha256_file(&path)?;
        let bytes = path.metadata().map_err(at("read", &path))?.len();
        let expected = published.or(Some(etag).filter(|etag| is_sha256(etag)));
        if bytes != size || expected.is_some_and(|expected| expected != got) {
            fs::remove_file(&blob).map_err(at("remove", &blob))?;
            return Err(match expected {
                Some(expected) => SourceError::HashMismatch {
                    spec: format!("{}!{name}", self.spec.package()),
                    expected: expected.to_owned(),
                    got,
                    bytes,
                },
                None => {
                    hub_reason(self.spec, None, format!("`{name}` came with {bytes} bytes instead of {size}"))
                }
            });
        }
        (self.progress)(FetchEvent::Done);
        Ok((path, got))
    }

    fn commit(&self) -> &str {
        self.repo.revision()
    }
}

/// Passes the client's progress on.
struct Tracker<'a> {
    progress: &'a (dyn Fn(FetchEvent) + Sync),
    done: u64,
    total: u64,
}

impl Progress for Tracker<'_> {
    fn init(&mut self, _size: usize, _filename: &str) {
        self.done = 0;
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        (self.progress)(FetchEvent::Bytes { done: self.done, total: Some(self.total) });
    }

    fn finish(&mut self) {}
}

/// Links a file of the hub's cache into a folder of ours, or copies it where that cannot be done.
fn bring(from: &Path, name: &str, sha256: String, tree: &Path) -> Result<Unpacked, SourceError> {
    let from = fs::canonicalize(from).map_err(at("read", from))?;
    let to = tree.join(name);
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent).map_err(at("create", parent))?;
    }
    if fs::hard_link(&from, &to).is_err() {
        fs::copy(&from, &to).map_err(at("write", &to))?;
    }
    let bytes = to.metadata().map_err(at("read", &to))?.len();
    Ok(Unpacked { path: name.to_owned(), bytes, sha256 })
}

fn came(spec: &Spec, work: WorkDir, version: String, tree: PathBuf, files: Vec<Unpacked>) -> Came {
    let at = spec.path().map_or_else(|| tree.clone(), |path| tree.join(path));
    Came { work, version, at, files, archive_sha256: None }
}

/// The hub names the blobs of large files by their hash.
fn published_by_name(path: &Path) -> Option<String> {
    let blob = fs::canonicalize(path).ok()?;
    Some(blob.file_name()?.to_str()?.to_owned()).filter(|name| is_sha256(name))
}

fn worth_retrying(error: &SourceError) -> bool {
    match error {
        SourceError::Hub { status, .. } => status.is_none_or(|status| status == 429 || status >= 500),
        SourceError::HashMismatch { .. } => true,
        _ => false,
    }
}

fn odd(spec: &Spec, reason: String) -> SourceError {
    SourceError::HubAnswer { spec: spec.to_string(), reason }
}

fn hub_reason(spec: &Spec, status: Option<u16>, reason: String) -> SourceError {
    SourceError::Hub { spec: spec.to_string(), status, reason }
}

fn hub_error(spec: &Spec, error: &ApiError, cache: &hf_hub::Cache) -> SourceError {
    match error {
        ApiError::RequestError(error) => match error.as_ref() {
            ureq::Error::StatusCode(404) => SourceError::NotFound {
                spec: spec.to_string(),
                origin: Origin::Hf,
                reason: "the hub knows no such repository, revision or file".to_owned(),
                versions: Vec::new(),
            },
            ureq::Error::StatusCode(status) => {
                hub_reason(spec, Some(*status), format!("it answered {status}"))
            }
            other => hub_reason(spec, None, other.to_string()),
        },
        // Reading from the network and writing to the disk fail alike here; these kinds come from the disk only.
        ApiError::IoError(error)
            if matches!(
                error.kind(),
                io::ErrorKind::StorageFull
                    | io::ErrorKind::QuotaExceeded
                    | io::ErrorKind::PermissionDenied
                    | io::ErrorKind::ReadOnlyFilesystem
                    | io::ErrorKind::NotADirectory
            ) =>
        {
            let error = io::Error::new(error.kind(), error.to_string());
            SourceError::Io { doing: "write below", path: cache.path().clone(), error }
        }
        other => hub_reason(spec, None, other.to_string()),
    }
}
