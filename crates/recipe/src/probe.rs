//! The probe: the network stays frozen, a linear head is fitted on its features ("linear probing"; Donahue et al.,
//! 2014, *DeCAF*; Kornblith, Shlens and Le, 2019, *Do Better ImageNet Models Transfer Better?*).
//!
//! ```text
//! features [n, width] = tap(network(x)),   outputs = W·features + b,   W [n_outputs, width]
//! min  mean loss + λ/2·‖W‖²                convex: one answer, whatever the start
//! ```
//!
//! The loss is softmax cross-entropy for classes, sigmoid cross-entropy for labels, half the squared error for numbers.
//!
//! The frontier lies at the tap: the network runs once an example and its features are cached.

use headstart_core::{GroupPlan, HeadPlan, Metric, Plan, Scaling, Task};
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
    let n_outputs = facts.task.n_outputs(facts.classes.len());
    let mut group_plans: Vec<GroupPlan> =
        groups(&prefix).into_iter().map(|g| GroupPlan::frozen(g.name, g.n_parameters)).collect();
    group_plans.push(GroupPlan::trained("head", n_outputs * (width + 1)));
    let (class_weights, notes) = balance(facts);
    let n_folds = facts.settings.get("n_folds") as usize;
    let l2 = facts.settings.get("l2");
    Ok(Plan {
        modality: facts.modality,
        task: facts.task,
        metric: facts.metric,
        recipe: "probe".into(),
        source: facts.source.into(),
        tap: tapped.name.clone(),
        feature_width: width,
        classes: facts.classes.to_vec(),
        seed: facts.seed,
        split: facts.split.clone(),
        precision: Default::default(),
        head: HeadPlan {
            kind: Default::default(),
            scaling: Scaling::Common,
            l2_candidates: if l2 > 0.0 { vec![l2] } else { l2_candidates(facts.task) },
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

/// Whether classes are weighed equally, and what to know of their sizes.  Labels are never weighed: each has a regression
/// of its own, whose ranking a weight would hardly change and whose probabilities it would spoil.
fn balance(facts: &Facts<'_>) -> (bool, Vec<String>) {
    let mut notes = Vec::new();
    let n = facts.split.n_train;
    let least = facts.train_counts.iter().min().copied().unwrap_or(0);
    let most = facts.train_counts.iter().max().copied().unwrap_or(0);
    if facts.task == Task::Regression {
        if n < 50 {
            notes.push(format!("there are only {n} training examples; expect wide intervals"));
        }
        return (false, notes);
    }
    let uneven = most >= 3 * least.max(1);
    let class_weights = facts.task == Task::Classification
        && match facts.settings.get("class_weights") as u8 {
            0 => false,
            1 => true,
            _ => uneven,
        };
    if class_weights {
        notes.push(format!(
            "the largest class has {most} training examples, the smallest {least}: classes are weighed equally"
        ));
    }
    if facts.task == Task::Classification
        && facts.metric == Metric::Accuracy
        && 2 * most > n
        && most >= 9 * least
    {
        notes.push(format!(
            "{most} of {n} training examples are of one class, which always guessing it gets right: accuracy says little, \
             and weighing classes equally costs some of it; consider --metric average_precision, auroc or balanced_accuracy"
        ));
    }
    let what = if facts.task == Task::MultiLabel { "label" } else { "class" };
    if least < 5 {
        notes.push(format!("a {what} has only {least} training examples; expect wide intervals"));
    }
    (class_weights, notes)
}

/// Strengths of the penalty that cross-validation tries, from very strong to hardly any, half a power of ten apart.
/// scikit-learn's `C` is `1/(λ·n)`, its `alpha` of ridge regression `λ·n`.  Squared errors, whose curvature does not sink
/// as answers become sure, want stronger ones.
fn l2_candidates(task: Task) -> Vec<f64> {
    let (first, n) = if task == Task::Regression { (3.0, 15) } else { (1.0, 11) };
    (0..n).map(|i| 10f64.powf(first - 0.5 * f64::from(i))).collect()
}
