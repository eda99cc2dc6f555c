//! Shapes of what slides a window: convolutions and pools.

use crate::{Dim, Expr, Padding, Shape};

/// Rows or columns that come out of a window of `kernel` taps, `dilation` apart, sliding by `stride` over `size` with `(before,
/// after)` padded; `None` where the window does not fit.  With `ceil_mode` the last window may reach beyond the padding, but
/// not begin there.
///
/// ```
/// use headstart_graph::{Dim, window_count};
/// assert_eq!(window_count(&Dim::Fixed(7), 3, 2, (1, 1), 1, false), Some(Dim::Fixed(4)));
/// assert_eq!(window_count(&Dim::Fixed(2), 5, 1, (0, 0), 1, false), None);
/// ```
pub fn window_count(
    size: &Dim,
    kernel: usize,
    stride: usize,
    (before, after): (usize, usize),
    dilation: usize,
    ceil_mode: bool,
) -> Option<Dim> {
    let reach = kernel.checked_sub(1)?.checked_mul(dilation)?.checked_add(1)?;
    if stride == 0 {
        return None;
    }
    let Dim::Fixed(size) = size else {
        return symbolic_window(size, reach, stride, (before, after), ceil_mode);
    };
    let room = size.checked_add(before)?.checked_add(after)?.checked_sub(reach)?;
    if !ceil_mode {
        return Some(Dim::Fixed(room / stride + 1));
    }
    let mut out = room.div_ceil(stride) + 1;
    // PyTorch drops a last window that would start in the padding.
    if (out - 1) * stride >= size + before {
        out -= 1;
    }
    Some(Dim::Fixed(out))
}

fn symbolic_window(
    size: &Dim,
    reach: usize,
    stride: usize,
    (before, after): (usize, usize),
    ceil_mode: bool,
) -> Option<Dim> {
    let [reach, stride, before, after] = [reach, stride, before, after].map(|n| Expr::number(n as i64));
    let padded = Expr::from(size).add(&before)?.add(&after)?;
    let room = padded.sub(&reach)?;
    let one = Expr::number(1);
    if !ceil_mode {
        return room.floor_div(&stride)?.add(&one)?.to_dim();
    }
    let ceil = |e: &Expr| e.add(&stride)?.sub(&one)?.floor_div(&stride);
    let out = ceil(&room)?.add(&one)?;
    let starts_inside = ceil(&Expr::from(size).add(&before)?)?;
    out.minimum(&starts_inside)?.to_dim()
}

const TOO_LARGE: &str = "the window is larger than the padded image";

/// `x [n, c, h, w]`, `weight [out, c/groups, kh, kw]`, `bias? [out]`.
pub(super) fn conv2d(
    inputs: &[&Shape],
    stride: [usize; 2],
    padding: Padding,
    dilation: [usize; 2],
    groups: usize,
) -> Result<Shape, String> {
    let (x, weight) = (inputs[0], inputs[1]);
    x.of_rank(4)?;
    let c = x.number(1, "channels")?;
    if weight.rank() != 4 {
        return Err("the weight must have 4 dimensions".into());
    }
    let dim = |i| weight.number(i, "a weight dimension");
    let (out, per_group, kernel) = (dim(0)?, dim(1)?, [dim(2)?, dim(3)?]);
    if groups == 0 || out % groups != 0 || per_group.checked_mul(groups) != Some(c) || kernel.contains(&0) {
        return Err(format!("{c} channels in {groups} groups do not fit the weight"));
    }
    if let Some(bias) = inputs.get(2) {
        super::dense::vector(out, bias, "the bias")?;
    }
    if stride.contains(&0) || dilation.contains(&0) {
        return Err("stride and dilation must be positive".into());
    }
    let [top, left, bottom, right] = match (padding, x.known(2), x.known(3)) {
        (Padding::Explicit(p), ..) => p,
        (padding, Some(h), Some(w)) => padding.resolve([h, w], kernel, stride, dilation),
        _ => return Err("padding to the same size needs a known height and width".into()),
    };
    let along = |i: usize, pads| {
        window_count(&x.0[2 + i], kernel[i], stride[i], pads, dilation[i], false).ok_or(TOO_LARGE)
    };
    Ok(Shape(vec![x.0[0].clone(), Dim::Fixed(out), along(0, (top, bottom))?, along(1, (left, right))?]))
}

/// `x [n, c, ..]`, `weight [out, c/groups, ..]`, `bias? [out]`.
pub(super) fn conv_nd(
    inputs: &[&Shape],
    stride: &[usize],
    padding: &[[usize; 2]],
    dilation: &[usize],
    groups: usize,
) -> Result<Shape, String> {
    let (x, weight) = (inputs[0], inputs[1]);
    let n = stride.len();
    if !matches!(n, 1 | 3) || padding.len() != n || dilation.len() != n {
        return Err("there must be one or three axes".into());
    }
    if x.rank() != n + 2 || weight.rank() != n + 2 {
        return Err(format!("value and weight must have {} dimensions", n + 2));
    }
    let c = x.number(1, "channels")?;
    let (out, per_group) = (weight.number(0, "a weight dimension")?, weight.number(1, "a weight dimension")?);
    if groups == 0 || out % groups != 0 || per_group.checked_mul(groups) != Some(c) {
        return Err(format!("{c} channels in {groups} groups do not fit the weight"));
    }
    if let Some(bias) = inputs.get(2) {
        super::dense::vector(out, bias, "the bias")?;
    }
    let mut dims = vec![x.0[0].clone(), Dim::Fixed(out)];
    for i in 0..n {
        let kernel = weight.number(2 + i, "a weight dimension")?;
        let pads = (padding[i][0], padding[i][1]);
        if dilation[i] == 0 {
            return Err("dilation must be positive".into());
        }
        dims.push(window_count(&x.0[2 + i], kernel, stride[i], pads, dilation[i], false).ok_or(TOO_LARGE)?);
    }
    Ok(Shape(dims))
}

