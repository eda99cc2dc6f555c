//! Kinds of examples that every part is to have its share of.

use headstart_core::{Dataset, Task};

/// Most strata that numbers are cut into.
const N_OF_NUMBERS_MAX: usize = 10;

/// The stratum of each of some examples, by position in the data set.
pub(super) struct Strata {
    of_example: Vec<usize>,
    /// How many strata there are.
    pub(super) n: usize,
}

impl Strata {
    /// - Classes: each is a stratum.
    /// - Labels: an example belongs to the rarest label it has, for the frequent ones come along by themselves (the first
    ///   step of Sechidis, Tsoumakas and Vlahavas, 2011); those without a label are a stratum of their own.
    /// - Numbers: up to ten strata of equal counts, by size, none so small that its share of a part is less than one.
    pub(super) fn of(dataset: &Dataset, examples: &[usize], fraction: f64) -> Self {
        let k = dataset.classes.len();
        let mut of_example = vec![0; dataset.examples.len()];
        let n = match dataset.task {
            Task::Regression => {
                let n = examples.len();
                let n_strata = ((fraction * n as f64).floor() as usize).clamp(1, N_OF_NUMBERS_MAX);
                let mut order = examples.to_vec();
                order.sort_by(|&a, &b| number(dataset, a).total_cmp(&number(dataset, b)).then(a.cmp(&b)));
                order.iter().enumerate().for_each(|(rank, &i)| of_example[i] = rank * n_strata / n.max(1));
                n_strata
            }
            Task::Classification | Task::MultiLabel => {
                let mut counts = vec![0usize; k];
                let classes = |i: usize| dataset.examples[i].target.classes();
                examples.iter().flat_map(|&i| classes(i)).for_each(|&c| counts[c] += 1);
                for &i in examples {
                    of_example[i] = classes(i).iter().copied().min_by_key(|&c| (counts[c], c)).unwrap_or(k);
                }
                k + 1
            }
        };
        Strata { of_example, n }
    }

    /// The stratum of most examples of a unit, the first of equals.
    pub(super) fn of_unit(&self, examples: &[usize]) -> usize {
        let mut counts = vec![0usize; self.n];
        examples.iter().for_each(|&e| counts[self.of_example[e]] += 1);
        let most = counts.iter().copied().max().unwrap_or_default();
        counts.iter().position(|&n| n == most).unwrap_or_default()
    }
}

fn number(dataset: &Dataset, i: usize) -> f64 {
    match dataset.examples[i].target {
        headstart_core::Target::Number(value) => value,
        _ => 0.0,
    }
}
