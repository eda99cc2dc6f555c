//! Draws from the symmetric Beta distribution.

use headstart_core::Rng;

use crate::TrainError;

/// λ ~ Beta(α, α), as X / (X + Y) of two Gamma(α) draws, in logarithms: for small α both underflow.
pub(super) fn symmetric_beta(alpha: f64, rng: &mut Rng) -> Result<f64, TrainError> {
    if !(alpha > 0.0 && alpha <= 1e4) {
        let allowed = "above 0, up to 10,000";
        return Err(TrainError::OutOfRange { name: "alpha of the Beta distribution", value: alpha, allowed });
    }
    let (x, y) = (ln_gamma_draw(alpha, rng), ln_gamma_draw(alpha, rng));
    Ok(1.0 / (1.0 + (y - x).exp()))
}

/// The logarithm of a Gamma(shape, 1) draw: Marsaglia and Tsang (2000) at shape + 1, times U^(1/shape).
fn ln_gamma_draw(shape: f64, rng: &mut Rng) -> f64 {
    let d = shape + 1.0 - 1.0 / 3.0;
    let c = 1.0 / (9.0 * d).sqrt();
    loop {
        let x = rng.normal();
        let v = (1.0 + c * x).powi(3);
        // In (0, 1], so that its logarithm is finite.
        let u = 1.0 - rng.uniform();
        if v > 0.0 && u.ln() < 0.5 * x * x + d - d * v + d * v.ln() {
            return (d * v).ln() + (1.0 - rng.uniform()).ln() / shape;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// α, and the tenth and three tenths quantiles of Beta(α, α), by SciPy 1.17: `scipy.stats.beta(a, a).ppf([.1, .3])`.
    const QUANTILES: [(f64, f64, f64); 5] = [
        (0.05, 9.711824e-15, 3.3862e-5),
        (0.2, 0.000_247_764_7, 0.057_880_58),
        (0.4, 0.011_690_46, 0.169_444_1),
        (1.0, 0.1, 0.3),
        (5.0, 0.300_968_8, 0.415_605_4),
    ];

    #[test]
    fn quantiles_are_the_distribution_s() {
        let n = 20_000;
        for (alpha, tenth, three_tenths) in QUANTILES {
            let mut rng = Rng::new(11);
            let draws: Vec<f64> = (0..n).map(|_| symmetric_beta(alpha, &mut rng).unwrap()).collect();
            assert!(draws.iter().all(|l| (0.0..=1.0).contains(l)));
            let share = |below: f64| draws.iter().filter(|l| **l <= below).count() as f64 / f64::from(n);
            for (quantile, wanted) in [(tenth, 0.1), (three_tenths, 0.3), (0.5, 0.5)] {
                // Three standard errors of a share of a half.
                assert!((share(quantile) - wanted).abs() < 0.0107, "{alpha}: {} {wanted}", share(quantile));
            }
        }
    }

    #[test]
    fn an_impossible_alpha_is_refused() {
        for alpha in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(symmetric_beta(alpha, &mut Rng::new(0)).is_err(), "{alpha}");
        }
    }
}
