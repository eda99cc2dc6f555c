//! What is asked of a model, and the right answers: one class, several labels, or a number.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Modality;

/// What a model is asked about an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Which one of the classes is it?
    #[default]
    Classification,
    /// Which of the labels apply?  None, one or several may.
    MultiLabel,
    /// How much?
    Regression,
}

impl Task {
    /// Every task, the default first.
    pub const ALL: [Task; 3] = [Task::Classification, Task::MultiLabel, Task::Regression];

    /// The task for examples of one kind, as bundles and answers name it.
    ///
    /// ```
    /// use headstart_core::{Modality, Task};
    /// assert_eq!(Task::MultiLabel.on(Modality::Image), "image-multi-label");
    /// ```
    pub fn on(self, modality: Modality) -> String {
        format!("{modality}-{self}")
    }

    /// Numbers that a model puts out for an example: one a class, or one alone.
    pub fn n_outputs(self, n_classes: usize) -> usize {
        if self == Task::Regression { 1 } else { n_classes }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Task::Classification => "classification",
            Task::MultiLabel => "multi-label",
            Task::Regression => "regression",
        })
    }
}

impl FromStr for Task {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Task::ALL.into_iter().find(|t| t.to_string() == name).ok_or_else(|| UnknownName {
            what: "task",
            got: name.into(),
            allowed: Task::ALL.map(|t| t.to_string()).join(", "),
        })
    }
}

/// A name that is none of those there are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{got}` is unknown (there are: {allowed})")]
pub struct UnknownName {
    /// What was named.
    pub what: &'static str,
    /// The name got.
    pub got: String,
    /// The names there are.
    pub allowed: String,
}

/// The right answer for one example.
#[derive(Debug, Clone, PartialEq)]
pub enum Target {
    /// Position of its class.
    Class(usize),
    /// Positions of the labels that apply, rising; there may be none.
    Classes(Vec<usize>),
    /// A finite number.
    Number(f64),
}

impl Target {
    /// Positions of its classes; none for a number.
    ///
    /// ```
    /// use headstart_core::Target;
    /// assert_eq!(Target::Class(3).classes(), [3]);
    /// assert!(Target::Number(3.0).classes().is_empty());
    /// ```
    pub fn classes(&self) -> &[usize] {
        match self {
            Target::Class(class_idx) => std::slice::from_ref(class_idx),
            Target::Classes(classes) => classes,
            Target::Number(_) => &[],
        }
    }

    /// Adds it to a hash, so that different answers make different data.
    pub fn hash_into(&self, h: &mut blake3::Hasher) {
        match self {
            Target::Class(class_idx) => h.update(&(*class_idx as u64).to_le_bytes()),
            Target::Number(value) => h.update(&value.to_bits().to_le_bytes()),
            Target::Classes(classes) => {
                h.update(&(classes.len() as u64).to_le_bytes());
                classes.iter().fold(h, |h, c| h.update(&(*c as u64).to_le_bytes()))
            }
        };
    }
}

/// The right answers for some examples, all of one task.
///
/// ```
/// use headstart_core::{Target, Targets, Task};
/// let targets = Targets::of(Task::MultiLabel, [&Target::Classes(vec![0, 2]), &Target::Classes(vec![])]);
/// assert_eq!(targets.rows(3).values, [1.0, 0.0, 1.0, 0.0, 0.0, 0.0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// One class an example.
    Class(Vec<usize>),
    /// Any number of labels an example.
    Classes(Vec<Vec<usize>>),
    /// A number an example.
    Number(Vec<f64>),
}

