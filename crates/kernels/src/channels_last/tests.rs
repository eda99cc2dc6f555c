//! Operators against their definition in f64 on images with channels first, on every set of instructions.

use proptest::prelude::*;

use super::*;
use crate::{Activation, Floats, Isa, Precision, Window, numbers};

/// An arena with images that operators read, write, and add, of some channels among others.
struct Arena {
    floats: Floats,
    n: usize,
    end: usize,
}

impl Arena {
    fn new(n: usize) -> Self {
        Arena { floats: Floats::zeros(1 << 17), n, end: 0 }
    }

    /// A place for images with `extra` channels of others on either side; all that nobody wrote is NaN.
    fn place(&mut self, size: [usize; 2], c: usize, margin: [usize; 4], extra: usize) -> View {
        let whole = View::new(self.end, size, c + 2 * extra, margin);
        self.end += whole.image;
        let n = self.n;
        assert!(self.end * n <= self.floats.len());
        self.floats[whole.start * n..self.end * n].fill(f32::NAN);
        clear_margin(&mut self.floats, n, &whole);
        whole.channels(extra..extra + c)
    }

    fn given(&mut self, x: &[f32], size: [usize; 2], c: usize, margin: [usize; 4], extra: usize) -> View {
        let view = self.place(size, c, margin, extra);
        import(x, &mut self.floats, self.n, &view);
        view
    }

    fn read(&self, view: &View) -> Vec<f32> {
        let mut values = Vec::new();
        export(&self.floats, self.n, view, &mut values);
        values
    }
}

/// `[n, o, oh, ow]` of a convolution with one filter for every `group` channels of the result, by definition.
fn convolved(d: &Window, x: &[f32], weight: &[f32], o: usize, depthwise: bool) -> Vec<f64> {
    let ([oh, ow], [kh, kw]) = (d.out(), d.kernel);
    let inner = if depthwise { 1 } else { d.c };
    let mut y = Vec::new();
    for n in 0..d.n {
        for out in 0..o {
            for (i, j) in (0..oh).flat_map(|i| (0..ow).map(move |j| (i, j))) {
                let mut sum = 0.0f64;
                for (c, a, b) in
                    (0..inner).flat_map(|c| (0..kh).flat_map(move |a| (0..kw).map(move |b| (c, a, b))))
                {
                    let (r, s) = (i * d.stride[0] + a * d.dilation[0], j * d.stride[1] + b * d.dilation[1]);
                    if (d.padding[0]..d.padding[0] + d.size[0]).contains(&r)
                        && (d.padding[1]..d.padding[1] + d.size[1]).contains(&s)
                    {
                        let channel = if depthwise { out } else { c };
                        let at = ((n * d.c + channel) * d.size[0] + r - d.padding[0]) * d.size[1] + s
                            - d.padding[1];
                        sum += f64::from(x[at]) * f64::from(weight[((out * inner + c) * kh + a) * kw + b]);
                    }
                }
                y.push(sum);
            }
        }
    }
    y
}

fn close(got: &[f32], want: &[f64]) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*g) - w).abs() <= 2e-5 * w.abs().max(1.0), "element {i}: {g} instead of {w}");
    }
}

/// Winograd's transforms add numbers of the size of the largest outputs, so its rounding is measured by all of them
/// (Barabasz et al., 2020: F(4×4, 3×3) in f32 errs some ten times as much as the direct sum).
fn close_to_scale(got: &[f32], want: &[f64]) {
    let rms = (want.iter().map(|w| w * w).sum::<f64>() / want.len().max(1) as f64).sqrt().max(1.0);
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!((f64::from(*g) - w).abs() <= 1.5e-5 * rms, "element {i}: {g} instead of {w}, among {rms}");
    }
}

