//! From our operators to ONNX's.

mod layers;
mod tokens;

use headstart_graph::{
    AxisRange, Binary, Cell, Coordinates, Dim, Direction, ElementKind, Expr, Graph, Interpolation, Node, Op,
    PadMode, Padding, Reduction, Resampling, Rounding, Unary, disentangled_row,
};

use super::super::proto::Attribute;
use super::emit::{Emitter, float, int, ints, text, texts};
use layers::{attention, channel_scale, dora_gain, layer_norm, masked_mean};

/// Writes one node and binds its value.
pub(super) fn node(e: &mut Emitter, graph: &Graph, kinds: &[ElementKind], node: &Node) -> Result<(), String> {
    let names: Vec<String> = node.inputs.iter().map(|&id| e.name(id)).collect();
    let of: Vec<ElementKind> = node.inputs.iter().map(|id| kinds[id.index()]).collect();
    let dims: Vec<Vec<Dim>> = node.inputs.iter().map(|&id| graph.value(id).shape.0.clone()).collect();
    let n = Written { path: &node.path, names, of, dims };
    let name = match &node.op {
        Op::Linear => linear(e, &n),
        Op::Recurrent { cell, direction } => recurrent(e, graph, node, &n, *cell, *direction)?,
        op => one(e, op, &n)?,
    };
    e.bind(node.output, name);
    Ok(())
}

/// A node's surroundings.
struct Written<'a> {
    path: &'a str,
    names: Vec<String>,
    of: Vec<ElementKind>,
    dims: Vec<Vec<Dim>>,
}

impl Written<'_> {
    fn x(&self) -> &str {
        &self.names[0]
    }

    fn all(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    fn part(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }

    fn rank(&self) -> usize {
        self.dims[0].len()
    }
}

fn pads(pairs: &[[usize; 2]]) -> Vec<usize> {
    pairs.iter().map(|p| p[0]).chain(pairs.iter().map(|p| p[1])).collect()
}

