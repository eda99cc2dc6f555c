//! Nearest-centroid and prototype heads: closed form, for one to five examples a class, where a fitted head has nothing to
//! choose its penalty by.

use headstart_core::Features;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::cv::check;
use crate::logistic::check_classes;
use crate::predict::{dot, inverse_norm, softmax};

/// How near a row is to a class's prototype.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Distance {
    /// −‖x − μ‖², μ the mean of the class's rows (prototypical networks; Snell et al., 2017): nearest centroid.
    Euclidean,
    /// The cosine of x and the mean of the class's rows at length one (Vinyals et al., 2016; Chen et al., 2019).
    Cosine,
}

/// How to make a head.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PrototypeSpec {
    /// What makes a prototype near.
    pub distance: Distance,
    /// What nearness is multiplied by before the softmax; none to measure it, see [`fit_prototypes`].
    pub temperature: Option<f64>,
}

/// A head like that of [`fit`](crate::fit): logits = W·x + b.
#[derive(Debug, Clone, PartialEq)]
pub struct PrototypeFit {
    /// `[n_classes, width]`.
    pub weight: Vec<f32>,
    /// `[n_classes]`.
    pub bias: Vec<f32>,
    /// Whether rows must be divided by their norm first: for the cosine.
    pub normalise: bool,
    /// What nearness is multiplied by.
    pub temperature: f64,
    /// What the rows say when each is judged by prototypes made without it; none if no class has two.
    pub leave_one_out: Option<LeaveOneOut>,
    /// What a person should know.
    pub notes: Vec<String>,
}

/// Rows judged by prototypes made without them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeaveOneOut {
    /// How many rows were judged: those of classes with two or more, at most about four million scores of them.
    pub n_rows: usize,
    /// Share whose nearest prototype is their class's.
    pub accuracy: f64,
    /// Mean −ln of their class's probability, nats.
    pub log_loss: f64,
}

/// Scores kept while the temperature is measured.
const N_SCORES_MAX: usize = 4 << 20;

/// Makes the head in closed form.  With x̂ = x for the Euclidean distance and x/‖x‖ for the cosine, and temperature τ:
///
/// ```text
/// Euclidean:  W = 2τ·μ,  b = −τ·‖μ‖²      (softmax of −τ·‖x − μ‖², whose ‖x‖² is the same for all classes)
/// cosine:     W = τ·μ/‖μ‖,  b = 0
/// ```
///
/// `features` `[n, width]`, `labels` `[n]`.  The nearest class does not depend on τ; probabilities do.
///
/// **Temperature.**  The paper's τ is 1, in a space that was learned for it; a published network's features have any scale.
/// So τ minimises the log-loss of rows judged without themselves (leave-one-out, in closed form too).  Their targets are
/// 1 − 1/(n + 2) for the class and the rest spread over the others, as Platt (1999) corrects a few certain examples: without it
/// separable rows would have τ → ∞.  If no class has two rows, τ is such that a row at a prototype, with all others at
/// their mean nearness, has probability 0.9; a note says so.
///
/// # Errors
/// As [`fit`](crate::fit); or if the temperature given is not above 0.
///
/// ```
/// use headstart_core::Features;
/// use headstart_train::{Distance, PrototypeSpec, fit_prototypes, predict_proba};
/// let features = Features { width: 1, example_idx: vec![0, 1, 2], values: vec![0.0, 2.0, 5.0] };
/// let spec = PrototypeSpec { distance: Distance::Euclidean, temperature: Some(1.0) };
/// let head = fit_prototypes(&features, &[0, 0, 1], 2, &spec)?;
/// assert_eq!((head.weight, head.bias), (vec![2.0, 10.0], vec![-1.0, -25.0])); // prototypes at 1 and 5
/// # Ok::<(), headstart_train::TrainError>(())
/// ```
pub fn fit_prototypes(
    features: &Features,
    labels: &[usize],
    n_classes: usize,
    spec: &PrototypeSpec,
) -> Result<PrototypeFit, TrainError> {
    check(features, labels.len(), None)?;
    check_classes(features, labels, n_classes)?;
    if let Some(value) = spec.temperature.filter(|t| !(t.is_finite() && *t > 0.0)) {
        return Err(TrainError::OutOfRange { name: "temperature", value, allowed: "above 0" });
    }
    let prototypes = Prototypes::of(features, labels, n_classes, spec.distance);
    let judged = prototypes.leave_one_out(features, labels);
    let mut notes = Vec::new();
    let temperature = match (spec.temperature, &judged) {
        (Some(given), _) => given,
        (None, Some(judged)) => judged.best_temperature(),
        (None, None) => {
            notes.push("one example a class: probabilities are a guess, 0.9 at a prototype".into());
            prototypes.guessed_temperature()
        }
    };
    let (weight, bias) = prototypes.head(temperature);
    let normalise = spec.distance == Distance::Cosine;
    let leave_one_out = judged.map(|j| j.judge(temperature));
    Ok(PrototypeFit { weight, bias, normalise, temperature, leave_one_out, notes })
}