prop_compose! {
    fn window(c_max: usize)(
        n in 1usize..4, c in 1..c_max, size in [3usize..12, 3usize..20], kernel in [1usize..4, 1usize..4],
        stride in [1usize..3, 1usize..3], dilation in 1usize..3, padding in any::<[u8; 4]>(),
    ) -> Window {
        let mut d = Window { n, c, size, kernel, stride, dilation: [dilation; 2], padding: padding.map(|p| usize::from(p % 3)) };
        for (i, kernel) in kernel.into_iter().enumerate() {
            d.padding[i] = d.padding[i].min((kernel - 1) * dilation);
            while d.padded()[i] < (kernel - 1) * dilation + 1 {
                d.padding[i + 2] += 1;
            }
        }
        d
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_convolution_agrees_with_its_definition(
        d in window(9), o in 1usize..70, extra in 0usize..3, with_residual in any::<bool>(), seed in 0u32..1000,
    ) {
        let x = numbers(d.n * d.x_len(), seed);
        let weight = numbers(o * d.c * d.taps(), seed + 1);
        let bias = numbers(o, seed + 2);
        let plane = d.out()[0] * d.out()[1];
        let residual = numbers(d.n * o * plane, seed + 3);
        let want: Vec<f64> = convolved(&d, &x, &weight, o, false)
            .iter()
            .enumerate()
            .map(|(i, y)| {
                let r = if with_residual { f64::from(residual[i]) } else { 0.0 };
                (y + f64::from(bias[i / plane % o]) + r).clamp(-0.5, 1.5)
            })
            .collect();
        for isa in Isa::available() {
            let mut arena = Arena::new(d.n);
            let from = arena.given(&x, d.size, d.c, d.margin(), extra);
            let to = arena.place(d.out(), o, [1, 0, 0, 2], extra);
            let r = arena.given(&residual, d.out(), o, [0; 4], 0);
            let finish = Finish { clamp: [-0.5, 1.5], ..Finish::default() };
            let conv = Convolution::on((isa, Precision::F32), &weight, Some(&bias), d, [from, to], with_residual.then_some(r), finish);
            conv.run(&mut arena.floats, d.n, false);
            let alone = arena.read(&to);
            close(&alone, &want);
            conv.run(&mut arena.floats, d.n, true);
            prop_assert_eq!(arena.read(&to), alone, "the same bits on all threads");
        }
    }

    /// In bf16 like the product of rounded numbers; in integers within what half a step of each factor can make.
    #[test]
    fn a_convolution_in_fewer_bits_agrees_with_its_definition(
        d in window(9), o in 1usize..70, extra in 0usize..3, with_residual in any::<bool>(), seed in 0u32..1000,
    ) {
        let x: Vec<f32> = numbers(d.n * d.x_len(), seed).iter().map(|v| v + 0.3).collect();
        let weight = numbers(o * d.c * d.taps(), seed + 1);
        let bias = numbers(o, seed + 2);
        let plane = d.out()[0] * d.out()[1];
        let residual = numbers(d.n * o * plane, seed + 3);
        for precision in [Precision::Bf16, Precision::Int8] {
            let rounded = |v: &[f32]| -> Vec<f32> {
                v.iter().map(|v| crate::precision::round_bf16(*v)).collect()
            };
            let (x_as, weight_as) =
                if precision == Precision::Bf16 { (rounded(&x), rounded(&weight)) } else { (x.clone(), weight.clone()) };
            let n_steps = (d.c * d.taps()) as f64;
            // Half of 1.3/127 times the other factor, and the other way round, and both at once.
            let bound = if precision == Precision::Bf16 { 2e-5 } else { n_steps * (0.5 * 2.0 / 255.0 + 1.3 * 0.5 / 127.0 + 1e-4) };
            let want: Vec<f64> = convolved(&d, &x_as, &weight_as, o, false)
                .iter()
                .enumerate()
                .map(|(i, y)| {
                    let r = if with_residual { f64::from(residual[i]) } else { 0.0 };
                    (y + f64::from(bias[i / plane % o]) + r).max(-1.5)
                })
                .collect();
            let mut on_all: Vec<Vec<f32>> = Vec::new();
            for isa in Isa::available().into_iter().filter(|&isa| isa != Isa::Avx512 || precision.is_accelerated()) {
                let mut arena = Arena::new(d.n);
                let from = arena.given(&x, d.size, d.c, d.margin(), extra);
                let to = arena.place(d.out(), o, [1, 0, 0, 2], extra);
                let r = arena.given(&residual, d.out(), o, [0; 4], 0);
                let finish = Finish { clamp: [-1.5, f32::INFINITY], ..Finish::default() };
                let residual = with_residual.then_some(r);
                let conv = Convolution::on((isa, precision), &weight, Some(&bias), d, [from, to], residual, finish);
                conv.run(&mut arena.floats, d.n, false);
                let alone = arena.read(&to);
                for (i, (g, w)) in alone.iter().zip(&want).enumerate() {
                    let bound = bound * w.abs().max(1.0);
                    prop_assert!((f64::from(*g) - w).abs() <= bound, "{:?} {:?}, element {}: {} instead of {}", isa, precision, i, g, w);
                }
                conv.run(&mut arena.floats, d.n, true);
                prop_assert_eq!(&arena.read(&to), &alone, "the same bits on all threads");
                on_all.push(alone);
            }
            if precision == Precision::Int8 {
                for (a, b) in on_all[0].iter().zip(on_all.iter().flatten()) {
                    prop_assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "integers are exact everywhere");
                }
            }
        }
    }

    #[test]
    fn a_linear_layer_agrees_with_its_definition(
        rows in 1usize..40, width in 1usize..70, out in 1usize..70, seed in 0u32..1000,
    ) {
        let d = Window { n: rows, c: width, size: [1, 1], kernel: [1, 1], stride: [1, 1], dilation: [1, 1], padding: [0; 4] };
        let (x, weight, bias) = (numbers(rows * width, seed), numbers(out * width, seed + 1), numbers(out, seed + 2));
        let want: Vec<f64> = convolved(&d, &x, &weight, out, false)
            .iter()
            .enumerate()
            .map(|(i, y)| (y + f64::from(bias[i % out])).max(0.0))
            .collect();
        // What rounding either factor of every product can make.
        let n_steps = width as f64;
        let bounds = [
            (Precision::F32, 2e-5),
            (Precision::Bf16, n_steps * 2.1 / 512.0),
            (Precision::Int8, n_steps * (0.51 * 2.0 / 255.0 + 0.51 / 127.0)),
        ];
        for (precision, bound) in bounds {
            for isa in Isa::available().into_iter().filter(|&isa| precision.isa() == Isa::best() || isa != Isa::Avx512) {
                let layer = Linear::on((isa, precision), &weight, Some(&bias), width, Activation::Relu);
                let mut y = vec![f32::NAN; rows * out];
                layer.run(&x, &mut y);
                for (i, (g, w)) in y.iter().zip(&want).enumerate() {
                    prop_assert!((f64::from(*g) - w).abs() <= bound * w.abs().max(1.0), "{:?} {:?}, element {}: {} instead of {}", isa, precision, i, g, w);
                }
                // A row's bits do not depend on the others.
                let mut last = vec![f32::NAN; out];
                layer.run(&x[(rows - 1) * width..], &mut last);
                prop_assert_eq!(&last[..], &y[(rows - 1) * out..]);
            }
        }
    }

    #[test]
    fn winograds_way_agrees_with_the_definition(
        n in 1usize..4, c in 1usize..40, size in [3usize..15, 3usize..15], padding in any::<[bool; 4]>(), o in 1usize..70,
        extra in 0usize..3, with_residual in any::<bool>(), seed in 0u32..1000,
    ) {
        let padding = padding.map(usize::from);
        let d = Window { n, c, size, kernel: [3, 3], stride: [1, 1], dilation: [1, 1], padding };
        let x = numbers(n * d.x_len(), seed);
        let (weight, bias) = (numbers(o * c * 9, seed + 1), numbers(o, seed + 2));
        let plane = d.out()[0] * d.out()[1];
        let residual = numbers(n * o * plane, seed + 3);
        let want: Vec<f64> = convolved(&d, &x, &weight, o, false)
            .iter()
            .enumerate()
            .map(|(i, y)| {
                let r = if with_residual { f64::from(residual[i]) } else { 0.0 };
                (y + f64::from(bias[i / plane % o]) + r).max(-0.5)
            })
            .collect();
        for isa in Isa::available() {
            let mut arena = Arena::new(n);
            let from = arena.given(&x, size, c, [1, 2, 1, 1], extra);
            let to = arena.place(d.out(), o, [0, 0, 1, 0], extra);
            let r = arena.given(&residual, d.out(), o, [0; 4], 0);
            let finish = Finish { clamp: [-0.5, f32::INFINITY], ..Finish::default() };
            let residual = with_residual.then_some(r);
            let conv = Winograd::on(isa, &weight, Some(&bias), d, [from, to], residual, finish);
            conv.run(&mut arena.floats, n, false);
            let alone = arena.read(&to);
            close_to_scale(&alone, &want);
            conv.run(&mut arena.floats, n, true);
            prop_assert_eq!(arena.read(&to), alone, "the same bits on all threads");
        }
    }

    #[test]
    fn a_depthwise_convolution_agrees_with_its_definition(d in window(40), extra in 0usize..3, seed in 0u32..1000) {
        let x = numbers(d.n * d.x_len(), seed);
        let (weight, bias) = (numbers(d.c * d.taps(), seed + 1), numbers(d.c, seed + 2));
        let plane = d.out()[0] * d.out()[1];
        let want: Vec<f64> = convolved(&d, &x, &weight, d.c, true)
            .iter()
            .enumerate()
            .map(|(i, y)| (y + f64::from(bias[i / plane % d.c])).max(0.0))
            .collect();
        for isa in Isa::available() {
            let mut arena = Arena::new(d.n);
            let from = arena.given(&x, d.size, d.c, d.margin(), extra);
            let to = arena.place(d.out(), d.c, [0, 1, 1, 0], extra);
            let finish = Finish { clamp: [0.0, f32::INFINITY], ..Finish::default() };
            let conv = Depthwise::on(isa, &weight, Some(&bias), d, [from, to], finish);
            conv.run(&mut arena.floats, d.n, false);
            let alone = arena.read(&to);
            close(&alone, &want);
            conv.run(&mut arena.floats, d.n, true);
            prop_assert_eq!(arena.read(&to), alone);
        }
    }
}

