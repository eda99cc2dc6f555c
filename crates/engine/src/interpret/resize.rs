//! Interpolation to another size, an axis at a time: a product with a matrix of weights, so that gradients follow.

use burn_backend::ops::FloatTensorOps;
use burn_dispatch::{Dispatch as B, DispatchDevice};
use headstart_graph::{Coordinates, Interpolation, Resampling, Rounding};

use super::constant::bound;
use super::index::pick;
use crate::tensor::{T, dims, from_f32, from_i64, permute, reshape};

/// Interpolates axes to sizes that are numbers by now.
pub(super) fn resize(mut x: T, to: &Resampling, device: &DispatchDevice) -> T {
    for (k, (&axis, size)) in to.axes.iter().zip(&to.sizes).enumerate() {
        let line = Line::new(dims(&x)[axis], bound(size), to.scales.get(k).copied(), to.coordinates);
        if line.n == line.out && line.scale == 1.0 {
            continue;
        }
        let positions = (0..line.out).map(|i| line.position(i));
        // Neighbours lie closer by so much, so that there are more of them.
        let squeeze = if to.antialias { line.scale.min(1.0) } else { 1.0 };
        let taps = |reach: f64, curve: &dyn Fn(f64) -> f64| -> Vec<Taps> {
            positions.clone().map(|p| line.taps(p, reach, squeeze, curve, to.exclude_outside)).collect()
        };
        x = match to.interpolation {
            Interpolation::Nearest(rounding) => {
                let last = line.n as i64 - 1;
                let at = positions.map(|p| nearest(p, rounding).clamp(0, last)).collect();
                pick(x, axis, from_i64(&[line.out], at, device))
            }
            Interpolation::Linear => weighted(x, axis, taps(1.0, &|t| 1.0 - t), device),
            Interpolation::Cubic(a) => weighted(x, axis, taps(2.0, &|t| keys(t, a)), device),
        };
    }
    x
}

/// One axis of `n` elements at `out` positions.
struct Line {
    n: usize,
    out: usize,
    scale: f64,
    coordinates: Coordinates,
}

/// First position and weights.
type Taps = (i64, Vec<f64>);

impl Line {
    fn new(n: usize, out: usize, scale: Option<f64>, coordinates: Coordinates) -> Self {
        Line { n, out, scale: scale.unwrap_or(out as f64 / n as f64), coordinates }
    }

    /// Where position `i` of the result lies.
    fn position(&self, i: usize) -> f64 {
        let (i, n, out, scale) = (i as f64, self.n as f64, self.out as f64, self.scale);
        match self.coordinates {
            Coordinates::PytorchHalfPixel if self.out == 1 => 0.0,
            Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (i + 0.5) / scale - 0.5,
            Coordinates::HalfPixelSymmetric => {
                let moved = n / 2.0 * (1.0 - out / (n * scale));
                moved + (i + 0.5) / scale - 0.5
            }
            Coordinates::Asymmetric => i / scale,
            // Whatever the scale says, as PyTorch and onnxruntime do it; ONNX's own tests go by `n·scale`.
            Coordinates::AlignCorners if self.out == 1 => 0.0,
            Coordinates::AlignCorners => i * (n - 1.0) / (out - 1.0),
        }
    }

    /// The neighbours of `p` that lie nearer than `reach`, `squeeze` times as far apart, weighted by `curve` of their distance.
    fn taps(&self, p: f64, reach: f64, squeeze: f64, curve: &dyn Fn(f64) -> f64, exclude: bool) -> Taps {
        let far = reach / squeeze;
        let first = (p - far).floor() as i64 + 1;
        let last = ((p + far).ceil() as i64 - 1).max(first);
        let inside = |i: i64| i >= 0 && i < self.n as i64;
        let weight = |i: i64| {
            let distance = (i as f64 - p).abs() * squeeze;
            if distance >= reach || exclude && !inside(i) { 0.0 } else { curve(distance) }
        };
        let mut weights: Vec<f64> = (first..=last).map(weight).collect();
        let sum: f64 = weights.iter().sum();
        if squeeze < 1.0 || exclude {
            weights.iter_mut().for_each(|w| *w /= sum);
        }
        (first, weights)
    }
}

fn nearest(p: f64, rounding: Rounding) -> i64 {
    match rounding {
        Rounding::Floor => p.floor() as i64,
        Rounding::Ceil => p.ceil() as i64,
        Rounding::HalfDown => (p - 0.5).ceil() as i64,
        Rounding::HalfUp => (p + 0.5).floor() as i64,
    }
}

/// Keys (1981), at a distance below 2.
fn keys(t: f64, a: f64) -> f64 {
    if t <= 1.0 {
        ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0
    } else {
        ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a
    }
}

/// Along `axis`, each new position a weighted sum of old ones; beyond the border the border counts.
fn weighted(x: T, axis: usize, taps: Vec<Taps>, device: &DispatchDevice) -> T {
    let shape = dims(&x);
    let (rank, n) = (shape.len(), shape[axis]);
    let mut matrix = Vec::new();
    let mut out = 0;
    for (first, weights) in taps {
        let mut row = vec![0.0f32; n];
        for (k, w) in weights.into_iter().enumerate() {
            row[(first + k as i64).clamp(0, n as i64 - 1) as usize] += w as f32;
        }
        matrix.extend(row);
        out += 1;
    }
    // The axis goes last, everything else is rows: [rows, n]·[n, out].
    let mut to_last: Vec<usize> = (0..rank).filter(|&i| i != axis).collect();
    to_last.push(axis);
    let mut back = vec![0; rank];
    to_last.iter().enumerate().for_each(|(i, &at)| back[at] = i);
    let moved = permute(x, &to_last);
    let mut moved_shape = dims(&moved);
    let rows = reshape(moved, &[moved_shape[..rank - 1].iter().product(), n]);
    let product = B::float_matmul(rows, B::float_transpose(from_f32(&[out, n], matrix, device)));
    moved_shape[rank - 1] = out;
    permute(reshape(product, &moved_shape), &back)
}
