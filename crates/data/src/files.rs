//! Reading files within bounds, with errors that name the path; and the guard around other people's decoders.

use std::fs::File;
use std::io::Read;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::DataError;

/// Largest image or text file read, bytes.
pub(crate) const EXAMPLE_BYTES_MAX: u64 = 1 << 30;
/// Largest table read, bytes: a table is held in memory.
pub(crate) const TABLE_BYTES_MAX: u64 = 4 << 30;

const IMAGE_EXTENSIONS: [&str; 15] = [
    "jpg", "jpeg", "jpe", "jfif", "png", "gif", "bmp", "dib", "webp", "tif", "tiff", "pgm", "ppm", "pbm",
    "pnm",
];
/// Pictures that we cannot decode: they are reported rather than overlooked.
const FOREIGN_IMAGE_EXTENSIONS: [&str; 8] = ["heic", "heif", "avif", "jxl", "jp2", "svg", "dcm", "psd"];
const TEXT_EXTENSIONS: [&str; 2] = ["txt", "text"];

/// What a file's name promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Image,
    /// An image in a format that is not read.
    ForeignImage,
    Text,
    Other,
}

/// Judges by the extension alone.
pub(crate) fn kind_of(path: &Path) -> Kind {
    let extension = extension(path);
    let extension = extension.as_str();
    if IMAGE_EXTENSIONS.contains(&extension) {
        Kind::Image
    } else if FOREIGN_IMAGE_EXTENSIONS.contains(&extension) {
        Kind::ForeignImage
    } else if TEXT_EXTENSIONS.contains(&extension) {
        Kind::Text
    } else {
        Kind::Other
    }
}

/// The extension in lower case, empty if there is none.
pub(crate) fn extension(path: &Path) -> String {
    path.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}

/// The whole file, refused above `bytes_max` before a byte of it is held.
pub(crate) fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>, DataError> {
    let io = |source| DataError::Io { path: path.to_path_buf(), source };
    let file = File::open(path).map_err(io)?;
    let metadata = file.metadata().map_err(io)?;
    if !metadata.is_file() {
        // A named pipe or a device would block or never end.
        return Err(io(std::io::Error::other("not a regular file")));
    }
    let too_large = |bytes| DataError::FileTooLarge { path: path.to_path_buf(), bytes, bytes_max };
    if metadata.len() > bytes_max {
        return Err(too_large(metadata.len()));
    }
    let mut bytes = Vec::with_capacity(metadata.len() as usize);
    // The file may grow while it is read.
    file.take(bytes_max + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > bytes_max {
        return Err(too_large(bytes.len() as u64));
    }
    Ok(bytes)
}

/// Text from bytes: UTF-8 without its byte-order mark, else UTF-16 with one, else Latin-1.  The second value is true if
/// it was Latin-1, which cannot fail and may therefore be wrong.
pub(crate) fn decode_text(bytes: Vec<u8>) -> (String, bool) {
    let wide = |bytes: &[u8], unit: fn([u8; 2]) -> u16| {
        let units: Vec<u16> = bytes[2..].chunks_exact(2).map(|c| unit([c[0], c[1]])).collect();
        (String::from_utf16_lossy(&units), false)
    };
    match bytes.as_slice() {
        [0xFF, 0xFE, ..] => return wide(&bytes, u16::from_le_bytes),
        [0xFE, 0xFF, ..] => return wide(&bytes, u16::from_be_bytes),
        _ => {}
    }
    match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with('\u{FEFF}') {
                text.drain(..'\u{FEFF}'.len_utf8());
            }
            (text, false)
        }
        Err(error) => (error.into_bytes().into_iter().map(char::from).collect(), true),
    }
}

/// Runs a decoder that we did not write.  One that panics on a hostile file must cost that file, not the run.
pub(crate) fn guarded<T>(what: &str, f: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(f))
        .unwrap_or_else(|_| Err(format!("the {what} decoder gave up on this file")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_in_any_of_four_encodings() {
        assert_eq!(decode_text(b"\xEF\xBB\xBFna\xC3\xAFve".to_vec()), ("naïve".into(), false));
        assert_eq!(decode_text(b"na\xEFve".to_vec()), ("naïve".into(), true));
        assert_eq!(decode_text(b"\xFF\xFEh\0i\0".to_vec()), ("hi".into(), false));
        assert_eq!(decode_text(b"\xFE\xFF\0h\0i".to_vec()), ("hi".into(), false));
    }

    #[test]
    fn a_file_above_the_bound_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        std::fs::write(&path, [0; 11]).unwrap();
        assert!(matches!(read(&path, 10), Err(DataError::FileTooLarge { bytes: 11, bytes_max: 10, .. })));
        assert_eq!(read(&path, 11).unwrap().len(), 11);
        assert!(matches!(read(dir.path(), 10), Err(DataError::Io { .. })));
    }

    #[test]
    fn a_panicking_decoder_costs_one_file() {
        assert!(guarded::<()>("test", || panic!("hostile")).is_err());
        assert_eq!(guarded("test", || Ok(1)), Ok(1));
    }
}
