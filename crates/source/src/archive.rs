//! Unpacks wheels (zip) and npm packages (gzipped tar) that may be hostile.
//!
//! Only plain files and folders, only inside the given folder, never executable, and within [`Limits`] that are
//! counted on what really comes out, not on what the headers claim.

use std::{
    cell::{Cell, RefCell},
    fs::{self, File},
    io::{self, BufReader, Read},
    path::Path,
};

use flate2::read::GzDecoder;
use tar::EntryType;

use crate::{
    error::{ArchiveFault, SourceError, at},
    spec::check_relative,
    verify::copy_hashed,
};

/// Bounds on what an archive may unpack to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many entries, folders included.
    pub entries_max: u64,
    /// How many bytes in all.
    pub bytes_max: u64,
    /// How many times the archive's own size, where it unpacks to more than `ratio_from_bytes`.
    pub ratio_max: u64,
    /// What every archive may unpack to, however small it is.
    pub ratio_from_bytes: u64,
}

impl Default for Limits {
    /// 200,000 entries, 16 GiB, 200 times the archive's size beyond 64 MiB.  (Deflate reaches 1032 times; tables reach 30.)
    fn default() -> Self {
        Self { entries_max: 200_000, bytes_max: 16 << 30, ratio_max: 200, ratio_from_bytes: 64 << 20 }
    }
}

/// Long names in tar files; real ones stay below a kilobyte.
const EXTENSION_BYTES_MAX: u64 = 64 << 10;

/// Unpacks all of a zip file, for example a wheel, into a folder that exists, and gives how many files it wrote.
///
/// ```
/// use headstart_source::{Limits, unpack_zip};
///
/// let folder = tempfile::tempdir()?;
/// let wheel = folder.path().join("broken.whl");
/// std::fs::write(&wheel, "no zip")?;
/// assert!(unpack_zip(&wheel, folder.path(), &Limits::default()).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn unpack_zip(archive: &Path, into: &Path, limits: &Limits) -> Result<usize, SourceError> {
    Ok(read_zip(archive, Wanted::All { into }, limits)?.files.len())
}

/// Unpacks all of a gzipped tar file into a folder that exists, without its top folder, as npm does, and gives how
/// many files it wrote.
pub fn unpack_tgz(archive: &Path, into: &Path, limits: &Limits) -> Result<usize, SourceError> {
    Ok(read_tgz(archive, Wanted::All { into }, limits)?.files.len())
}

/// What to write, and where.
#[derive(Clone, Copy)]
pub(crate) enum Wanted<'a> {
    /// Every file, below this folder.
    All { into: &'a Path },
    /// One file, as this new file.
    One { path: &'a str, to: &'a Path },
}

/// What an archive held.
#[derive(Default)]
pub(crate) struct Contents {
    /// The files that were written.
    pub(crate) files: Vec<Unpacked>,
    /// The sizes and names of all files, to say what might have been meant.
    pub(crate) names: Vec<(u64, String)>,
}

