//! Every operator against Burn's own: values and gradients, with and without autodiff.

use burn_backend::ops::{ActivationOps, ConvOptions, FloatTensorOps, IntTensorOps, ModuleOps};
use burn_backend::{AutodiffBackend, FloatDType, Scalar, Shape, TensorData};
use burn_dispatch::Dispatch as B;
use headstart_core::{Rng, Values};
use headstart_kernels::Activation;
use headstart_kernels::gemm::Operands;

use super::*;
use crate::Device;
use crate::tensor::{T, dims, from_f32, permute, reshape, scale, to_array};

fn random(shape: &[usize], seed: u64) -> T {
    let mut rng = Rng::new(seed);
    let values = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    from_f32(shape, values, Device::cpu().plain())
}

fn integers(shape: &[usize], values: Vec<i64>) -> T {
    B::int_from_data(TensorData::new(values, Shape::from(shape.to_vec())), Device::cpu().plain())
}

fn numbers(t: T) -> Vec<f32> {
    match to_array(t).expect("readable").values {
        Values::F32(v) => v,
        Values::I64(v) => panic!("integers {v:?}"),
    }
}

/// The result, and the gradient of every input of Σ result∘g for a fixed g.
fn differentiated(inputs: &[T], f: &dyn Fn(&[T]) -> T) -> Vec<Vec<f32>> {
    let tracked: Vec<T> = inputs
        .iter()
        .map(|t| B::float_set_require_grad(<B as AutodiffBackend>::from_inner(t.clone()), true))
        .collect();
    let y = f(&tracked);
    let mut out = vec![numbers(<B as AutodiffBackend>::inner(y.clone()))];
    let loss = B::float_sum(B::float_mul(y.clone(), random(&dims(&y), 99)));
    let mut gradients = <B as AutodiffBackend>::backward(loss);
    out.extend(tracked.iter().map(|t| {
        numbers(<B as AutodiffBackend>::grad_remove(t, &mut gradients).expect("every input has a gradient"))
    }));
    out
}

/// `ours` and `burns` agree within `tolerance`, and ours is the same bits without autodiff.
fn check(name: &str, inputs: &[T], tolerance: f32, ours: &dyn Fn(&[T]) -> T, burns: &dyn Fn(&[T]) -> T) {
    let (got, want) = (differentiated(inputs, ours), differentiated(inputs, burns));
    assert_eq!(numbers(ours(inputs)), got[0], "{name} without autodiff");
    for (i, (got, want)) in got.iter().zip(&want).enumerate() {
        assert_eq!(got.len(), want.len());
        for (g, w) in got.iter().zip(want) {
            assert!(
                (g - w).abs() <= tolerance * w.abs().max(1.0),
                "{name}: number {i} has {g} where Burn has {w}"
            );
        }
    }
}

#[test]
fn linear_is_burns() {
    let inputs = [random(&[3, 37, 50], 1), random(&[70, 50], 2), random(&[70], 3)];
    let burns = |i: &[T]| B::linear(i[0].clone(), B::float_transpose(i[1].clone()), i.get(2).cloned());
    let ours = |i: &[T]| product(Activation::Identity, i, Operands::F32);
    check("linear", &inputs, 2e-5, &ours, &burns);
    check("linear without bias", &inputs[..2], 2e-5, &ours, &burns);
    let burns = |i: &[T]| burns(&[&[B::gelu(i[0].clone())], &i[1..]].concat());
    let ours = |i: &[T]| product(Activation::Gelu, i, Operands::F32);
    check("linear of GELU", &inputs, 2e-5, &ours, &burns);
    check("linear of GELU without bias", &inputs[..2], 2e-5, &ours, &burns);
}

fn product(before: Activation, i: &[T], operands: Operands) -> T {
    linear(before, i[0].clone(), i[1].clone(), i.get(2).cloned(), operands)
}

fn convolved(i: &[T], bias: Option<&T>, options: ConvOptions<2>, then: Then) -> T {
    conv2d(i[0].clone(), i[1].clone(), bias.cloned(), options, Operands::F32, then).0
}

#[test]
fn convolution_is_burns() {
    for (c, groups, stride) in [(6, 1, 1), (6, 1, 2), (20, 20, 1), (20, 20, 2), (20, 4, 2), (10, 10, 1)] {
        let inputs = [random(&[3, c, 13, 15], 1), random(&[20, c / groups, 3, 3], 2), random(&[20], 3)];
        let options =
            || ConvOptions { stride: [stride; 2], padding: [(1, 1), (1, 1)], dilation: [1, 1], groups };
        let burns = |i: &[T]| B::conv2d(i[0].clone(), i[1].clone(), i.get(2).cloned(), options());
        let ours = |i: &[T]| convolved(i, i.get(2), options(), Then::default());
        check("convolution", &inputs, 3e-5, &ours, &burns);
        check("convolution without bias", &inputs[..2], 3e-5, &ours, &burns);
    }
}

