//! Affine warps: rotation, shear and translation of a picture that keeps its size.

use crate::image::Rgb;

/// For every pixel of the result, where it comes from: `x_in = m[0]·x + m[1]·y + m[2]`, `y_in = m[3]·x + m[4]·y + m[5]`,
/// both at the middle of the pixel.
pub(super) type Matrix = [f64; 6];

/// Turns by so many degrees about the middle, counter-clockwise as people see it.
pub(super) fn rotation(degrees: f64, width: usize, height: usize) -> Matrix {
    let (sin, cos) = (-degrees.to_radians()).sin_cos();
    let (x, y) = (width as f64 / 2.0, height as f64 / 2.0);
    [cos, sin, x - cos * x - sin * y, -sin, cos, y + sin * x - cos * y]
}

/// Shears along the rows: a row moves by `by` pixels for every pixel that it lies below the top.
pub(super) fn shear_x(by: f64) -> Matrix {
    [1.0, by, 0.0, 0.0, 1.0, 0.0]
}

/// Shears along the columns.
pub(super) fn shear_y(by: f64) -> Matrix {
    [1.0, 0.0, 0.0, by, 1.0, 0.0]
}

/// Moves the picture to the right and down by whole pixels.
pub(super) fn translation(right: i64, down: i64) -> Matrix {
    [1.0, 0.0, -right as f64, 0.0, 1.0, -down as f64]
}

/// Samples the picture bilinearly, as Pillow's `Image.transform` does; `fill` where a pixel comes from outside.
pub(super) fn warp(from: &Rgb, m: &Matrix, fill: [u8; 3]) -> Rgb {
    let (width, height) = (from.width, from.height);
    let mut values = Vec::with_capacity(from.values.len());
    for y in 0..height {
        for x in 0..width {
            let (xc, yc) = (x as f64 + 0.5, y as f64 + 0.5);
            let (x_in, y_in) = (m[0] * xc + m[1] * yc + m[2], m[3] * xc + m[4] * yc + m[5]);
            let inside = (0.0..width as f64).contains(&x_in) && (0.0..height as f64).contains(&y_in);
            values.extend(if inside { bilinear(from, x_in - 0.5, y_in - 0.5) } else { fill });
        }
    }
    Rgb { width, height, values }
}

/// Between the four pixels around a place; those beyond an edge are the edge's.
fn bilinear(from: &Rgb, x: f64, y: f64) -> [u8; 3] {
    let ((x0, x1, dx), (y0, y1, dy)) = (around(x, from.width), around(y, from.height));
    let (pixels, _) = from.values.as_chunks::<3>();
    let (top, bottom) = (&pixels[y0 * from.width..][..from.width], &pixels[y1 * from.width..][..from.width]);
    let between = |a: f64, b: f64, share: f64| a + (b - a) * share;
    std::array::from_fn(|c| {
        let across = |row: &[[u8; 3]]| between(f64::from(row[x0][c]), f64::from(row[x1][c]), dx);
        between(across(top), across(bottom), dy) as u8
    })
}

/// The positions before and after a place that is −0.5 or more, and how far it lies from the first.
fn around(v: f64, n: usize) -> (usize, usize, f64) {
    // Shifted by one so that the cast rounds down; `floor` is a call where the processor is not known to have it.
    let after = (v + 1.0) as usize;
    (after.saturating_sub(1), after.min(n - 1), v + 1.0 - after as f64)
}
