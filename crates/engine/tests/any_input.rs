//! Operators and whatever may reach them: a graph that was built runs or says why not, but never panics.

use std::panic::{AssertUnwindSafe, catch_unwind};

use headstart_core::{Array, Batch, Values};
use headstart_engine::{Device, LossInput, Network, cross_entropy, last_axis_as_rows, random_weights};
use headstart_graph::{
    Attention, AxisRange, Binary, Cell, Coordinates, DType, Dim, Direction, ElementKind, Graph, GraphBuilder,
    GraphError, Init, InputSpec, Interpolation, Op, PadMode, Padding, Reduction, Resampling, Rounding, Shape,
    Unary,
};

const SHAPES: [&[usize]; 10] =
    [&[], &[1], &[3], &[0], &[4, 3], &[3, 3], &[2, 3, 4], &[1, 3, 3], &[2, 4, 6, 6], &[2, 4, 3, 3]];
const KINDS: [ElementKind; 3] = [ElementKind::Float, ElementKind::Int, ElementKind::Bool];

fn operators() -> Vec<Op> {
    use Binary::{And, Div, Equal, Fmod, Less, Max, Min, Mod, PRelu, Pow, Sub, Xor};
    let unary = [
        Unary::Neg,
        Unary::Abs,
        Unary::Sign,
        Unary::Not,
        Unary::Log,
        Unary::Pow(0.5),
        Unary::Round,
        Unary::RoundThrough,
        Unary::IsNan,
        Unary::Softplus,
        Unary::Mish,
        Unary::Elu { alpha: 1.0 },
        Unary::LeakyRelu { alpha: 0.1 },
    ];
    let reduction = [Reduction::Sum, Reduction::Mean, Reduction::Max, Reduction::Prod, Reduction::L1];
    let more = [Reduction::L2, Reduction::LogSum, Reduction::LogSumExp, Reduction::SumSquare];
    let range = |start, length, step| {
        vec![AxisRange { axis: 0, start: Dim::Fixed(start), length: Dim::Fixed(length), step }]
    };
    let resize = |interpolation| {
        Op::Resize(Resampling {
            axes: vec![0],
            sizes: vec![Dim::Fixed(5)],
            scales: vec![1.3],
            interpolation,
            coordinates: Coordinates::HalfPixel,
            antialias: false,
            exclude_outside: false,
        })
    };
    let mut all = vec![
        Op::Conv2d { stride: [1, 1], padding: Padding::all(1), dilation: [1, 1], groups: 1 },
        Op::Linear,
        Op::BatchNorm { eps: 1e-5, momentum: 0.1 },
        Op::LayerNorm { eps: 1e-5 },
        Op::Relu,
        Op::Clip { min: 0.0, max: 6.0 },
        Op::Silu,
        Op::Gelu { tanh: false },
        Op::Sigmoid,
        Op::Tanh,
        Op::Softmax { axis: 0 },
        Op::MaxPool2d { kernel: [2, 2], stride: [1, 1], padding: [0, 0], ceil_mode: true },
        Op::AvgPool2d {
            kernel: [2, 2],
            stride: [2, 2],
            padding: [1, 1],
            ceil_mode: true,
            count_include_pad: false,
        },
        Op::AdaptiveAvgPool2d { size: [2, 1] },
        Op::Flatten { start: 1 },
        Op::Transpose { perm: vec![1, 0] },
        Op::MatMul,
        Op::Add,
        Op::Mul,
        Op::Scale { by: 2.0 },
        Op::ChannelScale { axis: 1 },
        Op::DoraGain { scaling: 1.0 },
        Op::Concat { axis: 0 },
        Op::Select { axis: 0, index: 0 },
        Op::Dropout { p: 0.5 },
        Op::DropPath { p: 0.5 },
        Op::Embedding,
        Op::PositionIds { offset: 1, padding_id: Some(1) },
        Op::Attention(Attention::new(1)),
        Op::Attention(Attention::new(1).biased()),
        Op::RelativePositionBias { buckets: 4, distance_max: 8, bidirectional: true },
        Op::MaskedMean,
        Op::MaskedMax,
        Op::MaskTokens,
        Op::RmsNorm { eps: 1e-5 },
        Op::GroupNorm { groups: 2, eps: 1e-5 },
        Op::WeightNorm { axis: 0 },
        Op::L2Normalize,
        Op::Where,
        Op::Reshape { shape: vec![Dim::Fixed(3), Dim::Fixed(4)] },
        Op::Expand { shape: vec![Dim::Fixed(2), Dim::Fixed(3)] },
        Op::Slice { ranges: range(0, 1, 1) },
        Op::Slice { ranges: range(1, 2, -1) },
        Op::Gather { axis: 0 },
        Op::GatherElements { axis: 0 },
        Op::GatherNd,
        Op::ScatterNd { add: true },
        Op::ScatterNd { add: false },
        Op::ArgMax { axis: 0, keep_dims: false, smallest: false },
        Op::ArgSort { axis: 0, descending: true },
        Op::CumSum { axis: 0, exclusive: true, reverse: true },
        Op::Triangle { upper: true, k: 1 },
        Op::LogSoftmax { axis: 0 },
        Op::ConvNd { stride: vec![1], padding: vec![[1, 0]], dilation: vec![1], groups: 1 },
        resize(Interpolation::Nearest(Rounding::Floor)),
        resize(Interpolation::Linear),
        resize(Interpolation::Cubic(-0.75)),
        Op::Recurrent { cell: Cell::Rnn { relu: true }, direction: Direction::Forward },
    ];
    all.extend(unary.map(|function| Op::Unary { function }));
    let binary = [Sub, Div, Pow, Min, Max, Mod, Fmod, PRelu, And, Xor, Equal, Less];
    all.extend(binary.map(|function| Op::Binary { function }));
    for function in reduction.into_iter().chain(more) {
        all.push(Op::Reduce { function, axes: vec![0], keep_dims: true });
        all.push(Op::Reduce { function, axes: Vec::new(), keep_dims: false });
    }
    all.extend(KINDS.map(|to| Op::Cast { to }));
    for mode in [PadMode::Constant(1.0), PadMode::Reflect, PadMode::Edge, PadMode::Wrap] {
        all.push(Op::Pad { pads: vec![[1, 2], [0, 1]], mode });
    }
    all
}

