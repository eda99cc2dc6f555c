//! The probe: the network stays frozen, a linear head is fitted on its features ("linear probing"; Donahue et al.,
//! 2014, *DeCAF*; Kornblith, Shlens and Le, 2019, *Do Better ImageNet Models Transfer Better?*).
//!
//! ```text
//! features [n, width] = tap(network(x)),   logits = W·features + b,   W [n_classes, width]
//! min  mean cross-entropy + λ/2·‖W‖²       convex: one answer, whatever the start
//! ```
//!
//! The frontier lies at the tap: the network runs once an example and its features are cached.

use headstart_core::{GroupPlan, HeadPlan, Plan, Scaling};
use headstart_graph::rewrite::{cut, groups, tap, tap_at};

use crate::{Facts, RecipeError, plan_baseline};

/// Plans a probe.
pub(crate) fn plan(facts: &Facts<'_>) -> Result<Plan, RecipeError> {
    let tap = match facts.tap {
        Some(path) => tap_at(facts.graph, path)?,
        None => tap(facts.graph)?,
    };
    let tapped = facts.graph.value(tap.value);
    let prefix = cut(facts.graph, tap)?;
    let shape = &prefix.value(prefix.output()).shape;
    let width = shape
        .width()
        .filter(|_| shape.rank() == 2)
        .ok_or_else(|| RecipeError::Tap { tap: tapped.name.clone(), shape: tapped.shape.to_string() })?;
    let n_classes = facts.classes.len();
    let mut group_plans: Vec<GroupPlan> =
        groups(&prefix).into_iter().map(|g| GroupPlan::frozen(g.name, g.n_parameters)).collect();
    group_plans.push(GroupPlan::trained("head", n_classes * (width + 1)));
    let mut notes = Vec::new();
    let least = facts.train_counts.iter().min().copied().unwrap_or(0);
    let most = facts.train_counts.iter().max().copied().unwrap_or(0);
    let class_weights = match facts.settings.get("class_weights") as u8 {
        0 => false,
        1 => true,
        _ => most >= 3 * least.max(1),
    };
    if class_weights {
        notes.push(format!(
            "the largest class has {most} training examples, the smallest {least}: classes are weighed equally"
        ));
    }
    if least < 5 {
        notes.push(format!("a class has only {least} training examples; expect wide intervals"));
    }
    let n_folds = facts.settings.get("n_folds") as usize;
    let l2 = facts.settings.get("l2");
    Ok(Plan {
        modality: facts.modality,
        recipe: "probe".into(),
        source: facts.source.into(),
        tap: tapped.name.clone(),
        feature_width: width,
        classes: facts.classes.to_vec(),
        seed: facts.seed,
        split: facts.split.clone(),
        head: HeadPlan {
            scaling: Scaling::Common,
            l2_candidates: if l2 > 0.0 { vec![l2] } else { l2_candidates() },
            n_folds,
            class_weights,
        },
        training: None,
        baseline: plan_baseline(facts, None),
        unused_weights: facts.unused_weights.clone(),
        groups: group_plans,
        notes,
    })
}

/// Strengths of the penalty that cross-validation tries, from very strong to hardly any, half a power of ten apart.
/// scikit-learn's `C` is `1/(λ·n)`.
fn l2_candidates() -> Vec<f64> {
    (0..11).map(|i| 10f64.powf(1.0 - 0.5 * f64::from(i))).collect()
}