fn one(e: &mut Emitter, op: &Op, n: &Written<'_>) -> Result<String, String> {
    let plain = |e: &mut Emitter, op: &str, attributes| e.one(op, n.path, &n.all(), attributes);
    Ok(match op {
        Op::Conv2d { stride, padding, dilation, groups } => {
            let pad = match padding {
                Padding::Explicit(p) => ints("pads", p),
                Padding::SameUpper => text("auto_pad", "SAME_UPPER"),
            };
            let attributes =
                vec![ints("strides", stride), ints("dilations", dilation), int("group", *groups as i64), pad];
            plain(e, "Conv", attributes)
        }
        Op::ConvNd { stride, padding, dilation, groups } => plain(
            e,
            "Conv",
            vec![
                ints("strides", stride),
                ints("dilations", dilation),
                int("group", *groups as i64),
                ints("pads", &pads(padding)),
            ],
        ),
        Op::ConvTranspose { stride, padding, output_padding, dilation, groups } => plain(
            e,
            "ConvTranspose",
            vec![
                ints("strides", stride),
                ints("dilations", dilation),
                int("group", *groups as i64),
                ints("pads", &pads(padding)),
                ints("output_padding", output_padding),
            ],
        ),
        Op::BatchNorm { eps, momentum } => {
            plain(e, "BatchNormalization", vec![float("epsilon", *eps), float("momentum", 1.0 - momentum)])
        }
        Op::LayerNorm { eps } => layer_norm(e, n, *eps),
        Op::Relu => plain(e, "Relu", Vec::new()),
        Op::Clip { min, max } => {
            let bound = |e: &mut Emitter, v: f64| if v.is_finite() { e.float(v) } else { String::new() };
            let (min, max) = (bound(e, *min), bound(e, *max));
            e.one("Clip", n.path, &[n.x(), &min, &max], Vec::new())
        }
        Op::Silu => {
            let gate = e.one("Sigmoid", &n.part("sigmoid"), &[n.x()], Vec::new());
            e.one("Mul", n.path, &[n.x(), &gate], Vec::new())
        }
        Op::Gelu { tanh } => gelu(e, n, *tanh),
        Op::Sigmoid => plain(e, "Sigmoid", Vec::new()),
        Op::Tanh => plain(e, "Tanh", Vec::new()),
        Op::Softmax { axis } => plain(e, "Softmax", vec![int("axis", *axis as i64)]),
        Op::LogSoftmax { axis } => plain(e, "LogSoftmax", vec![int("axis", *axis as i64)]),
        Op::MaxPool2d { kernel, stride, padding, ceil_mode } => {
            plain(e, "MaxPool", pool(*kernel, *stride, *padding, *ceil_mode))
        }
        Op::AvgPool2d { kernel, stride, padding, ceil_mode, count_include_pad } => {
            let mut attributes = pool(*kernel, *stride, *padding, *ceil_mode);
            attributes.push(int("count_include_pad", (*count_include_pad).into()));
            plain(e, "AveragePool", attributes)
        }
        Op::AdaptiveAvgPool2d { size: [1, 1] } => plain(e, "GlobalAveragePool", Vec::new()),
        Op::AdaptiveAvgPool2d { size } => adaptive_pool(e, n, *size)?,
        Op::Flatten { start: 1 } => plain(e, "Flatten", vec![int("axis", 1)]),
        Op::Flatten { start } => {
            let joined = n.dims[0][*start..].iter().filter_map(Dim::fixed).product();
            let shape = [&n.dims[0][..*start], &[Dim::Fixed(joined)]].concat();
            e.reshape(n.path, n.x(), &shape)?
        }
        Op::Transpose { perm } => plain(e, "Transpose", vec![ints("perm", perm)]),
        Op::MatMul => plain(e, "MatMul", Vec::new()),
        Op::Add => plain(e, "Add", Vec::new()),
        Op::Mul => plain(e, "Mul", Vec::new()),
        Op::Scale { by } => {
            let by = e.float(*by);
            e.one("Mul", n.path, &[n.x(), &by], Vec::new())
        }
        Op::ChannelScale { axis } => channel_scale(e, n, *axis)?,
        Op::DoraGain { scaling } => dora_gain(e, n, *scaling)?,
        Op::Concat { axis } => concat(e, n, *axis)?,
        Op::Select { axis, index } => {
            let at = e.int(*index as i64);
            e.one("Gather", n.path, &[n.x(), &at], vec![int("axis", *axis as i64)])
        }
        // What only training does is not written.
        Op::Dropout { .. } | Op::DropPath { .. } => n.x().to_string(),
        Op::Embedding => plain(e, "Gather", vec![int("axis", 0)]),
        Op::PositionIds { offset, padding_id } => tokens::position_ids(e, n, *offset, *padding_id),
        Op::Attention(a) => attention(e, n, a)?,
        Op::MaskedMean => masked_mean(e, n),
        Op::MaskedMax => tokens::masked_max(e, n),
        Op::MaskTokens => tokens::mask_tokens(e, n),
        Op::RelativePositionBias { buckets, distance_max, bidirectional } => {
            tokens::relative_position_bias(e, n, *buckets, *distance_max, *bidirectional)?
        }
        Op::DisentangledScores { heads, span, distance_max, log_buckets, by_key, scale } => {
            let row = |d: i64| disentangled_row(d, *span, *distance_max, *log_buckets);
            let reach = *distance_max + 2 * *span;
            tokens::disentangled_scores(e, n, *heads, *scale, *by_key, reach, &row)?
        }
        Op::RmsNorm { eps } => layers::rms_norm(e, n, *eps),
        Op::GroupNorm { groups, eps } => layers::group_norm(e, n, *groups, *eps)?,
        Op::WeightNorm { axis } => layers::weight_norm(e, n, *axis),
        Op::L2Normalize => {
            let last = n.rank() - 1;
            let norm = reduce(e, &n.part("norm"), n.x(), Reduction::L2, &[last], true);
            let least = e.float(1e-12);
            let norm = e.one("Max", &n.part("least"), &[&norm, &least], Vec::new());
            e.one("Div", n.path, &[n.x(), &norm], Vec::new())
        }
        Op::Constant { value } => e.literal(n.path, value),
        Op::Sizes { dims, is_scalar } => {
            let sizes = e.dims(dims)?;
            if *is_scalar {
                scalar(e, n.path, &sizes)
            } else {
                e.one("Identity", n.path, &[&sizes], Vec::new())
            }
        }
        Op::Range { start, length, step } => {
            let (start, length) = (Expr::from(start), Expr::from(length));
            let end = length.mul(&Expr::number(*step)).and_then(|d| start.add(&d)).ok_or("it is too long")?;
            let (start, end) = (e.size(&start)?, e.size(&end)?);
            let (start, end) = (scalar(e, &n.part("start"), &start), scalar(e, &n.part("end"), &end));
            let step = e.int(*step);
            e.one("Range", n.path, &[&start, &end, &step], Vec::new())
        }
        Op::Unary { function } => unary(e, n, *function)?,
        // ONNX's own takes floats with the sign of the dividend alone.
        Op::Binary { function: Binary::Mod } if n.of[0] == ElementKind::Float => {
            let share = e.one("Div", &n.part("share"), &n.all(), Vec::new());
            let whole = e.one("Floor", &n.part("whole"), &[&share], Vec::new());
            let multiple = e.one("Mul", &n.part("multiple"), &[&whole, &n.names[1]], Vec::new());
            e.one("Sub", n.path, &[n.x(), &multiple], Vec::new())
        }
        Op::Binary { function } => {
            let (op, attributes) = binary(e.opset, *function, n.of[0])?;
            plain(e, op, attributes)
        }
        Op::Where => plain(e, "Where", Vec::new()),
        Op::Cast { to } => e.cast(n.path, n.x(), *to),
        Op::Reshape { shape } => e.reshape(n.path, n.x(), shape)?,
        Op::Expand { shape } => {
            let shape = e.dims(shape)?;
            e.one("Expand", n.path, &[n.x(), &shape], Vec::new())
        }
        Op::Slice { ranges } => slice(e, n, ranges)?,
        Op::Pad { pads: pairs, mode } => {
            let numbers: Vec<i64> = pads(pairs).into_iter().map(|p| p as i64).collect();
            let all = e.ints(&numbers);
            let (mode, value) = match mode {
                PadMode::Constant(v) => ("constant", *v),
                PadMode::Reflect => ("reflect", 0.0),
                PadMode::Edge => ("edge", 0.0),
                PadMode::Wrap if e.opset >= 19 => ("wrap", 0.0),
                PadMode::Wrap => return Err("padding by the other end needs opset 19".into()),
            };
            let value = if n.of[0] == ElementKind::Int { e.int(value as i64) } else { e.float(value) };
            e.one("Pad", n.path, &[n.x(), &all, &value], vec![text("mode", mode)])
        }
        Op::Gather { axis } => plain(e, "Gather", vec![int("axis", *axis as i64)]),
        Op::GatherElements { axis } => plain(e, "GatherElements", vec![int("axis", *axis as i64)]),
        Op::GatherNd => plain(e, "GatherND", Vec::new()),
        Op::ScatterNd { add: false } => plain(e, "ScatterND", Vec::new()),
        Op::ScatterNd { add: true } if e.opset < 16 => return Err("adding to parts needs opset 16".into()),
        Op::ScatterNd { add: true } => plain(e, "ScatterND", vec![text("reduction", "add")]),
        Op::Reduce { function, axes, keep_dims } => {
            let all: Vec<usize> = (0..n.rank()).collect();
            let axes = if axes.is_empty() { &all } else { axes };
            reduce(e, n.path, n.x(), *function, axes, *keep_dims)
        }
        Op::ArgMax { axis, keep_dims, smallest } => {
            let op = if *smallest { "ArgMin" } else { "ArgMax" };
            plain(e, op, vec![int("axis", *axis as i64), int("keepdims", (*keep_dims).into())])
        }
        Op::ArgSort { axis, descending } => {
            let size = e.dims(std::slice::from_ref(&n.dims[0][*axis]))?;
            let [values, order] = ["values", "order"].map(|s| n.part(s));
            let attributes = vec![int("axis", *axis as i64), int("largest", (*descending).into())];
            e.push("TopK", n.path, &[n.x(), &size], &[&values, &order], attributes);
            order
        }
        Op::CumSum { axis, exclusive, reverse } => {
            let axis = e.int(*axis as i64);
            let attributes = vec![int("exclusive", (*exclusive).into()), int("reverse", (*reverse).into())];
            e.one("CumSum", n.path, &[n.x(), &axis], attributes)
        }
        Op::Triangle { .. } if e.opset < 14 => return Err("a triangle needs opset 14".into()),
        Op::Triangle { upper, k } => {
            let k = e.int(*k);
            e.one("Trilu", n.path, &[n.x(), &k], vec![int("upper", (*upper).into())])
        }
        Op::Resize(to) => resize(e, n, to)?,
        // Written by `node`, which sees who reads them.
        Op::Linear | Op::Recurrent { .. } => unreachable!("these have arms of their own"),
    })
}

