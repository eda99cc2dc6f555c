//! Compiled networks against the interpreter, which is tested against PyTorch; batches and threads against themselves.

use headstart_core::{Array, Batch, Precision, Rng, Values};
use headstart_graph::{
    Conv, DType, Dim, Graph, GraphBuilder, GraphError, InputSpec, Op, Padding, Shape, ValueId, rewrite,
};

use super::Frozen;
use super::fusion::{Kind, fuse};
use super::part::parted;
use super::placement::place;
use crate::{Device, Network, random_weights};

fn images(n: usize, shape: [usize; 3], seed: u64) -> Array {
    let mut rng = Rng::new(seed);
    let [c, h, w] = shape;
    Array::f32(&[n, c, h, w], (0..n * c * h * w).map(|_| rng.normal() as f32).collect())
}

fn values(array: &Array) -> &[f32] {
    match &array.values {
        Values::F32(values) => values,
        Values::I64(_) => panic!("outputs are f32"),
    }
}

/// Every output of the compiled graph is what the interpreter makes of it.
fn agrees(graph: Graph, shape: [usize; 3]) {
    let weights = random_weights(&graph, 3).expect("weights");
    let batch = Batch::image(images(5, shape, 1));
    let want = Network::load(graph.clone(), &weights, &Device::cpu()).expect("loads").infer_all(&batch);
    let (graph, weights) = rewrite::fold(&graph, &weights).expect("folds");
    let frozen = Frozen::load(graph, &weights, &Device::cpu(), Precision::F32).expect("loads");
    assert!(frozen.is_compiled(), "{:?}", frozen.why_interpreted());
    let got = frozen.infer_all(&batch).expect("runs");
    for (got, want) in got.iter().zip(want.expect("runs")) {
        assert_eq!(got.shape, want.shape);
        let scale = values(&want).iter().fold(0.0f32, |a, v| a.max(v.abs()));
        assert!(scale > 1e-3, "there is something to compare");
        for (g, w) in values(got).iter().zip(values(&want)) {
            assert!((g - w).abs() <= 2e-5 * scale, "{g} instead of {w}");
        }
    }
}

type Built = Result<ValueId, GraphError>;

fn conv_norm(b: &mut GraphBuilder, path: &str, x: ValueId, conv: Conv, act: Option<Op>) -> Built {
    let x = b.conv(path, x, conv.no_bias())?;
    let x = b.batch_norm(&format!("{path}.norm"), x, 1e-5, 0.1)?;
    act.map_or(Ok(x), |act| b.node(&format!("{path}.act"), act, &[x]))
}

/// A residual block with a shortcut, a block whose shortcut is its input, and a sum that two convolutions read.
#[test]
fn residual_blocks() -> Result<(), GraphError> {
    let mut b = GraphBuilder::new("residual");
    let x = b.image("image", [3, 30, 26]);
    let x = conv_norm(&mut b, "stem", x, Conv::new(20, 7).stride(2).padding(3), Some(Op::Relu))?;
    let mut x = b.max_pool("pool", x, [3, 2, 1], false)?;
    for (path, width, stride) in [("a", 24, 2), ("b", 24, 1)] {
        let y = conv_norm(
            &mut b,
            &format!("{path}.1"),
            x,
            Conv::new(width, 3).stride(stride).padding(1),
            Some(Op::Relu),
        )?;
        let y = conv_norm(&mut b, &format!("{path}.2"), y, Conv::new(width, 3).padding(1).groups(4), None)?;
        let mut shortcut = x;
        if stride == 2 {
            shortcut = conv_norm(&mut b, &format!("{path}.short"), x, Conv::new(width, 1).stride(2), None)?;
        }
        x = b.node(&format!("{path}.add"), Op::Add, &[y, shortcut])?;
        x = b.relu(&format!("{path}.relu"), x)?;
    }
    let features = b.global_avg_pool("mean", x)?;
    let y = b.linear("fc", features, 7)?;
    let graph = b.finish([("logits", y), ("features", features), ("map", x)])?;
    agrees(graph.clone(), [3, 30, 26]);
    let fused = fuse(&rewrite::fold(&graph, &random_weights(&graph, 0).expect("weights"))?.0).expect("fuses");
    let n_sums = fused.fused.iter().filter(|f| f.kind == Kind::Add).count();
    assert_eq!(
        (fused.fused.len(), n_sums),
        (9, 0),
        "6 convolutions, 2 pools, 1 linear layer: {:#?}",
        fused.fused
    );
    Ok(())
}

