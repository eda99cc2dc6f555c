//! Recipes: `(network, task, data summary) → Plan`.  Pure: no I/O, no tensors, nothing runs.
//!
//! One recipe a file.  A new one is a variant of [`Recipe`], a file with its `plan` function, and its rows in the
//! table of [`hyper`].

mod baseline;
mod error;
pub mod hyper;
mod probe;

pub use baseline::{BaselineCost, plan_baseline};
pub use error::RecipeError;
pub use hyper::Settings;

use headstart_core::{Metric, Modality, Plan, SplitPlan, Task};
use headstart_graph::Graph;

/// A way to adapt a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recipe {
    /// The network stays frozen; a convex head is fitted on its features.
    Probe,
}

impl Recipe {
    /// The recipe of that name.
    ///
    /// ```
    /// use headstart_recipe::Recipe;
    /// assert_eq!(Recipe::parse("probe"), Ok(Recipe::Probe));
    /// assert!(Recipe::parse("prob").is_err());
    /// ```
    pub fn parse(name: &str) -> Result<Self, RecipeError> {
        match name {
            "probe" => Ok(Recipe::Probe),
            other => Err(RecipeError::Unknown { got: other.into(), allowed: "probe" }),
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Recipe::Probe => "probe",
        }
    }

    /// Decides the whole run.
    pub fn plan(self, facts: &Facts<'_>) -> Result<Plan, RecipeError> {
        match self {
            Recipe::Probe => probe::plan(facts),
        }
    }
}

/// What a recipe knows of the network and the data.
#[derive(Debug)]
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
    /// Values of the table of hyper-parameters.
    pub settings: Settings,
}
