//! Pairs of texts for contrastive fine-tuning in the manner of SetFit (Tunstall et al., 2022), streamed.

use headstart_core::Rng;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::permutation::Permutation;
use crate::sample::members;

/// What is equally frequent among the pairs of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PairBalance {
    /// Every class among the positive pairs, and every two classes among the negative ones, however many examples they have.
    #[default]
    Classes,
    /// Every pair, as SetFit draws them: a class with ten times the examples has a hundred times the positive pairs.
    Pairs,
}

/// How many pairs, and which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PairSpec {
    /// SetFit's R: so many positive and so many negative pairs for each example.  None: SetFit's oversampling, as many of each
    /// kind as the more frequent kind has, which grows with the square of the examples.
    #[serde(default)]
    pub n_iterations: Option<u64>,
    /// At most so many pairs in all.
    #[serde(default)]
    pub n_pairs_max: Option<u64>,
    /// What is equally frequent.
    #[serde(default)]
    pub balance: PairBalance,
    /// Decides the order.
    #[serde(default)]
    pub seed: u64,
}

/// Two examples, and whether they are of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pair {
    /// Position of one example.
    pub a: usize,
    /// Position of the other.
    pub b: usize,
    /// Whether their similarity is to be 1 (otherwise 0).
    pub same: bool,
}

/// A pseudo-random sequence of pairs in which positive and negative ones alternate, so that any even batch has as many of
/// each.
///
/// Pair number `i` is computed from `i`: pairs are numbered, and a keyed permutation of the numbers gives the order.  So memory
/// is proportional to the examples and not to the pairs, and a run resumes anywhere.  No pair of its kind (with
/// [`PairBalance::Classes`]: of its class or two classes) comes again before all others have come.
///
/// **Deviation:** SetFit pairs every example with itself, too, which teaches nothing (its similarity is 1 before training).
/// Here only the example of a class that has no other is paired with itself.
///
/// ```
/// use headstart_train::{Pair, PairSpec, PairStream};
/// let labels = [0, 0, 0, 1, 1];
/// let stream = PairStream::new(&labels, &PairSpec { n_iterations: Some(2), ..PairSpec::default() })?;
/// assert_eq!((stream.n_positive(), stream.n_negative(), stream.len()), (4, 6, 20));
/// for Pair { a, b, same } in stream.iter() {
///     assert_eq!(labels[a] == labels[b], same);
/// }
/// assert_eq!(stream.iter().nth(13), Some(stream.at(13)));
/// # Ok::<(), headstart_train::TrainError>(())
/// ```
#[derive(Debug, Clone)]
pub struct PairStream {
    /// Positions of examples, class by class.
    order: Vec<usize>,
    /// Where each class begins in `order`, and where the last one ends.
    starts: Vec<u64>,
    /// How many positive pairs come before those of each class, and how many there are.
    positives_before: Vec<u64>,
    /// How many negative pairs come before those of each class with a later one, and how many there are.
    negatives_before: Vec<u64>,
    balance: PairBalance,
    len: u64,
    key: u64,
}

impl PairStream {
    /// For examples with these labels.
    ///
    /// # Errors
    /// [`TrainError::OneClass`] or [`TrainError::Empty`] if there is nothing to tell apart; [`TrainError::OutOfRange`] for
    /// more than 2³² − 1 examples, or a limit of 0.
    pub fn new(labels: &[usize], spec: &PairSpec) -> Result<Self, TrainError> {
        if u32::try_from(labels.len()).is_err() {
            let value = labels.len() as f64;
            return Err(TrainError::OutOfRange { name: "number of examples", value, allowed: "below 2³²" });
        }
        for (name, limit) in [("pair iterations", spec.n_iterations), ("most pairs", spec.n_pairs_max)] {
            if limit == Some(0) {
                return Err(TrainError::OutOfRange { name, value: 0.0, allowed: "1 and above" });
            }
        }
        let classes = members(labels);
        match classes.len() {
            0 => return Err(TrainError::Empty { n_rows: 0, width: 1 }),
            1 => return Err(TrainError::OneClass { class_idx: labels[0] }),
            _ => {}
        }
        let sizes = classes.iter().map(|c| c.len() as u64);
        let starts = sums(sizes.clone());
        let n = labels.len() as u64;
        let positives_before = sums(sizes.clone().map(n_positive_of));
        let negatives_before = sums(sizes.zip(&starts[1..]).map(|(size, end)| size * (n - end)));
        let (n_positive, n_negative) = (last(&positives_before), last(&negatives_before));
        let a_kind = spec.n_iterations.map_or(n_positive.max(n_negative), |r| r.saturating_mul(n));
        let len = a_kind.saturating_mul(2).min(spec.n_pairs_max.unwrap_or(u64::MAX));
        Ok(PairStream {
            order: classes.concat(),
            starts,
            positives_before,
            negatives_before,
            balance: spec.balance,
            len,
            key: Rng::named(spec.seed, "pairs").next_u64(),
        })
    }