/// Large images run one by one, small ones together; 3×3 filters on many channels by Winograd's way.
#[test]
fn early_and_late_parts() -> Result<(), GraphError> {
    let mut b = GraphBuilder::new("parts");
    let x = b.image("image", [3, 72, 64]);
    let x = conv_norm(&mut b, "stem", x, Conv::new(32, 3).padding(1), Some(Op::Relu))?;
    let y = conv_norm(&mut b, "wide", x, Conv::new(40, 3).padding(1), Some(Op::Silu))?;
    let y = conv_norm(&mut b, "back", y, Conv::new(32, 3).padding(1), None)?;
    let x = b.node("add", Op::Add, &[y, x])?;
    let x = conv_norm(&mut b, "half", x, Conv::new(48, 3).stride(4).padding(1), Some(Op::Relu))?;
    let y = conv_norm(&mut b, "small", x, Conv::new(48, 3).padding(1), None)?;
    let y = b.node("join", Op::Add, &[x, y])?;
    let y = b.relu("act", y)?;
    let features = b.global_avg_pool("mean", y)?;
    let graph = b.finish([("features", features), ("map", y)])?;
    let fused = fuse(&rewrite::fold(&graph, &random_weights(&graph, 0).expect("weights"))?.0).expect("fuses");
    let [early, late] = parted(&fused).expect("has a large and a small part");
    assert_eq!((early.fused.len(), late.fused.len()), (4, 2), "up to `half`, and from `small` on");
    agrees(graph, [3, 72, 64]);
    Ok(())
}

/// Depthwise filters with padding that differs by side, squeeze and excitation, sums without activation.
#[test]
fn inverted_residuals() -> Result<(), GraphError> {
    let mut b = GraphBuilder::new("inverted");
    let image = b.image("image", [3, 33, 32]);
    let six = || Some(Op::Clip { min: 0.0, max: 6.0 });
    let same = |k: usize, c: usize| Conv::new(c, k).pad(Padding::SameUpper);
    let mut x = conv_norm(&mut b, "stem", image, same(3, 18).stride(2), six())?;
    for (i, (k, stride)) in [(3, 1), (5, 2), (3, 1)].into_iter().enumerate() {
        let at = |part: &str| format!("{i}.{part}");
        let y = conv_norm(&mut b, &at("up"), x, Conv::new(40, 1), Some(Op::Silu))?;
        let y = conv_norm(&mut b, &at("deep"), y, same(k, 40).groups(40).stride(stride), Some(Op::Silu))?;
        let s = b.node(&at("squeeze"), Op::AdaptiveAvgPool2d { size: [1, 1] }, &[y])?;
        let s = b.conv(&at("reduce"), s, Conv::new(5, 1))?;
        let s = b.node(&at("act"), Op::Gelu { tanh: i == 1 }, &[s])?;
        let s = b.conv(&at("expand"), s, Conv::new(40, 1))?;
        let s = b.node(&at("gate"), Op::Sigmoid, &[s])?;
        let y = b.node(&at("scale"), Op::Mul, &[y, s])?;
        let y = conv_norm(&mut b, &at("down"), y, Conv::new(18, 1), None)?;
        x = if stride == 1 { b.node(&at("add"), Op::Add, &[x, y])? } else { y };
    }
    let x = b.global_avg_pool("mean", x)?;
    agrees(b.finish([("features", x)])?, [3, 33, 32]);
    Ok(())
}