/// Batch norm by given statistics, of Burn's own operators.
fn normalised(x: T, [weight, bias, mean, variance]: [&T; 4]) -> T {
    let by_channel = |t: &T| reshape(t.clone(), &[1, dims(t)[0], 1, 1]);
    let deviation = B::float_sqrt(B::float_add_scalar(variance.clone(), Scalar::Float(1e-3)));
    let hat = B::float_div(B::float_sub(x, by_channel(mean)), by_channel(&deviation));
    B::float_add(B::float_mul(hat, by_channel(weight)), by_channel(bias))
}

/// With a batch norm by given statistics or a bias, a sum and clipping.
#[test]
fn convolution_and_what_follows_is_burns() {
    let (mean, variance) = (random(&[40], 6), B::float_exp(random(&[40], 7)));
    let clipped = |x: T| B::float_clamp(x, Scalar::Float(-1.0), Scalar::Float(4.0));
    for (groups, stride) in [(1, 1), (1, 2), (40, 1), (40, 2), (10, 1), (2, 2)] {
        let size = 13usize.div_ceil(stride);
        let weight = scale(random(&[40, 40 / groups, 3, 3], 2), 0.05);
        let inputs = [random(&[2, 40, 13, 13], 1), weight, random(&[40], 3), random(&[40], 4)];
        let options =
            || ConvOptions { stride: [stride; 2], padding: [(1, 1), (1, 1)], dilation: [1, 1], groups };
        let burns = |i: &[T], bias: Option<T>| B::conv2d(i[0].clone(), i[1].clone(), bias, options());
        let params = |i: &[T]| [i[2].clone(), i[3].clone(), mean.clone(), variance.clone()];
        let norm = |i: &[T]| Some(Norm { params: params(i), eps: 1e-3, by_batch: false });
        let clip = Some([-1.0, 4.0]);
        let ours = |i: &[T]| convolved(i, None, options(), Then { norm: norm(i), clip, ..Then::default() });
        let want = |i: &[T]| clipped(normalised(burns(i, None), params(i).each_ref()));
        check("convolution, batch norm and clipping", &inputs, 2e-4, &ours, &want);
        let inputs = [&inputs[..], &[random(&[2, 40, size, size], 5)]].concat();
        let ours = |i: &[T]| {
            convolved(
                i,
                None,
                options(),
                Then { norm: norm(i), residual: Some(i[4].clone()), clip, ..Then::default() },
            )
        };
        let want = |i: &[T]| {
            let y = normalised(burns(i, None), params(i).each_ref());
            clipped(B::float_add(y, i[4].clone()))
        };
        check("convolution, batch norm, sum and clipping", &inputs, 2e-4, &ours, &want);
        let by_batch = |i: &[T]| Some(Norm { params: params(i), eps: 1e-3, by_batch: true });
        let measured = |i: &[T]| {
            let y = burns(i, None);
            B::batch_norm_train(y, i[2].clone(), i[3].clone(), 1e-3).output
        };
        let ours =
            |i: &[T]| convolved(i, None, options(), Then { norm: by_batch(i), clip, ..Then::default() });
        let want = |i: &[T]| clipped(measured(i));
        check("convolution, batch norm by the batch and clipping", &inputs[..4], 2e-4, &ours, &want);
        let ours = |is_gated: bool, i: &[T]| {
            let (norm, residual) = (by_batch(i), Some(i[4].clone()));
            convolved(i, None, options(), Then { norm, residual, clip, is_gated, ..Then::default() })
        };
        let want = |i: &[T]| clipped(B::float_add(measured(i), i[4].clone()));
        let name = "convolution, batch norm by the batch, sum and clipping";
        check(name, &inputs, 2e-4, &|i| ours(false, i), &want);
        let gated = |i: &[T]| {
            let then = Then { gate: clip, ..Then::default() };
            convolved(&[ours(true, i), i[1].clone()], None, options(), then)
        };
        let twice = |i: &[T]| B::conv2d(want(i), i[1].clone(), None, options());
        check("a batch norm gated by the next convolution", &inputs, 5e-4, &gated, &twice);
        let inputs = [0, 1, 2, 4].map(|i| inputs[i].clone());
        let ours = |i: &[T]| {
            let then = Then { residual: Some(i[3].clone()), clip, ..Then::default() };
            convolved(i, Some(&i[2]), options(), then)
        };
        let want = |i: &[T]| clipped(B::float_add(burns(i, Some(i[2].clone())), i[3].clone()));
        check("convolution, bias, sum and clipping", &inputs, 2e-4, &ours, &want);
        let ours = |i: &[T]| {
            let then = Then { residual: Some(i[3].clone()), clip, is_gated: true, ..Then::default() };
            let y = convolved(i, Some(&i[2]), options(), then);
            let then = Then { gate: clip, ..Then::default() };
            convolved(&[y, i[1].clone()], None, options(), then)
        };
        let twice = |i: &[T]| B::conv2d(want(i), i[1].clone(), None, options());
        check("a convolution gated by the next", &inputs, 5e-4, &ours, &twice);
    }
}

