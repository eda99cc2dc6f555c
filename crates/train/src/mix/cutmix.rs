//! CutMix (Yun et al., 2019): a rectangle of one picture is pasted into another, the targets in proportion to the areas.

use headstart_core::{Array, Rng};

use super::beta::symmetric_beta;
use super::{Mixed, blend, partners, rows};
use crate::TrainError;

/// A rectangle of pixels: from left and top, to right and bottom, those not included.
pub(super) type Rectangle = [usize; 4];

/// Pastes into every picture the same rectangle of a random one of the batch:
///
/// ```text
/// λ ~ Beta(α, α);  sides √(1 − λ) of the picture's, the middle uniform, cut off at the edges;  t̃ = λ'·t + (1 − λ')·t[partner]
/// ```
///
/// where λ' is the share that the picture keeps once the rectangle has been cut off.  `inputs` `[n, channels, height,
/// width]`, `targets` `[n, n_classes]`; [`Mixed::lambda`] is λ'.
///
/// # Errors
/// If α is not above 0, a length does not fit, or the inputs are not pictures.
///
/// ```
/// use headstart_core::{Array, Rng, Values};
/// use headstart_train::cutmix;
/// let inputs = Array::f32(&[2, 1, 8, 8], [[0.0; 64], [1.0; 64]].concat());
/// let targets = Array::f32(&[2, 2], vec![1.0, 0.0, 0.0, 1.0]);
/// let mixed = cutmix(&inputs, &targets, 1.0, &mut Rng::new(1))?;
/// // Here the mean of a picture is its share of class 1.
/// let (Values::F32(x), Values::F32(t)) = (&mixed.inputs.values, &mixed.targets.values) else { unreachable!() };
/// assert_eq!(x[..64].iter().sum::<f32>() / 64.0, t[1]);
/// # Ok::<(), headstart_train::TrainError>(())
/// ```
pub fn cutmix(inputs: &Array, targets: &Array, alpha: f64, rng: &mut Rng) -> Result<Mixed, TrainError> {
    let (_, _, n) = rows(inputs, targets)?;
    let [_, _, height, width] = picture_shape(inputs)?;
    let lambda = symmetric_beta(alpha, rng)?;
    let half = 0.5 * (1.0 - lambda).sqrt();
    let (x, y) = (rng.below(width), rng.below(height));
    let (half_x, half_y) = ((half * width as f64) as usize, (half * height as f64) as usize);
    let rectangle = [
        x.saturating_sub(half_x),
        y.saturating_sub(half_y),
        (x + half_x).min(width),
        (y + half_y).min(height),
    ];
    cutmix_with(inputs, targets, partners(n, rng), rectangle)
}

fn picture_shape(inputs: &Array) -> Result<[usize; 4], TrainError> {
    match inputs.shape[..] {
        [n, c, h, w] if c * h * w > 0 => Ok([n, c, h, w]),
        _ => Err(TrainError::NotMixable { what: "anything but pictures [n, channels, height, width]" }),
    }
}

/// The same with partners and the rectangle given.
pub(super) fn cutmix_with(
    inputs: &Array,
    targets: &Array,
    partner: Vec<usize>,
    [left, top, right, bottom]: Rectangle,
) -> Result<Mixed, TrainError> {
    let (x, t, n) = rows(inputs, targets)?;
    let [_, channels, height, width] = picture_shape(inputs)?;
    let mut mixed = x.to_vec();
    for (i, &p) in partner.iter().enumerate() {
        for row in (0..channels).flat_map(|c| (top..bottom).map(move |y| c * height + y)) {
            let (to, from) = ((i * channels * height + row) * width, (p * channels * height + row) * width);
            mixed[to + left..to + right].copy_from_slice(&x[from + left..from + right]);
        }
    }
    let lambda = 1.0 - ((right - left) * (bottom - top)) as f64 / (width * height) as f64;
    Ok(Mixed {
        inputs: Array::f32(&inputs.shape, mixed),
        targets: Array::f32(&targets.shape, blend(t, n, &partner, lambda)),
        lambda,
        partner,
    })
}
