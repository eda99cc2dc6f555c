//! Golden predictions: inputs that a bundle carries and the outputs that must come back.
//!
//! The inputs are made up, never taken from the user's data: a bundle may be published, the data may not.

use headstart_core::Task;
use serde::{Deserialize, Serialize};

use crate::BundleError;

/// How far probabilities may differ between machines of one class that add in another order; numbers by this share of
/// their targets' spread.
pub const GOLDEN_TOLERANCE: f32 = 1e-3;

/// Inputs and the predictions that must come back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Golden {
    /// What to predict.
    pub inputs: Vec<GoldenInput>,
    /// `[inputs, outputs]`: probabilities of the classes or labels, or one number.
    pub outputs: Vec<Vec<f32>>,
    /// Largest difference that still counts as the same.
    pub tolerance: f32,
}

/// One input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoldenInput {
    /// A file of the bundle: `golden/noise-37x53.png`.
    File(String),
    /// A text.
    Text(String),
}

impl Golden {
    /// Checks that there are `n_outputs` numbers for each input, and that they are probabilities unless numbers are asked for.
    pub(crate) fn check(&self, n_outputs: usize, task: Task) -> Result<(), BundleError> {
        let wrong = |why: String| Err(BundleError::GoldenShape(why));
        if self.inputs.len() != self.outputs.len() {
            return wrong(format!("{} inputs, {} predictions", self.inputs.len(), self.outputs.len()));
        }
        if !(self.tolerance.is_finite() && self.tolerance >= 0.0) {
            return wrong(format!("the tolerance is {}", self.tolerance));
        }
        for (i, row) in self.outputs.iter().enumerate() {
            if row.len() != n_outputs {
                return wrong(format!("input {i} has {} outputs, not {n_outputs}", row.len()));
            }
            let fits = |p: &f32| match task {
                Task::Regression => p.is_finite(),
                Task::Classification | Task::MultiLabel => (0.0..=1.0 + 1e-3).contains(p),
            };
            if let Some(p) = row.iter().find(|p| !fits(p)) {
                let what = if task == Task::Regression { "an output" } else { "a probability" };
                return wrong(format!("input {i} has {what} of {p}"));
            }
        }
        Ok(())
    }
}

/// Refuses predictions that are not those that were sealed.  Classes are named by position; an open bundle names them
/// by label, see [`crate::OpenBundle::check_golden`].
///
/// ```
/// use headstart_bundle::{Golden, GoldenInput, check_golden};
/// let golden = Golden {
///     inputs: vec![GoldenInput::Text("A quiet day.".into())],
///     outputs: vec![vec![0.75, 0.25]],
///     tolerance: 1e-3,
/// };
/// assert!(check_golden(&golden, &[vec![0.7501, 0.2499]]).is_ok());
/// let error = check_golden(&golden, &[vec![0.25, 0.75]]).unwrap_err().to_string();
/// assert!(error.starts_with(r#"golden input "A quiet day.": class 0 has 0.25, 0.75 was sealed"#));
/// ```
pub fn check_golden(expected: &Golden, got: &[Vec<f32>]) -> Result<(), BundleError> {
    compare(expected, got, &[])
}

/// The comparison; `labels` may be empty.
pub(crate) fn compare(expected: &Golden, got: &[Vec<f32>], labels: &[String]) -> Result<(), BundleError> {
    if got.len() != expected.outputs.len() {
        return Err(BundleError::GoldenShape(format!(
            "{} were replayed, {} were sealed",
            got.len(),
            expected.outputs.len()
        )));
    }
    // Worst input and class; NaN counts as infinitely far.
    let mut worst: Option<(f32, usize, usize)> = None;
    let mut n_wrong = 0;
    for (i, (want_row, got_row)) in expected.outputs.iter().zip(got).enumerate() {
        if want_row.len() != got_row.len() {
            return Err(BundleError::GoldenShape(format!(
                "input {i} has {} outputs, {} were sealed",
                got_row.len(),
                want_row.len()
            )));
        }
        let apart = |(w, g): (&f32, &f32)| if g.is_finite() { (w - g).abs() } else { f32::INFINITY };
        let far =
            want_row.iter().zip(got_row).map(apart).enumerate().filter(|(_, d)| *d > expected.tolerance);
        if let Some((class_idx, d)) = far.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0))) {
            n_wrong += 1;
            if worst.is_none_or(|(most, ..)| d > most) {
                worst = Some((d, i, class_idx));
            }
        }
    }
    let Some((_, i, class_idx)) = worst else { return Ok(()) };
    let output = labels.get(class_idx).map_or_else(|| class_idx.to_string(), |l| format!("{l:?}"));
    Err(BundleError::GoldenDiffers {
        input: match expected.inputs.get(i) {
            Some(GoldenInput::File(name)) => format!("`{name}`"),
            Some(GoldenInput::Text(text)) => format!("{text:?}"),
            None => format!("{i}"),
        },
        output: if expected.outputs[i].len() == 1 && labels.is_empty() {
            "it".into()
        } else {
            format!("class {output}")
        },
        expected: expected.outputs[i][class_idx],
        got: got[i][class_idx],
        tolerance: expected.tolerance,
        n_wrong,
        n: got.len(),
    })
}