/// An operator over inputs of these kinds and shapes.
fn graph(op: &Op, inputs: &[(ElementKind, &[usize])]) -> Result<Graph, GraphError> {
    let mut b = GraphBuilder::new("one");
    let mut ids = Vec::new();
    for (i, (kind, shape)) in inputs.iter().enumerate() {
        let dtype = if *kind == ElementKind::Float { DType::F32 } else { DType::I64 };
        let id = b.input(&format!("x{i}"), InputSpec { dtype, shape: Shape::fixed(shape), default: None });
        ids.push(match kind {
            ElementKind::Bool => b.node(&format!("truth{i}"), Op::Cast { to: ElementKind::Bool }, &[id])?,
            // Something that learns.
            ElementKind::Float => {
                let by = b.param(format!("by{i}"), &[], Init::Constant(1.0))?;
                b.node(&format!("scaled{i}"), Op::Mul, &[id, by])?
            }
            ElementKind::Int => id,
        });
    }
    let y = b.node("y", op.clone(), &ids)?;
    // What a program gets is a number.
    let y = b.node("number", Op::Cast { to: ElementKind::Float }, &[y])?;
    b.finish([("y", y)])
}

fn batch(inputs: &[(ElementKind, &[usize])]) -> Batch {
    let array = |(kind, shape): &(ElementKind, &[usize])| {
        let n: usize = shape.iter().product();
        match kind {
            ElementKind::Float => Array::f32(shape, (0..n).map(|i| i as f32 / 3.0 - 1.0).collect()),
            _ => Array::i64(shape, (0..n).map(|i| i as i64 % 3).collect()),
        }
    };
    Batch { inputs: inputs.iter().enumerate().map(|(i, x)| (format!("x{i}"), array(x))).collect() }
}

