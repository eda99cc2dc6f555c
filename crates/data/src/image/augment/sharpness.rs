//! Sharpness: away from or towards a smoothed picture.

use super::blend::blend;
use crate::image::Rgb;

/// Towards the smoothed picture (0) or away from it (above 1).
pub(super) fn sharpness(picture: &mut Rgb, factor: f64) {
    let smooth = smoothed(picture);
    let (smooth, _) = smooth.as_chunks::<3>();
    blend(picture, factor, |i, _| smooth[i]);
}

/// Pillow's `SMOOTH`: the eight neighbours count one, the pixel five; the outermost pixels stay as they are.
fn smoothed(picture: &Rgb) -> Vec<u8> {
    let (w, h) = (picture.width, picture.height);
    let mut out = picture.values.clone();
    for y in 1..h.saturating_sub(1) {
        let inner = 3 * (y * w + 1)..3 * (y * w + w.max(2) - 1);
        for (i, out) in inner.clone().zip(&mut out[inner]) {
            let row =
                |i: usize| (i - 3..=i + 3).step_by(3).map(|j| u32::from(picture.values[j])).sum::<u32>();
            let sum = row(i - 3 * w) + row(i) + row(i + 3 * w) + 4 * u32::from(picture.values[i]);
            // Rounded: sum / 13 + 1/2.
            *out = ((2 * sum + 13) / 26) as u8;
        }
    }
    out
}