/// `[n, c, h, w]` whose channels lie next to each other.
fn image(shape: [usize; 4], seed: u64) -> T {
    let [n, c, h, w] = shape;
    permute(random(&[n, h, w, c], seed), &[0, 3, 1, 2])
}

#[test]
fn batch_norm_is_burns() {
    let shape = [3, 7, 5, 6];
    let affine = [random(&[7], 2), random(&[7], 3)];
    let norm = |i: &[T]| B::batch_norm_train(i[0].clone(), i[1].clone(), i[2].clone(), 1e-3).output;
    for x in [random(&shape, 1), image(shape, 1)] {
        let inputs = [x, affine[0].clone(), affine[1].clone(), image(shape, 4)];
        let ours = |i: &[T], then: Then| {
            let params = [1, 2, 1, 2].map(|p: usize| i[p].clone());
            batch_norm(i[0].clone(), Norm { params, eps: 1e-3, by_batch: true }, then).0
        };
        check("batch norm", &inputs[..3], 1e-4, &|i| ours(i, Then::default()), &norm);
        let clip = Some([0.0, f64::INFINITY]);
        let with_relu = |i: &[T]| ours(i, Then { clip, ..Then::default() });
        check("batch norm and relu", &inputs[..3], 1e-4, &with_relu, &|i| B::relu(norm(i)));
        let with_all = |i: &[T]| ours(i, Then { residual: Some(i[3].clone()), clip, ..Then::default() });
        let burns = |i: &[T]| B::relu(B::float_add(norm(i), i[3].clone()));
        check("batch norm, sum and relu", &inputs, 1e-4, &with_all, &burns);
    }
}

#[test]
fn batch_norm_by_given_statistics_is_burns() {
    let inputs = [image([3, 7, 5, 6], 1), random(&[7], 2), random(&[7], 3)];
    let (mean, variance) = (random(&[7], 4), B::float_exp(random(&[7], 5)));
    let params = |i: &[T]| [i[1].clone(), i[2].clone(), mean.clone(), variance.clone()];
    let ours = |i: &[T]| {
        let then = Then { clip: Some([-1.0, 1.0]), ..Then::default() };
        batch_norm(i[0].clone(), Norm { params: params(i), eps: 1e-3, by_batch: false }, then).0
    };
    let burns = |i: &[T]| {
        let y = normalised(i[0].clone(), params(i).each_ref());
        B::float_clamp(y, Scalar::Float(-1.0), Scalar::Float(1.0))
    };
    check("batch norm by given statistics", &inputs, 1e-4, &ours, &burns);
}

#[test]
fn pooling_is_burns() {
    for x in [random(&[2, 5, 9, 12], 1), image([2, 5, 9, 12], 1)] {
        for (kernel, stride, padding, ceil) in
            [([3, 3], [2, 2], [1, 1], false), ([3, 3], [2, 2], [0, 0], true), ([2, 3], [3, 1], [1, 0], true)]
        {
            let burns = |i: &[T]| B::max_pool2d(i[0].clone(), kernel, stride, padding, [1, 1], ceil);
            let ours = |i: &[T]| max_pool2d(i[0].clone(), kernel, stride, padding, ceil);
            check("max pool", std::slice::from_ref(&x), 1e-6, &ours, &burns);
            for counted in [false, true] {
                let burns = |i: &[T]| B::avg_pool2d(i[0].clone(), kernel, stride, padding, counted, ceil);
                let ours = |i: &[T]| avg_pool2d(i[0].clone(), kernel, stride, padding, counted, ceil);
                check("average pool", std::slice::from_ref(&x), 1e-6, &ours, &burns);
            }
        }
        let burns = |i: &[T]| B::float_mean_dim(B::float_mean_dim(i[0].clone(), 2), 3);
        let ours = |i: &[T]| global_mean(i[0].clone());
        check("global mean", &[x], 1e-6, &ours, &burns);
    }
}

