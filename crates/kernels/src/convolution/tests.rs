//! Convolutions against their definition in f64.

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
        let bias = numbers(o, 4);
        forward(&d, Operands::F32, &x, &w, Some(&bias), &mut y);
        backward_data(&d, Operands::F32, &w, &g, &mut dx);
        backward_weight(&d, Operands::F32, &x, &g, &mut dw);
        let y_want: Vec<f64> = (0..y.len()).map(|i| f64::from(bias[i / (oh * ow) % o])).collect();
        let mut want = [y_want, vec![0.0; x.len()], vec![0.0; w.len()]];
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
