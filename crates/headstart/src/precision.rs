//! `--precision`: what products of the frozen network are computed in, and whether less than f32 does harm.
//!
//! The test of harm: some training examples, spread over the split, go through the network both ways.  Features are centred,
//! as a head does; the root mean square of what they differ by then, over that of the features in f32, is the *noise*.  At 0.1 the variance of
//! features between examples, which all that a head can tell lies in, outweighs that of rounding by 100.

use std::str::FromStr;

use headstart_core::{Plan, Precision};
use headstart_engine::Device;
use headstart_graph::Model;
use headstart_graph::rewrite::{Tap, cut};
use headstart_recipe::Recipe;
use serde::{Deserialize, Serialize};

use crate::fit::{FitOptions, Prepared};
use crate::prefix::Prefix;
use crate::{Error, Session};

/// Training examples that both ways are tried on.
const SAMPLE: usize = 48;
/// Below so many examples in all, trying costs about what it could save.
const PAYS_FROM: usize = 6 * SAMPLE;
/// The most noise that counts as harmless.
const NOISE_MAX: f64 = 0.1;

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub enum PrecisionChoice {
    /// This one, whatever it does.  In bf16, a training's products are too.
    Fixed(Precision),
    /// The fastest whose features agree with those in f32.
    Auto,
}

impl Default for PrecisionChoice {
    fn default() -> Self {
        PrecisionChoice::Fixed(Precision::F32)
    }
}

impl From<PrecisionChoice> for String {
    fn from(choice: PrecisionChoice) -> String {
        match choice {
            PrecisionChoice::Fixed(precision) => precision.to_string(),
            PrecisionChoice::Auto => "auto".into(),
        }
    }
}

impl TryFrom<String> for PrecisionChoice {
    type Error = String;

    fn try_from(s: String) -> Result<Self, String> {
        s.parse()
    }
}

impl FromStr for PrecisionChoice {
    type Err = String;

    /// ```
    /// use headstart::PrecisionChoice;
    /// assert_eq!("auto".parse(), Ok(PrecisionChoice::Auto));
    /// assert!("fp8".parse::<PrecisionChoice>().is_err());
    /// ```
    fn from_str(s: &str) -> Result<Self, String> {
        Ok(match s {
            "auto" => PrecisionChoice::Auto,
            "f32" => PrecisionChoice::Fixed(Precision::F32),
            "bf16" => PrecisionChoice::Fixed(Precision::Bf16),
            "int8" => PrecisionChoice::Fixed(Precision::Int8),
            other => return Err(format!("`{other}` is no precision (f32, bf16, int8, auto)")),
        })
    }
}

/// What was decided.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decided {
    precision: Precision,
    note: Option<String>,
}

impl Decided {
    /// Enters it in a plan.
    pub(crate) fn record(&self, plan: &mut Plan) {
        plan.precision = self.precision;
        plan.notes.extend(self.note.clone());
    }
}

/// The frozen part of a probe, everything before the tap, in the precision that was asked for or that was found harmless.
/// The plan says which, and why.
pub(crate) fn prefix(
    session: &Session,
    prepared: &mut Prepared,
    options: &FitOptions,
) -> Result<Prefix, Error> {
    let choice = options.precision;
    let trains = options.recipe == Recipe::Auto || prepared.plan.training.is_some();
    if trains && choice == PrecisionChoice::Fixed(Precision::Int8) {
        return Err(Error::request(
            format!(
                "recipe `{}` trains the network, and 8-bit integers have no gradients",
                options.recipe.name()
            ),
            "pass --precision bf16, or auto: the training stays f32 then",
        ));
    }
    let of = |precision| prefix_in(precision, session, &prepared.source.model, prepared.tap);
    let (prefix, note) = match choice {
        PrecisionChoice::Fixed(precision) => (of(precision)?, None),
        PrecisionChoice::Auto => chosen(session, prepared, &of).map(|(p, note)| (p, Some(note)))?,
    };
    prepared.known.precision = Decided { precision: prefix.precision, note };
    prepared.known.precision.record(&mut prepared.plan);
    Ok(prefix)
}

/// Everything before the tap, with products in `precision`.
pub(crate) fn prefix_in(
    precision: Precision,
    session: &Session,
    model: &Model,
    tap: Tap,
) -> Result<Prefix, Error> {
    Prefix::with_products_in(precision, session, model, &cut(&model.graph, tap)?)
}

