//! What can go wrong, whose fault it is, and what to type next.

use std::io::ErrorKind;
use std::path::PathBuf;

/// Any error of the library, with the process exit code that it means.
#[allow(missing_docs, reason = "the messages name their fields")]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Data(#[from] headstart_data::DataError),
    #[error(transparent)]
    Source(#[from] headstart_source::SourceError),
    #[error(transparent)]
    Format(#[from] headstart_formats::FormatError),
    #[error(transparent)]
    Zoo(#[from] headstart_zoo::ZooError),
    #[error(transparent)]
    Graph(#[from] headstart_graph::GraphError),
    #[error(transparent)]
    Recipe(#[from] headstart_recipe::RecipeError),
    #[error(transparent)]
    Engine(#[from] headstart_engine::EngineError),
    #[error(transparent)]
    Train(#[from] headstart_train::TrainError),
    #[error(transparent)]
    Tune(#[from] headstart_train::TuneError),
    #[error(transparent)]
    Trust(#[from] headstart_trust::TrustError),
    #[error(transparent)]
    Bundle(#[from] headstart_bundle::BundleError),
    #[error(transparent)]
    Sealed(#[from] headstart_core::TestAlreadyOpened),
    #[error(transparent)]
    Name(#[from] headstart_core::UnknownName),
    /// The request itself is wrong.
    #[error("{message}")]
    Request { message: String, hint: Option<String> },
    /// What was written does not predict what the bundle does.
    #[error(
        "{}: what was written differs from the bundle by {difference_max:.1e} in a golden prediction (allowed is {allowed:.0e}); nothing was kept",
        path.display()
    )]
    ExportDiffers { path: PathBuf, difference_max: f32, allowed: f32 },
    /// What was written is not what was read.
    #[error(
        "{}: what was written differs from its source by {difference_max:.1e} (allowed is {allowed:.0e}); nothing was kept",
        path.display()
    )]
    ConversionDiffers { path: PathBuf, difference_max: f64, allowed: f64 },
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: std::io::Error },
    /// A cache could not be read or written.
    #[error("the cache: {0}")]
    Cache(std::io::Error),
    /// A bundle's graph is no graph.
    #[error("{}: {message}", path.display())]
    GraphJson { path: PathBuf, message: String },
}

impl Error {
    pub(crate) fn cache(e: std::io::Error) -> Self {
        Error::Cache(e)
    }

    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Error::Io { path, source }
    }

    pub(crate) fn request(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Error::Request { message: message.into(), hint: Some(hint.into()) }
    }

    /// The next thing to type, where there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            Error::Data(e) => e.hint(),
            Error::Source(e) => e.hint(),
            Error::Format(e) => e.hint(),
            Error::Request { hint, .. } => hint.clone(),
            _ if self.io_kind() == Some(ErrorKind::StorageFull) => {
                Some("free some space, or choose another place with --out or --cache".into())
            }
            _ => None,
        }
    }

    /// 2 if the request or the data was wrong, 3 if we or the machine failed.
    pub fn exit_code(&self) -> u8 {
        match (self, self.io_kind()) {
            (_, Some(kind)) => {
                if kind == ErrorKind::NotFound {
                    2
                } else {
                    3
                }
            }
            (Error::Engine(headstart_engine::EngineError::Device { .. }), _) => 2,
            (Error::ExportDiffers { .. } | Error::ConversionDiffers { .. }, _) => 3,
            (Error::Engine(_) | Error::Trust(_) | Error::Sealed(_), _) => 3,
            _ => 2,
        }
    }

    /// What the system said, if it was the system.
    fn io_kind(&self) -> Option<ErrorKind> {
        let mut at: Option<&(dyn std::error::Error + 'static)> = Some(self);
        while let Some(e) = at {
            if let Some(io) = e.downcast_ref::<std::io::Error>() {
                return Some(io.kind());
            }
            at = e.source();
        }
        None
    }
}
