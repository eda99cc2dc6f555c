//! Minimises a smooth convex function: limited-memory BFGS (Liu & Nocedal, 1989) with a preconditioner.
//!
//! Own code, because the preconditioner is the point: it takes the place of the multiple of the identity that the method
//! starts from, and the libraries we know (argmin, liblbfgs) have no room for one.

/// When to stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stop {
    /// Largest entry of the gradient, in size.
    pub(crate) gradient_max: f64,
    pub(crate) n_iterations_max: usize,
}

/// Where it stopped.
#[derive(Debug)]
pub(crate) struct Minimum {
    pub(crate) x: Vec<f64>,
    pub(crate) n_iterations: usize,
    pub(crate) converged: bool,
}

/// Pairs of steps remembered.
const MEMORY: usize = 10;
/// Sufficient decrease and curvature of the weak Wolfe conditions.
const DECREASE: f64 = 1e-4;
const CURVATURE: f64 = 0.9;
/// Values carry the noise of 32-bit products; a step may look this much worse than it is.
const VALUE_NOISE: f64 = 1e-7;
/// If noise ends the search, gradients up to this multiple of the goal still count as converged.
const NOISE_MARGIN: f64 = 10.0;

/// From `start`, where value and gradient are known.  `evaluate(x)` gives them, `precondition(g)` an approximate `H⁻¹·g`, which must be linear: it is asked once an
/// iteration.
pub(crate) fn minimise(
    start: Vec<f64>,
    (mut value, mut gradient): (f64, Vec<f64>),
    stop: Stop,
    mut evaluate: impl FnMut(&[f64]) -> (f64, Vec<f64>),
    precondition: impl Fn(&[f64]) -> Vec<f64>,
) -> Minimum {
    let mut x = start;
    let mut preconditioned = precondition(&gradient);
    let mut memory = Memory::default();
    let mut n_iterations = 0;
    while size_max(&gradient) > stop.gradient_max {
        if n_iterations == stop.n_iterations_max {
            return Minimum { x, n_iterations, converged: false };
        }
        n_iterations += 1;
        let direction = memory.direction(&gradient, &preconditioned);
        match search(&x, value, &gradient, &direction, &mut evaluate) {
            Some(point) => {
                let new = precondition(&point.gradient);
                memory.push([&x, &gradient, &preconditioned], [&point.x, &point.gradient, &new]);
                (x, value, gradient, preconditioned) = (point.x, point.value, point.gradient, new);
            }
            // A stale memory may point uphill: begin afresh.  Without a memory there is nothing left to gain.
            None if !memory.pairs.is_empty() => memory = Memory::default(),
            None => {
                let converged = size_max(&gradient) <= NOISE_MARGIN * stop.gradient_max;
                return Minimum { x, n_iterations, converged };
            }
        }
    }
    Minimum { x, n_iterations, converged: true }
}

struct Point {
    x: Vec<f64>,
    value: f64,
    gradient: Vec<f64>,
}

/// Weak Wolfe by doubling and halving (Lewis & Overton, 2013).
fn search(
    x: &[f64],
    value: f64,
    gradient: &[f64],
    direction: &[f64],
    evaluate: &mut impl FnMut(&[f64]) -> (f64, Vec<f64>),
) -> Option<Point> {
    let slope = dot(gradient, direction);
    if slope.is_nan() || slope >= 0.0 {
        return None;
    }
    let noise = VALUE_NOISE * value.abs().max(1e-3);
    let (mut lo, mut hi, mut step) = (0.0, f64::INFINITY, 1.0);
    for _ in 0..30 {
        let at: Vec<f64> = x.iter().zip(direction).map(|(x, d)| x + step * d).collect();
        let (new_value, new_gradient) = evaluate(&at);
        let new_slope = dot(&new_gradient, direction);
        // Within the noise of values, the slope tells an overshoot.
        let overshot = new_value > value + DECREASE * step * slope + noise || new_slope > -CURVATURE * slope;
        if overshot || new_slope.is_nan() {
            hi = step;
        } else if new_slope < CURVATURE * slope {
            lo = step;
        } else {
            return Some(Point { x: at, value: new_value, gradient: new_gradient });
        }
        step = if hi.is_finite() { 0.5 * (lo + hi) } else { 2.0 * step };
    }
    None
}

#[derive(Default)]
struct Memory {
    /// Oldest first.
    pairs: Vec<Pair>,
    /// Scale of the preconditioner, from the last pair.
    scale: Option<f64>,
}

