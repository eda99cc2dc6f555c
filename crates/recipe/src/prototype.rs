//! `prototype`: the network stays frozen and a class is the mean of its examples' features (Snell, Swersky and Zemel,
//! 2017, *Prototypical Networks*; Mensink et al., 2013): for one to five examples a class, where a fitted head has nothing
//! to fit.

use headstart_core::Plan;

use crate::{Facts, RecipeError, probe};

pub(crate) fn plan(facts: &Facts<'_>) -> Result<Plan, RecipeError> {
    let mut plan = probe::plan(facts)?;
    plan.recipe = "prototype".into();
    Ok(plan)
}
