//! What can go wrong between a path and a batch: one enum, with data, and a next thing to type.

use std::fmt::Write as _;
use std::path::PathBuf;

use headstart_core::{Diagnostic, Modality};

/// A request or data that cannot be served.
///
/// ```
/// use headstart_data::DataError;
/// let error = DataError::ColumnNotFound {
///     flag: "label",
///     column: "lable".into(),
///     path: "photos.csv".into(),
///     columns: ["path", "label", "split"].map(String::from).to_vec(),
/// };
/// assert_eq!(error.to_string(), "column `lable` not found in photos.csv (columns: path, label, split)");
/// assert_eq!(error.hint().as_deref(), Some("pass `--label label`"));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The operating system said no.
    #[error("cannot read {}: {source}", .path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its reason.
        source: std::io::Error,
    },
    /// The path is neither a folder nor a table that we read.
    #[error("{} is neither a folder nor a table (CSV, TSV, JSON lines, JSON, Parquet)", .path.display())]
    NotData {
        /// The path.
        path: PathBuf,
    },
    /// A folder without class folders.
    #[error("{} has no class folders with images or .txt files in them", .path.display())]
    NoClassFolders {
        /// The folder.
        path: PathBuf,
        /// Tables that lie in it.
        tables: Vec<PathBuf>,
    },
    /// A column was named, but the data is a folder.
    #[error("--{flag} {column} names a column, but {} is a folder", .path.display())]
    ColumnOfFolder {
        /// The option without its dashes.
        flag: &'static str,
        /// The column asked for.
        column: String,
        /// The folder.
        path: PathBuf,
        /// Tables that lie in it.
        tables: Vec<PathBuf>,
    },
    /// A file larger than we read.
    #[error("{} has {bytes} bytes; at most {bytes_max} are read", .path.display())]
    FileTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest size read.
        bytes_max: u64,
    },
    /// A table that is not in its format.
    #[error("{}{}: {message}", .path.display(), .line.map(|l| format!(":{l}")).unwrap_or_default())]
    Malformed {
        /// The table.
        path: PathBuf,
        /// The line, counted from 1, if one is to blame.
        line: Option<usize>,
        /// What is wrong.
        message: String,
    },
    /// A column that was asked for does not exist.
    #[error("column `{column}` not found in {} (columns: {})", .path.display(), .columns.join(", "))]
    ColumnNotFound {
        /// The option without its dashes.
        flag: &'static str,
        /// The column asked for.
        column: String,
        /// The table.
        path: PathBuf,
        /// The columns it has.
        columns: Vec<String>,
    },
    /// No column looks like the one needed.
    #[error("no {what} column found in {} (columns: {})", .path.display(), .columns.join(", "))]
    ColumnNotInferred {
        /// `label`, or `text or image`.
        what: &'static str,
        /// The table.
        path: PathBuf,
        /// The columns it has.
        columns: Vec<String>,
        /// The columns that are not yet used for something else.
        candidates: Vec<String>,
    },
    /// Two columns could be the input.
    #[error("{} has a text column `{text}` and an image column `{image}`: which one is to be classified?", .path.display())]
    TextOrImage {
        /// The table.
        path: PathBuf,
        /// The text column.
        text: String,
        /// The image column.
        image: String,
    },
    /// Not a single example.
    #[error("{} has no examples", .path.display())]
    Empty {
        /// The data.
        path: PathBuf,
    },
    /// More examples were unreadable than the limit allows.
    #[error("{}", too_many_bad(.path, *.n_bad, *.n, *.fraction_max, .first))]
    TooManyBad {
        /// The data.
        path: PathBuf,
        /// Examples that could not be read.
        n_bad: usize,
        /// All examples.
        n: usize,
        /// Largest share of bad ones that is tolerated.
        fraction_max: f64,
        /// The first few.
        first: Vec<Diagnostic>,
    },
    /// Fewer than two classes with readable examples.
    #[error("{} has readable examples of {} only; a classifier needs two classes", .path.display(), only(.classes))]
    OneClass {
        /// The data.
        path: PathBuf,
        /// The classes that have some.
        classes: Vec<String>,
    },
    /// Several labels an example were announced, but no example has any.
    #[error("no readable example of {} has a label", .path.display())]
    NoLabel {
        /// The data.
        path: PathBuf,
    },
    /// Numbers were announced, but all are the same.
    #[error("all readable examples of {} have the same number: there is nothing to learn", .path.display())]
    OneNumber {
        /// The data.
        path: PathBuf,
    },
    /// Labels that are numbers and hardly ever repeat.
    #[error("every label of {} is a number, {n_distinct} different ones on {n} examples: are they classes or amounts?", .path.display())]
    NumbersOrClasses {
        /// The data.
        path: PathBuf,
        /// Labels.
        n: usize,
        /// Different labels.
        n_distinct: usize,
    },
    /// A number outside its range.
    #[error("{name} is {value}; allowed: {allowed}")]
    OutOfRange {
        /// The option.
        name: &'static str,
        /// The value got.
        value: f64,
        /// The range.
        allowed: &'static str,
    },
    /// The data set cannot be divided.
    #[error("{} cannot be split: {why}", .path.display())]
    CannotSplit {
        /// The data.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// An image that cannot be decoded within bounds.
    #[error("{id}: {message}")]
    BadImage {
        /// The file, or a word for bytes from a table.
        id: String,
        /// What is wrong.
        message: String,
    },
    /// An example of the wrong kind.
    #[error("{id} is not {}", article(*.expected))]
    WrongModality {
        /// The example.
        id: String,
        /// What the model takes.
        expected: Modality,
    },
    /// A tokenizer that cannot be used.
    #[error("tokenizer: {message}")]
    Tokenizer {
        /// What is wrong.
        message: String,
    },
    /// An augmentation that cannot be read or carried out.
    #[error("augmentation `{item}`: {message}")]
    Augmentation {
        /// The step, as it was written.
        item: String,
        /// What is wrong.
        message: String,
    },
    /// A preprocessing that cannot be carried out.
    #[error("preprocessing: {message}")]
    Preprocess {
        /// What is wrong.
        message: String,
    },
}

