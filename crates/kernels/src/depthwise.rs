//! Depthwise convolution and its backward passes: one filter a channel, as in MobileNet (Howard et al., 2017).
//!
//! ```text
//! y[n,c,i,j]  = Σ_ab w[c,a,b]·x[n, c, i·s + a·d − top, j·s + b·d − left]
//! dx[n,c,·,·] = Σ_ab w[c,a,b]·g[n,c,i,j]      scattered to where x was read
//! dw[c,a,b]   = Σ_nij x[n, c, …]·g[n,c,i,j]
//! ```
//!
//! Each plane is copied with its padding around it, every s-th row and column apart from the others ("polyphase"), and
//! the gradient's rows as far apart as those of the copy.  What one tap of the filter reads is then a single run of
//! memory, whatever the stride: no edges, and loops that the compiler vectorises.

use rayon::prelude::*;

use crate::Window;

/// `y [n, c, oh, ow]` of `x [n, c, h, w]` and `weight [c, 1, kh, kw]`.
pub fn forward(d: &Window, x: &[f32], weight: &[f32], y: &mut [f32]) {
    let phases = Phases::new(d);
    let [oh, ow] = phases.out;
    y.par_chunks_exact_mut(oh * ow).zip(x.par_chunks_exact(d.size[0] * d.size[1])).enumerate().for_each_init(
        || phases.buffers(),
        |[plane, sums], (i, (y, x))| {
            let filter = &weight[(i % d.c) * d.taps()..][..d.taps()];
            phases.lay(x, plane);
            sums.fill(0.0);
            for (&start, &v) in phases.starts.iter().zip(filter) {
                add_scaled(v, &plane[start..start + phases.run], sums);
            }
            for (to, from) in y.chunks_exact_mut(ow).zip(sums.chunks(phases.size[1])) {
                to.copy_from_slice(&from[..ow]);
            }
        },
    );
}

/// Gradient with respect to `x`, `[n, c, h, w]`, from the gradient of the result `[n, c, oh, ow]`.
pub fn backward_data(d: &Window, weight: &[f32], grad: &[f32], dx: &mut [f32]) {
    let phases = Phases::new(d);
    dx.par_chunks_exact_mut(d.size[0] * d.size[1])
        .zip(grad.par_chunks_exact(phases.out[0] * phases.out[1]))
        .enumerate()
        .for_each_init(
            || phases.buffers(),
            |[plane, spread], (i, (dx, grad))| {
                let filter = &weight[(i % d.c) * d.taps()..][..d.taps()];
                plane.fill(0.0);
                phases.spread(grad, spread);
                for (&start, &v) in phases.starts.iter().zip(filter) {
                    add_scaled(v, spread, &mut plane[start..start + phases.run]);
                }
                phases.runs(|at, start, len, step| {
                    if step == 1 {
                        dx[at..at + len].copy_from_slice(&plane[start..start + len]);
                    } else {
                        dx[at..]
                            .iter_mut()
                            .step_by(step)
                            .zip(&plane[start..start + len])
                            .for_each(|(d, p)| *d = *p);
                    }
                });
            },
        );
}

/// Gradient with respect to the weight, `[c, 1, kh, kw]`.
pub fn backward_weight(d: &Window, x: &[f32], grad: &[f32], dw: &mut [f32]) {
    let phases = Phases::new(d);
    let (x_len, y_len) = (d.size[0] * d.size[1], phases.out[0] * phases.out[1]);
    dw.par_chunks_exact_mut(d.taps()).enumerate().for_each_init(
        || phases.buffers(),
        |[plane, spread], (c, dw)| {
            dw.fill(0.0);
            for n in 0..d.n {
                let i = n * d.c + c;
                let x = &x[i * x_len..][..x_len];
                phases.lay(x, plane);
                phases.spread(&grad[i * y_len..][..y_len], spread);
                for (dw, &start) in dw.iter_mut().zip(&phases.starts) {
                    *dw += dot(&plane[start..start + phases.run], spread);
                }
            }
        },
    );
}

/// Where a padded plane lies, and what each tap reads of it.
struct Phases<'a> {
    d: &'a Window,
    out: [usize; 2],
    /// Height and width of one phase.
    size: [usize; 2],
    /// By tap: the first element read.
    starts: Vec<usize>,
    /// Elements from the first that a tap reads to the last.
    run: usize,
}

impl<'a> Phases<'a> {
    fn new(d: &'a Window) -> Self {
        let (padded, out) = (d.padded(), d.out());
        let size: [usize; 2] = std::array::from_fn(|i| padded[i].div_ceil(d.stride[i]));
        let mut phases = Phases { d, out, size, starts: Vec::new(), run: (out[0] - 1) * size[1] + out[1] };
        for tap in 0..d.taps() {
            let [a, b] = [tap / d.kernel[1], tap % d.kernel[1]];
            phases.starts.push(phases.index([a * d.dilation[0], b * d.dilation[1]]));
        }
        phases
    }

    /// Where an element of the padded plane lies.
    fn index(&self, [y, x]: [usize; 2]) -> usize {
        let ([s_y, s_x], [h, w]) = (self.d.stride, self.size);
        ((y % s_y * s_x + x % s_x) * h + y / s_y) * w + x / s_x
    }

