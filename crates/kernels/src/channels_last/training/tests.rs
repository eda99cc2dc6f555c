//! Convolutions and their gradients against their definition in f64, with channels last.

use proptest::prelude::*;

use super::*;
use crate::{Bf16, numbers};

/// Calls `f(index of x, index of weight, index of y)` for every product of the definition.
fn products(d: &Window, filters: usize, groups: usize, mut f: impl FnMut(usize, usize, usize)) {
    let ([oh, ow], [h, w], [kh, kw]) = (d.out(), d.size, d.kernel);
    let of_group = d.c / groups;
    for y in 0..d.n * filters * oh * ow {
        let (n, i, j, o) = (y / (filters * oh * ow), y / filters / ow % oh, y / filters % ow, y % filters);
        for t in 0..of_group * kh * kw {
            let (c, a, b) = (t / (kh * kw), t / kw % kh, t % kw);
            let c = o / (filters / groups) * of_group + c;
            let row = (i * d.stride[0] + a * d.dilation[0]).checked_sub(d.padding[0]);
            let col = (j * d.stride[1] + b * d.dilation[1]).checked_sub(d.padding[1]);
            if let (Some(row), Some(col)) = (row, col)
                && row < h
                && col < w
            {
                f(((n * h + row) * w + col) * d.c + c, o * of_group * kh * kw + t, y);
            }
        }
    }
}

/// Winograd's rounding is measured by all of a result's numbers, since its transforms add the largest of them.
fn close(name: &str, got: &[f32], want: &[f64], tolerance: f64) {
    let square = want.iter().map(|v| v * v).sum::<f64>() / want.len().max(1) as f64;
    let worst = got.iter().zip(want).map(|(g, w)| (f64::from(*g) - w).abs()).fold(0.0, f64::max);
    assert!(worst <= tolerance * (1.0 + square.sqrt()), "{name}: off by {worst}");
    assert!(got.iter().all(|v| v.is_finite()), "{name} is written everywhere");
}

/// Gradients of what clipping let pass.
fn passed(dx: &[f32], x: &[f32], [lo, hi]: [f32; 2]) -> Vec<f32> {
    dx.iter().zip(x).map(|(dx, x)| if (lo..hi).contains(x) && *x > lo { *dx } else { 0.0 }).collect()
}

/// All three passes; `tolerance` in units of what is typical of a result.
fn check(d: &Window, o: usize, operands: Operands, tolerance: f64) {
    check_groups(d, o, 1, operands, tolerance);
}

