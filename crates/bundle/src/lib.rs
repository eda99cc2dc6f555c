//! The sealed, versioned artefact that predicts the same everywhere.
