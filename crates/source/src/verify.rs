//! SHA-256 of files, and of what passes by.

use std::{
    fs::File,
    io::{self, Read, Write},
    path::Path,
};

use sha2::{Digest, Sha256};

use crate::error::{SourceError, at};

/// The SHA-256 of a file, as 64 lower-case hexadecimal digits.
///
/// ```
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("empty");
/// std::fs::write(&path, "")?;
/// let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
/// assert_eq!(headstart_source::sha256_file(&path)?, empty);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sha256_file(path: &Path) -> Result<String, SourceError> {
    let file = File::open(path).map_err(at("open", path))?;
    let (sha256, _) = copy_hashed(file, io::sink()).map_err(at("read", path))?;
    Ok(sha256)
}

/// Copies everything, and gives its SHA-256 and size.
pub(crate) fn copy_hashed(mut from: impl Read, mut to: impl Write) -> io::Result<(String, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    let mut bytes = 0;
    loop {
        let n = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
        bytes += n as u64;
    }
    Ok((hex(&hasher.finalize()), bytes))
}

/// The SHA-256 of a short text.
pub(crate) fn sha256_text(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// The expected hash in lower case, or an error when it is none.
pub(crate) fn parse_sha256(text: &str) -> Result<String, SourceError> {
    match is_sha256(text) {
        true => Ok(text.to_ascii_lowercase()),
        false => Err(SourceError::BadHash { text: text.to_owned() }),
    }
}

pub(crate) fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
