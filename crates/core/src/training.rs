//! How a network will be trained, decided before it runs: the part of a [`crate::Plan`] that fine-tuning adds.

use std::collections::BTreeMap;
use std::fmt;

use headstart_graph::Graph;
use headstart_graph::rewrite::{Adapter, Part, params_of};
use serde::{Deserialize, Serialize};

use crate::Schedule;

/// A whole training, decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingPlan {
    /// What is learned by.
    pub objective: Objective,
    /// Examples a step is computed of at once.
    pub batch_size: usize,
    /// Batches whose gradients make one update; the last update of a pass takes what is left.
    pub n_accumulated: usize,
    /// What turns gradients into updates.
    pub optimiser: OptimiserPlan,
    /// Course of the learning rate over each phase.
    pub schedule: Schedule,
    /// Largest common norm of a step's gradients; 0 for no bound (Pascanu et al., 2013).
    pub clip_norm: f64,
    /// Share of the target spread over all classes (Szegedy et al., 2016).
    pub label_smoothing: f64,
    /// Weigh classes in the loss, or draw them, equally.
    pub balance: Balance,
    /// What products are computed in.
    #[serde(default)]
    pub precision: Precision,
    /// What batch norm does in the part that trains.
    pub batch_norm: BatchNorm,
    /// Parts whose inner values are computed again instead of kept; 1 keeps all (Chen et al., 2016).
    pub n_segments: usize,
    /// Decay of a running mean of the weights that is kept instead of the last ones; 0 for none (Polyak and Juditsky, 1992).
    pub ema_decay: f64,
    /// Passes without a better validation loss after which training ends; 0 never ends early.
    pub patience: usize,
    /// α of Beta(α, α) that pairs of pictures are mixed by (mixup; Zhang et al., 2018); 0 for none.
    pub mixup: f64,
    /// The same for pasted rectangles (cutmix; Yun et al., 2019).
    pub cutmix: f64,
    /// What changes examples while learning, as text: `flip,crop=0.6-1.0`; empty for nothing.
    pub augmentation: String,
    /// Augmented views of an example that are drawn; more passes see them again.
    pub n_views: usize,
    /// Where the new head starts.
    pub head_start: HeadStart,
    /// What pulls the network back to what the source knows.
    pub regularisers: Vec<Regulariser>,
    /// Share of the tuned weights in the mean with the starting ones (WiSE-FT; Wortsman et al., 2022); 1 for none.
    pub interpolation: Interpolation,
    /// Networks from as many seeds whose weights are averaged (model soup; Wortsman et al., 2022).
    pub n_seeds: usize,
    /// Look for the highest learning rate by a range test first (Smith, 2017).
    pub find_lr: bool,
    /// Few new parameters beside frozen ones.
    pub adapters: Vec<Adapter>,
    /// What learns when.
    pub phases: Vec<Phase>,
}

/// What a network learns by.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Objective {
    /// The task's own loss on labelled examples.
    Supervised,
    /// Cosines of pairs of features, 1 within a class and 0 between (SetFit; Tunstall et al., 2022); the head follows.
    Pairs {
        /// Pairs of each kind for each example.
        n_a_text: usize,
    },
    /// The task's loss, and agreement of two views of unlabelled examples (FixMatch; Sohn et al., 2020).
    Consistency {
        /// Confidence from which a weak view's answer counts as label.
        threshold: f64,
        /// Unlabelled examples for each labelled one in a batch.
        ratio: usize,
        /// Weight of the unlabelled part.
        weight: f64,
    },
}

/// What turns gradients into updates.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum OptimiserPlan {
    /// AdamW (Loshchilov and Hutter, 2019); biases and norms do not decay.
    AdamW {
        /// Decay of the weights.
        weight_decay: f64,
    },
    /// Stochastic gradient descent.
    Sgd {
        /// Share of the last step that goes on.
        momentum: f64,
        /// L2 penalty on the gradient.
        weight_decay: f64,
    },
}

