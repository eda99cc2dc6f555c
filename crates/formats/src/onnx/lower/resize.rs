//! Interpolation to another size.

use headstart_graph::{Coordinates, Dim, Interpolation, Op, Rounding};

use super::super::node::Node;
use super::super::reader::{Reader, Val};

/// `Resize` (since opset 10) and `Upsample` before it.
pub(super) fn resize(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let d = r.dims(x);
    let is_old = n.op == "Upsample" || r.opset < 11;
    let (scales_at, sizes_at) = if is_old { (1, usize::MAX) } else { (2, 3) };
    let axes: Vec<usize> = match n.ints("axes") {
        Some(axes) => {
            axes.iter().map(|&a| super::super::node::front(a, d.len())).collect::<Result<_, _>>()?
        }
        None => (0..d.len()).collect(),
    };
    let is_empty = |val: &&Val| r.dims(val) != [Dim::Fixed(0)];
    let sizes: Vec<Dim> = if let Some(val) = n.optional(sizes_at).filter(is_empty) {
        match val {
            Val::Known(known, _) => known.exprs().ok_or("its sizes must be integers")?,
            _ => return Err("its sizes are computed from values that only a run gives".into()),
        }
        .iter()
        .map(|e| e.to_dim().ok_or_else(|| format!("the size {e} is negative")))
        .collect::<Result<_, _>>()?
    } else {
        let scales = match n.optional(scales_at).filter(is_empty) {
            Some(val) => r.floats(val)?,
            None => n
                .floats("scales")
                .ok_or("neither sizes nor scales are given")?
                .iter()
                .map(|&v| v.into())
                .collect(),
        };
        let scaled = |(&axis, &scale): (&usize, &f64)| match d[axis].fixed() {
            _ if scale == 1.0 => Ok(d[axis].clone()),
            Some(n) if scale > 0.0 && scale < 1e6 => Ok(Dim::Fixed((n as f64 * scale).floor() as usize)),
            Some(_) => Err(format!("its scale is {scale}")),
            None => Err("what is resized by a factor must have a known size".into()),
        };
        if scales.len() != axes.len() {
            return Err("there must be one scale an axis".into());
        }
        axes.iter().zip(&scales).map(scaled).collect::<Result<_, String>>()?
    };
    if sizes.len() != axes.len() {
        return Err("there must be one size an axis".into());
    }
    let default = if is_old { "asymmetric" } else { "half_pixel" };
    let coordinates = match n.string("coordinate_transformation_mode").unwrap_or(default) {
        "half_pixel" => Coordinates::HalfPixel,
        "pytorch_half_pixel" => Coordinates::PytorchHalfPixel,
        "asymmetric" => Coordinates::Asymmetric,
        "align_corners" => Coordinates::AlignCorners,
        other => return Err(format!("`coordinate_transformation_mode` is {other}")),
    };
    if n.flag("exclude_outside", false) || n.flag("antialias", false) {
        return Err("exclude_outside and antialias are not read".into());
    }
    let interpolation = match n.string("mode").unwrap_or("nearest") {
        "nearest" => {
            let rounding = if is_old { "floor" } else { "round_prefer_floor" };
            Interpolation::Nearest(match n.string("nearest_mode").unwrap_or(rounding) {
                "floor" => Rounding::Floor,
                "ceil" => Rounding::Ceil,
                "round_prefer_floor" => Rounding::HalfDown,
                "round_prefer_ceil" => Rounding::HalfUp,
                other => return Err(format!("`nearest_mode` is {other}")),
            })
        }
        "linear" | "bilinear" => Interpolation::Linear,
        "cubic" => Interpolation::Cubic(n.float("cubic_coeff_a", -0.75)),
        other => return Err(format!("`mode` is {other}")),
    };
    let changed: Vec<usize> = (0..axes.len()).filter(|&i| sizes[i] != d[axes[i]]).collect();
    if changed.is_empty() {
        return Ok(x.clone());
    }
    let op = Op::Resize {
        axes: changed.iter().map(|&i| axes[i]).collect(),
        sizes: changed.iter().map(|&i| sizes[i].clone()).collect(),
        interpolation,
        coordinates,
    };
    r.apply(n.path, op, &[x])
}
