//! What all recipes that train have in common: from a course (what learns when) to a plan.

use headstart_core::{
    Balance, BatchNorm, GroupPlan, GroupRate, GroupState, HeadStart, Interpolation, Modality, Objective,
    OptimiserPlan, Phase, Plan, Precision, Regulariser, Schedule, TrainingPlan,
};
use headstart_graph::rewrite::{
    Adapter, HeadSpec, Part, adapt, graft, groups, is_adapters, params_of, split_at_frontier, tap, tap_at,
};
use headstart_graph::{Graph, Op, multiply_adds};

use crate::{Facts, RecipeError, Settings, plan_baseline, probe};

/// What learns when, and where it starts.
pub(crate) struct Course {
    pub(crate) phases: Vec<Phase>,
    pub(crate) head_start: HeadStart,
    pub(crate) adapters: Vec<Adapter>,
}

/// Highest learning rates where nobody says otherwise: of the network, of the head.
#[derive(Clone, Copy)]
pub(crate) struct Rates {
    pub(crate) network: f64,
    pub(crate) head: f64,
}

impl Rates {
    /// A recipe's own rates for pictures and texts, unless the settings say otherwise.
    pub(crate) fn of(facts: &Facts<'_>, image: Rates, text: Rates) -> Self {
        let own = if facts.modality == Modality::Image { image } else { text };
        let or = |name: &str, own: f64| match facts.settings.get(name) {
            set if set > 0.0 => set,
            _ => own,
        };
        Rates { network: or("lr", own.network), head: or("head_lr", own.head) }
    }
}

/// What changes pictures while the network learns from them, where nobody says otherwise.
///
/// Without it, a probe that has learned few examples by heart leaves nothing but noise to learn from.
pub const AUGMENTATION_IMAGE: &str = "light";

fn augmentation<'a>(facts: &Facts<'a>) -> &'a str {
    match (facts.augmentation, facts.modality) {
        ("", Modality::Image) => AUGMENTATION_IMAGE,
        ("none", _) => "",
        (named, _) => named,
    }
}

/// The head's group.
pub(crate) const HEAD: &str = "head";

/// Passes over the training examples.
pub(crate) fn n_passes(facts: &Facts<'_>) -> usize {
    match (facts.settings.get("passes") as usize, facts.modality) {
        (0, Modality::Image) => 8,
        (0, Modality::Text) if facts.split.n_train >= 6000 => 3,
        (0, Modality::Text) => 4,
        (n, _) => n,
    }
}

/// The network that a plan trains: the source with the new head, and adapters where it has some.
pub fn network(source: &Graph, tap_path: Option<&str>, plan: &Plan) -> Result<Graph, RecipeError> {
    let tap = match tap_path {
        Some(path) => tap_at(source, path)?,
        None => tap(source)?,
    };
    let mut graph =
        graft(source, tap, &HeadSpec::Linear { n_classes: plan.task.n_outputs(plan.classes.len()) })?;
    for adapter in plan.training.iter().flat_map(|t| &t.adapters) {
        graph = adapt(&graph, adapter)?;
    }
    Ok(graph)
}

/// One phase in which every group of `of` learns at a rate that falls by `lr_decay` from each group to the one before.
pub(crate) fn phase(
    name: &str,
    n_passes: usize,
    of: &[String],
    part: Part,
    rates: Rates,
    lr_decay: f64,
) -> Phase {
    let body = of.iter().filter(|g| *g != HEAD).count();
    let mut rates_of: Vec<GroupRate> = of
        .iter()
        .filter(|g| *g != HEAD)
        .enumerate()
        .map(|(i, group)| {
            let lr_max = rates.network * lr_decay.powi((body - 1 - i) as i32);
            GroupRate { group: group.clone(), part, lr_max }
        })
        .collect();
    rates_of.push(GroupRate { group: HEAD.into(), part: Part::All, lr_max: rates.head });
    Phase { name: name.into(), n_passes, rates: rates_of }
}

/// Names of a graph's groups, from the input to the head.
pub(crate) fn group_names(graph: &Graph) -> Vec<String> {
    groups(graph).into_iter().map(|g| g.name).collect()
}

