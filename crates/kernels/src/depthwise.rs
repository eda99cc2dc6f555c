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

use crate::phases::Phases;
use crate::simd::widest;
use crate::{Window, lanes};

/// `y [n, c, oh, ow]` of `x [n, c, h, w]`, `weight [c, 1, kh, kw]` and `bias? [c]`.
pub fn forward(d: &Window, x: &[f32], weight: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
    let phases = Phases::new(d);
    let [oh, ow] = phases.out;
    y.par_chunks_exact_mut(oh * ow).zip(x.par_chunks_exact(d.size[0] * d.size[1])).enumerate().for_each_init(
        || phases.buffers(),
        |[plane, sums], (i, (y, x))| {
            let filter = &weight[(i % d.c) * d.taps()..][..d.taps()];
            widest(|| {
                phases.lay(x, plane);
                correlate(plane, &phases.starts, filter, sums);
                for (to, from) in y.chunks_exact_mut(ow).zip(sums.chunks(phases.size[1])) {
                    match bias {
                        Some(bias) => to.iter_mut().zip(from).for_each(|(to, v)| *to = v + bias[i % d.c]),
                        None => to.copy_from_slice(&from[..ow]),
                    }
                }
            });
        },
    );
}

/// Gradient with respect to `x`, `[n, c, h, w]`, from the gradient of the result `[n, c, oh, ow]`.
pub fn backward_data(d: &Window, weight: &[f32], grad: &[f32], dx: &mut [f32]) {
    let phases = Phases::new(d);
    // Tap by tap, `x` at `p` was read for the result at `p − start`: before and after the gradient lie as many zeros as
    // the last tap starts after the first element.
    let margin = phases.starts.iter().copied().max().unwrap_or(0);
    let starts: Vec<usize> = phases.starts.iter().map(|s| margin - s).collect();
    let is_dense = d.stride == [1, 1];
    dx.par_chunks_exact_mut(d.size[0] * d.size[1])
        .zip(grad.par_chunks_exact(phases.out[0] * phases.out[1]))
        .enumerate()
        .for_each_init(
            || (phases.buffers()[0].clone(), vec![0.0; phases.run + 2 * margin]),
            |(plane, spread), (i, (dx, grad))| {
                let filter = &weight[(i % d.c) * d.taps()..][..d.taps()];
                widest(|| {
                    phases.spread(grad, &mut spread[margin..]);
                    if is_dense {
                        let read = (phases.run + margin).min(plane.len());
                        plane[read..].fill(0.0);
                        correlate(spread, &starts, filter, &mut plane[..read]);
                    } else {
                        plane.fill(0.0);
                        for (&start, &v) in phases.starts.iter().zip(filter) {
                            let spread = &spread[margin..][..phases.run];
                            add_scaled(v, spread, &mut plane[start..start + phases.run]);
                        }
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
                widest(|| {
                    phases.lay(x, plane);
                    phases.spread(&grad[i * y_len..][..y_len], spread);
                    for (dw, &start) in dw.iter_mut().zip(&phases.starts) {
                        *dw += lanes::sum2(&plane[start..start + phases.run], spread, |a, b| a * b);
                    }
                });
            }
        },
    );
}

/// Positions whose sums are kept in registers.
const POSITIONS: usize = 32;

/// `to[p] = Σ_t filter[t]·from[starts[t] + p]`, in order of the taps.
#[inline(always)]
fn correlate(from: &[f32], starts: &[usize], filter: &[f32], to: &mut [f32]) {
    let len = to.len();
    let (blocks, rest) = to.as_chunks_mut::<POSITIONS>();
    for (b, to) in blocks.iter_mut().enumerate() {
        let mut sums = [0.0f32; POSITIONS];
        for (&start, &v) in starts.iter().zip(filter) {
            let from: &[f32; POSITIONS] =
                from[start + b * POSITIONS..].first_chunk().expect("every tap reads inside the plane");
            for (sum, from) in sums.iter_mut().zip(from) {
                *sum += v * from;
            }
        }
        *to = sums;
    }
    let first = len - rest.len();
    rest.fill(0.0);
    for (&start, &v) in starts.iter().zip(filter) {
        add_scaled(v, &from[start + first..][..rest.len()], rest);
    }
}

/// `to += v·from`.
#[inline(always)]
fn add_scaled(v: f32, from: &[f32], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += v * from);
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
            let bias = numbers(3, 4);
            forward(&d, &x, &w, Some(&bias), &mut y);
            backward_data(&d, &w, &g, &mut dx);
            backward_weight(&d, &x, &g, &mut dw);
            let mut y_want: Vec<f64> = (0..g.len()).map(|i| f64::from(bias[i / (oh * ow) % 3])).collect();
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