/// Parts of length 1 repeat along the other axes, which ONNX wants done before.
fn concat(e: &mut Emitter, n: &Written<'_>, axis: usize) -> Result<String, String> {
    let widest =
        |i: usize| n.dims.iter().map(|d| &d[i]).find(|d| **d != Dim::Fixed(1)).unwrap_or(&Dim::Fixed(1));
    let mut parts = Vec::new();
    for (k, (name, dims)) in n.names.iter().zip(&n.dims).enumerate() {
        let want: Vec<Dim> =
            (0..dims.len()).map(|i| if i == axis { dims[i].clone() } else { widest(i).clone() }).collect();
        let repeats = dims.iter().zip(&want).any(|(d, w)| *d == Dim::Fixed(1) && d != w);
        parts.push(if repeats {
            let shape = e.dims(&want)?;
            e.one("Expand", &n.part(&format!("part{k}")), &[name, &shape], Vec::new())
        } else {
            name.clone()
        });
    }
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    Ok(e.one("Concat", n.path, &parts, vec![int("axis", axis as i64)]))
}

fn scalar(e: &mut Emitter, path: &str, vector: &str) -> String {
    let axis = e.ints(&[0]);
    e.one("Squeeze", path, &[vector, &axis], Vec::new())
}

fn linear(e: &mut Emitter, n: &Written<'_>) -> String {
    if n.rank() == 2 {
        return e.one("Gemm", n.path, &n.all(), vec![int("transB", 1)]);
    }
    let weight = e.one("Transpose", &n.part("turned"), &[&n.names[1]], vec![ints("perm", &[1, 0])]);
    let Some(bias) = n.names.get(2) else {
        return e.one("MatMul", n.path, &[n.x(), &weight], Vec::new());
    };
    let product = e.one("MatMul", n.path, &[n.x(), &weight], Vec::new());
    e.one("Add", &n.part("sum"), &[&product, bias], Vec::new())
}