fn check_groups(d: &Window, o: usize, groups: usize, operands: Operands, tolerance: f64) {
    let [oh, ow] = d.out();
    let round = |v: Vec<f32>| -> Vec<f32> {
        // Factors that bf16 holds have the products of f32.
        v.into_iter()
            .map(|v| if operands == Operands::Bf16 { (v * 64.0).round() / 64.0 } else { v })
            .collect()
    };
    let (x, w) = (round(numbers(d.n * d.x_len(), 1)), round(numbers(o * d.c / groups * d.taps(), 2)));
    let (g, bias) = (round(numbers(d.n * o * oh * ow, 3)), numbers(o, 4));
    let nan = |n: usize| vec![f32::NAN; n];
    let (mut y, mut dx, mut dw) = (nan(g.len()), nan(x.len()), nan(w.len()));
    let then = Then { bias: Some(&bias), ..Then::default() };
    forward(d, groups, operands, &x, &w, &then, &mut y);
    backward_data(d, groups, operands, &w, &g, None, &mut dx);
    backward_weight(d, groups, operands, &x, &g, &mut dw);
    let mut want = [vec![0.0; y.len()], vec![0.0; x.len()], vec![0.0; w.len()]];
    want[0].iter_mut().enumerate().for_each(|(i, v)| *v = f64::from(bias[i % o]));
    products(d, o, groups, |xi, wi, yi| {
        want[0][yi] += f64::from(x[xi]) * f64::from(w[wi]);
        want[1][xi] += f64::from(w[wi]) * f64::from(g[yi]);
        want[2][wi] += f64::from(x[xi]) * f64::from(g[yi]);
    });
    let gated_want: Vec<f64> =
        want[1].iter().zip(&x).map(|(dx, x)| if x.abs() < 0.5 { *dx } else { 0.0 }).collect();
    let (window, d) = (d, format!("{d:?} with {o} filters in {groups} groups, {operands:?}"));
    // Numbers that Winograd's transforms make are rounded to bf16.
    let of_dw =
        if operands.in_pairs() && Winograd::pays(&Groups::new(window, groups, w.len()).window, o / groups) {
            0.1
        } else {
            tolerance
        };
    for (name, got, want, tolerance) in
        [("y", y, &want[0], tolerance), ("dx", dx, &want[1], tolerance), ("dw", dw, &want[2], of_dw)]
    {
        close(&format!("{name} of {d}"), &got, want, tolerance);
    }
    let mut gated = x.clone();
    backward_data(window, groups, operands, &w, &g, Some([-0.5, 0.5]), &mut gated);
    close(&format!("gated dx of {d}"), &gated, &gated_want, tolerance);
    let ([lo, hi], residual) = ([-0.25, 1.5], numbers(g.len(), 5));
    let mut y = nan(g.len());
    let then = Then { residual: Some(&residual), clip: [lo, hi], ..then };
    forward(window, groups, operands, &x, &w, &then, &mut y);
    let finished = want[0].iter().zip(&residual);
    let want: Vec<f64> = finished.map(|(y, r)| (y + f64::from(*r)).clamp(lo.into(), hi.into())).collect();
    close(&format!("finished y of {d}"), &y, &want, tolerance);
}

/// Windows of convolutions over one channel that have a result.
fn windows() -> impl Strategy<Value = Window> {
    let sizes = ([1..11usize, 1..11usize], [1..5usize, 1..5usize]);
    let steps = ([1..4usize, 1..4usize], [1..3usize, 1..3usize]);
    let windows = (sizes, steps, [0..3usize, 0..3, 0..3, 0..3]);
    let windows = windows.prop_map(|((size, kernel), (stride, dilation), padding)| Window {
        n: 1,
        c: 1,
        size,
        kernel,
        stride,
        dilation,
        padding,
    });
    let fits = |d: &Window, i: usize| d.padded()[i] > (d.kernel[i] - 1) * d.dilation[i];
    windows.prop_filter("a result", move |d| (0..2).all(|i| fits(d, i)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_window_is_its_definition(
        n in 1..3usize,
        c in prop_oneof![1..5usize, Just(16), Just(33)],
        o in prop_oneof![1..5usize, Just(16), Just(49), Just(70)],
        d in windows(),
        bf16 in any::<bool>(),
    ) {
        check(&Window { n, c, ..d }, o, if bf16 { Operands::Bf16 } else { Operands::F32 }, 1e-5);
    }

    /// Groups as they are and joined ones, some with more filters than channels or fewer.
    #[test]
    fn groups_are_their_definition(
        n in 1..3usize,
        groups in prop_oneof![2..5usize, Just(12)],
        c in prop_oneof![1..5usize, Just(16), Just(20)],
        o in prop_oneof![1..5usize, Just(8), Just(33)],
        d in windows(),
        bf16 in any::<bool>(),
    ) {
        let d = Window { n, c: c * groups, ..d };
        check_groups(&d, o * groups, groups, if bf16 { Operands::Bf16 } else { Operands::F32 }, 1e-5);
    }

    #[test]
    fn winograd_is_its_definition(
        n in 1..4usize,
        c in 32..50usize,
        o in 32..100usize,
        size in [3..14usize, 3..14usize],
        padding in [0..3usize, 0..3, 0..3, 0..3],
    ) {
        let d = Window { n, c, size, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], padding };
        check(&d, o, Operands::F32, 3e-5);
    }
}

/// Wide groups go by Winograd's way, too: beside others in blocks of tiles, and by filters where tiles are few.
#[test]
fn winograds_groups_are_their_definition() {
    for (n, c, o, size) in [(2, 34, 40, [9, 12]), (1, 70, 96, [11, 12])] {
        let d = of_same_size(n, 2 * c, size);
        assert!(Winograd::pays(&Groups::new(&d, 2, 2 * o * c * 9).window, o));
        check_groups(&d, 2 * o, 2, Operands::F32, 3e-5);
        check_groups(&d, 2 * o, 2, Operands::Bf16, 3e-5);
    }
}

/// Filters of 3×3 whose result has the size of the image.
fn of_same_size(n: usize, c: usize, size: [usize; 2]) -> Window {
    Window { n, c, size, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], padding: [1; 4] }
}

