//! Recipes: `(network, task, data summary) → Plan`.  Pure: no I/O, no tensors, nothing runs.
//!
//! One recipe a file.  A new one is a variant of [`Recipe`], a file that says what learns when, and its rows in the
//! table of [`hyper`].

mod adapter;
mod baseline;
mod bitfit;
mod dora;
mod error;
mod full;
mod gradual;
pub mod hyper;
mod ia3;
mod last;
mod lora;
mod norm;
mod probe;
mod prototype;
mod setfit;
mod staged;
mod targets;
mod training;

pub use baseline::{BaselineCost, plan_baseline};
pub use error::RecipeError;
pub use hyper::Settings;
pub use training::{AUGMENTATION_IMAGE, network};

use headstart_core::{Metric, Modality, Plan, SplitPlan, Task};
use headstart_graph::Graph;

/// A way to adapt a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipe {
    /// The network stays frozen; a convex head is fitted on its features.
    Probe,
    /// The network stays frozen; a class is the mean of its few examples.
    Prototype,
    /// Everything learns.
    Full,
    /// The head is fitted first, then everything learns from there.
    Staged,
    /// Groups join from the top, lower ones learning slower.
    Gradual,
    /// The last groups learn.
    Last(usize),
    /// Biases learn.
    BitFit,
    /// Scales and shifts of norms learn.
    Norm,
    /// Low-rank updates learn.
    Lora,
    /// Low-rank updates of direction, and magnitudes, learn.
    Dora,
    /// One factor a channel learns.
    Ia3,
    /// Small networks between the layers learn.
    Adapter,
    /// Sentences of one class move together, then a convex head is fitted.
    SetFit,
    /// Several of these, the best on the validation split.
    Auto,
}

impl Recipe {
    /// Every recipe, as a person would type it.
    pub const NAMES: [&str; 14] = [
        "probe",
        "prototype",
        "full",
        "staged",
        "gradual",
        "last:N",
        "bitfit",
        "norm",
        "lora",
        "dora",
        "ia3",
        "adapter",
        "setfit",
        "auto",
    ];

    /// The recipe of that name.
    ///
    /// ```
    /// use headstart_recipe::Recipe;
    /// assert_eq!(Recipe::parse("probe"), Ok(Recipe::Probe));
    /// assert_eq!(Recipe::parse("last:3"), Ok(Recipe::Last(3)));
    /// assert!(Recipe::parse("prob").is_err());
    /// assert!(Recipe::parse("last:0").is_err());
    /// ```
    pub fn parse(name: &str) -> Result<Self, RecipeError> {
        if let Some(n) = name.strip_prefix("last:") {
            let why = "`last:N` wants a number of groups, 1 or more";
            let count = n.parse().ok().filter(|n| *n > 0);
            return count.map(Recipe::Last).ok_or(RecipeError::NotACount { got: name.into(), why });
        }
        Ok(match name {
            "probe" => Recipe::Probe,
            "prototype" => Recipe::Prototype,
            "full" => Recipe::Full,
            "staged" => Recipe::Staged,
            "gradual" => Recipe::Gradual,
            "bitfit" => Recipe::BitFit,
            "norm" => Recipe::Norm,
            "lora" => Recipe::Lora,
            "dora" => Recipe::Dora,
            "ia3" => Recipe::Ia3,
            "adapter" => Recipe::Adapter,
            "setfit" => Recipe::SetFit,
            "auto" => Recipe::Auto,
            other => return Err(RecipeError::Unknown { got: other.into(), allowed: Self::NAMES.join(", ") }),
        })
    }

    /// Its name, as [`Recipe::parse`] reads it.
    pub fn name(self) -> String {
        match self {
            Recipe::Probe => "probe",
            Recipe::Prototype => "prototype",
            Recipe::Full => "full",
            Recipe::Staged => "staged",
            Recipe::Gradual => "gradual",
            Recipe::Last(n) => return format!("last:{n}"),
            Recipe::BitFit => "bitfit",
            Recipe::Norm => "norm",
            Recipe::Lora => "lora",
            Recipe::Dora => "dora",
            Recipe::Ia3 => "ia3",
            Recipe::Adapter => "adapter",
            Recipe::SetFit => "setfit",
            Recipe::Auto => "auto",
        }
        .into()
    }

    /// Decides the whole run.  [`Recipe::Auto`] has no plan of its own: whoever runs it plans its candidates.
    pub fn plan(self, facts: &Facts<'_>) -> Result<Plan, RecipeError> {
        match self {
            Recipe::Probe | Recipe::Auto => probe::plan(facts),
            Recipe::Prototype => prototype::plan(facts),
            Recipe::Full => training::plan(facts, "full", full::course),
            Recipe::Staged => training::plan(facts, "staged", staged::course),
            Recipe::Gradual => training::plan(facts, "gradual", gradual::course),
            Recipe::Last(n) => {
                training::plan(facts, &self.name(), |graph, facts| last::course(graph, facts, n))
            }
            Recipe::BitFit => training::plan(facts, "bitfit", bitfit::course),
            Recipe::Norm => training::plan(facts, "norm", norm::course),
            Recipe::Lora => training::plan(facts, "lora", lora::course),
            Recipe::Dora => training::plan(facts, "dora", dora::course),
            Recipe::Ia3 => training::plan(facts, "ia3", ia3::course),
            Recipe::Adapter => training::plan(facts, "adapter", adapter::course),
            Recipe::SetFit => setfit::plan(facts),
        }
    }
}

/// What a recipe knows of the network and the data.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The source network, its old head still on.
    pub graph: &'a Graph,
    /// The source's id.
    pub source: &'a str,
    /// The node to tap instead of the one that the graph suggests.
    pub tap: Option<&'a str>,
    /// Weights of the source that the plan will not use, by name.
    pub unused_weights: Vec<String>,
    /// Kind of examples.
    pub modality: Modality,
    /// What is asked about them.
    pub task: Task,
    /// What the verdict compares; one of the task's.
    pub metric: Metric,
    /// Names of the classes.
    pub classes: &'a [String],
    /// Examples of each class that will be learned from.
    pub train_counts: &'a [usize],
    /// How the data is divided.
    pub split: SplitPlan,
    /// Typical length of a text, tokens; 1 for pictures.
    pub sequence: usize,
    /// Side of the pictures that reach the network, pixels; none for texts.
    pub size_px: Option<usize>,
    /// How much more than the features the rival from random weights may cost; 0 declines it.
    pub baseline_budget: f64,
    /// Seed of everything random but the split.
    pub seed: u64,
    /// What changes examples while learning, as text: `none`, or empty for the default, which is [`AUGMENTATION_IMAGE`] for
    /// pictures and nothing for texts.
    pub augmentation: &'a str,
    /// Layers that adapters stand beside, as patterns with `*`; the recipe's own if empty.
    pub targets: &'a [String],
    /// Unlabelled examples there are to learn from.
    pub n_unlabelled: usize,
    /// Values of the table of hyper-parameters.
    pub settings: Settings,
}
