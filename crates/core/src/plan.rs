//! What a run will do, computed before anything runs, printed by `headstart plan`, stored in the bundle.

use serde::{Deserialize, Serialize};

use crate::{Metric, Modality, Precision, Task, TrainingPlan};

/// A whole run, decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Kind of examples; with labels it makes the task.
    pub modality: Modality,
    /// What is asked about them.
    #[serde(default)]
    pub task: Task,
    /// What the verdict compares.
    #[serde(default)]
    pub metric: Metric,
    /// The recipe that made this plan.
    pub recipe: String,
    /// The source network.
    pub source: String,
    /// The node whose output is the feature vector.
    pub tap: String,
    /// Length of the feature vector.
    pub feature_width: usize,
    /// Names of the classes; none for numbers.
    pub classes: Vec<String>,
    /// Seed of everything random but the split.
    pub seed: u64,
    /// How the data is divided.
    pub split: SplitPlan,
    /// What products of the frozen network are computed in.
    #[serde(default)]
    pub precision: Precision,
    /// How the head is fitted.
    pub head: HeadPlan,
    /// How the network is trained; none where it stays frozen.
    pub training: Option<TrainingPlan>,
    /// The rival from random weights; none if it was declined.
    pub baseline: Option<BaselinePlan>,
    /// Weights of the source that the plan does not use, by name.
    pub unused_weights: Vec<String>,
    /// Every group of parameters: frozen or trained.
    pub groups: Vec<GroupPlan>,
    /// What a person should know before it runs.
    pub notes: Vec<String>,
}

/// How the data is divided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitPlan {
    /// True if the data set came divided.
    pub given: bool,
    /// Seed of the division, if not given.
    pub seed: u64,
    /// Examples learned from.
    pub n_train: usize,
    /// Examples chosen by.
    pub n_valid: usize,
    /// Examples judged by.
    pub n_test: usize,
}

/// What features are divided by, once their means are taken off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scaling {
    /// The root mean square of all features' standard deviations: one number.  For vectors from one network, whose
    /// features share a unit and say by their spread how much they matter.
    #[default]
    Common,
    /// Each feature's own standard deviation: for columns of a table, whose units differ.
    PerFeature,
}

/// The convex head: multinomial logistic regression for classes, one logistic regression a label, ridge regression for
/// numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HeadPlan {
    /// What it is.
    #[serde(default)]
    pub kind: HeadKind,
    /// What centred features are divided by before the penalty weighs them.
    pub scaling: Scaling,
    /// Candidate strengths of the L2 penalty: λ in `mean loss + λ/2·‖W‖²`.
    pub l2_candidates: Vec<f64>,
    /// Folds of the cross-validation that picks one, inside the training split.
    pub n_folds: usize,
    /// Weigh examples so that every class counts the same.
    pub class_weights: bool,
}

/// What a head on frozen features is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadKind {
    /// The optimum of a convex loss.
    #[default]
    Convex,
    /// The mean of each class's examples.
    Prototype,
}

/// The same network from random weights.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BaselinePlan {
    /// Passes over the training split.
    pub n_passes: usize,
    /// Examples a step.
    pub batch_size: usize,
    /// Height and width of its pictures, pixels; none for texts.
    pub size_px: Option<usize>,
    /// Longest sequence, tokens; none for pictures.
    pub length_max: Option<usize>,
    /// Highest learning rate (AdamW, one cycle).
    pub lr_max: f64,
    /// Its cost as a multiple of extracting the features once, counted in multiply-adds.
    pub cost_ratio: f64,
    /// Why it is what it is, in words.
    pub why: String,
}

/// What happens to one group of parameters.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupPlan {
    /// The group.
    pub name: String,
    /// Learned numbers in it.
    pub n_parameters: usize,
    /// Those of them that learn, new ones of adapters among them.
    pub n_learning: usize,
    /// Frozen, trained or adapted.
    pub state: GroupState,
    /// Highest learning rate, where gradients train it.
    pub lr_max: Option<f64>,
}

impl GroupPlan {
    /// A group that stays as it is.
    pub fn frozen(name: impl Into<String>, n_parameters: usize) -> Self {
        GroupPlan { name: name.into(), n_parameters, n_learning: 0, state: GroupState::Frozen, lr_max: None }
    }

    /// A group that learns whole.
    pub fn trained(name: impl Into<String>, n_parameters: usize) -> Self {
        let state = GroupState::Trained;
        GroupPlan { name: name.into(), n_parameters, n_learning: n_parameters, state, lr_max: None }
    }
}

impl Plan {
    /// Share of all parameters that learn, those of adapters among them.
    pub fn trainable_share(&self) -> f64 {
        let all: usize = self.groups.iter().map(|g| g.n_parameters).sum();
        let learning: usize = self.groups.iter().map(|g| g.n_learning).sum();
        learning as f64 / all.max(1) as f64
    }
}

/// What happens to a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GroupState {
    /// Stays as the source has it.
    Frozen,
    /// Learns.
    Trained,
    /// Stays, with new parameters beside it that learn.
    Adapted,
}
