//! Convolutions and pools.

use headstart_graph::{Binary, Dim, Op, PadMode, Padding, Reduction, Unary};

use super::super::node::Node;
use super::super::reader::{Reader, Use, Val};

/// The window of a convolution or pool, one number an axis.
struct Window {
    stride: Vec<usize>,
    dilation: Vec<usize>,
    /// `[before, after]`.
    padding: Vec<[usize; 2]>,
    /// As much as keeps `ceil(size/stride)`, with a size that only a run gives.
    is_same: bool,
}

fn window(r: &Reader, n: &Node<'_>, x: &Val, kernel: &[usize]) -> Result<Window, String> {
    let axes = kernel.len();
    let stride = n.sizes("strides", axes, 1)?;
    let dilation = n.sizes("dilations", axes, 1)?;
    let dims = r.dims(x);
    let sizes: Vec<Option<usize>> = dims.get(2..).unwrap_or_default().iter().map(Dim::fixed).collect();
    if stride.contains(&0) || dilation.contains(&0) || sizes.len() != axes {
        return Err("its window does not fit its input".into());
    }
    let auto = n.string("auto_pad").unwrap_or("NOTSET");
    let padding = match auto {
        "NOTSET" | "" => {
            let pads = n.sizes("pads", 2 * axes, 0)?;
            (0..axes).map(|i| [pads[i], pads[axes + i]]).collect()
        }
        "VALID" => vec![[0, 0]; axes],
        "SAME_UPPER" | "SAME_LOWER" => {
            let Some(sizes) = sizes.into_iter().collect::<Option<Vec<usize>>>() else {
                return if auto == "SAME_UPPER" && axes == 2 {
                    Ok(Window { stride, dilation, padding: vec![[0, 0]; axes], is_same: true })
                } else {
                    Err("padding to the same size needs a known size; fix it with an option".into())
                };
            };
            let along = |i: usize| {
                let out = sizes[i].div_ceil(stride[i]);
                let reach = (kernel[i].max(1) - 1).saturating_mul(dilation[i]).saturating_add(1);
                let covered = out.saturating_sub(1).saturating_mul(stride[i]).saturating_add(reach);
                let total = covered.saturating_sub(sizes[i]);
                let (small, large) = (total / 2, total - total / 2);
                if auto == "SAME_UPPER" { [small, large] } else { [large, small] }
            };
            (0..axes).map(along).collect()
        }
        other => return Err(format!("`auto_pad` is {other}")),
    };
    Ok(Window { stride, dilation, padding, is_same: false })
}

fn pair(v: &[usize]) -> [usize; 2] {
    [v[0], v[1]]
}

/// The sizes of a convolution's weight but the first two.
fn kernel(r: &Reader, weight: &Val) -> Result<Vec<usize>, String> {
    let dims = r.dims(weight);
    let sizes = dims.get(2..).unwrap_or_default().iter().map(Dim::fixed).collect::<Option<Vec<_>>>();
    sizes.filter(|s| !s.is_empty()).ok_or_else(|| "the weight must have a known shape".into())
}

pub(super) fn conv(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (x, weight) = (n.input(0)?, n.input(1)?);
    if r.rank(x) < 3 {
        return Err("its input has no axis to slide over".into());
    }
    let w = window(r, n, x, &kernel(r, weight)?)?;
    let groups = usize::try_from(n.int("group", 1)).map_err(|_| "`group` is negative")?;
    let mut inputs = vec![r.value(x)?, r.value_for(weight, Use::Convolution)?];
    if let Some(bias) = n.optional(2) {
        inputs.push(r.value_for(bias, Use::Shift)?);
    }
    let op = if w.stride.len() == 2 {
        let [[top, bottom], [left, right]] = [w.padding[0], w.padding[1]];
        let padding =
            if w.is_same { Padding::SameUpper } else { Padding::Explicit([top, left, bottom, right]) };
        Op::Conv2d { stride: pair(&w.stride), padding, dilation: pair(&w.dilation), groups }
    } else {
        Op::ConvNd { stride: w.stride, padding: w.padding, dilation: w.dilation, groups }
    };
    r.node(n.path, op, &inputs).map(Val::Value)
}

