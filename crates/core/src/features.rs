//! What a frozen network says of each example.

/// A matrix of feature vectors, one row an example.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Features {
    /// Length of a vector.
    pub width: usize,
    /// Position in the data set of each row's example.  Examples that could not be decoded have no row.
    pub example_idx: Vec<usize>,
    /// The vectors, row-major `[rows, width]`.
    pub values: Vec<f32>,
}

impl Features {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.example_idx.len()
    }

    /// True if there are no rows.
    pub fn is_empty(&self) -> bool {
        self.example_idx.is_empty()
    }

    /// One row.
    pub fn row(&self, i: usize) -> &[f32] {
        &self.values[i * self.width..(i + 1) * self.width]
    }
}
