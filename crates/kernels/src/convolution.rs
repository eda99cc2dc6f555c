//! Dense convolution and its backward passes, as products of matrices.
//!
//! ```text
//! y[n,o,i,j]  = Σ_cab w[o,c,a,b]·x[n, c, i·s + a·d − top, j·s + b·d − left]
//! ```
//!
//! What the filter reads at every position is laid out as the columns of a matrix `col [c·kh·kw, positions]` ("im2col",
//! Chellapilla et al., 2006), a tile at a time so that it stays in cache.  With `w [o, c·kh·kw]` and `g [o, positions]`:
//! `y = w·col`, `dcol = wᵀ·g`, of which the columns are added back to where they were read, and `dw = Σ g·colᵀ`.
//! A 1×1 convolution reads `x` as it lies.  Small planes are joined over examples, since thin matrices multiply slowly.

use std::ops::Range;

use rayon::prelude::*;

use crate::Window;
use crate::matmul::{Matrix, matmul};

/// Positions that a product should have at least.
const POSITIONS: usize = 32;
/// The same where products are summed over positions, and threads share the filters.
const POSITIONS_SUMMED: usize = 256;
/// Elements of a tile of columns at most: 1 MB.
const TILE: usize = 1 << 18;
/// Filters that one task takes, so that threads do not pack the same columns for too few of them.
const FILTERS: usize = 32;

/// `y [n, o, oh, ow]` of `x [n, c, h, w]` and `weight [o, c, kh, kw]`.
pub fn forward(d: &Window, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let g = Geometry::new(d, weight, POSITIONS);
    y.par_chunks_mut(g.group * g.y_len()).zip(x.par_chunks(g.group * g.x_len())).for_each_init(
        Buffers::default,
        |buffers, (y, x)| {
            for tile in g.tiles(x.len() / g.x_len()) {
                let columns = g.columns(x, &tile, &mut buffers.columns);
                if tile.examples == 1 {
                    matmul(
                        g.filters(weight),
                        columns,
                        &mut y[tile.rows.start * g.out[1]..],
                        g.plane(),
                        false,
                    );
                } else {
                    let joined = resized(&mut buffers.joined, g.o * tile.positions);
                    matmul(g.filters(weight), columns, joined, tile.positions, false);
                    g.split(joined, y);
                }
            }
        },
    );
}

/// Gradient with respect to `x`, from that of the result, `grad [n, o, oh, ow]`.
pub fn backward_data(d: &Window, weight: &[f32], grad: &[f32], dx: &mut [f32]) {
    let g = Geometry::new(d, weight, POSITIONS);
    dx.par_chunks_mut(g.group * g.x_len()).zip(grad.par_chunks(g.group * g.y_len())).for_each_init(
        Buffers::default,
        |buffers, (dx, grad)| {
            dx.fill(0.0);
            for tile in g.tiles(dx.len() / g.x_len()) {
                let filters = g.filters(weight).transpose();
                let grad = g.gradients(grad, &tile, &mut buffers.joined);
                if g.reads_in_place(&tile) {
                    matmul(filters, grad, dx, tile.positions, false);
                } else {
                    let columns = resized(&mut buffers.columns, g.column_len() * tile.positions);
                    matmul(filters, grad, columns, tile.positions, false);
                    g.add_columns(columns, &tile, dx);
                }
            }
        },
    );
}

/// Gradient with respect to the weight, `[o, c, kh, kw]`.
pub fn backward_weight(d: &Window, x: &[f32], grad: &[f32], dw: &mut [f32]) {
    let g = Geometry::new(d, dw, POSITIONS_SUMMED);
    let mut buffers = Buffers::default();
    dw.fill(0.0);
    for (x, grad) in x.chunks(g.group * g.x_len()).zip(grad.chunks(g.group * g.y_len())) {
        for tile in g.tiles(x.len() / g.x_len()) {
            let columns = g.columns(x, &tile, &mut buffers.columns).transpose();
            let grad = g.gradients(grad, &tile, &mut buffers.joined);
            dw.par_chunks_mut(FILTERS * g.column_len()).enumerate().for_each(|(i, dw)| {
                let grad = grad.rows(i * FILTERS, dw.len() / g.column_len());
                matmul(grad, columns, dw, g.column_len(), true);
            });
        }
    }
}

/// Sizes, and how the work is cut.
struct Geometry<'a> {
    d: &'a Window,
    out: [usize; 2],
    /// Filters.
    o: usize,
    /// Examples that are taken together.
    group: usize,
}

/// Some rows of the results of one example, or all rows of several.
struct Tile {
    examples: usize,
    rows: Range<usize>,
    positions: usize,
}

/// A run of one row of columns and where in a plane it was read from.
struct Span {
    at: usize,
    example: usize,
    start: usize,
    len: usize,
}

