//! `auto`: several recipes, from the cached probe up, as far as the time goes; the best on the validation split.
//!
//! Of recipes that the validation split cannot tell apart (within one standard error of the best), the cheapest is taken
//! (Breiman et al., 1984, the one-standard-error rule).

use headstart_core::{Dataset, Modality, Plan, Targets};
use headstart_recipe::Recipe;
use headstart_train::predict_head;

use crate::Error;
use crate::checkpoint::CheckpointFile;
use crate::run::Run;
use crate::tune::{Resume, Start, Tuned, tune};

/// What one recipe came to on the validation split.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub(crate) struct Tried {
    pub(crate) recipe: String,
    /// Mean loss: −ln of the true class's probability, the same summed over labels, or the squared error.
    pub(crate) loss: f64,
    /// Its standard error.
    pub(crate) loss_se: f64,
    pub(crate) seconds: f64,
}

/// The chosen plan and network.
pub(crate) struct Chosen {
    pub(crate) plan: Plan,
    /// None if the probe was chosen.
    pub(crate) tuned: Option<Tuned>,
    pub(crate) tried: Vec<Tried>,
    /// Checkpoints of what was tried.
    pub(crate) files: Vec<CheckpointFile>,
}

/// From cheap to dear.
fn candidates(modality: Modality) -> Vec<Recipe> {
    match modality {
        Modality::Image => vec![Recipe::Norm, Recipe::Last(3), Recipe::Staged, Recipe::Full],
        Modality::Text => vec![Recipe::BitFit, Recipe::Lora, Recipe::Full],
    }
}

/// Tries the recipes one after the other.  `plan_of` plans one; `start` is that of the probe.  A run that goes on has what
/// it had tried, and finishes what it had begun whatever the limit.
pub(crate) fn choose(
    start: &Start<'_>,
    run: &Run,
    resume: &Resume,
    time_limit: Option<f64>,
    features_valid: &headstart_core::Features,
    plan_of: &dyn Fn(Recipe) -> Result<Plan, Error>,
) -> Result<Chosen, Error> {
    if start.valid_idx.is_empty() {
        return Err(Error::request(
            "`auto` chooses on the validation split, and there is none that can be read",
            "pass --valid-fraction 0.2, or name a recipe",
        ));
    }
    let truth = start.dataset.targets(start.valid_idx);
    let probe = predict_head(start.dataset.task, features_valid, &start.head.weight, &start.head.bias);
    let mut tried = vec![judged("probe", start.dataset, &probe, &truth, 0.0)];
    let mut networks: Vec<(Plan, Option<Tuned>)> = vec![(start.plan.clone(), None)];
    let (session, mut files) = (start.session, Vec::new());
    let began = std::time::Instant::now();
    let mut skipped = Vec::new();
    for recipe in candidates(start.dataset.modality) {
        let left = time_limit.map(|limit| limit - began.elapsed().as_secs_f64());
        let plan = plan_of(recipe)?;
        let one = Start { plan: &plan, ..*start };
        let mut file = CheckpointFile::new(&run.dir, &format!("auto-{}", recipe.name()), resume.seconds);
        if resume.resume && file.exists() {
            session.observer.note(&format!("auto goes on with {}", recipe.name()));
        } else {
            let expected = expected_seconds(&one)?;
            if left.is_some_and(|left| expected > left) {
                skipped.push(format!("{} ({expected:.0} s)", recipe.name()));
                continue;
            }
            session.observer.note(&format!("auto tries {}, about {expected:.0} s", recipe.name()));
        }
        let clock = std::time::Instant::now();
        let tuned = tune(&one, run, &mut file, resume.resume)?;
        files.push(file);
        let outputs = tuned.predict(session, start.model, start.dataset, start.valid_idx)?;
        tried.push(judged(&recipe.name(), start.dataset, &outputs, &truth, clock.elapsed().as_secs_f64()));
        run.event("tried", tried.last().expect("pushed above"))?;
        networks.push((plan, Some(tuned)));
    }
    let best = (0..tried.len()).min_by(|&a, &b| tried[a].loss.total_cmp(&tried[b].loss)).unwrap_or(0);
    let within = tried[best].loss + tried[best].loss_se;
    let chosen = (0..tried.len()).find(|&i| tried[i].loss <= within).unwrap_or(best);
    let (mut plan, tuned) = networks.swap_remove(chosen);
    plan.notes.push(why(&tried, chosen, best, &skipped));
    Ok(Chosen { plan, tuned, tried, files })
}

fn expected_seconds(start: &Start<'_>) -> Result<f64, Error> {
    let training = start.plan.training.as_ref().expect("every candidate trains");
    let n = (2 * training.batch_size).min(start.train_idx.len());
    let few = Start { train_idx: &start.train_idx[..n], valid_idx: &[], ..*start };
    Ok(crate::tune::dry_run(&few)?.seconds(training, start.train_idx.len()))
}

fn judged(recipe: &str, dataset: &Dataset, outputs: &[f32], truth: &Targets, seconds: f64) -> Tried {
    let k = dataset.n_outputs();
    let losses: Vec<f64> = outputs
        .chunks_exact(k)
        .enumerate()
        .map(|(i, row)| {
            let nats = |p: f32| -f64::from(p).max(1e-12).ln();
            match truth {
                Targets::Class(classes) => nats(row[classes[i]]),
                Targets::Classes(all) => {
                    (0..k).map(|c| nats(if all[i].contains(&c) { row[c] } else { 1.0 - row[c] })).sum()
                }
                Targets::Number(values) => (f64::from(row[0]) - values[i]).powi(2),
            }
        })
        .collect();
    let n = losses.len().max(1) as f64;
    let loss = losses.iter().sum::<f64>() / n;
    let variance = losses.iter().map(|l| (l - loss).powi(2)).sum::<f64>() / (n - 1.0).max(1.0);
    Tried { recipe: recipe.into(), loss, loss_se: (variance / n).sqrt(), seconds }
}

/// The choice in words.
fn why(tried: &[Tried], chosen: usize, best: usize, skipped: &[String]) -> String {
    let all: Vec<String> =
        tried.iter().map(|t| format!("{} {:.3} ± {:.3}", t.recipe, t.loss, t.loss_se)).collect();
    let mut text = format!(
        "auto chose {} by the loss on the validation split ({})",
        tried[chosen].recipe,
        all.join(", ")
    );
    if chosen != best {
        text.push_str(&format!(
            "; {} was lowest, but within one standard error the cheapest is taken",
            tried[best].recipe
        ));
    }
    if !skipped.is_empty() {
        text.push_str(&format!("; the time limit left no room for {}", skipped.join(", ")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_choice_is_explained() {
        let t = |recipe: &str, loss| Tried { recipe: recipe.into(), loss, loss_se: 0.05, seconds: 1.0 };
        let tried = [t("probe", 0.52), t("full", 0.5)];
        assert_eq!(
            why(&tried, 0, 1, &["lora (90 s)".into()]),
            "auto chose probe by the loss on the validation split (probe 0.520 ± 0.050, full 0.500 ± 0.050); full was \
             lowest, but within one standard error the cheapest is taken; the time limit left no room for lora (90 s)"
        );
    }
}