/// Many tiles go by Winograd's way beside pairs, too.
#[test]
fn many_tiles_are_their_definition_in_pairs() {
    let d = of_same_size(3, 32, [30, 31]);
    assert!(by_winograd(&d, 34, Operands::Bf16));
    check(&d, 34, Operands::Bf16, 3e-5);
}

/// With factors in bf16, Winograd's gradient of the weight is off by a hundredth of its size: in rows of two tiles, of which the last
/// may hold one, by tiles and by filters.
#[test]
fn winograd_in_pairs_is_off_by_a_hundredth() {
    for (n, c, o, size) in
        [(1, 40, 36, [12, 12]), (3, 40, 36, [12, 12]), (1, 70, 96, [11, 12]), (2, 96, 70, [16, 12])]
    {
        let d = of_same_size(n, c, size);
        assert!(Winograd::pays(&d, o));
        let (x, g) = (numbers(d.n * d.x_len(), 1), numbers(d.n * o * size[0] * size[1], 2));
        let [want, got] = [Operands::F32, Operands::Bf16].map(|operands| {
            let mut dw = vec![f32::NAN; o * c * 9];
            backward_weight(&d, 1, operands, &x, &g, &mut dw);
            dw
        });
        let sum = |f: &dyn Fn(f32, f32) -> f32| -> f64 {
            got.iter().zip(&want).map(|(g, w)| f64::from(f(*g, *w)).powi(2)).sum()
        };
        let off = (sum(&|g, w| g - w) / sum(&|_, w| w)).sqrt();
        assert!(off < 0.015, "{n} of {c} by {o}: off by {off}");
        assert_eq!(off > 1e-4, Operands::Bf16.in_pairs(), "{n} of {c} by {o}: off by {off}");
    }
}

/// What is written in bf16 is what is written in f32, rounded: by rows of one slice and of several, by Winograd's way, and of one filter
/// a channel.
#[test]
fn halves_are_the_rounded_result() {
    if !makes_halves(Operands::Bf16) {
        return;
    }
    let of = |n, c, side, k: usize, stride| Window {
        n,
        c,
        size: [side; 2],
        kernel: [k; 2],
        stride: [stride; 2],
        dilation: [1, 1],
        padding: [k / 2; 4],
    };
    let near = |what: &str, got: &[Bf16], want: &[f32], tolerance: f32| {
        assert!(
            got.iter().zip(want).all(|(g, w)| (g.get() - w).abs() <= tolerance * (1.0 + w.abs())),
            "{what}"
        );
    };
    for (d, o) in [
        (of(2, 7, 9, 3, 2), 21),
        (of(1, 200, 6, 3, 1), 50),
        (of(3, 40, 30, 3, 1), 34),
        (of(2, 33, 8, 1, 1), 70),
    ] {
        let (x, w) = (numbers(d.n * d.x_len(), 1), numbers(o * d.c * d.taps(), 2));
        let len = d.n * o * d.out().iter().product::<usize>();
        let (mut want, mut got) = (vec![f32::NAN; len], vec![Bf16::of(f32::NAN); len]);
        forward(&d, 1, Operands::Bf16, &x, &w, &Then::default(), &mut want);
        forward(&d, 1, Operands::Bf16, &x, &w, &Then::default(), &mut got);
        near(&format!("{d:?}"), &got, &want, 0.004);
    }
    let d = of(2, 37, 9, 3, 2);
    let (x, w) = (numbers(d.n * d.x_len(), 1), numbers(d.c * d.taps(), 2));
    let len = d.n * d.c * d.out().iter().product::<usize>();
    let (mut want, mut got) = (vec![f32::NAN; len], vec![Bf16::of(f32::NAN); len]);
    depthwise(&d, &x, &w, &Then::default(), &mut want);
    depthwise(&d, &x, &w, &Then::default(), &mut got);
    let rounded: Vec<Bf16> = want.iter().map(|v| Bf16::of(*v)).collect();
    assert_eq!(got, rounded);
}