/// What is done about classes of unequal size.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// Nothing: every example counts the same.
    #[default]
    None,
    /// Every class counts the same in the loss.
    Weights,
    /// Classes count by their effective number of examples (Cui et al., 2019).
    EffectiveNumber {
        /// How much of an example is new beside `n` others of its class: `βⁿ`.
        beta: f64,
    },
    /// Every class is drawn equally often.
    Sampling,
}

/// What numbers products are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// f32 throughout.
    #[default]
    F32,
    /// Factors are rounded to bf16 and summed in f32; weights and everything between products stay f32.
    Bf16,
    /// Factors are rounded to 8-bit integers and summed in i32, for what does not learn: weights with a scale a filter,
    /// inputs with a scale of their own where they are read together (Jacob et al., 2018).
    Int8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Precision::F32 => "f32",
            Precision::Bf16 => "bf16",
            Precision::Int8 => "int8",
        })
    }
}

/// What batch norm does while the network trains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BatchNorm {
    /// Goes by the source's running statistics, which stay.
    #[default]
    Frozen,
    /// Goes by each batch's statistics and updates the running ones.
    Batch,
}

/// Where the new head starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadStart {
    /// At zero: no class is preferred.
    #[default]
    Zero,
    /// At the probe's optimum (LP-FT; Kumar et al., 2022).
    Probe,
}

/// A term that guards what the source knows.  The file of the same name in `train` has paper and formula.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Regulariser {
    /// Distance of the weights from the source's (L2-SP; Xuhong et al., 2018).
    L2Sp {
        /// Strength.
        strength: f64,
    },
    /// Smallest singular values of the features (batch spectral shrinkage; Chen et al., 2019).
    Bss {
        /// Strength.
        strength: f64,
        /// How many singular values.
        k: usize,
    },
    /// Distance of feature maps from the source's, by channel (DELTA; Li et al., 2019).
    Delta {
        /// Strength.
        strength: f64,
    },
    /// Agreement with what the source's old head says of the new classes (Co-Tuning; You et al., 2020).
    CoTuning {
        /// Strength.
        strength: f64,
    },
    /// Distance of the features from the source's (after Learning without Forgetting; Li and Hoiem, 2016).
    Distillation {
        /// Strength.
        strength: f64,
    },
}

/// How tuned and starting weights are mixed in the end.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Interpolation {
    /// The tuned weights alone.
    None,
    /// A fixed share of the tuned weights.
    Fixed {
        /// The share, 0 to 1.
        share: f64,
    },
    /// The share with the best validation score, of 0, 0.1, … 1.
    Validated,
}

/// Some passes in which the same parameters learn.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// What people call it.
    pub name: String,
    /// Passes over the training examples.
    pub n_passes: usize,
    /// What learns, and how fast.
    pub rates: Vec<GroupRate>,
}

impl Phase {
    /// Highest learning rate of each parameter that learns, by name.
    pub fn lr_max(&self, graph: &Graph) -> BTreeMap<String, f64> {
        let rates = self.rates.iter().flat_map(|r| {
            params_of(graph, &r.group, r.part).into_iter().map(|name| (name.to_string(), r.lr_max))
        });
        rates.collect()
    }
}

/// How fast a group of parameters learns.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GroupRate {
    /// The group, as [`headstart_graph::rewrite::groups`] names it.
    pub group: String,
    /// Which of its parameters.
    pub part: Part,
    /// Highest learning rate.
    pub lr_max: f64,
}

/// What a run is expected to cost on this machine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Forecast {
    /// Seconds, all in all.
    pub seconds: f64,
    /// Most memory held, MiB.
    pub peak_mb: f64,
    /// Features written to the cache, MiB.
    pub cache_mb: f64,
    /// Multiply-adds that the freeze frontier saves, as a share of what training the whole way would take.
    pub saved_share: f64,
}