/// Means of classes, not yet at length one for the cosine.
struct Prototypes {
    distance: Distance,
    width: usize,
    n_rows: Vec<usize>,
    /// `[n_classes, width]`.
    means: Vec<f64>,
    /// ‖μ‖².
    squares: Vec<f64>,
}

impl Prototypes {
    fn of(features: &Features, labels: &[usize], n_classes: usize, distance: Distance) -> Self {
        let width = features.width;
        let mut n_rows = vec![0; n_classes];
        let mut means = vec![0.0; n_classes * width];
        for (i, &y) in labels.iter().enumerate() {
            n_rows[y] += 1;
            let row = features.row(i);
            let by = scale_of(row, distance);
            let mean = &mut means[y * width..(y + 1) * width];
            mean.iter_mut().zip(row).for_each(|(m, x)| *m += f64::from(*x) * by);
        }
        for (mean, &n) in means.chunks_exact_mut(width).zip(&n_rows) {
            mean.iter_mut().for_each(|m| *m /= n as f64);
        }
        let squares = means.chunks_exact(width).map(|m| m.iter().map(|v| v * v).sum()).collect();
        Prototypes { distance, width, n_rows, means, squares }
    }

    fn mean(&self, class: usize) -> &[f64] {
        &self.means[class * self.width..(class + 1) * self.width]
    }

    /// Nearness from x̂·μ and ‖x̂‖², to the prototype of a class, without this row if it is one of its `n`.
    fn nearness(&self, product: f64, square: f64, class: usize, without: bool) -> f64 {
        let n = self.n_rows[class] as f64;
        let mean_square = self.squares[class];
        match self.distance {
            // x − μ' = (x − μ) · n / (n − 1), μ' the mean of the others.
            Distance::Euclidean => {
                let away = (square - 2.0 * product + mean_square).max(0.0);
                -away * if without { (n / (n - 1.0)).powi(2) } else { 1.0 }
            }
            // The sum of the others is nμ − x̂.
            Distance::Cosine => {
                let (dot, norm) = if without {
                    let rest = n * n * mean_square - 2.0 * n * product + square;
                    (n * product - square, rest.max(0.0).sqrt())
                } else {
                    (product, mean_square.sqrt())
                };
                if norm > 1e-12 { dot / norm } else { 0.0 }
            }
        }
    }

    fn leave_one_out(&self, features: &Features, labels: &[usize]) -> Option<Judged> {
        let n_classes = self.n_rows.len();
        let rows: Vec<usize> = (0..labels.len()).filter(|&i| self.n_rows[labels[i]] > 1).collect();
        // Evenly over all rows, which may be sorted by class.
        let step = (rows.len() * n_classes).div_ceil(N_SCORES_MAX).max(1);
        let rows: Vec<usize> = rows.into_iter().step_by(step).collect();
        let mut scores = Vec::with_capacity(rows.len() * n_classes);
        for &i in &rows {
            let row = features.row(i);
            let by = scale_of(row, self.distance);
            let square = dot(row, row) * by * by;
            scores.extend((0..n_classes).map(|c| {
                let product: f64 = row.iter().zip(self.mean(c)).map(|(x, m)| f64::from(*x) * m).sum();
                self.nearness(product * by, square, c, c == labels[i])
            }));
        }
        let labels: Vec<usize> = rows.iter().map(|&i| labels[i]).collect();
        (!labels.is_empty()).then_some(Judged { n_classes, labels, scores })
    }