fn gelu(e: &mut Emitter, n: &Written<'_>, tanh: bool) -> String {
    if e.opset >= 20 {
        return e.one(
            "Gelu",
            n.path,
            &[n.x()],
            vec![text("approximate", if tanh { "tanh" } else { "none" })],
        );
    }
    let (half, one) = (e.float(0.5), e.float(1.0));
    let inner = if tanh {
        let (three, a, b) = (e.float(3.0), e.float(0.044_715), e.float((2.0 / std::f64::consts::PI).sqrt()));
        let cube = e.one("Pow", &n.part("cube"), &[n.x(), &three], Vec::new());
        let cube = e.one("Mul", &n.part("cubic"), &[&cube, &a], Vec::new());
        let sum = e.one("Add", &n.part("sum"), &[n.x(), &cube], Vec::new());
        let scaled = e.one("Mul", &n.part("scaled"), &[&sum, &b], Vec::new());
        e.one("Tanh", &n.part("tanh"), &[&scaled], Vec::new())
    } else {
        let root = e.float(std::f64::consts::SQRT_2);
        let scaled = e.one("Div", &n.part("scaled"), &[n.x(), &root], Vec::new());
        e.one("Erf", &n.part("erf"), &[&scaled], Vec::new())
    };
    let plus = e.one("Add", &n.part("plus"), &[&inner, &one], Vec::new());
    let product = e.one("Mul", &n.part("product"), &[n.x(), &plus], Vec::new());
    e.one("Mul", n.path, &[&product, &half], Vec::new())
}

fn pool(kernel: [usize; 2], stride: [usize; 2], [rows, cols]: [usize; 2], ceil_mode: bool) -> Vec<Attribute> {
    vec![
        ints("kernel_shape", &kernel),
        ints("strides", &stride),
        ints("pads", &[rows, cols, rows, cols]),
        int("ceil_mode", ceil_mode.into()),
    ]
}