/// Long sums are cut into slices; an example's bits depend neither on them nor on its neighbours.
#[test]
fn long_sums_and_neighbours() {
    let d = Window {
        n: 3,
        c: 400,
        size: [3, 3],
        kernel: [3, 3],
        stride: [1, 1],
        dilation: [1, 1],
        padding: [1; 4],
    };
    let (x, weight) = (numbers(3 * d.x_len(), 1), numbers(50 * 3600, 2));
    let run = |x: &[f32], n: usize| {
        let mut arena = Arena::new(n);
        let from = arena.given(x, d.size, d.c, d.margin(), 0);
        let to = arena.place(d.out(), 50, [0; 4], 0);
        let finish = Finish { activation: Activation::Silu, ..Finish::default() };
        let conv = Convolution::new(Precision::F32, &weight, None, d, [from, to], None, finish);
        conv.run(&mut arena.floats, n, n == 2);
        arena.read(&to)
    };
    let all = run(&x, 3);
    let want: Vec<f64> =
        convolved(&d, &x, &weight, 50, false).iter().map(|y| y / (1.0 + (-y).exp())).collect();
    for (g, w) in all.iter().zip(&want) {
        assert!((f64::from(*g) - w).abs() < 2e-4 * w.abs().max(1.0), "{g} instead of {w}");
    }
    assert_eq!(run(&x[..2 * d.x_len()], 2), all[..2 * 450]);
    assert_eq!(run(&x[2 * d.x_len()..], 1), all[2 * 450..]);
}

