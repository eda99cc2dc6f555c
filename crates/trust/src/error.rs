//! What can be wrong with predictions to judge.

/// Why predictions could not be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// There is nothing to judge by.
    #[error("no test examples: there is nothing to judge by")]
    Empty,
    /// Predictions of different examples cannot be paired.
    #[error("{who} made {got} predictions for {want} test examples: all must judge the same examples")]
    LengthMismatch {
        /// Whose predictions.
        who: String,
        /// How many.
        got: usize,
        /// Test examples.
        want: usize,
    },
}