/// A few sentences: short, long, with digits, with letters beyond ASCII, and an empty one's nearest neighbour.
pub fn golden_texts() -> Vec<String> {
    [
        "The parcel arrived two days early and everything in it was in perfect order.",
        "I waited an hour, nobody answered, and in the end I had to cancel.",
        "Meet me at 7:45 on platform 12; bring the 3 blue folders (not the red one!).",
        "Ein früher Zug nach Zürich, naïve café, 東京の朝 — all in one line.",
        "ok",
        "On the far side of the valley, where the road bends twice before it climbs, there stands a small stone house \
         whose owner keeps bees, mends clocks, and writes long letters to people whom he has never met.",
    ]
    .map(String::from)
    .to_vec()
}

/// A few small pictures as PNG files, named as files of the bundle, made from `seed` with integers alone, so that every
/// machine makes the same pixels.  They cover what preprocessing can get wrong: aspect ratios, sizes below and above
/// the network's, single channels, sharp edges, noise that a wrong resize filter would smear otherwise.
pub fn golden_inputs_image(seed: u64) -> Vec<(String, Vec<u8>)> {
    let mut noise = Noise(seed);
    let offset = noise.next();
    vec![
        picture("gradient-64x48", 64, 48, |x, y| [x * 255 / 63, y * 255 / 47, (x + y + offset % 64) % 256]),
        picture("noise-37x53", 37, 53, |_, _| [noise.next() & 255, noise.next() & 255, noise.next() & 255]),
        picture("checks-301x75", 301, 75, |x, y| {
            if (x / 11 + y / 7) % 2 == 0 { [230, 60, 20] } else { [10, 90, 200] }
        }),
        picture("disc-240x320", 240, 320, |x, y| {
            let d = x.abs_diff(120).pow(2) + y.abs_diff(160).pow(2);
            if d < 90 * 90 { [250, 210 - d / 81, 40] } else { [30, 60 + y / 4, 120] }
        }),
        grey_picture("grey-41x41", 41, 41, |x, y| (x * y + offset % 97) % 256),
    ]
}

/// An RGB picture; the colours' low bytes count.
fn picture(
    name: &str,
    width: u32,
    height: u32,
    mut at: impl FnMut(u32, u32) -> [u32; 3],
) -> (String, Vec<u8>) {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).flat_map(|(x, y)| at(x, y));
    encode(name, width, height, png::ColorType::Rgb, pixels.map(|v| (v & 255) as u8).collect())
}

fn grey_picture(name: &str, width: u32, height: u32, at: impl Fn(u32, u32) -> u32) -> (String, Vec<u8>) {
    let pixels = (0..height).flat_map(|y| (0..width).map(move |x| (x, y))).map(|(x, y)| at(x, y));
    encode(name, width, height, png::ColorType::Grayscale, pixels.map(|v| (v & 255) as u8).collect())
}

fn encode(name: &str, width: u32, height: u32, colour: png::ColorType, pixels: Vec<u8>) -> (String, Vec<u8>) {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(colour);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().expect("a Vec takes every byte, and the size is not zero");
    writer.write_image_data(&pixels).expect("a Vec takes every byte, and the pixels fill the size");
    writer.finish().expect("a Vec takes every byte");
    (format!("golden/{name}.png"), bytes)
}

/// SplitMix64 (Steele et al., 2014): enough for pictures.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden() -> Golden {
        Golden {
            inputs: vec![GoldenInput::File("golden/a.png".into()), GoldenInput::Text("b".into())],
            outputs: vec![vec![0.9, 0.1], vec![0.4, 0.6]],
            tolerance: 1e-3,
        }
    }

    #[test]
    fn the_worst_difference_is_named() {
        let got = [vec![0.88, 0.12], vec![0.1, 0.9]];
        let labels = ["cat".to_string(), "dog".to_string()];
        let error = compare(&golden(), &got, &labels).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "golden input \"b\": class \"cat\" has 0.1, 0.4 was sealed (tolerance 0.001; 2 of 2 inputs differ)"
            ),
            "{error}"
        );
        assert!(error.contains("preprocessing"));
    }

    #[test]
    fn nan_and_wrong_shapes_are_refused() {
        assert!(check_golden(&golden(), &[vec![0.9, f32::NAN], vec![0.4, 0.6]]).is_err());
        assert!(check_golden(&golden(), &[vec![0.9, 0.1]]).is_err());
        assert!(check_golden(&golden(), &[vec![0.9], vec![0.4]]).is_err());
        assert!(golden().check(3, Task::Classification).is_err());
        assert!(Golden { tolerance: f32::NAN, ..golden() }.check(2, Task::Classification).is_err());
    }

    #[test]
    fn pictures_are_a_function_of_the_seed() {
        let hash = |seed| {
            let mut h = blake3::Hasher::new();
            golden_inputs_image(seed).iter().for_each(|(name, bytes)| {
                let mut decoder = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
                let mut pixels = vec![0; decoder.output_buffer_size().unwrap()];
                decoder.next_frame(&mut pixels).unwrap();
                h.update(name.as_bytes()).update(&pixels);
            });
            h.finalize().to_hex()
        };
        assert_eq!(hash(7), hash(7));
        assert_ne!(hash(7), hash(8));
    }
}