/// Reference numbers of `torch.nn.functional`: images `x[i] = 7·i mod 40` of 2 channels, 4×5.
#[test]
fn pools_agree_with_pytorch() {
    let x: Vec<f32> = (0..40).map(|i| ((i * 7) % 40) as f32).collect();
    let d = Window {
        n: 1,
        c: 2,
        size: [4, 5],
        kernel: [3, 3],
        stride: [2, 2],
        dilation: [1, 1],
        padding: [1; 4],
    };
    let pooled = |kind, d: Window, size| {
        let mut arena = Arena::new(1);
        let from = arena.given(&x, d.size, 2, [0; 4], 1);
        let to = arena.place(size, 2, [1; 4], 0);
        Pool::new(kind, d, [from, to]).run(&mut arena.floats, 1, false);
        arena.read(&to)
    };
    assert_eq!(pooled(PoolKind::Max, d, [2, 3]), TORCH_MAX);
    close(&pooled(PoolKind::Mean, d, [2, 3]), &TORCH_MEAN);
    close(&pooled(PoolKind::MeanWithPadding, d, [2, 3]), &TORCH_MEAN_WITH_PADDING);
    let ceil = Window { kernel: [2, 2], padding: [0; 4], ..d };
    assert_eq!(pooled(PoolKind::Max, ceil, [2, 3]), TORCH_MAX_CEIL);
    close(&pooled(PoolKind::MeanWithPadding, ceil, [2, 3]), &TORCH_MEAN_CEIL);
    let mut arena = Arena::new(1);
    let from = arena.given(&x, [4, 5], 2, [1; 4], 3);
    let to = arena.place([1, 1], 2, [0; 4], 0);
    GlobalMean::new([from, to]).run(&mut arena.floats, 1);
    close(&arena.read(&to), &TORCH_GLOBAL);
}