/// Parts of concatenations that are read elsewhere too, twice, or again after the whole was overwritten; norms on their own.
#[test]
fn concatenations() -> Result<(), GraphError> {
    let mut b = GraphBuilder::new("dense");
    let image = b.image("image", [3, 14, 15]);
    let mut x = b.conv("stem", image, Conv::new(10, 3).padding(1))?;
    let first = x;
    for i in 0..3 {
        let y = b.batch_norm(&format!("{i}.norm"), x, 1e-5, 0.1)?;
        let y = b.relu(&format!("{i}.relu"), y)?;
        let y = b.conv(&format!("{i}.conv"), y, Conv::new(6, 3).padding(1))?;
        x = b.node(&format!("{i}.concat"), Op::Concat { axis: 1 }, &[x, y])?;
    }
    let last = b.batch_norm("norm", x, 1e-5, 0.1)?;
    let last = b.relu("relu", last)?;
    let again = b.node("again", Op::Concat { axis: 1 }, &[first, last, first])?;
    let mean = Op::AvgPool2d {
        kernel: [3, 2],
        stride: [2, 2],
        padding: [1, 0],
        ceil_mode: true,
        count_include_pad: false,
    };
    let pooled = b.node("pooled", mean, &[again])?;
    let y = b.node("flat", Op::Flatten { start: 1 }, &[pooled])?;
    let y = b.linear("fc", y, 9)?;
    let graph = b.finish([("y", y), ("pooled", pooled)])?;
    agrees(graph, [3, 14, 15]);
    Ok(())
}

fn small() -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new("small");
    let x = b.image("image", [3, 20, 20]);
    let x = b.conv("a", x, Conv::new(50, 3).stride(2).padding(1))?;
    let x = b.relu("a.act", x)?;
    let x = b.conv("b", x, Conv::new(50, 3).padding(1).groups(50))?;
    let y = b.conv("c", x, Conv::new(50, 1))?;
    let x = b.node("sum", Op::Add, &[x, y])?;
    let x = b.global_avg_pool("mean", x)?;
    b.finish([("features", x)])
}

#[test]
fn an_example_has_the_same_bits_in_any_batch_on_any_number_of_threads() {
    let graph = small().expect("a graph");
    let weights = random_weights(&graph, 3).expect("weights");
    for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
        let frozen = Frozen::load(graph.clone(), &weights, &Device::cpu(), precision).expect("loads");
        let all = images(11, [3, 20, 20], 7);
        let want = frozen.infer(&Batch::image(all.clone())).expect("runs");
        for n_threads in [1, 2, 3, 13] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(n_threads).build().expect("a pool");
            let got = pool.install(|| frozen.infer(&Batch::image(all.clone()))).expect("runs");
            assert_eq!(got, want, "{n_threads} threads");
            for i in 0..11 {
                let one = Array::f32(&[1, 3, 20, 20], values(&all)[i * 1200..(i + 1) * 1200].to_vec());
                let alone = pool.install(|| frozen.infer(&Batch::image(one))).expect("runs");
                assert_eq!(values(&alone), &values(&want)[i * 50..(i + 1) * 50]);
            }
        }
    }
}

/// Largest difference of two results over the root mean square of the first.
fn apart(want: &Array, got: &Array) -> f32 {
    let (want, got) = (values(want), values(got));
    let rms = (want.iter().map(|v| v * v).sum::<f32>() / want.len() as f32).sqrt();
    want.iter().zip(got).map(|(w, g)| (w - g).abs()).fold(0.0, f32::max) / rms
}

#[test]
fn fewer_bits_are_near_to_f32_and_are_fewer() {
    let graph = small().expect("a graph");
    let weights = random_weights(&graph, 3).expect("weights");
    let batch = Batch::image(images(6, [3, 20, 20], 7));
    let run = |precision| {
        let frozen = Frozen::load(graph.clone(), &weights, &Device::cpu(), precision).expect("loads");
        frozen.infer(&batch).expect("runs")
    };
    let exact = run(Precision::F32);
    for (precision, bound) in [(Precision::Bf16, 0.01), (Precision::Int8, 0.02)] {
        let apart = apart(&exact, &run(precision));
        assert!(apart > 1e-5 && apart < bound, "{precision}: {apart}");
    }
}