#[test]
fn no_operator_panics_whatever_kinds_and_shapes_reach_it() {
    let (mut n_run, mut n_refused) = (0, 0);
    let mut panics: Vec<String> = Vec::new();
    let mut try_one = |op: &Op, inputs: &[(ElementKind, &[usize])]| {
        let Ok(graph) = graph(op, inputs) else {
            n_refused += 1;
            return;
        };
        n_run += 1;
        let run = || {
            let weights = random_weights(&graph, 0).expect("weights");
            let network = Network::load(graph, &weights, &Device::cpu()).expect("it has its weights");
            let Ok(y) = network.infer(&batch(inputs)) else { return false };
            let Some((&width, rows)) = y.shape.split_last() else { return false };
            let labels = vec![0; rows.iter().product()];
            if width > 0 && !labels.is_empty() {
                let loss = |i: LossInput<'_>| cross_entropy(last_axis_as_rows(i.output()), &labels, i.device);
                // Whether it learns is another question.
                drop(network.gradients(&batch(inputs), &|_| true, &loss));
            }
            !matches!(y.values, Values::F32(_))
        };
        // All that panic are named, not the first alone.
        if catch_unwind(AssertUnwindSafe(run)).unwrap_or(true) {
            panics.push(format!("{op:?} of {inputs:?}"));
        }
    };
    for op in operators() {
        let (least, most) = op.arity();
        for n in least.max(1)..=most.min(least.max(1) + 1).min(5) {
            for first in KINDS {
                for other in KINDS {
                    for a in SHAPES {
                        for b in SHAPES {
                            let mut inputs = vec![(other, b); n];
                            inputs[0] = (first, a);
                            try_one(&op, &inputs);
                        }
                    }
                }
            }
        }
    }
    assert!(panics.is_empty(), "{} panicked:\n{}", panics.len(), panics.join("\n"));
    assert!(n_run > 2_000 && n_refused > 2_000, "{n_run} ran, {n_refused} were refused");
}

/// Straight through: the rounded number, and the gradient of the number.
#[test]
fn rounding_may_let_gradients_pass() {
    let norm = |function| {
        let mut b = GraphBuilder::new("rounded");
        let spec = InputSpec { dtype: DType::F32, shape: Shape::fixed(&[1, 3]), default: None };
        let x = b.input("x", spec);
        let by = b.param("by".into(), &[3], Init::Constant(1.0)).expect("a parameter");
        let y = b.node("scaled", Op::Mul, &[x, by]).expect("a product");
        let y = b.node("y", Op::Unary { function }, &[y]).expect("a function");
        let graph = b.finish([("y", y)]).expect("a graph");
        let weights = random_weights(&graph, 0).expect("weights");
        let network = Network::load(graph, &weights, &Device::cpu()).expect("it has its weights");
        let batch = Batch { inputs: [("x".to_string(), Array::f32(&[1, 3], vec![1.3, -0.5, 2.5]))].into() };
        assert_eq!(network.infer(&batch).expect("runs").values, Values::F32(vec![1.0, 0.0, 2.0]));
        let loss = |i: LossInput<'_>| cross_entropy(last_axis_as_rows(i.output()), &[0], i.device);
        let (_, gradients) = network.gradients(&batch, &|_| true, &loss).expect("a gradient");
        gradients.norms(network.graph()).expect("norms").first().map_or(0.0, |(_, norm)| *norm)
    };
    assert_eq!(norm(Unary::Round), 0.0);
    assert!(norm(Unary::RoundThrough) > 0.1);
}