/// `x [n, c, ..]`, `weight [c, out/groups, ..]`, `bias? [out]`.
pub(super) fn conv_transpose(
    inputs: &[&Shape],
    stride: &[usize],
    padding: &[[usize; 2]],
    output_padding: &[usize],
    dilation: &[usize],
    groups: usize,
) -> Result<Shape, String> {
    let (x, weight) = (inputs[0], inputs[1]);
    let n = stride.len();
    let same_length = padding.len() == n && output_padding.len() == n && dilation.len() == n;
    if !matches!(n, 1..=3) || !same_length || x.rank() != n + 2 || weight.rank() != n + 2 {
        return Err("there must be one to three axes besides batch and channels".into());
    }
    let c = x.number(1, "channels")?;
    let per_group = weight.number(1, "a weight dimension")?;
    let out = per_group.checked_mul(groups).ok_or("there are too many channels")?;
    if groups == 0 || c % groups != 0 || weight.known(0) != Some(c) {
        return Err(format!("{c} channels in {groups} groups do not fit the weight"));
    }
    if let Some(bias) = inputs.get(2) {
        super::dense::vector(out, bias, "the bias")?;
    }
    let mut dims = vec![x.0[0].clone(), Dim::Fixed(out)];
    for i in 0..n {
        let kernel = weight.number(2 + i, "a weight dimension")?;
        let along = || {
            let n = |n: usize| i64::try_from(n).ok().map(Expr::number);
            let reach = n(kernel.checked_sub(1)?.checked_mul(dilation[i])?.checked_add(1)?)?;
            let spread = Expr::from(&x.0[2 + i]).sub(&Expr::number(1))?.mul(&n(stride[i])?)?;
            let pads = n(padding[i][0].checked_add(padding[i][1])?)?;
            let size = spread.add(&reach)?.add(&n(output_padding[i])?)?.sub(&pads)?;
            size.to_dim()
        };
        dims.push(along().ok_or("more is cut off than there is")?);
    }
    Ok(Shape(dims))
}

/// `x [n, c, h, w]` under a window.
pub(super) fn pool2d(
    x: &Shape,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    ceil_mode: bool,
) -> Result<Shape, String> {
    x.of_rank(4)?;
    let mut dims = x.0.clone();
    for i in 0..2 {
        let pads = (padding[i], padding[i]);
        dims[2 + i] = window_count(&x.0[2 + i], kernel[i], stride[i], pads, 1, ceil_mode).ok_or(TOO_LARGE)?;
    }
    Ok(Shape(dims))
}

/// `x [n, c, h, w]` to `size` rows and columns.
pub(super) fn adaptive_pool2d(x: &Shape, size: [usize; 2]) -> Result<Shape, String> {
    x.of_rank(4)?;
    Ok(Shape(vec![x.0[0].clone(), x.0[1].clone(), Dim::Fixed(size[0]), Dim::Fixed(size[1])]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(
        size: usize,
        kernel: usize,
        stride: usize,
        pads: (usize, usize),
        ceil_mode: bool,
    ) -> Option<usize> {
        window_count(&Dim::Fixed(size), kernel, stride, pads, 1, ceil_mode)?.fixed()
    }

    #[test]
    fn ceil_mode_drops_a_window_that_starts_in_the_padding() {
        // SqueezeNet's 3×3 stride-2 pool: 111 → 55 either way; 4 wide, kernel 2, stride 2, padding 1: torch says 3.
        assert_eq!(fixed(111, 3, 2, (0, 0), true), Some(55));
        assert_eq!(fixed(4, 2, 2, (1, 1), true), Some(3));
        assert_eq!(fixed(5, 2, 2, (0, 0), true), Some(3));
        assert_eq!(fixed(2, 5, 1, (0, 0), false), None);
    }

    #[test]
    fn a_symbolic_window_becomes_the_same_number() {
        for (size, kernel, stride, pad, ceil_mode) in [
            (111, 3, 2, 0, true),
            (4, 2, 2, 1, true),
            (5, 2, 2, 0, true),
            (224, 7, 2, 3, false),
            (16000, 10, 5, 0, false),
        ] {
            let symbolic = window_count(&Dim::Symbol("s".into()), kernel, stride, (pad, pad), 1, ceil_mode);
            let symbolic = Expr::from(&symbolic.expect("an expression")).evaluate(&|_| Some(size as i64));
            let number = fixed(size, kernel, stride, (pad, pad), ceil_mode).map(|n| n as i64);
            assert_eq!(symbolic, number, "{size} {kernel} {stride} {pad}");
        }
    }
}
