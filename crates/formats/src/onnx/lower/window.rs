//! Convolutions, and means of whole images.

use headstart_graph::{Binary, Dim, Op, PadMode, Padding, Reduction, Unary};

use super::super::node::Node;
use super::super::reader::{Reader, Use, Val};

/// The window of a convolution or pool, one number an axis.
pub(super) struct Window {
    pub(super) stride: Vec<usize>,
    pub(super) dilation: Vec<usize>,
    /// `[before, after]`.
    pub(super) padding: Vec<[usize; 2]>,
    /// As much as keeps `ceil(size/stride)`, with a size that only a run gives.
    pub(super) is_same: bool,
}

/// The window, whose padding is known.
pub(super) fn padded_window(r: &Reader, n: &Node<'_>, x: &Val, kernel: &[usize]) -> Result<Window, String> {
    let w = window(r, n, x, kernel)?;
    if w.is_same { Err(unknown_size()) } else { Ok(w) }
}

fn unknown_size() -> String {
    format!("padding to the same size needs a known size; {}", super::FIX)
}

/// `[before, after]` of padding on both sides, of which the second gets what is left over, or the first.
fn sides(total: usize, is_upper: bool) -> [usize; 2] {
    let (small, large) = (total / 2, total - total / 2);
    if is_upper { [small, large] } else { [large, small] }
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
                    Err(unknown_size())
                };
            };
            let along = |i: usize| {
                let out = sizes[i].div_ceil(stride[i]);
                let reach = (kernel[i].max(1) - 1).saturating_mul(dilation[i]).saturating_add(1);
                let covered = out.saturating_sub(1).saturating_mul(stride[i]).saturating_add(reach);
                sides(covered.saturating_sub(sizes[i]), auto == "SAME_UPPER")
            };
            (0..axes).map(along).collect()
        }
        other => return Err(format!("`auto_pad` is {other}")),
    };
    Ok(Window { stride, dilation, padding, is_same: false })
}

pub(super) fn pair(v: &[usize]) -> [usize; 2] {
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
    let k = kernel(r, weight)?;
    let output_padding = n.sizes("output_padding", k.len(), 0)?;
    let w = transposed_window(r, n, x, &k, &output_padding)?;
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

/// The window of a transposed convolution, whose padding may follow from the size of what it makes.
fn transposed_window(
    r: &Reader,
    n: &Node<'_>,
    x: &Val,
    kernel: &[usize],
    more: &[usize],
) -> Result<Window, String> {
    let axes = kernel.len();
    let is_upper = n.string("auto_pad") != Some("SAME_LOWER");
    let is_same = n.string("auto_pad").is_some_and(|auto| auto.starts_with("SAME"));
    if !is_same && !n.has("output_shape") {
        return window(r, n, x, kernel);
    }
    let stride = n.sizes("strides", axes, 1)?;
    let dilation = n.sizes("dilations", axes, 1)?;
    let dims = r.dims(x);
    let sizes = dims.get(2..).unwrap_or_default().iter().map(Dim::fixed).collect::<Option<Vec<usize>>>();
    let sizes = sizes.filter(|s| s.len() == axes && !s.contains(&0) && !stride.contains(&0));
    let sizes = sizes.ok_or("its padding follows from a size that must be known")?;
    let same = || sizes.iter().zip(&stride).map(|(n, s)| n.checked_mul(*s)).collect::<Option<Vec<usize>>>();
    let wanted = match n.ints("output_shape") {
        // Batch and channels may be named too.
        Some(shape) if shape.len() >= axes => {
            let last = &shape[shape.len() - axes..];
            last.iter().map(|&n| usize::try_from(n).ok()).collect::<Option<Vec<usize>>>()
        }
        Some(_) => None,
        None => same(),
    };
    let wanted = wanted.ok_or("`output_shape` does not fit its input")?;
    let along = |i: usize| {
        let reach = (kernel[i].max(1) - 1).checked_mul(dilation[i])?.checked_add(1 + more[i])?;
        let whole = (sizes[i] - 1).checked_mul(stride[i])?.checked_add(reach)?;
        Some(sides(whole.checked_sub(wanted[i])?, is_upper))
    };
    let padding = (0..axes).map(along).collect::<Option<Vec<_>>>();
    let padding = padding.ok_or("its output is larger than its window reaches")?;
    Ok(Window { stride, dilation, padding, is_same: false })
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
