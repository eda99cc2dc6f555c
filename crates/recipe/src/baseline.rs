//! The rival every transfer must beat: the same network from random weights, under a stated budget.
//!
//! The budget is counted in multiply-adds, not in seconds of this machine, so that the same request makes the same
//! plan everywhere and a run stays a function of its inputs.

use headstart_core::{BaselinePlan, Modality, Plan};
use headstart_graph::{multiply_adds, rewrite::resize};

use crate::Facts;

/// What one forward pass and one training step cost, relative to each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BaselineCost {
    /// A training step in forward passes of the same example: forward, backward by data, backward by weight, and
    /// what the interpreter adds to the last two.
    pub step_in_forwards: f64,
    /// Work that is always granted, in multiply-adds: about half a minute on two cores.  Small data would get no fair
    /// rival from a share of next to nothing.
    pub floor_multiply_adds: f64,
}

impl BaselineCost {
    /// Measured with the interpreter on two cores (`docs/decisions/0009-the-rival.md`).
    fn of(modality: Modality) -> Self {
        match modality {
            Modality::Image => BaselineCost { step_in_forwards: 5.0, floor_multiply_adds: 4e11 },
            Modality::Text => BaselineCost { step_in_forwards: 3.5, floor_multiply_adds: 1.2e12 },
        }
    }
}

/// Sides of pictures that the rival may be trained on, pixels.
const SIZES_PX: [usize; 4] = [224, 128, 96, 64];
/// Fewer passes than this are no fair chance; pictures are made smaller before passes get fewer.
const PASSES_FAIR: usize = 20;
/// The rival's longest sequence, tokens.
const LENGTH_MAX: usize = 128;

/// Decides size and passes of the rival; none if the budget declines it.
///
/// Beside a plan that trains it is granted what that training costs, so that both start from the same budget.
pub fn plan_baseline(facts: &Facts<'_>, trained: Option<&Plan>) -> Option<BaselinePlan> {
    if facts.baseline_budget <= 0.0 || facts.split.n_train == 0 {
        return None;
    }
    let cost = BaselineCost::of(facts.modality);
    let forward = multiply_adds(facts.graph, facts.sequence) as f64;
    let n_all = (facts.split.n_train + facts.split.n_valid + facts.split.n_test) as f64;
    let features = n_all * forward;
    let n_passes: usize = trained
        .and_then(|p| p.training.as_ref())
        .map_or(0, |t| t.n_seeds * t.phases.iter().map(|p| p.n_passes).sum::<usize>());
    let training = n_passes as f64 * facts.split.n_train as f64 * cost.step_in_forwards * forward;
    let budget = (facts.baseline_budget * features).max(cost.floor_multiply_adds).max(training);
    let sizes: Vec<(usize, f64)> = match facts.size_px {
        Some(full) => SIZES_PX
            .iter()
            .copied()
            .filter(|s| *s < full)
            .chain([full])
            .filter_map(|s| Some((s, multiply_adds(&resize(facts.graph, [s, s]).ok()?, 1) as f64)))
            .collect(),
        None => vec![(0, forward)],
    };
    let pass = |at: f64| facts.split.n_train as f64 * cost.step_in_forwards * at;
    let fits = |at: f64| ((budget - facts.split.n_test as f64 * at) / pass(at)).floor().max(0.0) as usize;
    let passes_max = facts.settings.get("baseline_passes_max") as usize;
    let by_size = |s: &&(usize, f64)| s.0;
    let fair = sizes.iter().filter(|(_, at)| fits(*at) >= PASSES_FAIR.min(passes_max)).max_by_key(by_size);
    let &(size, at) = fair.or_else(|| sizes.iter().min_by_key(by_size))?;
    let n_passes = fits(at).clamp(1, passes_max);
    let spent = (n_passes as f64 * pass(at)) / features.max(1.0);
    let capped = if n_passes < PASSES_FAIR.min(passes_max) {
        "; the budget allows no more, so a higher --baseline-budget would make it a stronger rival"
    } else {
        ""
    };
    let why = match facts.size_px {
        Some(full) if size < full => {
            format!("{n_passes} passes over pictures of {size} px instead of {full}{capped}")
        }
        _ => format!("{n_passes} passes{capped}"),
    };
    let lr = facts.settings.get("baseline_lr_max");
    Some(BaselinePlan {
        n_passes,
        batch_size: facts.settings.get("baseline_batch") as usize,
        size_px: facts.size_px.map(|_| size),
        length_max: (facts.modality == Modality::Text).then_some(LENGTH_MAX),
        lr_max: match (lr > 0.0, facts.modality) {
            (true, _) => lr,
            (false, Modality::Image) => 2e-3,
            (false, Modality::Text) => 3e-4,
        },
        cost_ratio: (spent * 100.0).round() / 100.0,
        why,
    })
}
