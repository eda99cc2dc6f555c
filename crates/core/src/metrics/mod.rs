//! What predictions are worth: one file a kind of task, and the scorer that computes one measure over and over.

mod classification;
mod multi_label;
mod ranking;
mod regression;
mod scorer;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub(crate) use classification::argmax;
pub use classification::{ClassMetrics, ClassificationMetrics};
pub use multi_label::{LabelMetrics, MultiLabelMetrics};
pub use regression::RegressionMetrics;
pub use scorer::Scorer;

use crate::{Targets, Task, UnknownName};

/// One measure of predictions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// Share of examples whose most probable class is theirs.
    #[default]
    Accuracy,
    /// Mean over classes of recall.
    BalancedAccuracy,
    /// Mean over classes of F1.
    MacroF1,
    /// Mean over classes of the area under the receiver operating characteristic.
    Auroc,
    /// Mean over classes of average precision.
    AveragePrecision,
    /// Mean absolute error.
    Mae,
    /// Root of the mean squared error.
    Rmse,
    /// Share of the variance that is explained.
    R2,
}

impl Metric {
    /// Every measure.
    pub const ALL: [Metric; 8] = [
        Metric::Accuracy,
        Metric::BalancedAccuracy,
        Metric::MacroF1,
        Metric::Auroc,
        Metric::AveragePrecision,
        Metric::Mae,
        Metric::Rmse,
        Metric::R2,
    ];

    /// The measures of a task, the default first.
    ///
    /// ```
    /// use headstart_core::{Metric, Task};
    /// assert_eq!(Metric::of_task(Task::Regression), [Metric::Rmse, Metric::Mae, Metric::R2]);
    /// ```
    pub fn of_task(task: Task) -> &'static [Metric] {
        use Metric::{Accuracy, Auroc, AveragePrecision, BalancedAccuracy, MacroF1, Mae, R2, Rmse};
        match task {
            Task::Classification => &[Accuracy, BalancedAccuracy, MacroF1, Auroc, AveragePrecision],
            Task::MultiLabel => &[AveragePrecision, Auroc, MacroF1],
            Task::Regression => &[Rmse, Mae, R2],
        }
    }

    /// True for errors, which are the better the smaller they are.
    pub fn is_error(self) -> bool {
        matches!(self, Metric::Mae | Metric::Rmse)
    }

    /// How much better `score` is than `other`, positive if it is: the difference, turned round for errors.
    pub fn gain(self, score: f64, other: f64) -> f64 {
        if self.is_error() { other - score } else { score - other }
    }

    /// What people call it, within a sentence.
    pub fn words(self) -> &'static str {
        match self {
            Metric::Accuracy => "accuracy",
            Metric::BalancedAccuracy => "balanced accuracy",
            Metric::MacroF1 => "macro F1",
            Metric::Auroc => "AUROC",
            Metric::AveragePrecision => "mean average precision",
            Metric::Mae => "mean absolute error",
            Metric::Rmse => "root mean squared error",
            Metric::R2 => "R²",
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Metric::Accuracy => "accuracy",
            Metric::BalancedAccuracy => "balanced_accuracy",
            Metric::MacroF1 => "macro_f1",
            Metric::Auroc => "auroc",
            Metric::AveragePrecision => "average_precision",
            Metric::Mae => "mae",
            Metric::Rmse => "rmse",
            Metric::R2 => "r2",
        })
    }
}

impl FromStr for Metric {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Metric::ALL.into_iter().find(|m| m.to_string() == name).ok_or_else(|| UnknownName {
            what: "metric",
            got: name.into(),
            allowed: Metric::ALL.map(|m| m.to_string()).join(", "),
        })
    }
}

/// All measures of a model's outputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "task", rename_all = "kebab-case")]
pub enum Metrics {
    /// Of a classifier.
    Classification(ClassificationMetrics),
    /// Of a model that names labels.
    MultiLabel(MultiLabelMetrics),
    /// Of a model that says how much.
    Regression(RegressionMetrics),
}

impl Metrics {
    /// Judges outputs `[n, n_outputs]`, row-major: probabilities of the classes, probabilities of the labels, or numbers.
    ///
    /// # Panics
    /// If the outputs do not fit the targets.
    ///
    /// ```
    /// use headstart_core::{Metric, Metrics, Targets};
    /// let m = Metrics::of(&[], &[2.0, 5.0], &Targets::Number(vec![1.0, 5.0]));
    /// assert_eq!((m.n(), m.get(Metric::Mae)), (2, Some(0.5)));
    /// assert_eq!(m.get(Metric::Accuracy), None);
    /// ```
    pub fn of(classes: &[String], outputs: &[f32], truth: &Targets) -> Self {
        match truth {
            Targets::Class(truth) => {
                Metrics::Classification(ClassificationMetrics::of(classes, outputs, truth))
            }
            Targets::Classes(truth) => Metrics::MultiLabel(MultiLabelMetrics::of(classes, outputs, truth)),
            Targets::Number(truth) => Metrics::Regression(RegressionMetrics::of(outputs, truth)),
        }
    }

    /// Examples judged.
    pub fn n(&self) -> usize {
        match self {
            Metrics::Classification(m) => m.n,
            Metrics::MultiLabel(m) => m.n,
            Metrics::Regression(m) => m.n,
        }
    }

    /// One of them; none if the task has no such measure, or the examples do not define it.
    pub fn get(&self, metric: Metric) -> Option<f64> {
        match (self, metric) {
            (Metrics::Classification(m), Metric::Accuracy) => Some(m.accuracy),
            (Metrics::Classification(m), Metric::BalancedAccuracy) => Some(m.balanced_accuracy),
            (Metrics::Classification(m), Metric::MacroF1) => Some(m.macro_f1),
            (Metrics::Classification(m), Metric::Auroc) => m.auroc,
            (Metrics::Classification(m), Metric::AveragePrecision) => m.average_precision,
            (Metrics::MultiLabel(m), Metric::MacroF1) => Some(m.macro_f1),
            (Metrics::MultiLabel(m), Metric::Auroc) => m.auroc,
            (Metrics::MultiLabel(m), Metric::AveragePrecision) => m.average_precision,
            (Metrics::Regression(m), Metric::Mae) => Some(m.mae),
            (Metrics::Regression(m), Metric::Rmse) => Some(m.rmse),
            (Metrics::Regression(m), Metric::R2) => Some(m.r2),
            _ => None,
        }
    }

    /// All that the task has and the examples define, the task's default first.
    pub fn all(&self) -> Vec<(Metric, f64)> {
        let task = match self {
            Metrics::Classification(_) => Task::Classification,
            Metrics::MultiLabel(_) => Task::MultiLabel,
            Metrics::Regression(_) => Task::Regression,
        };
        Metric::of_task(task).iter().filter_map(|&m| Some((m, self.get(m)?))).collect()
    }

    /// Those of a classifier.
    pub fn classification(&self) -> Option<&ClassificationMetrics> {
        if let Metrics::Classification(m) = self { Some(m) } else { None }
    }
}

/// Mean of what is defined; none if nothing is.
fn mean_defined(values: impl IntoIterator<Item = Option<f64>>) -> Option<f64> {
    let (sum, n) = values.into_iter().flatten().fold((0.0, 0usize), |(sum, n), v| (sum + v, n + 1));
    (n > 0).then(|| sum / n as f64)
}
