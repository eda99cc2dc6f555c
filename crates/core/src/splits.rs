//! Which examples are learned from, chosen by and judged by.  The test part is sealed.

/// Positions of examples in their data set.
#[derive(Debug)]
pub struct Splits {
    /// Learned from.
    pub train: Vec<usize>,
    /// Chosen by; may be empty.
    pub valid: Vec<usize>,
    /// Judged by, once.
    pub test: SealedTest,
}

/// The test examples, which nothing can read before the final evaluation opens them, once.
///
/// ```
/// use headstart_core::SealedTest;
/// let mut test = SealedTest::new(vec![3, 1]);
/// assert_eq!(test.len(), 2);
/// assert_eq!(test.open().expect("sealed so far"), [3, 1]);
/// assert!(test.open().is_err());
/// ```
#[derive(Debug)]
pub struct SealedTest {
    example_idx: Vec<usize>,
    opened: bool,
}

/// The sealed test part was asked for a second time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the test split was opened before; it judges a run once")]
pub struct TestAlreadyOpened;

impl SealedTest {
    /// Seals the examples at these positions.
    pub fn new(example_idx: Vec<usize>) -> Self {
        SealedTest { example_idx, opened: false }
    }

    /// How many examples are sealed.
    pub fn len(&self) -> usize {
        self.example_idx.len()
    }

    /// True if nothing is sealed.
    pub fn is_empty(&self) -> bool {
        self.example_idx.is_empty()
    }

    /// Breaks the seal: the positions, the first time only.
    pub fn open(&mut self) -> Result<&[usize], TestAlreadyOpened> {
        if std::mem::replace(&mut self.opened, true) { Err(TestAlreadyOpened) } else { Ok(&self.example_idx) }
    }
}
