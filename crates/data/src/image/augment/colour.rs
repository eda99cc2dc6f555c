//! Brightness, contrast, saturation and hue, with Pillow's integers.

use super::blend::{blend, grey};
use crate::image::Rgb;

/// Towards black (0) or away from it (above 1).
pub(super) fn brightness(picture: &mut Rgb, factor: f64) {
    blend(picture, factor, |_, _| [0; 3]);
}

/// Towards the mean grey of the picture (0) or away from it (above 1).
pub(super) fn contrast(picture: &mut Rgb, factor: f64) {
    let (pixels, _) = picture.values.as_chunks::<3>();
    let sum: u64 = pixels.iter().map(|p| u64::from(grey(*p))).sum();
    let mean = (sum as f64 / pixels.len().max(1) as f64 + 0.5) as u8;
    blend(picture, factor, |_, _| [mean; 3]);
}

/// Towards its own grey (0) or away from it (above 1).
pub(super) fn saturation(picture: &mut Rgb, factor: f64) {
    blend(picture, factor, |_, pixel| [grey(pixel); 3]);
}

/// Turns the colour circle by this share of a turn, −0.5 to 0.5, by way of 8-bit hue, saturation and value.
pub(super) fn hue(picture: &mut Rgb, turn: f64) {
    // Truncated and wrapped, as torchvision does it.
    let shift = (turn * 255.0) as i32 as u8;
    let (pixels, _) = picture.values.as_chunks_mut::<3>();
    for pixel in pixels {
        let [h, s, v] = to_hsv(*pixel);
        *pixel = from_hsv([h.wrapping_add(shift), s, v]);
    }
}

fn to_hsv([r, g, b]: [u8; 3]) -> [u8; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    if max == min {
        return [0, 0, max];
    }
    let range = f32::from(max - min);
    let below = |v: u8| f32::from(max - v) / range;
    let sixths = if r == max {
        f64::from(below(b) - below(g))
    } else if g == max {
        2.0 + f64::from(below(r)) - f64::from(below(b))
    } else {
        4.0 + f64::from(below(g)) - f64::from(below(r))
    };
    let h = (f64::from(sixths as f32) / 6.0 + 1.0) % 1.0;
    let s = range / f32::from(max);
    [(f64::from(h as f32) * 255.0) as u8, (f64::from(s) * 255.0) as u8, max]
}

fn from_hsv([h, s, v]: [u8; 3]) -> [u8; 3] {
    if s == 0 {
        return [v; 3];
    }
    let saturation = f64::from((f64::from(s) / 255.0) as f32);
    let sixths = f64::from(h) * 6.0 / 255.0;
    let rest = f64::from((sixths - sixths.floor()) as f32);
    let level = |away: f64| (f64::from(v) * (1.0 - away)).round() as u8;
    let (p, q, t) = (level(saturation), level(saturation * rest), level(saturation * (1.0 - rest)));
    match sixths as u8 % 6 {
        0 => [v, t, p],
        1 => [q, v, p],
        2 => [p, v, t],
        3 => [p, q, v],
        4 => [t, p, v],
        _ => [v, p, q],
    }
}