    /// From the prototypes alone: the mean by which a class's own is nearer than another's.
    fn guessed_temperature(&self) -> f64 {
        const PROBABILITY: f64 = 0.9;
        let k = self.n_rows.len();
        // Classes beside one another are enough to know the scale, and there are only k of them.
        let gap = |a: usize| {
            let b = (a + 1) % k;
            let product: f64 = self.mean(a).iter().zip(self.mean(b)).map(|(a, b)| a * b).sum();
            match self.distance {
                Distance::Euclidean => self.squares[a] + self.squares[b] - 2.0 * product,
                Distance::Cosine => 1.0 - product / (self.squares[a] * self.squares[b]).sqrt().max(1e-12),
            }
        };
        let mean = (0..k).map(gap).sum::<f64>() / k as f64;
        let wanted = ((k - 1) as f64 * PROBABILITY / (1.0 - PROBABILITY)).ln();
        if mean > 0.0 { wanted / mean } else { 1.0 }
    }

    fn head(&self, temperature: f64) -> (Vec<f32>, Vec<f32>) {
        let factor = |class: usize| match self.distance {
            Distance::Euclidean => 2.0 * temperature,
            Distance::Cosine if self.squares[class] > 0.0 => temperature / self.squares[class].sqrt(),
            Distance::Cosine => 0.0,
        };
        let classes = 0..self.n_rows.len();
        let weight = classes.clone().flat_map(|c| self.mean(c).iter().map(move |m| (m * factor(c)) as f32));
        let bias = classes.map(|c| match self.distance {
            Distance::Euclidean => (-temperature * self.squares[c]) as f32,
            Distance::Cosine => 0.0,
        });
        (weight.collect(), bias.collect())
    }
}

/// What a row is multiplied by before all else.
fn scale_of(row: &[f32], distance: Distance) -> f64 {
    match distance {
        Distance::Euclidean => 1.0,
        Distance::Cosine => inverse_norm(row),
    }
}

/// Nearness of rows to prototypes made without them.
struct Judged {
    n_classes: usize,
    labels: Vec<usize>,
    /// `[rows, n_classes]`.
    scores: Vec<f64>,
}

impl Judged {
    fn rows(&self) -> impl Iterator<Item = (&[f64], usize)> {
        self.scores.chunks_exact(self.n_classes).zip(self.labels.iter().copied())
    }

    /// The log-loss is convex in τ: where its derivative changes sign, by bisection.
    fn best_temperature(&self) -> f64 {
        let spread: f64 = self.rows().map(|(s, _)| max(s) - s.iter().copied().fold(f64::MAX, f64::min)).sum();
        let spread = spread / self.labels.len() as f64;
        // All prototypes are equally near: no temperature tells them apart.
        if spread <= 0.0 {
            return 1.0;
        }
        // From probabilities that hardly differ to ones that are certain in 64 bits.
        let (mut low, mut high) = ((1e-3 / spread).ln(), (1e6 / spread).ln());
        for _ in 0..60 {
            let middle = 0.5 * (low + high);
            if self.slope(middle.exp()) < 0.0 { low = middle } else { high = middle }
        }
        (0.5 * (low + high)).exp()
    }

    /// Derivative of the summed log-loss with softened targets.
    fn slope(&self, temperature: f64) -> f64 {
        let soft = 1.0 / (self.labels.len() + 2) as f64;
        let others = (self.n_classes - 1) as f64;
        let of_row = |(scores, label): (&[f64], usize)| {
            let p = probabilities(scores, temperature);
            let expected: f64 = p.iter().zip(scores).map(|(p, s)| p * s).sum();
            let rest = (scores.iter().sum::<f64>() - scores[label]) / others;
            expected - (1.0 - soft) * scores[label] - soft * rest
        };
        self.rows().map(of_row).sum()
    }

    fn judge(&self, temperature: f64) -> LeaveOneOut {
        let n_rows = self.labels.len();
        let n_right = self.rows().filter(|(scores, label)| scores[*label] >= max(scores)).count();
        let loss =
            |(scores, label): (&[f64], usize)| -probabilities(scores, temperature)[label].max(1e-300).ln();
        LeaveOneOut {
            n_rows,
            accuracy: n_right as f64 / n_rows as f64,
            log_loss: self.rows().map(loss).sum::<f64>() / n_rows as f64,
        }
    }
}

fn max(scores: &[f64]) -> f64 {
    scores.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

fn probabilities(scores: &[f64], temperature: f64) -> Vec<f64> {
    let mut p: Vec<f64> = scores.iter().map(|s| s * temperature).collect();
    softmax(&mut p);
    p
}