/// Windows that divide the image, as a product with a matrix from each side.
fn adaptive_pool(e: &mut Emitter, n: &Written<'_>, size: [usize; 2]) -> Result<String, String> {
    let (h, w) =
        n.dims[0][2].fixed().zip(n.dims[0][3].fixed()).ok_or("the size of its image must be known")?;
    let share = |from: usize, to: usize, i: usize, k: usize| {
        let (start, end) = (i * from / to, ((i + 1) * from).div_ceil(to));
        if (start..end).contains(&k) { 1.0 / (end - start) as f32 } else { 0.0 }
    };
    let cols: Vec<f32> = (0..w).flat_map(|k| (0..size[1]).map(move |i| share(w, size[1], i, k))).collect();
    let rows: Vec<f32> = (0..size[0]).flat_map(|i| (0..h).map(move |k| share(h, size[0], i, k))).collect();
    let (cols, rows) = (e.floats(&[w, size[1]], &cols), e.floats(&[size[0], h], &rows));
    let narrow = e.one("MatMul", &n.part("columns"), &[n.x(), &cols], Vec::new());
    Ok(e.one("MatMul", n.path, &[&rows, &narrow], Vec::new()))
}

fn reduce(e: &mut Emitter, path: &str, x: &str, function: Reduction, axes: &[usize], keep: bool) -> String {
    let op = match function {
        Reduction::Sum => "ReduceSum",
        Reduction::Mean => "ReduceMean",
        Reduction::Max => "ReduceMax",
        Reduction::Min => "ReduceMin",
        Reduction::Prod => "ReduceProd",
        Reduction::L1 => "ReduceL1",
        Reduction::L2 => "ReduceL2",
        Reduction::SumSquare => "ReduceSumSquare",
        Reduction::LogSum => "ReduceLogSum",
        Reduction::LogSumExp => "ReduceLogSumExp",
    };
    let keep = int("keepdims", keep.into());
    // Axes became an input in opset 18; those of sums already in 13.
    if e.opset >= 18 || op == "ReduceSum" {
        let axes: Vec<i64> = axes.iter().map(|&a| a as i64).collect();
        let axes = e.ints(&axes);
        return e.one(op, path, &[x, &axes], vec![keep]);
    }
    e.one(op, path, &[x], vec![ints("axes", axes), keep])
}

fn slice(e: &mut Emitter, n: &Written<'_>, ranges: &[AxisRange]) -> Result<String, String> {
    let mut ends = Vec::new();
    for r in ranges {
        let reach = Expr::from(&r.length).mul(&Expr::number(r.step));
        let end = reach.and_then(|d| Expr::from(&r.start).add(&d)).ok_or("its end is too large")?;
        // Backwards to the very first position: before any number.
        let passes = r.step < 0 && end.as_number().is_none_or(|n| n < 0);
        ends.push(if passes { Expr::number(i64::MIN) } else { end });
    }
    let starts: Vec<Expr> = ranges.iter().map(|r| Expr::from(&r.start)).collect();
    let (starts, ends) = (e.sizes(&starts)?, e.sizes(&ends)?);
    let axes: Vec<i64> = ranges.iter().map(|r| r.axis as i64).collect();
    let steps: Vec<i64> = ranges.iter().map(|r| r.step).collect();
    let (axes, steps) = (e.ints(&axes), e.ints(&steps));
    Ok(e.one("Slice", n.path, &[n.x(), &starts, &ends, &axes, &steps], Vec::new()))
}

