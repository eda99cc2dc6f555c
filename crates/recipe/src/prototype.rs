//! `prototype`: the network stays frozen and a class is the mean of its examples' features (Snell, Swersky and Zemel,
//! 2017, *Prototypical Networks*; Mensink et al., 2013): for one to five examples a class, where a fitted head has nothing
//! to fit.

use headstart_core::{HeadKind, Plan, Task};

use crate::{Facts, RecipeError, probe};

pub(crate) fn plan(facts: &Facts<'_>) -> Result<Plan, RecipeError> {
    if facts.task != Task::Classification {
        let why = format!("is for one class an example, not for {}", facts.task);
        return Err(RecipeError::Unsuitable { recipe: "prototype", why });
    }
    let mut plan = probe::plan(facts)?;
    plan.recipe = "prototype".into();
    plan.head.kind = HeadKind::Prototype;
    Ok(plan)
}