/// A plan that trains: the probe's plan, with what `course` says of the grafted network.
pub(crate) fn plan(
    facts: &Facts<'_>,
    name: &str,
    course: impl Fn(&Graph, &Facts<'_>) -> Result<Course, RecipeError>,
) -> Result<Plan, RecipeError> {
    let mut plan = probe::plan(facts)?;
    plan.recipe = name.into();
    let grafted = network(facts.graph, facts.tap, &plan)?;
    let Course { phases, head_start, adapters } = course(&grafted, facts)?;
    let training = settings(facts, &plan, phases, head_start, adapters);
    plan.training = Some(training);
    let adapted = network(facts.graph, facts.tap, &plan)?;
    let training = plan.training.as_mut().expect("set above");
    training.n_views = n_views(facts, &adapted, &training.phases);
    plan.groups = group_plans(&adapted, &training.phases);
    plan.notes.extend(lints(facts, &adapted, training));
    plan.baseline = plan_baseline(&Facts { graph: facts.graph, ..facts.clone() }, Some(&plan));
    Ok(plan)
}

fn settings(
    facts: &Facts<'_>,
    plan: &Plan,
    phases: Vec<Phase>,
    head_start: HeadStart,
    adapters: Vec<Adapter>,
) -> TrainingPlan {
    let s = &facts.settings;
    let decay = s.get("weight_decay");
    let warmup = s.get("warmup");
    TrainingPlan {
        objective: match facts.n_unlabelled {
            0 => Objective::Supervised,
            _ => Objective::Consistency {
                threshold: s.get("threshold"),
                ratio: s.get("unlabelled_ratio") as usize,
                weight: s.get("unlabelled_weight"),
            },
        },
        batch_size: s.get("batch") as usize,
        n_accumulated: s.get("accumulate") as usize,
        optimiser: match s.choice("optimiser") {
            "sgd" => OptimiserPlan::Sgd { momentum: 0.9, weight_decay: decay },
            _ => OptimiserPlan::AdamW { weight_decay: decay },
        },
        schedule: match s.choice("schedule") {
            "cosine" => Schedule::Cosine { warmup },
            "one-cycle" => Schedule::OneCycle,
            "constant" => Schedule::Constant,
            _ => Schedule::Linear { warmup },
        },
        clip_norm: s.get("clip_norm"),
        label_smoothing: s.get("label_smoothing"),
        balance: match s.choice("balance") {
            "auto" if plan.head.class_weights => Balance::Weights,
            "weights" => Balance::Weights,
            "effective" => Balance::EffectiveNumber { beta: 0.999 },
            "sampling" => Balance::Sampling,
            _ => Balance::None,
        },
        precision: if s.choice("precision") == "bf16" { Precision::Bf16 } else { Precision::F32 },
        batch_norm: if s.choice("batch_norm") == "batch" { BatchNorm::Batch } else { BatchNorm::Frozen },
        n_segments: s.get("segments") as usize,
        ema_decay: s.get("ema"),
        patience: s.get("patience") as usize,
        mixup: s.get("mixup"),
        cutmix: s.get("cutmix"),
        augmentation: augmentation(facts).into(),
        n_views: 1,
        head_start,
        regularisers: regularisers(s),
        interpolation: match s.get("tuned_share") {
            1.0 => Interpolation::None,
            share if share < 0.0 => Interpolation::Validated,
            share => Interpolation::Fixed { share },
        },
        n_seeds: s.get("seeds") as usize,
        find_lr: s.get("find_lr") >= 0.5,
        adapters,
        phases,
    }
}

/// Views of each example: as many as passes, or a few where they spare a frozen part its work.
fn n_views(facts: &Facts<'_>, graph: &Graph, phases: &[Phase]) -> usize {
    let passes: usize = phases.iter().map(|p| p.n_passes).sum();
    match facts.settings.get("views") as usize {
        _ if augmentation(facts).is_empty() => 1,
        0 if phases.iter().all(|phase| mostly_frozen(graph, phase)) => passes.min(4),
        0 => passes,
        n => n,
    }
}

/// Whether most of the arithmetic lies before what learns in a phase.
fn mostly_frozen(graph: &Graph, phase: &Phase) -> bool {
    let lr_max = phase.lr_max(graph);
    let prefix = split_at_frontier(graph, &|name| lr_max.contains_key(name)).ok().and_then(|d| d.prefix);
    // The share hardly depends on the sequence.
    prefix.is_some_and(|prefix| 2 * multiply_adds(&prefix, 128) >= multiply_adds(graph, 128))
}

fn regularisers(s: &Settings) -> Vec<Regulariser> {
    let all = [
        (s.get("l2_sp"), Regulariser::L2Sp { strength: s.get("l2_sp") }),
        (s.get("bss"), Regulariser::Bss { strength: s.get("bss"), k: 1 }),
        (s.get("delta"), Regulariser::Delta { strength: s.get("delta") }),
        (s.get("co_tuning"), Regulariser::CoTuning { strength: s.get("co_tuning") }),
        (s.get("distillation"), Regulariser::Distillation { strength: s.get("distillation") }),
    ];
    all.into_iter().filter(|(strength, _)| *strength > 0.0).map(|(_, r)| r).collect()
}

/// What becomes of every group over all phases.
fn group_plans(graph: &Graph, phases: &[Phase]) -> Vec<GroupPlan> {
    let n_of = |names: &[&str]| -> usize {
        let size = |name: &&str| {
            graph.params().find(|(_, n, _)| n == name).map(|(_, _, p)| p.shape.iter().product::<usize>())
        };
        names.iter().filter_map(size).sum::<usize>()
    };
    groups(graph)
        .into_iter()
        .map(|g| {
            let rates: Vec<&GroupRate> =
                phases.iter().flat_map(|p| &p.rates).filter(|r| r.group == g.name).collect();
            let mut learning: Vec<&str> =
                rates.iter().flat_map(|r| params_of(graph, &g.name, r.part)).collect();
            learning.sort_unstable();
            learning.dedup();
            let n_learning = n_of(&learning);
            let state = match n_learning {
                0 => GroupState::Frozen,
                _ if learning.iter().all(|n| is_adapters(n)) => GroupState::Adapted,
                _ => GroupState::Trained,
            };
            let lr_max = rates
                .iter()
                .map(|r| r.lr_max)
                .fold(None, |m: Option<f64>, r| Some(m.map_or(r, |m| m.max(r))));
            GroupPlan {
                name: g.name,
                n_parameters: g.n_parameters,
                n_learning,
                state,
                lr_max: lr_max.filter(|_| n_learning > 0),
            }
        })
        .collect()
}

/// What a person should know before it runs.
fn lints(facts: &Facts<'_>, graph: &Graph, training: &TrainingPlan) -> Vec<String> {
    let mut notes = Vec::new();
    let has_batch_norm = graph.nodes().iter().any(|n| matches!(n.op, Op::BatchNorm { .. }));
    let n_steps = facts.split.n_train.div_ceil(training.batch_size * training.n_accumulated);
    if has_batch_norm && training.batch_norm == BatchNorm::Batch {
        notes.push(format!(
            "batch norm goes by the statistics of {} examples and forgets the source's: on small data this can cost \
             many points between training and prediction (keras issue 9214); `--set batch_norm=frozen` avoids it",
            training.batch_size
        ));
    }
    if training.batch_size > facts.split.n_train {
        notes.push(format!(
            "a batch of {} is more than the {} training examples: every pass is one step",
            training.batch_size, facts.split.n_train
        ));
    }
    if training.patience > 0 && facts.split.n_valid == 0 {
        notes.push("patience needs a validation split; there is none, so training goes to the end".into());
    }
    if training.interpolation == Interpolation::Validated && facts.split.n_valid == 0 {
        notes.push(
            "the share of tuned weights cannot be picked without a validation split; 0.5 is used".into(),
        );
    }
    if n_steps * training.phases.iter().map(|p| p.n_passes).sum::<usize>() < 20 {
        notes.push("fewer than 20 updates in all; more passes may help (`--set passes=…`)".into());
    }
    notes
}