fn unary(e: &mut Emitter, n: &Written<'_>, function: Unary) -> Result<String, String> {
    let (op, attributes) = match function {
        Unary::Neg => ("Neg", vec![]),
        Unary::Abs => ("Abs", vec![]),
        Unary::Sign => ("Sign", vec![]),
        Unary::Not => ("Not", vec![]),
        Unary::Exp => ("Exp", vec![]),
        Unary::Log => ("Log", vec![]),
        Unary::Sqrt => ("Sqrt", vec![]),
        Unary::Reciprocal => ("Reciprocal", vec![]),
        Unary::Pow(p) => {
            let p = e.float(p);
            return Ok(e.one("Pow", n.path, &[n.x(), &p], Vec::new()));
        }
        Unary::Erf => ("Erf", vec![]),
        Unary::Sin => ("Sin", vec![]),
        Unary::Cos => ("Cos", vec![]),
        Unary::Tan => ("Tan", vec![]),
        Unary::Asin => ("Asin", vec![]),
        Unary::Acos => ("Acos", vec![]),
        Unary::Atan => ("Atan", vec![]),
        Unary::Sinh => ("Sinh", vec![]),
        Unary::Cosh => ("Cosh", vec![]),
        Unary::Asinh => ("Asinh", vec![]),
        Unary::Acosh => ("Acosh", vec![]),
        Unary::Atanh => ("Atanh", vec![]),
        Unary::Floor => ("Floor", vec![]),
        Unary::Ceil => ("Ceil", vec![]),
        Unary::Round | Unary::RoundThrough => ("Round", vec![]),
        Unary::IsNan => ("IsNaN", vec![]),
        Unary::IsInf => ("IsInf", vec![]),
        Unary::Softplus => ("Softplus", vec![]),
        Unary::Softsign => ("Softsign", vec![]),
        Unary::Mish if e.opset >= 18 => ("Mish", vec![]),
        Unary::Mish => {
            let plus = e.one("Softplus", &n.part("softplus"), &[n.x()], Vec::new());
            let gate = e.one("Tanh", &n.part("tanh"), &[&plus], Vec::new());
            return Ok(e.one("Mul", n.path, &[n.x(), &gate], Vec::new()));
        }
        Unary::HardSwish if e.opset >= 14 => ("HardSwish", vec![]),
        Unary::HardSwish => {
            let attributes = vec![float("alpha", 1.0 / 6.0), float("beta", 0.5)];
            let gate = e.one("HardSigmoid", &n.part("gate"), &[n.x()], attributes);
            return Ok(e.one("Mul", n.path, &[n.x(), &gate], Vec::new()));
        }
        Unary::HardSigmoid { alpha, beta } => {
            ("HardSigmoid", vec![float("alpha", alpha), float("beta", beta)])
        }
        Unary::Elu { alpha } => ("Elu", vec![float("alpha", alpha)]),
        Unary::Selu { alpha, gamma } => ("Selu", vec![float("alpha", alpha), float("gamma", gamma)]),
        Unary::Celu { alpha } => ("Celu", vec![float("alpha", alpha)]),
        Unary::LeakyRelu { alpha } => ("LeakyRelu", vec![float("alpha", alpha)]),
        Unary::ThresholdedRelu { alpha } => ("ThresholdedRelu", vec![float("alpha", alpha)]),
    };
    Ok(e.one(op, n.path, &[n.x()], attributes))
}

fn binary(opset: i64, function: Binary, kind: ElementKind) -> Result<(&'static str, Vec<Attribute>), String> {
    let of_bits = kind == ElementKind::Int && matches!(function, Binary::And | Binary::Or | Binary::Xor);
    if of_bits && opset < 18 {
        return Err("functions of bits need opset 18".into());
    }
    Ok(match function {
        Binary::And if of_bits => ("BitwiseAnd", vec![]),
        Binary::Or if of_bits => ("BitwiseOr", vec![]),
        Binary::Xor if of_bits => ("BitwiseXor", vec![]),
        Binary::Sub => ("Sub", vec![]),
        Binary::Div => ("Div", vec![]),
        Binary::Pow => ("Pow", vec![]),
        Binary::Min => ("Min", vec![]),
        Binary::Max => ("Max", vec![]),
        Binary::Mod => ("Mod", vec![]),
        Binary::Fmod => ("Mod", vec![int("fmod", 1)]),
        Binary::PRelu => ("PRelu", vec![]),
        Binary::And => ("And", vec![]),
        Binary::Or => ("Or", vec![]),
        Binary::Xor => ("Xor", vec![]),
        Binary::Equal => ("Equal", vec![]),
        Binary::Less => ("Less", vec![]),
        Binary::LessOrEqual => ("LessOrEqual", vec![]),
        Binary::Greater => ("Greater", vec![]),
        Binary::GreaterOrEqual => ("GreaterOrEqual", vec![]),
    })
}

