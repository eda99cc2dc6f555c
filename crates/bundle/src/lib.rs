//! The sealed, versioned artefact that predicts the same everywhere.
//!
//! A bundle is a folder:
//!
//! | file | holds |
//! |---|---|
//! | `headstart.json` | the [`Manifest`]: task, labels, preprocessing, plan, results, card, golden predictions, and size and hash of every other file |
//! | `model.safetensors` | the tensors |
//! | `graph.json` | the operators |
//! | `tokenizer.json` | texts only |
//! | `README.md` | the model card, for people and for the hub |
//! | `golden/` | made-up inputs whose predictions the manifest records |
//!
//! [`seal`] writes one, all or nothing.  [`open`] trusts none of it: every size and hash is checked.  Whoever opens a
//! bundle then replays its golden inputs and hands the predictions to [`OpenBundle::check_golden`]: "the model that I
//! loaded is not the one that I trained" becomes an error in place of a surprise.
//!
//! This crate runs no network and reads no user data.

mod error;
mod golden;
mod manifest;
mod name;
mod open;
mod readme;
mod seal;

pub use error::BundleError;
pub use golden::{GOLDEN_TOLERANCE, Golden, GoldenInput, check_golden, golden_inputs_image, golden_texts};
pub use manifest::{FORMAT, FileEntry, MANIFEST_NAME, Manifest, Provenance, README_NAME, Results};
pub use open::{OpenBundle, open};
pub use readme::readme;
pub use seal::seal;
