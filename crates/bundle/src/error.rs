//! What can be wrong with a bundle.

use std::io;
use std::path::PathBuf;

#[allow(missing_docs, reason = "the messages name their fields")]
/// An error that names the file, the value got and the value wanted.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The folder has no manifest.
    #[error("{} is not a bundle: it has no headstart.json\n\nhint: `headstart fit` writes a bundle to RUN/bundle", path.display())]
    NotABundle { path: PathBuf },
    /// The place for a new bundle holds something else.
    #[error("{} exists and is not a bundle, so it is not replaced\n\nhint: name another folder, or move this one away", path.display())]
    InTheWay { path: PathBuf },
    /// The manifest could not be read as one.
    #[error("{}: {why}\n\nhint: the file was cut short or edited; copy the bundle again", path.display())]
    Manifest { path: PathBuf, why: String },
    /// The bundle was written by a newer Headstart.
    #[error(
        "the bundle has format {got}, this Headstart reads formats 1 to {newest}\n\nhint: install a newer Headstart"
    )]
    Future { got: u64, newest: u32 },
    /// The manifest contradicts itself.
    #[error("the manifest contradicts itself: {0}")]
    Inconsistent(String),
    /// A name that could reach out of the folder, or that not every file system can hold.
    #[error("`{name}` cannot be the name of a file in a bundle: {why}")]
    Name { name: String, why: &'static str },
    /// A listed file does not exist.
    #[error("`{name}` is missing from the bundle\n\nhint: copy the bundle again, as a whole folder")]
    Missing { name: String },
    /// A file exists that the manifest does not list.
    #[error("`{name}` is not part of the bundle\n\nhint: keep your own files beside the bundle, not in it")]
    Unlisted { name: String },
    /// A file has another length than was sealed.
    #[error(
        "`{name}` has {got} bytes, {want} were sealed\n\nhint: the file was cut short or changed; copy the bundle again"
    )]
    Size { name: String, got: u64, want: u64 },
    /// A file has other content than was sealed.
    #[error(
        "`{name}` was changed after it was sealed: its blake3 is {got}, not {want}\n\nhint: copy the bundle again; to change a bundle, seal a new one"
    )]
    Hash { name: String, got: String, want: String },
    /// The golden predictions could not be compared.
    #[error("golden predictions: {0}")]
    GoldenShape(String),
    /// The network does not say what it said when it was sealed.
    #[error(
        "golden input {input}: {output} has {got}, {expected} was sealed (tolerance {tolerance}; {n_wrong} of {n} inputs differ)\n\nhint: the usual causes are preprocessing that differs (resize filter, normalisation, tokenizer), weights in another precision or on another device class, and a changed Headstart version"
    )]
    GoldenDiffers {
        input: String,
        output: String,
        expected: f32,
        got: f32,
        tolerance: f32,
        n_wrong: usize,
        n: usize,
    },
    /// The file system refused.
    #[error("cannot {action} {}: {source}", path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

impl BundleError {
    /// Names the path that an I/O error is about: `.map_err(BundleError::io("read", &path))`.
    pub(crate) fn io(action: &'static str, path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| BundleError::Io { action, path, source }
    }
}