/// A few images, and more than are joined at once; one is read twice, and one lies with channels first.
#[test]
fn joined_images_are_burns() {
    for n in [2, 3, 7, 19] {
        let images = (0..n).map(|i| image([2, 3 + i, 5, 6], i as u64));
        let inputs: Vec<T> = images.chain([random(&[2, 4, 5, 6], 50)]).collect();
        let twice = |i: &[T]| [i, &i[..1]].concat();
        assert!(concats(&twice(&inputs)));
        let burns = |i: &[T]| B::float_cat(twice(i), 1);
        check("joined images", &inputs, 1e-6, &|i| concat(twice(i)), &burns);
    }
}

/// An image that several operators read, of which some are Burn's: gradients meet in both layouts.
#[test]
fn residuals_are_burns() {
    let inputs = [random(&[2, 6, 8, 9], 1), random(&[6, 6, 3, 3], 2), random(&[6, 6, 1, 1], 3)];
    let net = |i: &[T], convolve: &dyn Fn(&T, &T, usize) -> T, sum: &dyn Fn(T, T) -> T| {
        let a = convolve(&i[0], &i[1], 1);
        let b = convolve(&a, &i[2], 0);
        let c = sum(convolve(&b, &i[1], 1), a.clone());
        B::float_add(B::float_mul(sum(c.clone(), b), c), a)
    };
    let options = |padding: usize| ConvOptions {
        stride: [1; 2],
        padding: [(padding, padding), (padding, padding)],
        dilation: [1; 2],
        groups: 1,
    };
    let burns = |i: &[T]| {
        net(i, &|x, w, p| B::conv2d(x.clone(), w.clone(), None, options(p)), &|a, b| B::float_add(a, b))
    };
    let ours = |i: &[T]| {
        let convolve =
            |x: &T, w: &T, p| convolved(&[x.clone(), w.clone()], None, options(p), Then::default());
        net(i, &convolve, &|a, b| add(a, b))
    };
    check("residuals", &inputs, 3e-4, &ours, &burns);
}

