//! What can be wrong with a request for a plan.

use headstart_graph::GraphError;

/// An error that names the value got and the values allowed.
#[allow(missing_docs, reason = "the messages name their fields")]
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum RecipeError {
    /// No such recipe.
    #[error("recipe `{got}` is unknown (recipes: {allowed})")]
    Unknown { got: String, allowed: String },
    /// No such hyper-parameter.
    #[error("hyper-parameter `{got}` is unknown (there are: {allowed})")]
    UnknownSetting { got: String, allowed: String },
    /// A hyper-parameter outside its range.
    #[error("{name} = {got} is out of range ({lo} to {hi})")]
    OutOfRange { name: &'static str, got: f64, lo: f64, hi: f64 },
    /// A word that is none of a row's choices.
    #[error("{name} = {got} is not known (choices: {allowed})")]
    NotAChoice { name: &'static str, got: String, allowed: String },
    /// A recipe with a count that is none.
    #[error("`{got}` is not a recipe: {why}")]
    NotACount { got: String, why: &'static str },
    /// A pattern that matches no layer that can be adapted.
    #[error("pattern `{pattern}` matches no layer that `{recipe}` can stand beside (for example: {known})")]
    NoTarget { pattern: String, recipe: &'static str, known: String },
    /// The recipe does not suit the data.
    #[error("recipe `{recipe}` {why}")]
    Unsuitable { recipe: &'static str, why: String },
    /// A setting that is not `name=value`.
    #[error("`{0}` is not of the form name=value")]
    NotASetting(String),
    /// A setting whose value is not a number.
    #[error("`{name}` is a number, not `{got}`")]
    NotANumber { name: &'static str, got: String },
    /// The graph has no place for the recipe.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// A feature must have a known width.
    #[error("tap `{tap}` has shape {shape}; its last dimension must be a known number")]
    Tap { tap: String, shape: String },
}