/// Windows of pools, each of which reads something.
fn pool_windows() -> impl Strategy<Value = Window> {
    let sides = ([3..14usize, 3..14usize], [2..4usize, 2..4usize], [1..4usize, 1..4usize]);
    let padding = [0..2usize, 0..2, 0..2, 0..2];
    (1..3usize, prop_oneof![1..5usize, Just(70)], sides, padding).prop_map(
        |(n, c, (size, kernel, stride), padding)| Window {
            n,
            c,
            size,
            kernel,
            stride,
            dilation: [1, 1],
            padding,
        },
    )
}

/// Sums that are cut into slices and parts.
#[test]
fn long_sums_are_their_definition() {
    let of =
        |n, c, size, kernel| Window { n, c, size, kernel, stride: [2, 2], dilation: [1, 1], padding: [1; 4] };
    check(&of(1, 300, [5, 5], [3, 3]), 20, Operands::F32, 1e-5);
    check(&of(1, 301, [5, 5], [3, 3]), 20, Operands::Bf16, 1e-5);
    check(&of(2, 3, [60, 61], [7, 7]), 8, Operands::F32, 1e-5);
    check(&of(2, 3, [60, 61], [7, 7]), 8, Operands::Bf16, 1e-5);
    check(&of(1, 90, [7, 7], [3, 3]), 90, Operands::F32, 1e-5);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn depthwise_is_its_definition(
        n in 1..3usize,
        c in prop_oneof![1..5usize, Just(16), Just(35)],
        size in [1..14usize, 1..24usize],
        kernel in [1..6usize, 1..6usize],
        stride in [1..4usize, 1..4usize],
        dilation in [1..3usize, 1..3usize],
        padding in [0..3usize, 0..3, 0..3, 0..3],
    ) {
        let d = Window { n, c, size, kernel, stride, dilation, padding };
        let padded = d.padded();
        prop_assume!((0..2).all(|i| padded[i] > (kernel[i] - 1) * dilation[i]));
        let [oh, ow] = d.out();
        let (x, w) = (numbers(n * d.x_len(), 1), numbers(c * d.taps(), 2));
        let (g, bias) = (numbers(n * c * oh * ow, 3), numbers(c, 4));
        let nan = |n: usize| vec![f32::NAN; n];
        let (mut y, mut dx, mut dw) = (nan(g.len()), nan(x.len()), nan(w.len()));
        let [lo, hi] = [-0.25, 1.5];
        depthwise(&d, &x, &w, &Then { bias: Some(&bias), clip: [lo, hi], ..Then::default() }, &mut y);
        depthwise_backward_data(&d, &w, &g, None, &mut dx);
        let mut gated = x.clone();
        depthwise_backward_data(&d, &w, &g, Some([-0.5, 0.5]), &mut gated);
        depthwise_backward_weight(&d, &x, &g, &mut dw);
        let mut want = [vec![0.0; y.len()], vec![0.0; x.len()], vec![0.0; w.len()]];
        want[0].iter_mut().enumerate().for_each(|(i, v)| *v = f64::from(bias[i % c]));
        // Every channel is an image of its own.
        products(&Window { c: 1, ..d }, 1, 1, |xi, wi, yi| {
            for channel in 0..c {
                let (xi, wi, yi) = (xi * c + channel, channel * d.taps() + wi, yi * c + channel);
                want[0][yi] += f64::from(x[xi] * w[wi]);
                want[1][xi] += f64::from(w[wi] * g[yi]);
                want[2][wi] += f64::from(x[xi] * g[yi]);
            }
        });
        want[0].iter_mut().for_each(|v| *v = v.clamp(lo.into(), hi.into()));
        prop_assert_eq!(gated, passed(&dx, &x, [-0.5, 0.5]));
        for (name, got, want) in [("y", y, &want[0]), ("dx", dx, &want[1]), ("dw", dw, &want[2])] {
            close(&format!("{name} of depthwise {d:?}"), &got, want, 1e-5);
        }
    }

    #[test]
    fn average_pool_is_its_definition(d in pool_windows()) {
        let (Window { n, c, .. }, [oh, ow]) = (d, d.out());
        let (x, g) = (numbers(n * d.x_len(), 1), numbers(n * oh * ow * c, 2));
        let mut inside = vec![0.0f64; n * oh * ow];
        products(&Window { c: 1, ..d }, 1, 1, |_, _, yi| inside[yi] += 1.0);
        for counts_padding in [false, true] {
            let (mut y, mut dx) = (vec![f32::NAN; g.len()], vec![f32::NAN; x.len()]);
            average_pool(&d, [oh, ow], counts_padding, &x, &mut y);
            average_pool_backward(&d, [oh, ow], counts_padding, &g, &mut dx);
            let mut want = [vec![0.0f64; y.len()], vec![0.0f64; x.len()]];
            products(&Window { c: 1, ..d }, 1, 1, |xi, _, yi| {
                let count = if counts_padding { d.taps() as f64 } else { inside[yi] };
                for channel in 0..c {
                    want[0][yi * c + channel] += f64::from(x[xi * c + channel]) / count;
                    want[1][xi * c + channel] += f64::from(g[yi * c + channel]) / count;
                }
            });
            close(&format!("y of average pool {d:?}"), &y, &want[0], 1e-6);
            close(&format!("dx of average pool {d:?}"), &dx, &want[1], 1e-6);
        }
    }

    #[test]
    fn max_pool_is_its_definition(d in pool_windows()) {
        let (Window { n, c, .. }, [oh, ow]) = (d, d.out());
        // Few values, so that windows have several of the largest.
        let x: Vec<f32> = numbers(n * d.x_len(), 1).iter().map(|v| (v * 3.0).round()).collect();
        let g = numbers(n * oh * ow * c, 2);
        let (mut y, mut at) = (vec![f32::NAN; g.len()], vec![0; g.len()]);
        let mut dx = vec![f32::NAN; x.len()];
        max_pool(&d, [oh, ow], &x, &mut y, &mut at);
        max_pool_backward(&d, [oh, ow], &at, &g, &mut dx);
        let (mut y_want, mut from) = (vec![f32::NEG_INFINITY; y.len()], vec![0; y.len()]);
        products(&Window { c: 1, ..d }, 1, 1, |xi, _, yi| {
            for channel in 0..c {
                let (xi, yi) = (xi * c + channel, yi * c + channel);
                if x[xi] > y_want[yi] {
                    (y_want[yi], from[yi]) = (x[xi], xi);
                }
            }
        });
        let mut dx_want = vec![0.0f64; x.len()];
        from.iter().zip(&g).for_each(|(&xi, &g)| dx_want[xi] += f64::from(g));
        prop_assert_eq!(y, y_want);
        close(&format!("dx of pool {d:?}"), &dx, &dx_want, 1e-6);
    }
}