fn resize(e: &mut Emitter, n: &Written<'_>, to: &Resampling) -> Result<String, String> {
    let mode = match to.coordinates {
        Coordinates::HalfPixel => "half_pixel",
        Coordinates::HalfPixelSymmetric if e.opset < 19 => {
            return Err("symmetric half pixels need opset 19".into());
        }
        Coordinates::HalfPixelSymmetric => "half_pixel_symmetric",
        Coordinates::PytorchHalfPixel => "pytorch_half_pixel",
        Coordinates::Asymmetric => "asymmetric",
        Coordinates::AlignCorners => "align_corners",
    };
    let mut attributes = vec![text("coordinate_transformation_mode", mode)];
    match to.interpolation {
        Interpolation::Nearest(rounding) => {
            let rounding = match rounding {
                Rounding::Floor => "floor",
                Rounding::Ceil => "ceil",
                Rounding::HalfDown => "round_prefer_floor",
                Rounding::HalfUp => "round_prefer_ceil",
            };
            attributes.extend([text("mode", "nearest"), text("nearest_mode", rounding)]);
        }
        Interpolation::Linear => attributes.push(text("mode", "linear")),
        Interpolation::Cubic(a) => attributes.extend([text("mode", "cubic"), float("cubic_coeff_a", a)]),
    }
    if to.antialias {
        if e.opset < 18 {
            return Err("antialiasing needs opset 18".into());
        }
        attributes.push(int("antialias", 1));
    }
    if to.exclude_outside {
        attributes.push(int("exclude_outside", 1));
    }
    if to.scales.is_empty() {
        let mut all = n.dims[0].clone();
        to.axes.iter().zip(&to.sizes).for_each(|(&axis, size)| all[axis] = size.clone());
        let sizes = e.dims(&all)?;
        return Ok(e.one("Resize", n.path, &[n.x(), "", "", &sizes], attributes));
    }
    let mut all = vec![1.0; n.rank()];
    to.axes.iter().zip(&to.scales).for_each(|(&axis, &scale)| all[axis] = scale as f32);
    let scales = e.floats(&[all.len()], &all);
    Ok(e.one("Resize", n.path, &[n.x(), "", &scales], attributes))
}

/// ONNX gives the hidden state of every step, but the cell's of the last one only; more must not be read.
fn recurrent(
    e: &mut Emitter,
    graph: &Graph,
    node: &Node,
    n: &Written<'_>,
    cell: Cell,
    direction: Direction,
) -> Result<String, String> {
    let hidden = n.dims[2][2].fixed().ok_or("its hidden size must be known")?;
    let steps = n.dims[0][0].clone();
    let is_end = |r: &AxisRange| {
        let last = Expr::from(&steps).sub(&Expr::number(1)).and_then(|e| e.to_dim());
        r.axis == 0
            && r.length == Dim::Fixed(1)
            && (Some(&r.start) == last.as_ref() || r.start == Dim::Fixed(0))
    };
    let is_hidden = |r: &AxisRange| r.axis == 3 && r.start == Dim::Fixed(0) && r.length == Dim::Fixed(hidden);
    for reader in graph.nodes().iter().filter(|r| r.inputs.contains(&node.output)) {
        let fits =
            matches!(&reader.op, Op::Slice { ranges } if ranges.iter().any(|r| is_hidden(r) || is_end(r)));
        if !fits && cell.states() > 1 {
            return Err(format!("`{}` reads the cell's state of every step", reader.path));
        }
    }
    let text_of = match direction {
        Direction::Forward => "forward",
        Direction::Reverse => "reverse",
        Direction::Bidirectional => "bidirectional",
    };
    let mut attributes = vec![int("hidden_size", hidden as i64), text("direction", text_of)];
    let op = match cell {
        Cell::Lstm => "LSTM",
        Cell::Gru { linear_before_reset } => {
            attributes.push(int("linear_before_reset", linear_before_reset.into()));
            "GRU"
        }
        Cell::Rnn { relu } => {
            let function = if relu { "Relu" } else { "Tanh" };
            attributes.push(texts("activations", &vec![function; direction.count()]));
            "RNN"
        }
    };
    let mut inputs = n.all();
    inputs.insert(4, "");
    let [y, h, c] = ["all", "last", "cell"].map(|s| n.part(s));
    if cell.states() == 1 {
        e.push(op, n.path, &inputs, &[&y], attributes);
        return Ok(y);
    }
    e.push(op, n.path, &inputs, &[&y, &h, &c], attributes);
    // [directions, batch, hidden] as the cell's part of every step, of which only the last is read.
    let axis = e.ints(&[0]);
    let c = e.one("Unsqueeze", &n.part("cell.step"), &[&c, &axis], Vec::new());
    let shape = [&[steps], &n.dims[4][..]].concat();
    let shape = e.dims(&shape)?;
    let c = e.one("Expand", &n.part("cell.steps"), &[&c, &shape], Vec::new());
    Ok(e.one("Concat", &n.part("states"), &[&y, &c], vec![int("axis", 3)]))
}