/// Layers of every kind of activation, behind each other and as results.
#[test]
fn packed_layers_do_what_interpreted_ones_do() -> Result<(), GraphError> {
    let mut b = GraphBuilder::new("rows");
    let shape = Shape(vec![Dim::batch(), Dim::sequence(), Dim::Fixed(20)]);
    let x = b.input("rows", InputSpec { dtype: DType::F32, shape, default: None });
    let (gelu, tanh) = (Op::Gelu { tanh: false }, Op::Gelu { tanh: true });
    let mut x = b.linear("first", x, 70)?;
    for (i, op) in [Op::Relu, gelu, tanh, Op::Silu, Op::Sigmoid].into_iter().enumerate() {
        let y = b.linear(&format!("in.{i}"), x, 33)?;
        let y = b.node(&format!("act.{i}"), op, &[y])?;
        let y = b.linear(&format!("out.{i}"), y, 70)?;
        x = b.node(&format!("sum.{i}"), Op::Add, &[x, y])?;
    }
    // Read twice, so that its activation is a node of its own.
    let y = b.linear("twice", x, 5)?;
    let z = b.relu("relu", y)?;
    let graph = b.finish([("z", z), ("y", y), ("x", x)])?;
    let weights = random_weights(&graph, 1).expect("weights");
    let mut rng = Rng::new(4);
    let rows = Array::f32(&[3, 7, 20], (0..420).map(|_| rng.normal() as f32).collect());
    let batch = Batch { inputs: vec![("rows".into(), rows)] };
    let want = Network::load(graph.clone(), &weights, &Device::cpu())
        .expect("loads")
        .infer_all(&batch)
        .expect("runs");
    for (precision, bound) in [(Precision::F32, 1e-5), (Precision::Bf16, 0.05), (Precision::Int8, 0.1)] {
        let frozen = Frozen::load(graph.clone(), &weights, &Device::cpu(), precision).expect("loads");
        assert!(!frozen.is_compiled());
        for (want, got) in want.iter().zip(&frozen.infer_all(&batch).expect("runs")) {
            assert_eq!(want.shape, got.shape);
            assert!(apart(want, got) < bound, "{precision}: {}", apart(want, got));
        }
    }
    Ok(())
}

#[test]
fn values_share_memory() {
    let graph = small().expect("a graph");
    let fused = fuse(&graph).expect("fuses");
    let placement = place(&fused).expect("fits");
    // The image with a margin, and two of the three maps at once.
    assert!(placement.len < 3 * 21 * 21 + 2 * 12 * 12 * 50 + 200, "{} elements", placement.len);
}

#[test]
fn what_has_no_place_is_interpreted() -> Result<(), GraphError> {
    let mut b = GraphBuilder::new("odd");
    let x = b.image("image", [2, 4, 4]);
    let x = b.node("swap", Op::Transpose { perm: vec![0, 1, 3, 2] }, &[x])?;
    let x = b.global_avg_pool("mean", x)?;
    let graph = b.finish([("features", x)])?;
    let weights = random_weights(&graph, 0).expect("weights");
    let frozen = Frozen::load(graph, &weights, &Device::cpu(), Precision::F32).expect("loads");
    assert_eq!(frozen.why_interpreted(), Some("node `swap` (Transpose) is interpreted"));
    assert_eq!(frozen.infer(&Batch::image(images(2, [2, 4, 4], 0))).expect("runs").shape, [2, 2]);
    let e = frozen.infer(&Batch::image(images(2, [2, 5, 4], 0))).expect_err("another size");
    assert!(e.to_string().contains("[2, 2, 5, 4]"), "{e}");
    Ok(())
}
