//! Backward passes of the depthwise convolution: one filter a channel, as in MobileNet (Howard et al., 2017).
//!
//! ```text
//! y[n,c,i,j]  = Σ_ab w[c,a,b]·x[n, c, i·s + a·d − top, j·s + b·d − left]
//! dx[n,c,·,·] = Σ_ab w[c,a,b]·g[n,c,i,j]      scattered to where x was read
//! dw[c,a,b]   = Σ_nij x[n, c, …]·g[n,c,i,j]
//! ```
//!
//! Each plane is copied into one with its padding around it, so that the inner loops have no edges and the compiler
//! can vectorise them.

use rayon::prelude::*;

/// Sizes of a depthwise convolution of `x [n, c, h, w]` with `weight [c, 1, kh, kw]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Depthwise {
    /// Examples.
    pub n: usize,
    /// Channels.
    pub c: usize,
    /// Height and width of `x`.
    pub size: [usize; 2],
    /// Height and width of the filter.
    pub kernel: [usize; 2],
    /// Step of the window.
    pub stride: [usize; 2],
    /// Distance between the filter's taps.
    pub dilation: [usize; 2],
    /// `[top, left, bottom, right]` zeros.
    pub padding: [usize; 4],
}

impl Depthwise {
    /// Height and width of the result.
    ///
    /// ```
    /// use headstart_kernels::Depthwise;
    /// let d = Depthwise {
    ///     n: 1, c: 1, size: [8, 8], kernel: [3, 3], stride: [2, 2], dilation: [1, 1], padding: [0, 0, 1, 1],
    /// };
    /// assert_eq!(d.out(), [4, 4]);
    /// ```
    pub fn out(&self) -> [usize; 2] {
        let padded = self.padded();
        std::array::from_fn(|i| {
            (padded[i] - (self.kernel[i] - 1) * self.dilation[i] - 1) / self.stride[i] + 1
        })
    }

    fn padded(&self) -> [usize; 2] {
        let [top, left, bottom, right] = self.padding;
        [self.size[0] + top + bottom, self.size[1] + left + right]
    }

    /// Calls `f(tap, row of the padded plane's start, row of the output)` for every tap of the filter and output row.
    fn rows(&self, mut f: impl FnMut(usize, usize, usize)) {
        let width = self.padded()[1];
        for a in 0..self.kernel[0] {
            for b in 0..self.kernel[1] {
                for i in 0..self.out()[0] {
                    let y = i * self.stride[0] + a * self.dilation[0];
                    f(a * self.kernel[1] + b, y * width + b * self.dilation[1], i);
                }
            }
        }
    }

    fn pad_into(&self, plane: &[f32], padded: &mut [f32]) {
        let ([_, w], [_, width], [top, left, ..]) = (self.size, self.padded(), self.padding);
        padded.fill(0.0);
        for (y, row) in plane.chunks_exact(w).enumerate() {
            let at = (y + top) * width + left;
            padded[at..at + w].copy_from_slice(row);
        }
    }
}

/// Gradient with respect to `x`, `[n, c, h, w]`, from the gradient of the result `[n, c, oh, ow]`.
pub fn backward_data(d: &Depthwise, weight: &[f32], grad: &[f32], dx: &mut [f32]) {
    let ([h, w], [oh, ow], [ph, width]) = (d.size, d.out(), d.padded());
    let taps = d.kernel[0] * d.kernel[1];
    let [top, left, ..] = d.padding;
    dx.par_chunks_exact_mut(h * w).zip(grad.par_chunks_exact(oh * ow)).enumerate().for_each_init(
        || vec![0.0f32; ph * width],
        |padded, (plane, (dx, g))| {
            let filter = &weight[(plane % d.c) * taps..][..taps];
            padded.fill(0.0);
            d.rows(|tap, start, i| {
                let (v, g) = (filter[tap], &g[i * ow..(i + 1) * ow]);
                if d.stride[1] == 1 {
                    padded[start..start + ow].iter_mut().zip(g).for_each(|(p, g)| *p += v * g);
                } else {
                    padded[start..].iter_mut().step_by(d.stride[1]).zip(g).for_each(|(p, g)| *p += v * g);
                }
            });
            for (y, row) in dx.chunks_exact_mut(w).enumerate() {
                let at = (y + top) * width + left;
                row.copy_from_slice(&padded[at..at + w]);
            }
        },
    );
}

/// Gradient with respect to the weight, `[c, 1, kh, kw]`.
pub fn backward_weight(d: &Depthwise, x: &[f32], grad: &[f32], dw: &mut [f32]) {
    let ([h, w], [oh, ow], [ph, width]) = (d.size, d.out(), d.padded());
    let taps = d.kernel[0] * d.kernel[1];
    dw.par_chunks_exact_mut(taps).enumerate().for_each_init(
        || vec![0.0f32; ph * width],
        |padded, (c, dw)| {
            dw.fill(0.0);
            for n in 0..d.n {
                let plane = n * d.c + c;
                d.pad_into(&x[plane * h * w..][..h * w], padded);
                let g = &grad[plane * oh * ow..][..oh * ow];
                d.rows(|tap, start, i| {
                    let g = &g[i * ow..(i + 1) * ow];
                    dw[tap] += if d.stride[1] == 1 {
                        dot(&padded[start..start + ow], g)
                    } else {
                        padded[start..].iter().step_by(d.stride[1]).zip(g).map(|(p, g)| p * g).sum()
                    };
                });
            }
        },
    );
}

/// A dot product in eight lanes: the compiler may not reorder a plain sum of floats, so we do.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let (a8, a1) = a.as_chunks::<8>();
    let (b8, b1) = b.as_chunks::<8>();
    let mut lanes = [0.0f32; 8];
    for (x, y) in a8.iter().zip(b8) {
        for i in 0..8 {
            lanes[i] += x[i] * y[i];
        }
    }
    lanes.iter().sum::<f32>() + a1.iter().zip(b1).map(|(x, y)| x * y).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(n: usize, seed: u32) -> Vec<f32> {
        let mut s = seed;
        (0..n)
            .map(|_| {
                s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (s >> 8) as f32 / 8_388_608.0 - 1.0
            })
            .collect()
    }

    /// Calls `f(index of x, index of weight, index of y)` for every product of the definition.
    fn products(d: &Depthwise, mut f: impl FnMut(usize, usize, usize)) {
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
            let d = Depthwise { n: 2, c: 3, size, kernel, stride, dilation, padding };
            let [oh, ow] = d.out();
            let x = numbers(2 * 3 * size[0] * size[1], 1);
            let w = numbers(3 * kernel[0] * kernel[1], 2);
            let g = numbers(2 * 3 * oh * ow, 3);
            let (mut dx, mut dw) = (vec![0.0; x.len()], vec![0.0; w.len()]);
            backward_data(&d, &w, &g, &mut dx);
            backward_weight(&d, &x, &g, &mut dw);
            let (mut dx_want, mut dw_want) = (vec![0.0f64; x.len()], vec![0.0f64; w.len()]);
            products(&d, |xi, wi, yi| {
                dx_want[xi] += f64::from(w[wi] * g[yi]);
                dw_want[wi] += f64::from(x[xi] * g[yi]);
            });
            let close = |a: &[f32], b: &[f64]| a.iter().zip(b).all(|(a, b)| (f64::from(*a) - b).abs() < 1e-3);
            assert!(close(&dx, &dx_want), "dx of {d:?}");
            assert!(close(&dw, &dw_want), "dw of {d:?}");
        }
    }
}
