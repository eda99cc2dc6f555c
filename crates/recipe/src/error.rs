//! What can be wrong with a request for a plan.

use headstart_graph::GraphError;

/// An error that names the value got and the values allowed.
#[allow(missing_docs, reason = "the messages name their fields")]
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecipeError {
    /// No such recipe.
    #[error("recipe `{got}` is unknown (recipes: {allowed})")]
    Unknown { got: String, allowed: &'static str },
    /// No such hyper-parameter.
    #[error("hyper-parameter `{got}` is unknown (there are: {allowed})")]
    UnknownSetting { got: String, allowed: String },
    /// A hyper-parameter outside its range.
    #[error("{name} = {got} is out of range ({lo} to {hi})")]
    OutOfRange { name: &'static str, got: f64, lo: f64, hi: f64 },
    /// A setting that is not `name=number`.
    #[error("`{0}` is not of the form name=number")]
    NotASetting(String),
    /// The graph has no place for the recipe.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A feature must have a known width.
    #[error("tap `{tap}` has shape {shape}; its last dimension must be a known number")]
    Tap { tap: String, shape: String },
}