#[derive(Default)]
struct Buffers {
    columns: Vec<f32>,
    joined: Vec<f32>,
}

impl<'a> Geometry<'a> {
    fn new(d: &'a Window, weight: &[f32], positions: usize) -> Self {
        let out = d.out();
        let o = weight.len() / (d.c * d.taps());
        let group = positions.div_ceil((out[0] * out[1]).max(1)).clamp(1, d.n.max(1));
        Geometry { d, out, o, group }
    }

    fn x_len(&self) -> usize {
        self.d.c * self.d.size[0] * self.d.size[1]
    }

    fn y_len(&self) -> usize {
        self.o * self.plane()
    }

    fn plane(&self) -> usize {
        self.out[0] * self.out[1]
    }

    fn column_len(&self) -> usize {
        self.d.c * self.d.taps()
    }

    fn filters<'b>(&self, weight: &'b [f32]) -> Matrix<'b> {
        Matrix::new(weight, [self.o, self.column_len()], self.column_len())
    }

    fn is_pointwise(&self) -> bool {
        self.d.taps() == 1 && self.d.stride == [1, 1] && self.d.padding == [0; 4]
    }

    fn reads_in_place(&self, tile: &Tile) -> bool {
        self.is_pointwise() && tile.examples == 1
    }

    fn tiles(&self, examples: usize) -> impl Iterator<Item = Tile> {
        let [oh, ow] = self.out;
        let whole = examples > 1 || self.is_pointwise();
        let step = if whole { oh } else { (TILE / (self.column_len() * ow)).clamp(1, oh) };
        (0..oh).step_by(step).map(move |start| {
            let rows = start..(start + step).min(oh);
            Tile { examples, positions: examples * rows.len() * ow, rows }
        })
    }

    /// What the filter reads in a tile: `[c·kh·kw, positions]`.
    fn columns<'b>(&self, x: &'b [f32], tile: &Tile, buffer: &'b mut Vec<f32>) -> Matrix<'b> {
        let size = [self.column_len(), tile.positions];
        if self.reads_in_place(tile) {
            return Matrix::new(x, size, tile.positions);
        }
        let spans = self.spans(tile);
        let (plane, step) = (self.d.size[0] * self.d.size[1], self.d.stride[1]);
        resized(buffer, size[0] * size[1]);
        buffer.par_chunks_exact_mut(self.d.taps() * tile.positions).enumerate().for_each(|(c, columns)| {
            columns.fill(0.0);
            for s in &spans {
                let x = &x[(s.example * self.d.c + c) * plane + s.start..];
                let to = &mut columns[s.at..s.at + s.len];
                if step == 1 {
                    to.copy_from_slice(&x[..s.len]);
                } else {
                    to.iter_mut().zip(x.iter().step_by(step)).for_each(|(to, x)| *to = *x);
                }
            }
        });
        Matrix::new(buffer, size, tile.positions)
    }

    /// Adds columns to where they were read.
    fn add_columns(&self, columns: &[f32], tile: &Tile, dx: &mut [f32]) {
        let spans = self.spans(tile);
        let (plane, step) = (self.d.size[0] * self.d.size[1], self.d.stride[1]);
        for (c, columns) in columns.chunks_exact(self.d.taps() * tile.positions).enumerate() {
            for s in &spans {
                let dx = &mut dx[(s.example * self.d.c + c) * plane + s.start..];
                let from = &columns[s.at..s.at + s.len];
                if step == 1 {
                    dx[..s.len].iter_mut().zip(from).for_each(|(dx, v)| *dx += v);
                } else {
                    dx.iter_mut().step_by(step).zip(from).for_each(|(dx, v)| *dx += v);
                }
            }
        }
    }

    /// The runs of one channel's columns that lie within the plane; the rest of them is padding.
    fn spans(&self, tile: &Tile) -> Vec<Span> {
        let ([h, w], [_, ow]) = (self.d.size, self.out);
        let ([s_y, s_x], [top, left, ..]) = (self.d.stride, self.d.padding);
        let mut spans = Vec::new();
        for tap in 0..self.d.taps() {
            let dy = tap / self.d.kernel[1] * self.d.dilation[0];
            let dx = tap % self.d.kernel[1] * self.d.dilation[1];
            // The first position that is not left of the plane, and the first that is right of it.
            let first = left.saturating_sub(dx).div_ceil(s_x);
            let end = (w + left).saturating_sub(dx).div_ceil(s_x).min(ow);
            if first >= end {
                continue;
            }
            for example in 0..tile.examples {
                for (row, i) in tile.rows.clone().enumerate() {
                    let Some(y) = (i * s_y + dy).checked_sub(top).filter(|y| *y < h) else { continue };
                    spans.push(Span {
                        at: tap * tile.positions + (example * tile.rows.len() + row) * ow + first,
                        example,
                        start: y * w + first * s_x + dx - left,
                        len: end - first,
                    });
                }
            }
        }
        spans
    }

    /// The gradients of a tile: `[o, positions]`.
    fn gradients<'b>(&self, grad: &'b [f32], tile: &Tile, buffer: &'b mut Vec<f32>) -> Matrix<'b> {
        let (size, plane) = ([self.o, tile.positions], self.plane());
        if tile.examples == 1 {
            return Matrix::new(&grad[tile.rows.start * self.out[1]..], size, plane);
        }
        let joined = resized(buffer, self.o * tile.positions);
        for (i, from) in grad.chunks_exact(plane).enumerate() {
            let (example, o) = (i / self.o, i % self.o);
            joined[o * tile.positions + example * plane..][..plane].copy_from_slice(from);
        }
        Matrix::new(buffer, size, tile.positions)
    }

    /// The inverse: results of several examples `[o, examples·plane]` to `[examples, o, plane]`.
    fn split(&self, joined: &[f32], y: &mut [f32]) {
        let plane = self.plane();
        let positions = joined.len() / self.o;
        for (i, to) in y.chunks_exact_mut(plane).enumerate() {
            let (example, o) = (i / self.o, i % self.o);
            to.copy_from_slice(&joined[o * positions + example * plane..][..plane]);
        }
    }
}