    /// How many pairs the stream has.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// False: a stream has pairs.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many different positive pairs there are.
    pub fn n_positive(&self) -> u64 {
        last(&self.positives_before)
    }

    /// How many different negative pairs there are.
    pub fn n_negative(&self) -> u64 {
        last(&self.negatives_before)
    }

    /// All pairs in order.
    pub fn iter(&self) -> impl Iterator<Item = Pair> + '_ {
        (0..self.len).map(|i| self.at(i))
    }

    /// Pair number `i`, for any `i`: beyond [`PairStream::len`] the sequence goes on.
    pub fn at(&self, i: u64) -> Pair {
        let (kind, number) = (i % 2, i / 2);
        let key = Rng::stream(self.key, kind).next_u64();
        let same = kind == 0;
        let (a, b) = match (self.balance, same) {
            (PairBalance::Classes, true) => self.positive_of_a_class(number, key),
            (PairBalance::Classes, false) => self.negative_of_two_classes(number, key),
            (PairBalance::Pairs, true) => self.positive(draw(self.n_positive(), number, key)),
            (PairBalance::Pairs, false) => self.negative(draw(self.n_negative(), number, key)),
        };
        Pair { a: self.order[a as usize], b: self.order[b as usize], same }
    }

    /// Classes take turns, in another order each round.
    fn positive_of_a_class(&self, number: u64, key: u64) -> (u64, u64) {
        let n_classes = self.starts.len() as u64 - 1;
        let (round, place) = (number / n_classes, number % n_classes);
        let class = Permutation::new(n_classes, Rng::stream(key, round).next_u64()).at(place);
        let before = self.positives_before[class as usize];
        let n = self.positives_before[class as usize + 1] - before;
        self.positive(before + draw(n, round, Rng::stream(!key, class).next_u64()))
    }

    /// Pairs of classes take turns.
    fn negative_of_two_classes(&self, number: u64, key: u64) -> (u64, u64) {
        let n_classes = self.starts.len() as u64 - 1;
        let n_turns = n_classes * (n_classes - 1) / 2;
        let (round, place) = (number / n_turns, number % n_turns);
        let turn = Permutation::new(n_turns, Rng::stream(key, round).next_u64()).at(place);
        let (c, d) = two_of(turn);
        let ([c, c_end], [d, d_end]) =
            [c, d].map(|i| [self.starts[i as usize], self.starts[i as usize + 1]]).into();
        let pair = draw((c_end - c) * (d_end - d), round, Rng::stream(!key, turn).next_u64());
        (c + pair / (d_end - d), d + pair % (d_end - d))
    }

    /// Positive pair by its number, as places in `order`.
    fn positive(&self, number: u64) -> (u64, u64) {
        let class = self.positives_before.partition_point(|before| *before <= number) - 1;
        let (start, end) = (self.starts[class], self.starts[class + 1]);
        if end - start == 1 {
            return (start, start);
        }
        let (a, b) = two_of(number - self.positives_before[class]);
        (start + a, start + b)
    }

    /// Negative pair by its number, as places in `order`.
    fn negative(&self, number: u64) -> (u64, u64) {
        let class = self.negatives_before.partition_point(|before| *before <= number) - 1;
        let later = last(&self.starts) - self.starts[class + 1];
        let number = number - self.negatives_before[class];
        (self.starts[class] + number / later, self.starts[class + 1] + number % later)
    }
}

/// Sums of what came before, and of all.
fn sums(counts: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut sum = 0;
    std::iter::once(0)
        .chain(counts.map(|n| {
            sum += n;
            sum
        }))
        .collect()
}

fn last(sums: &[u64]) -> u64 {
    sums.last().copied().unwrap_or(0)
}

/// Pairs in a class of `n` examples; the only example of a class makes one with itself.
fn n_positive_of(n: u64) -> u64 {
    if n == 1 { 1 } else { n * (n - 1) / 2 }
}

/// Draw number `number` from `n` things, none of which comes again before all have come.
fn draw(n: u64, number: u64, key: u64) -> u64 {
    Permutation::new(n, Rng::stream(key, number / n).next_u64()).at(number % n)
}

/// Two different numbers a < b from the number of their pair: (0, 1), (0, 2), (1, 2), (0, 3), …
fn two_of(number: u64) -> (u64, u64) {
    let below = |b: u64| b * (b - 1) / 2;
    // The root is right to a unit; the loops mend its rounding.
    let mut b = ((1.0 + (1.0 + 8.0 * number as f64).sqrt()) / 2.0) as u64;
    while below(b) > number {
        b -= 1;
    }
    while below(b + 1) <= number {
        b += 1;
    }
    (number - below(b), b)
}

#[cfg(test)]
mod tests;