struct Pair {
    step: Vec<f64>,
    /// Of the gradient.
    change: Vec<f64>,
    /// The change, preconditioned.
    preconditioned: Vec<f64>,
    /// 1/(step·change).
    rho: f64,
}

impl Memory {
    /// −H⁻¹·g by the two-loop recursion, from `g` and what the preconditioner makes of it.
    fn direction(&self, gradient: &[f64], preconditioned: &[f64]) -> Vec<f64> {
        let (mut q, mut r) = (gradient.to_vec(), preconditioned.to_vec());
        let mut alphas = Vec::with_capacity(self.pairs.len());
        for pair in self.pairs.iter().rev() {
            let alpha = pair.rho * dot(&pair.step, &q);
            axpy(-alpha, &pair.change, &mut q);
            axpy(-alpha, &pair.preconditioned, &mut r);
            alphas.push(alpha);
        }
        let scale = self.scale.unwrap_or(1.0);
        r.iter_mut().for_each(|v| *v *= scale);
        for (pair, alpha) in self.pairs.iter().zip(alphas.into_iter().rev()) {
            let beta = pair.rho * dot(&pair.change, &r);
            axpy(alpha - beta, &pair.step, &mut r);
        }
        r.iter_mut().for_each(|v| *v = -*v);
        r
    }

    /// A step from one point, gradient and preconditioned gradient to the next.
    fn push(&mut self, from: [&[f64]; 3], to: [&[f64]; 3]) {
        let minus = |i: usize| to[i].iter().zip(from[i]).map(|(a, b)| a - b).collect::<Vec<f64>>();
        let [step, change, preconditioned] = [0, 1, 2].map(minus);
        let product = dot(&step, &change);
        // Convex functions have step·change > 0; rounding may not.
        if product <= 1e-12 * dot(&step, &step).sqrt() * dot(&change, &change).sqrt() {
            return;
        }
        self.scale = Some(product / dot(&change, &preconditioned));
        if self.pairs.len() == MEMORY {
            self.pairs.remove(0);
        }
        self.pairs.push(Pair { step, change, preconditioned, rho: 1.0 / product });
    }
}

/// Eight running sums, so that it vectorises; their order is fixed, so the bits are too.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (chunks_a, chunks_b) = (a.chunks_exact(8), b.chunks_exact(8));
    let tail: f64 = chunks_a.remainder().iter().zip(chunks_b.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in chunks_a.zip(chunks_b) {
        for i in 0..8 {
            sums[i] += a[i] * b[i];
        }
    }
    sums.iter().sum::<f64>() + tail
}

fn axpy(alpha: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += alpha * x;
    }
}

/// Steps to points that are not numbers are never taken, so there are none here.
fn size_max(v: &[f64]) -> f64 {
    v.iter().fold(0.0, |m: f64, v| m.max(v.abs()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A quadratic of condition 1,000 with its exact inverse as preconditioner takes one step; without it, some more.
    #[test]
    fn a_preconditioner_that_fits_takes_one_step() {
        let h: Vec<f64> = (0..20).map(|i| 10f64.powf(-3.0 * f64::from(i) / 19.0)).collect();
        let evaluate = |x: &[f64]| {
            let g: Vec<f64> = x.iter().zip(&h).map(|(x, h)| h * (x - 1.0)).collect();
            (0.5 * x.iter().zip(&h).map(|(x, h)| h * (x - 1.0).powi(2)).sum::<f64>(), g)
        };
        let stop = Stop { gradient_max: 1e-5, n_iterations_max: 500 };
        let exact = minimise(vec![0.0; 20], evaluate(&[0.0; 20]), stop, evaluate, |g| {
            g.iter().zip(&h).map(|(g, h)| g / h).collect()
        });
        assert_eq!((exact.n_iterations, exact.converged), (1, true));
        let plain = minimise(vec![0.0; 20], evaluate(&[0.0; 20]), stop, evaluate, <[f64]>::to_vec);
        assert!(plain.converged && plain.n_iterations > 5);
    }

    #[test]
    fn stops_when_told() {
        let evaluate = |x: &[f64]| (x[0].exp(), vec![x[0].exp()]);
        let stop = Stop { gradient_max: 0.0, n_iterations_max: 7 };
        let m = minimise(vec![0.0], evaluate(&[0.0]), stop, evaluate, <[f64]>::to_vec);
        assert_eq!((m.n_iterations, m.converged), (7, false));
    }
}