const TORCH_MAX: [f32; 12] = [35.0, 21.0, 28.0, 37.0, 39.0, 23.0, 27.0, 36.0, 36.0, 22.0, 36.0, 38.0];
const TORCH_MEAN: [f64; 12] =
    [11.0, 11.5, 22.0, 26.8333333, 17.3333333, 14.5, 21.0, 24.8333333, 12.0, 13.5, 24.0, 27.8333333];
const TORCH_MEAN_WITH_PADDING: [f64; 12] = [
    4.8888889, 7.6666667, 9.7777778, 17.8888889, 17.3333333, 9.6666667, 9.3333333, 16.5555556, 5.3333333,
    9.0, 24.0, 18.5555556,
];
const TORCH_MAX_CEIL: [f32; 12] = [35.0, 21.0, 28.0, 37.0, 39.0, 18.0, 27.0, 36.0, 8.0, 17.0, 31.0, 38.0];
const TORCH_MEAN_CEIL: [f64; 12] = [11.0, 15.0, 25.5, 31.0, 15.0, 15.5, 21.0, 25.0, 5.5, 11.0, 25.0, 35.5];
const TORCH_GLOBAL: [f64; 2] = [18.5, 20.5];

#[test]
fn pointwise_operators() {
    let (x, other) = (numbers(2 * 5 * 6, 1), numbers(2 * 5 * 6, 2));
    let (gate, bias) = (numbers(2 * 5, 3), numbers(5, 4));
    let relu = Finish { clamp: [0.0, f32::INFINITY], ..Finish::default() };
    type Make<'a> = &'a dyn Fn([View; 2], View, View) -> Pointwise;
    let check = |make: Make<'_>, want: &dyn Fn(usize) -> f32| {
        for in_place in [false, true] {
            let mut arena = Arena::new(2);
            let from = arena.given(&x, [2, 3], 5, [1; 4], 1);
            let b = arena.given(&other, [2, 3], 5, [0; 4], 0);
            let g = arena.given(&gate, [1, 1], 5, [0; 4], 0);
            let to = if in_place { from } else { arena.place([2, 3], 5, [0, 0, 1, 1], 2) };
            make([from, to], b, g).run(&mut arena.floats, 2, in_place);
            let want: Vec<f32> = (0..60).map(want).collect();
            assert_eq!(arena.read(&to), want);
        }
    };
    check(&|v, _, _| Pointwise::copy(v, relu), &|i| x[i].max(0.0));
    check(&|v, b, _| Pointwise::add(v, b, relu), &|i| (x[i] + other[i]).max(0.0));
    check(&|[from, to], b, _| Pointwise::add([b, to], from, relu), &|i| (x[i] + other[i]).max(0.0));
    check(&|v, _, g| Pointwise::gate(v, g, Finish::default()), &|i| x[i] * gate[i / 6]);
    check(&|v, _, _| Pointwise::affine(v, &gate[..5], &bias, relu), &|i| {
        (x[i] * gate[i / 6 % 5] + bias[i / 6 % 5]).max(0.0)
    });
}