impl Targets {
    /// Gathers answers.
    ///
    /// # Panics
    /// If one is of another task: a mistake of the caller.
    pub fn of<'a>(task: Task, targets: impl IntoIterator<Item = &'a Target>) -> Self {
        let mut all = match task {
            Task::Classification => Targets::Class(Vec::new()),
            Task::MultiLabel => Targets::Classes(Vec::new()),
            Task::Regression => Targets::Number(Vec::new()),
        };
        for target in targets {
            match (&mut all, target) {
                (Targets::Class(all), Target::Class(class_idx)) => all.push(*class_idx),
                (Targets::Classes(all), Target::Classes(classes)) => all.push(classes.clone()),
                (Targets::Number(all), Target::Number(value)) => all.push(*value),
                (_, other) => panic!("{other:?} is no answer for {task}"),
            }
        }
        all
    }

    /// The task that they answer.
    pub fn task(&self) -> Task {
        match self {
            Targets::Class(_) => Task::Classification,
            Targets::Classes(_) => Task::MultiLabel,
            Targets::Number(_) => Task::Regression,
        }
    }

    /// How many examples.
    pub fn len(&self) -> usize {
        match self {
            Targets::Class(all) => all.len(),
            Targets::Classes(all) => all.len(),
            Targets::Number(all) => all.len(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Positions of the classes of one example; none for a number.
    pub fn classes_of(&self, i: usize) -> &[usize] {
        match self {
            Targets::Class(all) => std::slice::from_ref(&all[i]),
            Targets::Classes(all) => &all[i],
            Targets::Number(_) => &[],
        }
    }

    /// Examples of each class.
    pub fn class_counts(&self, n_classes: usize) -> Vec<usize> {
        let mut counts = vec![0; n_classes];
        (0..self.len()).flat_map(|i| self.classes_of(i)).for_each(|&c| counts[c] += 1);
        counts
    }

    /// Some of them, in the order asked for.
    pub fn select(&self, idx: &[usize]) -> Targets {
        match self {
            Targets::Class(all) => Targets::Class(idx.iter().map(|&i| all[i]).collect()),
            Targets::Classes(all) => Targets::Classes(idx.iter().map(|&i| all[i].clone()).collect()),
            Targets::Number(all) => Targets::Number(idx.iter().map(|&i| all[i]).collect()),
        }
    }

    /// As rows of numbers `[n, n_outputs]`: 1 for what applies and 0 for what does not, or the number itself.
    pub fn rows(&self, n_outputs: usize) -> TargetRows {
        let values = match self {
            Targets::Number(all) => all.iter().map(|v| *v as f32).collect(),
            _ => {
                let mut values = vec![0.0; self.len() * n_outputs];
                for i in 0..self.len() {
                    self.classes_of(i).iter().for_each(|c| values[i * n_outputs + c] = 1.0);
                }
                values
            }
        };
        TargetRows { width: n_outputs, values }
    }
}

/// Answers as a matrix, for a loss to compare a network's outputs with.  Whoever mixes examples mixes their rows alike.
#[derive(Debug, Clone, PartialEq)]
pub struct TargetRows {
    /// Numbers a row: the network's outputs.
    pub width: usize,
    /// `[n, width]`, row-major.
    pub values: Vec<f32>,
}

impl TargetRows {
    /// How many rows.
    pub fn len(&self) -> usize {
        self.values.len() / self.width.max(1)
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Some rows, in the order asked for.
    ///
    /// ```
    /// use headstart_core::TargetRows;
    /// let rows = TargetRows { width: 2, values: vec![1.0, 0.0, 0.0, 1.0] };
    /// assert_eq!(rows.select(&[1, 1]).values, [0.0, 1.0, 0.0, 1.0]);
    /// ```
    pub fn select(&self, idx: &[usize]) -> TargetRows {
        let row = |&i: &usize| &self.values[i * self.width..(i + 1) * self.width];
        TargetRows { width: self.width, values: idx.iter().flat_map(row).copied().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for task in Task::ALL {
            assert_eq!(task.to_string().parse(), Ok(task));
            assert_eq!(serde_json::to_string(&task).unwrap(), format!("\"{task}\""));
        }
        let error = "regresion".parse::<Task>().unwrap_err().to_string();
        assert_eq!(error, "task `regresion` is unknown (there are: classification, multi-label, regression)");
    }

    #[test]
    fn answers_of_different_kinds_hash_differently() {
        let hash = |t: &Target| {
            let mut h = blake3::Hasher::new();
            t.hash_into(&mut h);
            h.finalize()
        };
        assert_ne!(hash(&Target::Classes(vec![0, 1])), hash(&Target::Classes(vec![0])));
        assert_ne!(hash(&Target::Number(1.0)), hash(&Target::Number(1.5)));
    }
}