/// Factors that bf16 holds give the products of f32; gradients, which it does not hold, give nearly those.
#[test]
fn bf16_rounds_factors_alone() {
    let held = |shape: &[usize], seed: u64| {
        let values = numbers(random(shape, seed));
        let values = values.iter().map(|v| f32::from_bits(v.to_bits() & 0xffff_0000)).collect();
        from_f32(shape, values, Device::cpu().plain())
    };
    let options = || ConvOptions { stride: [1; 2], padding: [(1, 1), (1, 1)], dilation: [1, 1], groups: 1 };
    let product = |i: &[T], operands| product(Activation::Identity, i, operands);
    let convolution = |i: &[T], operands| {
        conv2d(i[0].clone(), i[1].clone(), i.get(2).cloned(), options(), operands, Then::default()).0
    };
    type Op<'a> = &'a dyn Fn(&[T], Operands) -> T;
    let cases: [(Op<'_>, [T; 3]); 2] = [
        (&product, [held(&[3, 37, 50], 1), held(&[70, 50], 2), held(&[70], 3)]),
        (&convolution, [held(&[3, 6, 13, 15], 1), held(&[20, 6, 3, 3], 2), held(&[20], 3)]),
    ];
    for (f, inputs) in cases {
        let [got, want] = [Operands::Bf16, Operands::F32].map(|o| differentiated(&inputs, &|i| f(i, o)));
        let worst = |i: usize| got[i].iter().zip(&want[i]).fold(0.0f32, |m, (g, w)| m.max((g - w).abs()));
        assert!(worst(0) < 2e-5, "{}", worst(0));
        // A product of 50 to 600 terms, each off by 2⁻⁹ at the most.
        assert!(
            (1e-4..0.3).contains(&worst(1)) && (1e-4..0.3).contains(&worst(2)),
            "{} {}",
            worst(1),
            worst(2)
        );
        assert_eq!(got[3], want[3], "sums for the bias are f32");
    }
}

#[test]
fn layer_norm_is_burns() {
    let inputs = [random(&[5, 30, 48], 1), random(&[48], 2), random(&[48], 3)];
    let burns = |i: &[T]| B::layer_norm(i[0].clone(), i[1].clone(), Some(i[2].clone()), 1e-5);
    check(
        "layer norm",
        &inputs,
        5e-5,
        &|i| layer_norm(i[0].clone(), i[1].clone(), i[2].clone(), 1e-5),
        &burns,
    );
}

#[test]
fn activations_are_burns() {
    let x = [scale(random(&[40, 50], 1), 2.0)];
    check("gelu", &x, 2e-6, &|i| gelu(i[0].clone(), false), &|i| B::gelu(i[0].clone()));
    check("silu", &x, 2e-6, &|i| silu(i[0].clone()), &|i| {
        B::float_mul(i[0].clone(), B::sigmoid(i[0].clone()))
    });
    check("relu", &x, 0.0, &|i| relu(i[0].clone()), &|i| B::relu(i[0].clone()));
    let by_tanh = |i: &[T]| {
        let cube = B::float_mul(B::float_mul(i[0].clone(), i[0].clone()), i[0].clone());
        let inner =
            scale(B::float_add(i[0].clone(), scale(cube, 0.044_715)), (2.0 / std::f64::consts::PI).sqrt());
        let one_more = B::float_add_scalar(B::float_tanh(inner), Scalar::Float(1.0));
        scale(B::float_mul(i[0].clone(), one_more), 0.5)
    };
    check("gelu by tanh", &x, 3e-6, &|i| gelu(i[0].clone(), true), &by_tanh);
}

#[test]
fn softmax_and_cross_entropy_are_burns() {
    let x = [scale(random(&[9, 33], 1), 3.0)];
    check("softmax", &x, 2e-6, &|i| softmax(i[0].clone(), 1), &|i| B::softmax(i[0].clone(), 1));
    let labels: Vec<usize> = (0..9).map(|i| i * 7 % 33).collect();
    let mut one_hot = vec![0.0; 9 * 33];
    labels.iter().enumerate().for_each(|(i, l)| one_hot[i * 33 + l] = 1.0);
    let burns = |i: &[T]| {
        let one_hot = from_f32(&[9, 33], one_hot.clone(), Device::cpu().plain());
        scale(B::float_sum(B::float_mul(B::log_softmax(i[0].clone(), 1), one_hot)), -1.0 / 9.0)
    };
    check("cross-entropy", &x, 2e-6, &|i| cross_entropy(i[0].clone(), &labels, &Device::cpu()), &burns);
}

#[test]
fn embedding_is_burns() {
    let ids = integers(&[4, 25], (0..100).map(|i| i * i % 11).collect());
    let weight = [random(&[13, 20], 1)];
    let burns = |i: &[T]| B::embedding(i[0].clone(), ids.clone());
    check("embedding", &weight, 1e-6, &|i| embedding(i[0].clone(), ids.clone()), &burns);
}

#[test]
fn attention_is_burns() {
    let (n, s_q, s_k, heads, width) = (3, 9, 14, 4, 32);
    let inputs = [random(&[n, s_q, width], 1), random(&[n, s_k, width], 2), random(&[n, s_k, width], 3)];
    let mask =
        integers(&[n, s_k], (0..(n * s_k) as i64).map(|i| i64::from(i % 14 < 3 || i % 5 > 1)).collect());
    for mask in [None, Some(mask)] {
        let burns = |i: &[T]| {
            let split = |t: &T, s: usize| {
                B::float_permute(reshape(t.clone(), &[n, s, heads, width / heads]), &[0, 2, 1, 3])
            };
            let q = scale(split(&i[0], s_q), 1.0 / ((width / heads) as f64).sqrt());
            let mut scores = B::float_matmul(q, B::float_transpose(split(&i[1], s_k)));
            if let Some(mask) = &mask {
                let keep = B::int_into_float(mask.clone(), FloatDType::F32);
                let bias = scale(B::float_add_scalar(keep, Scalar::Float(-1.0)), 1e9);
                scores = B::float_add(scores, reshape(bias, &[n, 1, 1, s_k]));
            }
            let mixed = B::float_matmul(B::softmax(scores, 3), split(&i[2], s_k));
            reshape(B::float_permute(mixed, &[0, 2, 1, 3]), &[n, s_q, width])
        };
        let factor = 1.0 / ((width / heads) as f64).sqrt();
        let qkv = |i: &[T]| [i[0].clone(), i[1].clone(), i[2].clone()];
        let ours = |i: &[T]| attention(qkv(i), mask.clone(), heads, factor, Operands::F32, None);
        check("attention", &inputs, 1e-5, &ours, &burns);
    }
}
