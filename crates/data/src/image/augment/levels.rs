//! Operations that give every level of a channel another one: posterise, solarise, autocontrast, equalise.

use crate::image::Rgb;

/// Keeps the highest bits of each value, 0 to 8 of them.
pub(super) fn posterise(picture: &mut Rgb, n_bits: u32) {
    let mask = !(255u32 >> n_bits) as u8;
    picture.values.iter_mut().for_each(|v| *v &= mask);
}

/// Inverts what is at or above the threshold.
pub(super) fn solarise(picture: &mut Rgb, threshold: f64) {
    picture.values.iter_mut().filter(|v| f64::from(**v) >= threshold).for_each(|v| *v = 255 - *v);
}

/// Stretches each channel so that its darkest value becomes 0 and its lightest 255.
pub(super) fn autocontrast(picture: &mut Rgb) {
    map_channels(picture, |histogram| {
        let used = |n: &u32| *n > 0;
        let low = histogram.iter().position(used)?;
        let high = histogram.iter().rposition(used)?;
        let scale = 255.0 / high.checked_sub(low).filter(|d| *d > 0)? as f64;
        let offset = -(low as f64) * scale;
        Some(std::array::from_fn(|v| (v as f64 * scale + offset) as u8))
    });
}

/// Makes each channel's levels about equally frequent.
pub(super) fn equalise(picture: &mut Rgb) {
    map_channels(picture, |histogram| {
        let last = histogram.iter().rev().find(|n| **n > 0)?;
        let step = (histogram.iter().sum::<u32>() - last) / 255;
        if step == 0 {
            return None;
        }
        let mut below = step / 2;
        Some(std::array::from_fn(|v| {
            let level = (below / step).min(255) as u8;
            below += histogram[v];
            level
        }))
    });
}

/// A table for each channel, made from its histogram; none leaves the channel as it is.
fn map_channels(picture: &mut Rgb, table: impl Fn(&[u32; 256]) -> Option<[u8; 256]>) {
    for c in 0..3 {
        let mut histogram = [0; 256];
        picture.values.iter().skip(c).step_by(3).for_each(|v| histogram[usize::from(*v)] += 1);
        if let Some(table) = table(&histogram) {
            picture.values.iter_mut().skip(c).step_by(3).for_each(|v| *v = table[usize::from(*v)]);
        }
    }
}