/// A square filter over every pixel of one image of 4×4.
fn over_each_pixel(kernel: usize, padding: usize) -> Window {
    let (size, kernel, padding) = ([4, 4], [kernel; 2], [padding; 4]);
    Window { n: 1, c: 1, size, kernel, stride: [1, 1], dilation: [1, 1], padding }
}

#[test]
#[should_panic(expected = "overlaps")]
fn a_result_does_not_overwrite_what_is_read() {
    let view = View::new(0, [4, 4], 1, [0; 4]);
    let d = over_each_pixel(1, 0);
    let _ = Convolution::new(Precision::F32, &[1.0], None, d, [view, view], None, Finish::default());
}

#[test]
#[should_panic(expected = "a margin of")]
fn a_margin_holds_what_the_window_reads() {
    let views = [View::new(0, [4, 4], 1, [1, 1, 1, 0]), View::new(64, [4, 4], 1, [0; 4])];
    let _ = Convolution::new(
        Precision::F32,
        &[1.0; 9],
        None,
        over_each_pixel(3, 1),
        views,
        None,
        Finish::default(),
    );
}

#[test]
#[should_panic(expected = "lie in")]
fn an_arena_that_is_too_small_is_refused() {
    let view = View::new(0, [4, 4], 1, [0; 4]);
    Pointwise::copy([view, view], Finish::default()).run(&mut [0.0; 31], 2, false);
}

/// What cannot be told in integers is not made up.
#[test]
fn numbers_that_are_none_stay_none() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let layer = Linear::new(Precision::Int8, &[1.0, 2.0], None, 2, Activation::Identity);
        let mut y = [0.0; 3];
        layer.run(&[1.0, 1.0, bad, 1.0, 0.0, 0.0], &mut y);
        assert!((y[0] - 3.0).abs() < 0.03 && y[1].is_nan() && y[2] == 0.0, "{y:?}");
    }
}

/// Of few rows, of some blocks, and of blocks that the cache bounds.
#[test]
fn two_layers_at_once_are_one_after_the_other() {
    let (width, between, out) = (40, 1500, 24);
    let (first_weight, second_weight) = (numbers(between * width, 1), numbers(out * between, 2));
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        let first = Linear::new(precision, &first_weight, None, width, Activation::Gelu);
        let bias = numbers(out, 3);
        let second =
            Linear::new(precision, &second_weight, Some(&bias), between, Activation::Identity).adding();
        for rows in [1, 30, 401, 1000] {
            let (x, residual) = (numbers(rows * width, 4), numbers(rows * out, 5));
            let (mut made, mut want, mut got) =
                (vec![0.0; rows * between], vec![0.0; rows * out], vec![1.0; rows * out]);
            first.run(&x, &mut made);
            second.run_adding(&made, Some(&residual), &mut want);
            first.run_before(&second, &x, Some(&residual), &mut got);
            assert_eq!(got, want, "{rows} rows in {precision:?}");
        }
    }
}
