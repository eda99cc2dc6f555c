//! Interpolation to another size, an axis at a time: a product with a matrix of weights, so that gradients follow.

use burn_backend::ops::FloatTensorOps;
use burn_dispatch::{Dispatch as B, DispatchDevice};
use headstart_graph::{Coordinates, Dim, Interpolation, Rounding};

use super::constant::bound;
use super::index::pick;
use crate::tensor::{T, dims, from_f32, from_i64, permute, reshape};

/// Interpolates axes to sizes that are numbers by now.
pub(super) fn resize(
    mut x: T,
    axes: &[usize],
    sizes: &[Dim],
    interpolation: Interpolation,
    coordinates: Coordinates,
    device: &DispatchDevice,
) -> T {
    for (&axis, size) in axes.iter().zip(sizes) {
        let (n, out) = (dims(&x)[axis], bound(size));
        if n == out {
            continue;
        }
        let positions = (0..out).map(|i| position(i, n, out, coordinates));
        x = match interpolation {
            Interpolation::Nearest(rounding) => {
                let at = positions.map(|p| nearest(p, rounding).clamp(0, n as i64 - 1)).collect();
                pick(x, axis, from_i64(&[out], at, device))
            }
            Interpolation::Linear => weighted(x, axis, positions.map(linear), device),
            Interpolation::Cubic(a) => weighted(x, axis, positions.map(|p| cubic(p, a)), device),
        };
    }
    x
}

/// Where position `i` of `out` lies among `n`.
fn position(i: usize, n: usize, out: usize, coordinates: Coordinates) -> f64 {
    let (i, scale) = (i as f64, out as f64 / n as f64);
    match coordinates {
        Coordinates::PytorchHalfPixel if out == 1 => 0.0,
        Coordinates::HalfPixel | Coordinates::PytorchHalfPixel => (i + 0.5) / scale - 0.5,
        Coordinates::Asymmetric => i / scale,
        Coordinates::AlignCorners if out == 1 => 0.0,
        Coordinates::AlignCorners => i * (n as f64 - 1.0) / (out as f64 - 1.0),
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

/// First position and weights.
type Taps = (i64, Vec<f64>);

fn linear(p: f64) -> Taps {
    let f = p - p.floor();
    (p.floor() as i64, vec![1.0 - f, f])
}

/// Keys (1981).
fn cubic(p: f64, a: f64) -> Taps {
    let f = p - p.floor();
    let near = |t: f64| ((a + 2.0) * t - (a + 3.0)) * t * t + 1.0;
    let far = |t: f64| ((a * t - 5.0 * a) * t + 8.0 * a) * t - 4.0 * a;
    (p.floor() as i64 - 1, vec![far(1.0 + f), near(f), near(1.0 - f), far(2.0 - f)])
}

/// Along `axis`, each new position a weighted sum of old ones; beyond the border the border counts.
fn weighted(x: T, axis: usize, taps: impl Iterator<Item = Taps>, device: &DispatchDevice) -> T {
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