/// A file as it was written.
pub(crate) struct Unpacked {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

pub(crate) fn read_zip(path: &Path, wanted: Wanted<'_>, limits: &Limits) -> Result<Contents, SourceError> {
    let refuse = |fault| SourceError::Archive { path: path.to_owned(), fault };
    let unreadable = |error: zip::result::ZipError| refuse(ArchiveFault::Unreadable(error.to_string()));
    let file = File::open(path).map_err(at("open", path))?;
    let meter = Meter::new(&file, path, limits)?;
    let mut zip = zip::ZipArchive::new(BufReader::new(file)).map_err(unreadable)?;
    if zip.len() as u64 > limits.entries_max {
        return Err(refuse(ArchiveFault::TooManyEntries { limit: limits.entries_max }));
    }

    let mut contents = Contents::default();
    for idx in 0..zip.len() {
        let mut entry = zip.by_index(idx).map_err(unreadable)?;
        let name = entry.name().to_owned();
        check_relative(name.strip_suffix('/').unwrap_or(&name))
            .map_err(|rule| refuse(unsafe_name(&name, rule)))?;
        match entry.unix_mode().map(|mode| mode & 0o170_000) {
            _ if entry.is_dir() => continue,
            None | Some(0 | 0o100_000) => {}
            Some(0o120_000) => return Err(refuse(ArchiveFault::NotAFile { name, kind: "symbolic link" })),
            Some(_) => return Err(refuse(ArchiveFault::NotAFile { name, kind: "special file" })),
        }
        contents.names.push((entry.size(), name.clone()));
        write_entry(&name, meter.over(&mut entry), wanted, &mut contents, &meter)?;
    }
    Ok(contents)
}

pub(crate) fn read_tgz(path: &Path, wanted: Wanted<'_>, limits: &Limits) -> Result<Contents, SourceError> {
    let refuse = |fault| SourceError::Archive { path: path.to_owned(), fault };
    let file = File::open(path).map_err(at("open", path))?;
    let meter = Meter::new(&file, path, limits)?;
    let unreadable = |error: io::Error| meter.refusal(&error);
    let mut tar = tar::Archive::new(meter.over(GzDecoder::new(BufReader::new(file))));

    let mut contents = Contents::default();
    let mut long_name = None;
    let mut n_entries = 0;
    // Raw entries, since otherwise the long names would be read into memory at whatever size they claim.
    for entry in tar.entries().map_err(unreadable)?.raw(true) {
        let mut entry = entry.map_err(unreadable)?;
        n_entries += 1;
        if n_entries > limits.entries_max {
            return Err(refuse(ArchiveFault::TooManyEntries { limit: limits.entries_max }));
        }
        let kind = entry.header().entry_type();
        if matches!(kind, EntryType::XHeader | EntryType::XGlobalHeader | EntryType::GNULongName) {
            if entry.size() > EXTENSION_BYTES_MAX {
                return Err(refuse(ArchiveFault::Unreadable("a long name is too long".to_owned())));
            }
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).map_err(unreadable)?;
            match kind {
                EntryType::XHeader => {
                    if let Some(name) = pax_path(&bytes).map_err(refuse)? {
                        long_name = Some(name);
                    }
                }
                EntryType::GNULongName => {
                    long_name = Some(text(bytes.strip_suffix(b"\0").unwrap_or(&bytes)).map_err(refuse)?);
                }
                // Global headers carry comments, such as git's commit.
                _ => {}
            }
            continue;
        }

        let name = match long_name.take() {
            Some(name) => name,
            None => text(&entry.path_bytes()).map_err(refuse)?,
        };
        let trimmed = name.strip_suffix('/').unwrap_or(&name);
        check_relative(trimmed).map_err(|rule| refuse(unsafe_name(&name, rule)))?;
        match kind {
            EntryType::Directory => continue,
            EntryType::Regular if name.ends_with('/') => continue,
            EntryType::Regular => {}
            EntryType::Symlink => return Err(refuse(ArchiveFault::NotAFile { name, kind: "symbolic link" })),
            EntryType::Link => return Err(refuse(ArchiveFault::NotAFile { name, kind: "hard link" })),
            _ => return Err(refuse(ArchiveFault::NotAFile { name, kind: "special file" })),
        }
        let Some((_, inner)) = name.split_once('/') else {
            return Err(refuse(unsafe_name(&name, "lies beside the package's folder")));
        };
        let inner = inner.to_owned();
        contents.names.push((entry.size(), inner.clone()));
        write_entry(&inner, &mut entry, wanted, &mut contents, &meter)?;
    }
    // To the end, where gzip's checksum is.
    io::copy(&mut tar.into_inner(), &mut io::sink()).map_err(unreadable)?;
    Ok(contents)
}

