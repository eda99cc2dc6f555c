//! What a run will cost on this machine, from doing a little of it: some examples through the frozen part (which the cache
//! keeps), a few steps of the training, one of the rival.

use std::time::Instant;

use headstart_core::{Forecast, Modality, TrainingPlan};
use headstart_graph::rewrite::split_at_frontier;
use headstart_graph::{Graph, multiply_adds};

use crate::prefix::{Extracted, Prefix};
use crate::rival::Rival;
use crate::run::peak_mb;
use crate::tune::{Start, dry_run};
use crate::{Error, Session};

/// Examples that are tried.
const SAMPLE: usize = 24;

/// Forecasts a run, and says what was extracted for it.  `n_judged` examples are only predicted.
pub(crate) fn forecast(
    session: &Session,
    start: &Start<'_>,
    prefix: &Prefix,
    rival: Option<&Rival<'_>>,
    n_judged: usize,
) -> Result<(Forecast, Extracted), Error> {
    let idx = start.train_idx;
    let n_all = (idx.len() + n_judged) as f64;
    let sample: Vec<usize> = spread(start, idx, SAMPLE);
    let clock = Instant::now();
    let (features, _, made) = prefix.extract(session, start.dataset, &sample, "trying the frozen part")?;
    let computed = made.n_computed as f64 / sample.len().max(1) as f64;
    let by_example = clock.elapsed().as_secs_f64() / sample.len().max(1) as f64;
    let mut seconds = by_example * n_all;
    let mut cache_mb = computed * n_all * (4 * features.width + 36) as f64 / MIB;
    let mut saved_share = 0.0;
    let mut held_mb = n_all * 4.0 * features.width as f64 / MIB;
    if let Some(plan) = &start.plan.training {
        let tried: Vec<usize> = spread(start, idx, 3 * plan.batch_size.max(2));
        let tried_start = Start { train_idx: &tried, valid_idx: &[], ..*start };
        let dry = dry_run(&tried_start)?;
        seconds += dry.seconds(plan, idx.len());
        // The trained network predicts what is judged; that is about a third of a step.
        seconds += dry.seconds_a_pass / 3.0 / dry.n as f64 * n_judged as f64;
        let frozen_mb = dry.frozen_bytes(plan, idx.len()) / MIB;
        cache_mb += frozen_mb;
        held_mb += frozen_mb;
        saved_share = saved(plan, &dry.graph);
        // What was learned, beside the start's; checkpoints are written from where their numbers lie.
        let learning: usize = start.plan.groups.iter().map(|g| g.n_learning).sum();
        held_mb += 4.0 * learning as f64 / MIB;
    }
    if let Some(rival) = rival {
        seconds += rival.forecast_seconds()?;
    }
    let peak_mb = peak_mb().unwrap_or(0.0) + held_mb;
    let round = |v: f64| (v * 10.0).round() / 10.0;
    let forecast = Forecast {
        seconds: round(seconds),
        peak_mb: round(peak_mb),
        cache_mb: round(cache_mb),
        saved_share: (saved_share * 1000.0).round() / 1000.0,
    };
    Ok((forecast, made))
}

const MIB: f64 = 1024.0 * 1024.0;

/// Some examples that stand for all: texts evenly spread over the lengths in bytes, the longest among them.
fn spread(start: &Start<'_>, idx: &[usize], n: usize) -> Vec<usize> {
    let n = n.min(idx.len());
    let mut all = idx.to_vec();
    if start.dataset.modality == Modality::Text {
        let length = |i: &usize| match &start.dataset.examples[*i].input {
            headstart_core::Input::Text(text) => text.len(),
            _ => 0,
        };
        all.sort_by_key(|i| (length(i), *i));
    }
    (1..=n).map(|k| all[k * all.len() / n - 1]).collect()
}

/// Share of the multiply-adds of training without a frontier that the plan does not spend.
fn saved(plan: &TrainingPlan, graph: &Graph) -> f64 {
    // Sequences cancel out: every part of a network sees the same length.
    let cost = |g: &Graph| multiply_adds(g, 32) as f64;
    let whole = cost(graph);
    let (mut spent, mut all) = (0.0, 0.0);
    for phase in &plan.phases {
        let lr_max = phase.lr_max(graph);
        let Ok(parts) = split_at_frontier(graph, &|name| lr_max.contains_key(name)) else { return 0.0 };
        let passes = phase.n_passes as f64;
        // A step is a forward pass and two backward ones.
        all += 3.0 * passes * whole;
        let prefix = parts.prefix.as_ref().map_or(0.0, cost);
        let views = (plan.n_views.min(phase.n_passes)) as f64;
        spent += 3.0 * passes * cost(&parts.suffix) + views * prefix;
    }
    if all > 0.0 { (1.0 - spent / all).max(0.0) } else { 0.0 }
}