/// The fastest way in which a sample's features agree with those in f32.
fn chosen(
    session: &Session,
    prepared: &Prepared,
    of: &dyn Fn(Precision) -> Result<Prefix, Error>,
) -> Result<(Prefix, String), Error> {
    let exact = of(Precision::F32)?;
    let (train, n) = (&prepared.splits.train, prepared.dataset.examples.len());
    if faster(&session.device).next().is_none() {
        return Ok((exact, "features are computed in f32: this device has nothing faster".into()));
    }
    if n < PAYS_FROM {
        let why =
            format!("features are computed in f32: with {n} examples, trying less costs what it could save");
        return Ok((exact, why));
    }
    let size = SAMPLE.min(train.len());
    let sample: Vec<usize> = (0..size).map(|i| train[i * train.len() / size]).collect();
    let extract = |prefix: &Prefix| {
        prefix.extract(session, &prepared.dataset, &sample, "comparing features in fewer bits")
    };
    let (want, ..) = extract(&exact)?;
    let tried = fastest_harmless(&session.device, &want.values, want.width, &|precision| {
        let candidate = of(precision)?;
        let (got, ..) = extract(&candidate)?;
        Ok((candidate, got.values))
    })?;
    let noises: Vec<String> = tried.noises.iter().map(|(p, noise)| format!("{noise:.3} in {p}")).collect();
    let prefix = tried.chosen.map_or(exact, |(_, candidate)| candidate);
    let why = format!(
        "features are computed in {}: on {} training examples the noise of rounding is {} of their spread (harmless up to {NOISE_MAX})",
        prefix.precision,
        want.len(),
        noises.join(", ")
    );
    Ok((prefix, why))
}

/// What a device is faster in than in f32, the fastest first: products of fewer bits are more at once.
fn faster(device: &Device) -> impl Iterator<Item = Precision> {
    [Precision::Int8, Precision::Bf16].into_iter().filter(|p| device.accelerates(*p))
}

/// What was tried, in turn.
pub(crate) struct Tried<W> {
    /// The first that was harmless, and the way that it was computed.
    pub(crate) chosen: Option<(Precision, W)>,
    /// The noise of that and of those before it.
    pub(crate) noises: Vec<(Precision, f64)>,
}

/// Compares rows `want` of a width, which are those in f32, with what `compute` makes of the same in fewer bits, the fastest first.
pub(crate) fn fastest_harmless<W>(
    device: &Device,
    want: &[f32],
    width: usize,
    compute: &dyn Fn(Precision) -> Result<(W, Vec<f32>), Error>,
) -> Result<Tried<W>, Error> {
    let mut tried = Tried { chosen: None, noises: Vec::new() };
    for precision in faster(device) {
        let (way, got) = compute(precision)?;
        let noise = noise_of(want, &got, width);
        tried.noises.push((precision, noise));
        if noise <= NOISE_MAX {
            tried.chosen = Some((precision, way));
            break;
        }
    }
    Ok(tried)
}

/// Root mean square of the difference of centred rows of the same examples, over that of the first.  Infinite where the rows do
/// not differ from each other, or something is no number.
fn noise_of(want: &[f32], got: &[f32], width: usize) -> f64 {
    let n = want.len() / width.max(1);
    if n == 0 || want.len() != got.len() {
        return f64::INFINITY;
    }
    let centred = |feature: usize, value: &dyn Fn(usize) -> f64| {
        let at = |row: usize| value(row * width + feature);
        let mean = (0..n).map(at).sum::<f64>() / n as f64;
        (0..n).map(|row| (at(row) - mean).powi(2)).sum::<f64>()
    };
    let (mut apart, mut spread) = (0.0, 0.0);
    for feature in 0..width {
        apart += centred(feature, &|i| f64::from(got[i]) - f64::from(want[i]));
        spread += centred(feature, &|i| f64::from(want[i]));
    }
    let noise = (apart / spread).sqrt();
    if noise.is_nan() { f64::INFINITY } else { noise }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_is_measured_by_what_tells_examples_apart() {
        // Both features are far from zero, which tells nothing: around their means they are ±1 and ±2.  Nor does it that
        // the second is 0.5 larger everywhere.
        let want = [101.0, 48.0, 99.0, 52.0];
        let got = [101.1, 48.4, 98.9, 52.6];
        let expected = ((0.01 + 0.01 + 0.01 + 0.01) / (1.0 + 4.0 + 1.0 + 4.0_f64)).sqrt();
        assert!((noise_of(&want, &got, 2) - expected).abs() < 1e-4);
        assert_eq!(noise_of(&want, &want, 2), 0.0);
        assert_eq!(noise_of(&[1.0, 1.0], &[1.0, 1.5], 1), f64::INFINITY, "nothing to tell apart");
        assert_eq!(noise_of(&want, &[f32::NAN; 4], 2), f64::INFINITY);
    }
}
