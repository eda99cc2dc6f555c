//! A path → a [`Dataset`].

use std::path::Path;

use headstart_core::{Dataset, Progress, Task};

use crate::table::columns::Wanted;
use serde::{Deserialize, Serialize};

use crate::{DataError, assemble, folder, table};

/// How to read a data set; all columns are found by name unless given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LoadOptions {
    /// The column that holds the texts.
    pub text: Option<String>,
    /// The column that holds paths of images, relative to the table's folder.
    pub image: Option<String>,
    /// What is asked about the examples.  None assumes classes, and refuses labels that can only be numbers.
    pub task: Option<Task>,
    /// The column that holds the classes, labels or numbers.
    pub label: Option<String>,
    /// The column that holds `train`, `valid` or `test`.
    pub split: Option<String>,
    /// The column whose equal values must never stand on both sides of a split.
    pub group: Option<String>,
    /// Largest share of examples that may be unreadable, 0…1.
    pub bad_fraction_max: f64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        LoadOptions {
            text: None,
            image: None,
            task: None,
            label: None,
            split: None,
            group: None,
            bad_fraction_max: 0.1,
        }
    }
}

/// Reads a labelled data set: a folder `DIR/CLASS/*` or `DIR/{train,valid,test}/CLASS/*` of images or `.txt` files, or
/// a CSV, TSV, JSON, JSON lines or Parquet table.
///
/// Every example is read once, hashed, and its header checked (images are not fully decoded); what cannot be read is
/// left out with a diagnostic.  Classes are sorted, numbers by value; examples are in the order of their paths or of
/// the table's rows.  Where a data set brings a validation part but no test part, the validation part judges: it is
/// loaded as test, with a diagnostic.
///
/// With [`Task::MultiLabel`] a label cell holds any number of labels, parted by `;` or `|` (by `,` where neither occurs; a
/// JSON array is such a list too); with [`Task::Regression`] it holds a number.
///
/// `progress` hears of examples read, from any thread.
///
/// # Errors
/// [`DataError`] if the path or the columns are not there, if more than `bad_fraction_max` of the examples are bad, or if
/// fewer than two classes have readable examples (no label, or less than two different numbers), or if no task is given and
/// the labels are numbers that hardly ever repeat.
pub fn load(path: &Path, options: &LoadOptions, progress: Progress<'_>) -> Result<Dataset, DataError> {
    if !(0.0..=1.0).contains(&options.bad_fraction_max) {
        let value = options.bad_fraction_max;
        return Err(DataError::OutOfRange { name: "bad-fraction-max", value, allowed: "0 to 1" });
    }
    let metadata =
        std::fs::metadata(path).map_err(|source| DataError::Io { path: path.to_path_buf(), source })?;
    let found = if metadata.is_dir() {
        let given = [
            ("text", &options.text),
            ("image", &options.image),
            ("label", &options.label),
            ("split", &options.split),
            ("group", &options.group),
        ];
        if let Some((flag, column)) = given.into_iter().find_map(|(f, c)| Some((f, c.clone()?))) {
            let (path, tables) = (path.to_path_buf(), folder::tables_in(path)?);
            return Err(DataError::ColumnOfFolder { flag, column, path, tables });
        }
        folder::find(path, options.task.unwrap_or_default())?
    } else {
        let wanted = Wanted {
            text: options.text.as_deref(),
            image: options.image.as_deref(),
            label: options.label.as_deref(),
            split: options.split.as_deref(),
            group: options.group.as_deref(),
        };
        table::find(path, &wanted, options.task.unwrap_or_default())?
    };
    assemble::assemble(path, found, options.task, options.bad_fraction_max, progress)
}