fn resized(buffer: &mut Vec<f32>, len: usize) -> &mut [f32] {
    buffer.resize(len, 0.0);
    buffer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    /// Calls `f(index of x, index of weight, index of y)` for every product of the definition.
    fn products(d: &Window, filters: usize, mut f: impl FnMut(usize, usize, usize)) {
        let ([oh, ow], [h, w], [kh, kw]) = (d.out(), d.size, d.kernel);
        for y in 0..d.n * filters * oh * ow {
            let (n, o, i, j) = (y / (filters * oh * ow), y / (oh * ow) % filters, y / ow % oh, y % ow);
            for t in 0..d.c * kh * kw {
                let (c, a, b) = (t / (kh * kw), t / kw % kh, t % kw);
                let row = (i * d.stride[0] + a * d.dilation[0]).checked_sub(d.padding[0]);
                let col = (j * d.stride[1] + b * d.dilation[1]).checked_sub(d.padding[1]);
                if let (Some(row), Some(col)) = (row, col)
                    && row < h
                    && col < w
                {
                    f(((n * d.c + c) * h + row) * w + col, o * d.c * kh * kw + t, y);
                }
            }
        }
    }

    #[test]
    fn agrees_with_the_definition_over_many_shapes() {
        for (n, c, o, size, kernel, stride, dilation, padding) in [
            (2, 3, 5, [9, 11], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
            (3, 3, 33, [8, 8], [5, 5], [2, 2], [1, 1], [1, 1, 2, 2]),
            (2, 2, 4, [7, 6], [3, 5], [2, 1], [1, 1], [0, 2, 1, 2]),
            (1, 4, 3, [12, 10], [3, 3], [1, 2], [2, 2], [2, 2, 2, 2]),
            (5, 7, 40, [2, 2], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
            (5, 7, 40, [3, 3], [1, 1], [1, 1], [1, 1], [0; 4]),
            (2, 7, 9, [8, 9], [1, 1], [1, 1], [1, 1], [0; 4]),
            (2, 3, 4, [8, 9], [1, 1], [2, 2], [1, 1], [0; 4]),
            (3, 2, 4, [2, 1], [7, 7], [2, 2], [1, 1], [3, 3, 3, 3]),
            // More than one tile.
            (1, 40, 2, [40, 40], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
        ] {
            let d = Window { n, c, size, kernel, stride, dilation, padding };
            let [oh, ow] = d.out();
            let (x, w) = (numbers(n * c * size[0] * size[1], 1), numbers(o * c * d.taps(), 2));
            let g = numbers(n * o * oh * ow, 3);
            let (mut y, mut dx, mut dw) = (vec![0.0; g.len()], vec![0.0; x.len()], vec![0.0; w.len()]);
            forward(&d, &x, &w, &mut y);
            backward_data(&d, &w, &g, &mut dx);
            backward_weight(&d, &x, &g, &mut dw);
            let mut want = [vec![0.0f64; y.len()], vec![0.0; x.len()], vec![0.0; w.len()]];
            products(&d, o, |xi, wi, yi| {
                want[0][yi] += f64::from(x[xi]) * f64::from(w[wi]);
                want[1][xi] += f64::from(w[wi]) * f64::from(g[yi]);
                want[2][wi] += f64::from(x[xi]) * f64::from(g[yi]);
            });
            for (name, got, want) in [("y", y, &want[0]), ("dx", dx, &want[1]), ("dw", dw, &want[2])] {
                let worst = got.iter().zip(want).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
                assert!(worst < 1e-4, "{name} of {d:?}: off by {worst}");
            }
        }
    }
}