pub(super) fn conv_transpose(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (x, weight) = (n.input(0)?, n.input(1)?);
    if n.has("output_shape") {
        return Err("its output shape is given instead of its padding".into());
    }
    let k = kernel(r, weight)?;
    let w = window(r, n, x, &k)?;
    let output_padding = n.sizes("output_padding", k.len(), 0)?;
    let groups = usize::try_from(n.int("group", 1)).map_err(|_| "`group` is negative")?;
    let mut inputs = vec![r.value(x)?, r.value_for(weight, Use::Convolution)?];
    if let Some(bias) = n.optional(2) {
        inputs.push(r.value_for(bias, Use::Shift)?);
    }
    let op = Op::ConvTranspose {
        stride: w.stride,
        padding: w.padding,
        output_padding,
        dilation: w.dilation,
        groups,
    };
    r.node(n.path, op, &inputs).map(Val::Value)
}

/// A pool over one axis is one over two, of which the first has one position.
fn as_image(r: &mut Reader, n: &Node<'_>, x: &Val) -> Result<(Val, bool), String> {
    let d = r.dims(x);
    match d.len() {
        3 => {
            let shape = vec![d[0].clone(), d[1].clone(), Dim::Fixed(1), d[2].clone()];
            Ok((r.apply(&n.part("image"), Op::Reshape { shape }, &[x])?, true))
        }
        4 => Ok((x.clone(), false)),
        n => Err(format!("pools over {} axes are not read", n.saturating_sub(2))),
    }
}

fn without_rows(r: &mut Reader, n: &Node<'_>, y: Val, is_line: bool) -> Result<Val, String> {
    if !is_line {
        return Ok(y);
    }
    let d = r.dims(&y);
    r.apply(&n.part("line"), Op::Reshape { shape: vec![d[0].clone(), d[1].clone(), d[3].clone()] }, &[&y])
}

/// Kernel and window of a pool over an image.
fn pool_window(r: &Reader, n: &Node<'_>, x: &Val) -> Result<([usize; 2], Window, bool), String> {
    let axes = r.rank(x).saturating_sub(2);
    let mut k = n.sizes("kernel_shape", axes, 0)?;
    if k.contains(&0) {
        return Err("`kernel_shape` is missing".into());
    }
    let mut w = window(r, n, x, &k)?;
    if w.dilation.iter().any(|&d| d != 1) {
        return Err("its window has gaps (dilations)".into());
    }
    if w.is_same {
        return Err("padding to the same size needs a known size; fix it with an option".into());
    }
    if axes == 1 {
        k.insert(0, 1);
        w.stride.insert(0, 1);
        w.padding.insert(0, [0, 0]);
    }
    if k.len() != 2 {
        return Err(format!("pools over {axes} axes are not read"));
    }
    Ok((pair(&k), w, n.flag("ceil_mode", false)))
}

/// Whether both sides have the same padding, of at most half a window, as our pools take it.
fn is_plain(kernel: [usize; 2], w: &Window) -> bool {
    (0..2).all(|i| w.padding[i][0] == w.padding[i][1] && w.padding[i][0] <= kernel[i] / 2)
}

fn padded(r: &mut Reader, n: &Node<'_>, x: &Val, w: &Window, value: f64, name: &str) -> Result<Val, String> {
    let pads = [vec![[0, 0]; 2], w.padding.clone()].concat();
    r.apply(&n.part(name), Op::Pad { pads, mode: PadMode::Constant(value) }, &[x])
}

pub(super) fn max_pool(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (kernel, w, ceil_mode) = pool_window(r, n, n.input(0)?)?;
    let (x, is_line) = as_image(r, n, n.input(0)?)?;
    let mut padding = [w.padding[0][0], w.padding[1][0]];
    let mut x = x;
    if !is_plain(kernel, &w) {
        x = padded(r, n, &x, &w, f64::from(f32::MIN), "pad")?;
        padding = [0, 0];
    }
    let op = Op::MaxPool2d { kernel, stride: pair(&w.stride), padding, ceil_mode };
    let y = r.apply(n.path, op, &[&x])?;
    without_rows(r, n, y, is_line)
}