impl DataError {
    /// The next thing to type, if there is one.
    pub fn hint(&self) -> Option<String> {
        match self {
            DataError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Some("check the path; relative paths start at the current folder".into())
            }
            DataError::NoClassFolders { tables, .. } if !tables.is_empty() => {
                Some(format!("pass the table: {}", tables[0].display()))
            }
            DataError::NotData { .. } | DataError::NoClassFolders { .. } => Some(
                "lay the data out as DIR/CLASS/FILE or DIR/{train,test}/CLASS/FILE, or pass a table with a label column"
                    .into(),
            ),
            DataError::ColumnOfFolder { flag, tables, .. } => Some(match tables.first() {
                Some(table) => format!("pass the table: {}", table.display()),
                None => format!("leave out `--{flag}`: the folders are the classes"),
            }),
            DataError::ColumnNotFound { flag, column, columns, .. } => {
                nearest(column, columns).map(|c| format!("pass `--{flag} {}`", quoted(c)))
            }
            DataError::ColumnNotInferred { columns, .. } if columns.len() < 2 => {
                Some("begin the table with a line of column names, such as `text,label`".into())
            }
            DataError::ColumnNotInferred { what, candidates, .. } => {
                let flag = if *what == "label" { "--label" } else { "--text" };
                match candidates.as_slice() {
                    [] => None,
                    [one] => Some(format!("pass `{flag} {}`", quoted(one))),
                    many => Some(format!(
                        "pass `{flag} COLUMN`{}, one of: {}",
                        if *what == "label" { "" } else { " or `--image COLUMN`" },
                        many.join(", ")
                    )),
                }
            }
            DataError::TextOrImage { text, image, .. } => {
                Some(format!("pass `--text {}` or `--image {}`", quoted(text), quoted(image)))
            }
            DataError::NumbersOrClasses { .. } => {
                Some("pass `--task regression` to predict amounts, or `--task classification`".into())
            }
            DataError::NoLabel { .. } => {
                Some("part the labels of an example by `;` or `|`; see `--label COLUMN`".into())
            }
            DataError::Augmentation { .. } => Some(format!("pass steps such as {}", steps_in_words())),
            DataError::TooManyBad { .. } => Some("mend or remove them".into()),
            _ => None,
        }
    }
}

fn too_many_bad(
    path: &std::path::Path,
    n_bad: usize,
    n: usize,
    fraction_max: f64,
    first: &[Diagnostic],
) -> String {
    let mut s = format!(
        "{n_bad} of the {n} examples in {} cannot be read; at most {} % may be bad",
        path.display(),
        fraction_max * 100.0
    );
    for d in first {
        let _ = write!(s, "\n  {d}");
    }
    if n_bad > first.len() {
        let _ = write!(s, "\n  … and {} more", n_bad - first.len());
    }
    s
}

fn only(classes: &[String]) -> String {
    match classes {
        [] => "no class".into(),
        [one] => format!("class `{one}`"),
        many => format!("classes `{}`", many.join("`, `")),
    }
}

fn article(modality: Modality) -> &'static str {
    match modality {
        Modality::Image => "an image",
        Modality::Text => "a text",
    }
}

/// `flip=P, crop=LOW-HIGH, …`
fn steps_in_words() -> String {
    let forms = crate::augmentation_steps().iter().map(|f| format!("{}={}", f.key, f.value));
    format!("{}, or none, light, medium or strong", forms.collect::<Vec<_>>().join(", "))
}

/// As a shell takes it.
fn quoted(column: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_-./".contains(c);
    if !column.is_empty() && column.chars().all(plain) { column.into() } else { format!("'{column}'") }
}

/// The name with the fewest edits to `wanted`; the first of equals.
fn nearest<'a>(wanted: &str, names: &'a [String]) -> Option<&'a String> {
    names.iter().min_by_key(|n| edit_distance(&wanted.to_lowercase(), &n.trim().to_lowercase()))
}

/// Levenshtein distance with transpositions of neighbours counted as one edit (Damerau, 1964; restricted).
fn edit_distance(a: &str, b: &str) -> usize {
    // Nobody types a name of more than 64 characters; the bound keeps a hostile header cheap.
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let substitute = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = substitute.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swap_of_letters_is_one_edit() {
        assert_eq!(edit_distance("lable", "label"), 1);
        assert_eq!(edit_distance("", "abc"), 3);
        assert_eq!(edit_distance("kitten", "sitting"), 3);
    }

    #[test]
    fn hints_quote_what_a_shell_would_part() {
        let error = DataError::ColumnNotFound {
            flag: "text",
            column: "the txt".into(),
            path: "a.csv".into(),
            columns: vec!["the text".into()],
        };
        assert_eq!(error.hint().as_deref(), Some("pass `--text 'the text'`"));
    }
}