fn write_entry(
    name: &str,
    from: impl Read,
    wanted: Wanted<'_>,
    contents: &mut Contents,
    meter: &Meter<'_>,
) -> Result<(), SourceError> {
    let to = match wanted {
        Wanted::All { into } => into.join(name),
        Wanted::One { path, to } if path == name => to.to_owned(),
        Wanted::One { .. } => return Ok(()),
    };
    if let (Wanted::All { .. }, Some(parent)) = (wanted, to.parent()) {
        fs::create_dir_all(parent).map_err(at("create", parent))?;
    }
    let file = match File::create_new(&to) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            return Err(meter.refuse(ArchiveFault::Twice { name: shorten(name) }));
        }
        Err(error) => return Err(at("create", &to)(error)),
    };
    match copy_hashed(from, &file) {
        Ok((sha256, bytes)) => contents.files.push(Unpacked { path: name.to_owned(), bytes, sha256 }),
        Err(error) if meter.failed.get() => return Err(meter.refusal(&error)),
        Err(error) => return Err(at("write", &to)(error)),
    }
    Ok(())
}

/// Counts what comes out of an archive, and remembers whether an error came from reading rather than from writing.
struct Meter<'a> {
    archive: &'a Path,
    left: Cell<u64>,
    limit_bytes: u64,
    why: &'static str,
    failed: Cell<bool>,
    fault: RefCell<Option<ArchiveFault>>,
}

impl<'a> Meter<'a> {
    fn new(file: &File, archive: &'a Path, limits: &Limits) -> Result<Self, SourceError> {
        let size = file.metadata().map_err(at("read", archive))?.len();
        let by_ratio = size.saturating_mul(limits.ratio_max).max(limits.ratio_from_bytes);
        let (limit_bytes, why) = match by_ratio < limits.bytes_max {
            true => (by_ratio, "is too many times its own size"),
            false => (limits.bytes_max, "is the limit for an archive"),
        };
        let left = Cell::new(limit_bytes);
        Ok(Self { archive, left, limit_bytes, why, failed: Cell::new(false), fault: RefCell::default() })
    }

    fn over<R: Read>(&self, inner: R) -> Metered<'_, R> {
        Metered { inner, meter: self }
    }

    fn refuse(&self, fault: ArchiveFault) -> SourceError {
        SourceError::Archive { path: self.archive.to_owned(), fault }
    }

    /// The error for a failed read: the limit that was passed, or what the reader said.
    fn refusal(&self, error: &io::Error) -> SourceError {
        let fault = self.fault.borrow_mut().take();
        self.refuse(fault.unwrap_or_else(|| ArchiveFault::Unreadable(error.to_string())))
    }
}

struct Metered<'a, R> {
    inner: R,
    meter: &'a Meter<'a>,
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let meter = self.meter;
        let n = self.inner.read(buffer).inspect_err(|error| {
            if error.kind() != io::ErrorKind::Interrupted {
                meter.failed.set(true);
            }
        })?;
        match meter.left.get().checked_sub(n as u64) {
            Some(left) => meter.left.set(left),
            None => {
                meter.failed.set(true);
                let fault = ArchiveFault::TooLarge { limit_bytes: meter.limit_bytes, why: meter.why };
                *meter.fault.borrow_mut() = Some(fault);
                return Err(io::Error::other("limit passed"));
            }
        }
        Ok(n)
    }
}

/// The `path` of a pax header.  A `size` there would override the plain header's, which we do not follow.
fn pax_path(bytes: &[u8]) -> Result<Option<String>, ArchiveFault> {
    let mut path = None;
    for record in tar::PaxExtensions::new(bytes) {
        let record = record.map_err(|error| ArchiveFault::Unreadable(error.to_string()))?;
        match record.key_bytes() {
            b"path" => path = Some(text(record.value_bytes())?),
            b"size" => return Err(ArchiveFault::Unreadable("an entry is larger than 8 GiB".to_owned())),
            _ => {}
        }
    }
    Ok(path)
}

fn text(bytes: &[u8]) -> Result<String, ArchiveFault> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| unsafe_name(&String::from_utf8_lossy(bytes), "is not written in UTF-8"))
}

fn unsafe_name(name: &str, reason: &'static str) -> ArchiveFault {
    ArchiveFault::UnsafeName { name: shorten(name), reason }
}

/// Names come from the archive, so no control characters reach a terminal and no novel reaches an error.
fn shorten(name: &str) -> String {
    name.chars().take(120).map(|c| if c.is_control() { '?' } else { c }).collect()
}
