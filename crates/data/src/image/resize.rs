//! Resizing exactly as Pillow does it: separable, antialiased, horizontal before vertical, 8 bits in between.
//!
//! This follows Pillow's `Resample.c` operation by operation, so that a network sees the very bytes that it was trained on.
//!
//! **Deviation:** from version 13 on, Pillow does the vertical pass first where the height shrinks clearly more than the
//! width, which moves some values by a level.  Networks were trained before that, and so are we.

use headstart_graph::Filter;

use super::Rgb;

/// Largest result, pixels: a picture of 1 × 100,000 blown up to a shorter side of 256 would not fit into memory.
const PIXELS_MAX: usize = 150_000_000;
/// Bits after the binary point of a coefficient: 32 less 8 for a value, less 2 for a sign and an overshoot.
const PRECISION_BITS: u32 = 32 - 8 - 2;

/// The picture at another size.
pub(super) fn resize(from: &Rgb, width: usize, height: usize, filter: Filter) -> Result<Rgb, String> {
    let (w, h) = (from.width, from.height);
    // The picture between the passes has the new width and the old height.
    let n_pixels = width.saturating_mul(height.max(h));
    if width == 0 || height == 0 || n_pixels > PIXELS_MAX {
        return Err(format!("a picture of {w}×{h} cannot be brought to {width}×{height} pixels"));
    }
    let across = (width != w).then(|| horizontal(from, &Taps::new(w, width, filter)));
    let across = across.as_ref().unwrap_or(from);
    if height == h {
        return Ok(across.clone());
    }
    Ok(vertical(across, &Taps::new(h, height, filter)))
}

/// For every output position, where its input begins and what each input counts.
struct Taps {
    /// First input position, and the range of its coefficients.
    bounds: Vec<(usize, std::ops::Range<usize>)>,
    coefficients: Vec<i32>,
}

impl Taps {
    fn new(n_in: usize, n_out: usize, filter: Filter) -> Self {
        let scale = n_in as f64 / n_out as f64;
        // Shrinking widens the filter: that is the antialiasing.
        let filter_scale = scale.max(1.0);
        let support = filter_scale
            * match filter {
                Filter::Bilinear => 1.0,
                Filter::Bicubic => 2.0,
            };
        let per_step = 1.0 / filter_scale;
        let mut taps = Taps { bounds: Vec::with_capacity(n_out), coefficients: Vec::new() };
        let mut weights = Vec::new();
        for i in 0..n_out {
            let centre = (i as f64 + 0.5) * scale;
            // Casts truncate towards zero and saturate at 0, as Pillow clamps.
            let first = (centre - support + 0.5) as usize;
            let end = ((centre + support + 0.5) as usize).min(n_in);
            weights.clear();
            weights.extend((first..end).map(|x| weight(filter, (x as f64 - centre + 0.5) * per_step)));
            let sum: f64 = weights.iter().sum();
            let start = taps.coefficients.len();
            taps.coefficients.extend(weights.iter().map(|w| fixed(if sum == 0.0 { *w } else { w / sum })));
            taps.bounds.push((first, start..taps.coefficients.len()));
        }
        taps
    }
}

fn weight(filter: Filter, x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    match filter {
        Filter::Bilinear if x < 1.0 => 1.0 - x,
        Filter::Bicubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        Filter::Bicubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

/// Rounded half away from zero.
fn fixed(weight: f64) -> i32 {
    let scaled = weight * f64::from(1 << PRECISION_BITS);
    (scaled + if scaled < 0.0 { -0.5 } else { 0.5 }) as i32
}

const HALF: i32 = 1 << (PRECISION_BITS - 1);

fn to_u8(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

fn horizontal(from: &Rgb, taps: &Taps) -> Rgb {
    let width = taps.bounds.len();
    let mut values = vec![0; 3 * width * from.height];
    // Four lanes, of which the last is ignored, make one vector of a pixel; the row needs a byte more for it.
    let mut row = vec![0; 3 * from.width + 1];
    let rows = from.values.chunks_exact(3 * from.width).zip(values.chunks_exact_mut(3 * width));
    for (source, target) in rows {
        row[..source.len()].copy_from_slice(source);
        for ((first, range), out) in taps.bounds.iter().zip(target.chunks_exact_mut(3)) {
            let coefficients = &taps.coefficients[range.clone()];
            let pixels = &row[3 * first..];
            let mut sums = [HALF; 4];
            for (i, &k) in coefficients.iter().enumerate() {
                let pixel = &pixels[3 * i..3 * i + 4];
                for (sum, &v) in sums.iter_mut().zip(pixel) {
                    // Cannot overflow: the coefficients sum to 1 with an overshoot below 2.
                    *sum = sum.wrapping_add(i32::from(v).wrapping_mul(k));
                }
            }
            out.copy_from_slice(&[to_u8(sums[0]), to_u8(sums[1]), to_u8(sums[2])]);
        }
    }
    Rgb { width, height: from.height, values }
}

fn vertical(from: &Rgb, taps: &Taps) -> Rgb {
    let n = 3 * from.width;
    let mut values = Vec::with_capacity(n * taps.bounds.len());
    let mut sums = vec![0; n];
    for (first, range) in &taps.bounds {
        sums.fill(HALF);
        for (row, &k) in from.values[first * n..].chunks_exact(n).zip(&taps.coefficients[range.clone()]) {
            for (sum, &v) in sums.iter_mut().zip(row) {
                *sum = sum.wrapping_add(i32::from(v).wrapping_mul(k));
            }
        }
        values.extend(sums.iter().map(|&s| to_u8(s)));
    }
    Rgb { width: from.width, height: taps.bounds.len(), values }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flat_picture_stays_flat() {
        let flat = Rgb { width: 7, height: 5, values: vec![201; 105] };
        for (w, h) in [(1, 1), (3, 9), (14, 10), (7, 2)] {
            for filter in [Filter::Bilinear, Filter::Bicubic] {
                assert!(resize(&flat, w, h, filter).unwrap().values.iter().all(|v| *v == 201));
            }
        }
    }
}
