//! Files to examples, splits and batches: one modality a folder or file.
//!
//! [`load`] reads a folder or a table into a [`Dataset`](headstart_core::Dataset); [`split`] divides it; a
//! [`Preparer`] carries out a model's [`Preprocess`](headstart_graph::Preprocess) on single examples and joins them
//! into a [`Batch`](headstart_core::Batch).  Whatever cannot be read becomes a
//! [`Diagnostic`](headstart_core::Diagnostic) with its file and line, or a [`DataError`] with a hint.
//!
//! ```
//! use headstart_data::{LoadOptions, SplitOptions, load, split};
//! let dir = tempfile::tempdir()?;
//! let path = dir.path().join("reviews.csv");
//! std::fs::write(&path, "text,label\ngood,1\nfine,1\nbad,0\nawful,0\nnice,1\npoor,0\n")?;
//! let dataset = load(&path, &LoadOptions::default(), &|_done, _total| {})?;
//! assert_eq!(dataset.classes, ["0", "1"]);
//! let (splits, _notes) = split(&dataset, &SplitOptions { test_fraction: 1.0 / 3.0, ..Default::default() })?;
//! assert_eq!((splits.train.len(), splits.test.len()), (4, 2));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod assemble;
mod augment;
mod error;
mod files;
mod folder;
mod image;
mod label;
mod load;
mod prepare;
mod split;
mod table;
mod text;
mod unlabelled;

pub use augment::{Augmentation, StepForm, augmentation_steps, view_seed};
pub use error::DataError;
pub use image::decode_thumbnail;
pub use load::{LoadOptions, load};
pub use prepare::{Prepared, Preparer};
pub use split::{SplitOptions, split};
pub use unlabelled::load_unlabelled;
