//! How well scores rank positives above negatives: average precision and the area under the ROC curve.

/// Examples of one class from the highest score to the lowest, sorted once and then measured under any weights.
pub(super) struct Ranking {
    /// Positions of the examples, by falling score.
    order: Vec<u32>,
    /// By place in `order`: is it of the class?
    positive: Vec<bool>,
    /// By place in `order`: does the next one have a lower score?  Equal scores are one step.
    ends_step: Vec<bool>,
}

impl Ranking {
    /// Of `n` examples.
    pub(super) fn new(n: usize, score: impl Fn(usize) -> f32, positive: impl Fn(usize) -> bool) -> Self {
        let mut order: Vec<u32> = (0..n as u32).collect();
        order.sort_by(|&a, &b| score(b as usize).total_cmp(&score(a as usize)));
        let at = |place: usize| score(order[place] as usize);
        let ends_step = (0..n).map(|place| place + 1 == n || at(place) != at(place + 1)).collect();
        let positive = order.iter().map(|&i| positive(i as usize)).collect();
        Ranking { order, positive, ends_step }
    }

    /// Average precision, `Σₛ (Rₛ − Rₛ₋₁)·Pₛ` over the steps, without interpolation (Manning, Raghavan and Schütze,
    /// 2008, section 8.4).  `weight` is how often each example counts.  None if no positive counts.
    pub(super) fn average_precision(&self, weight: impl Fn(usize) -> u64) -> Option<f64> {
        let (mut area, mut before) = (0.0, 0u64);
        let (positives, _) = self.steps(weight, |tp, fp| {
            if tp > before {
                area += (tp - before) as f64 * tp as f64 / (tp + fp) as f64;
            }
            before = tp;
        });
        (positives > 0).then(|| area / positives as f64)
    }

    /// The chance that a positive has a higher score than a negative, equal scores counting half (Hanley and McNeil,
    /// 1982).  None if no positive or no negative counts.
    pub(super) fn auroc(&self, weight: impl Fn(usize) -> u64) -> Option<f64> {
        let (mut area, mut before) = (0.0, (0u64, 0u64));
        let (positives, negatives) = self.steps(weight, |tp, fp| {
            area += (fp - before.1) as f64 * (before.0 as f64 + (tp - before.0) as f64 / 2.0);
            before = (tp, fp);
        });
        (positives > 0 && negatives > 0).then(|| area / (positives as f64 * negatives as f64))
    }

    /// Calls `at` with the positives and negatives down to each step's end; returns how many there are of each.
    fn steps(&self, weight: impl Fn(usize) -> u64, mut at: impl FnMut(u64, u64)) -> (u64, u64) {
        let (mut tp, mut fp) = (0, 0);
        for ((&i, &positive), &ends) in self.order.iter().zip(&self.positive).zip(&self.ends_step) {
            *(if positive { &mut tp } else { &mut fp }) += weight(i as usize);
            if ends {
                at(tp, fp);
            }
        }
        (tp, fp)
    }
}