pub(super) fn average_pool(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (kernel, w, ceil_mode) = pool_window(r, n, n.input(0)?)?;
    let (x, is_line) = as_image(r, n, n.input(0)?)?;
    let count_include_pad = n.flag("count_include_pad", false);
    let op = |padding: [usize; 2], count_include_pad| Op::AvgPool2d {
        kernel,
        stride: pair(&w.stride),
        padding,
        ceil_mode,
        count_include_pad,
    };
    let y = if is_plain(kernel, &w) {
        r.apply(n.path, op([w.padding[0][0], w.padding[1][0]], count_include_pad), &[&x])?
    } else {
        let more = padded(r, n, &x, &w, 0.0, "pad")?;
        let sum = r.apply(n.path, op([0, 0], true), &[&more])?;
        if count_include_pad {
            sum
        } else {
            // Divided by the share of each window that is not padding.
            let zero = r.times(&n.part("zero"), &x, 0.0)?;
            let one = r.plus(&n.part("one"), &zero, 1.0)?;
            let inside = padded(r, n, &one, &w, 0.0, "inside")?;
            let share = r.apply(&n.part("share"), op([0, 0], true), &[&inside])?;
            r.apply(&n.part("mean"), Op::Binary { function: Binary::Div }, &[&sum, &share])?
        }
    };
    without_rows(r, n, y, is_line)
}

pub(super) fn global_pool(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let rank = r.rank(x);
    if n.op == "GlobalAveragePool" && rank == 4 {
        return r.apply(n.path, Op::AdaptiveAvgPool2d { size: [1, 1] }, &[x]);
    }
    if rank < 3 {
        return Err("its input has no axes to pool over".into());
    }
    let function = if n.op == "GlobalMaxPool" { Reduction::Max } else { Reduction::Mean };
    r.apply(n.path, Op::Reduce { function, axes: (2..rank).collect(), keep_dims: true }, &[x])
}

/// Local response normalisation (Krizhevsky et al., 2012): divides by a power of the sum of squares of near channels.
pub(super) fn lrn(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let size = usize::try_from(n.int("size", 0)).unwrap_or(0);
    let dims = r.dims(x);
    let sizes: Option<Vec<usize>> = dims.get(1..).unwrap_or_default().iter().map(Dim::fixed).collect();
    let sizes = sizes.filter(|s| s.len() == 3).ok_or("its image must have a known size")?;
    if size == 0 {
        return Err("`size` is missing".into());
    }
    let square = r.apply(&n.part("square"), Op::Mul, &[x, x])?;
    // Channels become rows under a pool.
    let plane = sizes[1].checked_mul(sizes[2]).ok_or("its image is too large")?;
    let rows = vec![dims[0].clone(), Dim::Fixed(1), Dim::Fixed(sizes[0]), Dim::Fixed(plane)];
    let flat = r.apply(&n.part("rows"), Op::Reshape { shape: rows }, &[&square])?;
    let pads = vec![[0, 0], [0, 0], [(size - 1) / 2, size - 1 - (size - 1) / 2], [0, 0]];
    let flat = r.apply(&n.part("pad"), Op::Pad { pads, mode: PadMode::Constant(0.0) }, &[&flat])?;
    let pool = Op::AvgPool2d {
        kernel: [size, 1],
        stride: [1, 1],
        padding: [0, 0],
        ceil_mode: false,
        count_include_pad: true,
    };
    let mean = r.apply(&n.part("mean"), pool, &[&flat])?;
    let mean = r.apply(&n.part("channels"), Op::Reshape { shape: dims }, &[&mean])?;
    let sum = r.times(&n.part("alpha"), &mean, n.float("alpha", 1e-4))?;
    let sum = r.plus(&n.part("bias"), &sum, n.float("bias", 1.0))?;
    let power = Op::Unary { function: Unary::Pow(n.float("beta", 0.75)) };
    let divisor = r.apply(&n.part("power"), power, &[&sum])?;
    r.apply(n.path, Op::Binary { function: Binary::Div }, &[x, &divisor])
}
