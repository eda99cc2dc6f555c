//! Means of weights: interpolation with the start (WiSE-FT; Wortsman et al., 2022, *Robust fine-tuning of zero-shot
//! models*), averages over seeds (Wortsman et al., 2022, *Model soups*), running means (Polyak and Juditsky, 1992).

use headstart_graph::{GraphError, Tensor, Weights};

use super::TuneError;

/// `(1 − share)·a + share·b` of every tensor of `a`, in f64; both must have it.
///
/// ```
/// use headstart_graph::{Tensor, Weights};
/// let w = |v| -> Weights { [("w".to_string(), Tensor::from_f32(&[1], &[v]).unwrap())].into_iter().collect() };
/// let mixed = headstart_train::interpolate(&w(1.0), &w(3.0), 0.25)?;
/// assert_eq!(mixed.require("w")?.to_f32()?[0], 1.5);
/// # Ok::<(), headstart_train::TuneError>(())
/// ```
pub fn mix(a: &Weights, b: &Weights, share: f64) -> Result<Weights, TuneError> {
    let parts = [(a, 1.0 - share), (b, share)];
    Ok(weighted(&parts)?)
}

/// The mean of several networks' weights, in the order of the first.
pub fn mean(all: &[Weights]) -> Result<Weights, TuneError> {
    let parts: Vec<(&Weights, f64)> = all.iter().map(|w| (w, 1.0 / all.len() as f64)).collect();
    Ok(weighted(&parts)?)
}

fn weighted(parts: &[(&Weights, f64)]) -> Result<Weights, GraphError> {
    let Some((first, _)) = parts.first() else { return Ok(Weights::new()) };
    first
        .iter()
        .map(|(name, tensor)| {
            let mut sum = vec![0.0f64; tensor.len()];
            for (weights, share) in parts {
                let other = weights.require(name)?;
                if other.shape() != tensor.shape() {
                    let (want, got) = (tensor.shape().to_vec(), other.shape().to_vec());
                    return Err(GraphError::WeightShape { name: name.into(), want, got });
                }
                sum.iter_mut().zip(other.to_f32()?.iter()).for_each(|(s, v)| *s += share * f64::from(*v));
            }
            let values: Vec<f32> = sum.into_iter().map(|v| v as f32).collect();
            Ok((name.to_string(), Tensor::from_f32(tensor.shape(), &values)?))
        })
        .collect()
}
