//! What can be wrong with a request to fit.

/// Why a head could not be fitted.  Every message names the value got and what was allowed.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// There is nothing to learn from.
    #[error("no features to learn from: {n_rows} rows of {width} numbers (both must be 1 or more)")]
    Empty {
        /// Rows given.
        n_rows: usize,
        /// Numbers a row.
        width: usize,
    },
    /// Two lists that go together differ in length.
    #[error("{got} {what} for {n_rows} rows of features (one a row is needed)")]
    LengthMismatch {
        /// Which list: `labels`, `groups`, `values`.
        what: &'static str,
        /// Its length.
        got: usize,
        /// What it had to be.
        n_rows: usize,
    },
    /// A label points past the classes.
    #[error("row {row} has class {class_idx}, but there are {n_classes} classes (0 to {})", n_classes.saturating_sub(1))]
    LabelOutOfRange {
        /// The row.
        row: usize,
        /// Its label.
        class_idx: usize,
        /// Classes announced.
        n_classes: usize,
    },
    /// A classifier needs something to tell apart.
    #[error("every row has class {class_idx}: a classifier needs at least 2 classes to tell apart")]
    OneClass {
        /// The only class seen.
        class_idx: usize,
    },
    /// A class was announced that no row shows.
    #[error(
        "class {class_idx} has no row to learn from ({n_seen} of {n_classes} classes occur): drop it or add examples"
    )]
    ClassWithoutRows {
        /// First such class.
        class_idx: usize,
        /// Classes that occur.
        n_seen: usize,
        /// Classes announced.
        n_classes: usize,
    },
    /// A feature is not a number, or infinite.
    #[error("row {row} (example {example_idx}), feature {feature_idx} is {value}: features must be finite")]
    NotFinite {
        /// The row.
        row: usize,
        /// Position in the data set of its example.
        example_idx: usize,
        /// Position in the vector.
        feature_idx: usize,
        /// What stands there.
        value: f32,
    },
    /// A target is not a number, or infinite.
    #[error("row {row} has target {value}: targets must be finite")]
    TargetNotFinite {
        /// The row.
        row: usize,
        /// Its target.
        value: f64,
    },
    /// A candidate strength is not a positive number.
    #[error("l2 candidate {got} is not allowed: strengths are finite and above 0")]
    BadStrength {
        /// The candidate.
        got: f64,
    },
    /// No candidate strength was given.
    #[error("no l2 candidates: give at least one, or use the default grid")]
    NoStrength,
    /// A number outside its range.
    #[error("{name} is {value}; allowed: {allowed}")]
    OutOfRange {
        /// Which number.
        name: &'static str,
        /// The value got.
        value: f64,
        /// The range.
        allowed: &'static str,
    },
    /// A batch that cannot be mixed.
    #[error("{what} cannot be mixed")]
    NotMixable {
        /// What was given.
        what: &'static str,
    },
}
