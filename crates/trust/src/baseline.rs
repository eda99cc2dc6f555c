//! The simplest thing that could answer: the same for every example, learned from the training targets alone.

use headstart_core::Targets;

/// What knows the training targets and never looks at an example.
#[derive(Debug, Clone, PartialEq)]
pub struct Simplest {
    /// `majority` for classes, `prevalence` for labels, `mean` for numbers.
    pub name: &'static str,
    /// Its answer to everything, `[n_outputs]`: the share of each class, the share of examples with each label, or the mean.
    pub output: Vec<f32>,
}

impl Simplest {
    /// Learns from training targets.  The most probable of the class shares is the most frequent class, of equals the first.
    ///
    /// ```
    /// use headstart_core::Targets;
    /// use headstart_trust::Simplest;
    /// assert_eq!(Simplest::of(&Targets::Class(vec![1, 1, 0, 2]), 3).output, [0.25, 0.5, 0.25]);
    /// assert_eq!(Simplest::of(&Targets::Classes(vec![vec![0, 1], vec![1]]), 2).output, [0.5, 1.0]);
    /// assert_eq!(Simplest::of(&Targets::Number(vec![1.0, 4.0]), 1).output, [2.5]);
    /// ```
    pub fn of(train: &Targets, n_outputs: usize) -> Self {
        let n = train.len().max(1) as f64;
        let shares = || train.class_counts(n_outputs).into_iter().map(|c| (c as f64 / n) as f32).collect();
        match train {
            Targets::Class(_) => Simplest { name: "majority", output: shares() },
            Targets::Classes(_) => Simplest { name: "prevalence", output: shares() },
            Targets::Number(values) => {
                Simplest { name: "mean", output: vec![(values.iter().sum::<f64>() / n) as f32] }
            }
        }
    }

    /// Its answers to `n` examples, `[n, n_outputs]`.
    pub fn predict(&self, n: usize) -> Vec<f32> {
        self.output.repeat(n)
    }
}
