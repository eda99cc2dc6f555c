//! `setfit`: sentences of one class are drawn together and those of different ones apart, then a convex head is fitted on
//! what the network makes of them (Tunstall et al., 2022, *Efficient Few-Shot Learning Without Prompts*).
//!
//! ```text
//! loss = (cos(f(a), f(b)) − [class(a) = class(b)])²   over streamed pairs (a, b)
//! ```

use headstart_core::{HeadStart, Modality, Objective, Plan, Task};
use headstart_graph::rewrite::Part;

use crate::full;
use crate::training::{self, Rates, group_names, phase};
use crate::{Facts, RecipeError};

pub(crate) fn plan(facts: &Facts<'_>) -> Result<Plan, RecipeError> {
    if facts.task != Task::Classification {
        let why = format!("is for one class an example, not for {}", facts.task);
        return Err(RecipeError::Unsuitable { recipe: "setfit", why });
    }
    if facts.modality != Modality::Text {
        let why =
            "is for texts; for pictures with few labels try `prototype`, `probe` or --unlabelled".into();
        return Err(RecipeError::Unsuitable { recipe: "setfit", why });
    }
    let mut plan = training::plan(facts, "setfit", |graph, facts| {
        let rates = Rates::of(facts, full::IMAGE, Rates { network: 2e-5, head: 0.0 });
        let mut whole = phase("pairs", 1, &group_names(graph), Part::All, rates, 1.0);
        // The head is fitted afterwards, by its own convex problem.
        whole.rates.pop();
        Ok(training::Course { phases: vec![whole], head_start: HeadStart::Zero, adapters: Vec::new() })
    })?;
    if let Some(training) = &mut plan.training {
        training.objective = Objective::Pairs { n_a_text: facts.settings.get("pairs") as usize };
    }
    if let Some(head) = plan.groups.iter_mut().find(|g| g.name == training::HEAD) {
        *head = headstart_core::GroupPlan::trained(training::HEAD, head.n_parameters);
    }
    Ok(plan)
}