    /// Zeros for a plane, and for a gradient that is spread over its rows.
    fn buffers(&self) -> [Vec<f32>; 2] {
        let [s_y, s_x] = self.d.stride;
        [vec![0.0; s_y * s_x * self.size[0] * self.size[1]], vec![0.0; self.run]]
    }

    /// Lays a plane out; what is padding stays the 0 that it was made.
    fn lay(&self, x: &[f32], plane: &mut [f32]) {
        self.runs(|at, start, len, step| {
            let to = &mut plane[start..start + len];
            if step == 1 {
                to.copy_from_slice(&x[at..at + len]);
            } else {
                to.iter_mut().zip(x[at..].iter().step_by(step)).for_each(|(to, x)| *to = *x);
            }
        });
    }

    /// Lays the rows of a gradient as far apart as those of a plane.
    fn spread(&self, grad: &[f32], spread: &mut [f32]) {
        let ow = self.out[1];
        for (to, from) in spread.chunks_mut(self.size[1]).zip(grad.chunks_exact(ow)) {
            to[..ow].copy_from_slice(from);
        }
    }

    /// Calls `f(at, start, len, step)` for every run: elements `at, at + step, …` of a plane lie at `start…start + len`.
    fn runs(&self, mut f: impl FnMut(usize, usize, usize, usize)) {
        let ([h, w], s_x, [top, left, ..]) = (self.d.size, self.d.stride[1], self.d.padding);
        for y in 0..h {
            for x in 0..s_x.min(w) {
                f(y * w + x, self.index([y + top, x + left]), (w - x).div_ceil(s_x), s_x);
            }
        }
    }
}

/// `to += v·from`.
fn add_scaled(v: f32, from: &[f32], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += v * from);
}

/// A dot product in 16 lanes: the compiler may not reorder a plain sum of floats, so we do.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a16, a1), (b16, b1)) = (a.as_chunks::<16>(), b.as_chunks::<16>());
    let mut lanes = [0.0f32; 16];
    for (x, y) in a16.iter().zip(b16) {
        for i in 0..16 {
            lanes[i] += x[i] * y[i];
        }
    }
    lanes.iter().sum::<f32>() + a1.iter().zip(b1).map(|(x, y)| x * y).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers;

    /// Calls `f(index of x, index of weight, index of y)` for every product of the definition.
    fn products(d: &Window, mut f: impl FnMut(usize, usize, usize)) {
        let [oh, ow] = d.out();
        for n in 0..d.n {
            for c in 0..d.c {
                for i in 0..oh {
                    for j in 0..ow {
                        for a in 0..d.kernel[0] {
                            for b in 0..d.kernel[1] {
                                let y = (i * d.stride[0] + a * d.dilation[0]).checked_sub(d.padding[0]);
                                let x = (j * d.stride[1] + b * d.dilation[1]).checked_sub(d.padding[1]);
                                if let (Some(y), Some(x)) = (y, x)
                                    && y < d.size[0]
                                    && x < d.size[1]
                                {
                                    let plane = n * d.c + c;
                                    f(
                                        (plane * d.size[0] + y) * d.size[1] + x,
                                        (c * d.kernel[0] + a) * d.kernel[1] + b,
                                        (plane * oh + i) * ow + j,
                                    );
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn agrees_with_the_definition_over_many_shapes() {
        for (size, kernel, stride, dilation, padding) in [
            ([9, 11], [3, 3], [1, 1], [1, 1], [1, 1, 1, 1]),
            ([8, 8], [5, 5], [2, 2], [1, 1], [1, 1, 2, 2]),
            ([7, 6], [3, 5], [2, 1], [1, 1], [0, 2, 1, 2]),
            ([12, 10], [3, 3], [1, 2], [2, 2], [2, 2, 2, 2]),
            ([20, 37], [7, 7], [1, 1], [1, 1], [3, 3, 3, 3]),
        ] {
            let d = Window { n: 2, c: 3, size, kernel, stride, dilation, padding };
            let [oh, ow] = d.out();
            let x = numbers(2 * 3 * size[0] * size[1], 1);
            let w = numbers(3 * kernel[0] * kernel[1], 2);
            let g = numbers(2 * 3 * oh * ow, 3);
            let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
            let mut y = vec![0.0; g.len()];
            forward(&d, &x, &w, &mut y);
            backward_data(&d, &w, &g, &mut dx);
            backward_weight(&d, &x, &g, &mut dw);
            let mut y_want = vec![0.0f64; g.len()];
            let (mut dx_want, mut dw_want) = (vec![0.0f64; x.len()], vec![0.0f64; w.len()]);
            products(&d, |xi, wi, yi| {
                y_want[yi] += f64::from(x[xi] * w[wi]);
                dx_want[xi] += f64::from(w[wi] * g[yi]);
                dw_want[wi] += f64::from(x[xi] * g[yi]);
            });
            let close = |a: &[f32], b: &[f64]| a.iter().zip(b).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-3);
            assert!(close(&y, &y_want), "y of {d:?}");
            assert!(close(&dx, &dx_want), "dx of {d:?}");
            assert!(close(&dw, &dw_want), "dw of {d:?}");
        }
    }
}
