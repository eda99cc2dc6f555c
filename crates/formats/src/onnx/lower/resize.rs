//! Interpolation to another size.

use headstart_graph::{Coordinates, Dim, Expr, Interpolation, Op, Resampling, Rounding};

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
    // Scales that say more than the sizes do.
    let mut scales: Vec<f64> = Vec::new();
    let sizes: Vec<Dim> = if let Some(val) = n.optional(sizes_at).filter(is_empty) {
        let sizes = match val {
            Val::Known(known, _) => known.exprs().ok_or("its sizes must be integers")?,
            _ => return Err("its sizes are computed from values that only a run gives".into()),
        };
        let sizes = sizes.iter().map(|e| e.to_dim().ok_or_else(|| format!("the size {e} is negative")));
        let sizes = sizes.collect::<Result<Vec<Dim>, _>>()?;
        match n.string("keep_aspect_ratio_policy").unwrap_or("stretch") {
            "stretch" => sizes,
            policy => {
                let (sizes, scale) = alike(&d, &axes, &sizes, policy)?;
                scales = vec![scale; axes.len()];
                sizes
            }
        }
    } else {
        let given = match n.optional(scales_at).filter(is_empty) {
            Some(val) => r.floats(val)?,
            None => n
                .floats("scales")
                .ok_or("neither sizes nor scales are given")?
                .iter()
                .map(|&v| v.into())
                .collect(),
        };
        if given.len() != axes.len() {
            return Err("there must be one scale an axis".into());
        }
        let made = axes.iter().zip(&given).map(|(&axis, &scale)| scaled(&d[axis], scale));
        let (sizes, is_ratio): (Vec<Dim>, Vec<bool>) =
            made.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
        if is_ratio.contains(&false) {
            scales = given;
        }
        sizes
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
        "half_pixel_symmetric" => Coordinates::HalfPixelSymmetric,
        other => return Err(format!("`coordinate_transformation_mode` is {other}")),
    };
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
    let changes = |&i: &usize| sizes[i] != d[axes[i]] || scales.get(i).is_some_and(|&s| s != 1.0);
    let changed: Vec<usize> = (0..axes.len()).filter(changes).collect();
    if changed.is_empty() {
        return Ok(x.clone());
    }
    let op = Op::Resize(Resampling {
        axes: changed.iter().map(|&i| axes[i]).collect(),
        sizes: changed.iter().map(|&i| sizes[i].clone()).collect(),
        scales: changed.iter().filter_map(|&i| scales.get(i).copied()).collect(),
        interpolation,
        coordinates,
        antialias: n.flag("antialias", false),
        exclude_outside: n.flag("exclude_outside", false),
    });
    r.apply(n.path, op, &[x])
}

/// Greatest denominator of a scale of an axis that only a run measures.
const DENOMINATOR_MAX: i64 = 16;

/// An axis times a scale, rounded down, and whether the scale is the ratio of the two whatever the size is.
fn scaled(dim: &Dim, scale: f64) -> Result<(Dim, bool), String> {
    if !(scale > 0.0 && scale < 1e6) {
        return Err(format!("its scale is {scale}"));
    }
    if let Dim::Fixed(n) = dim {
        // In f32, as the scale is stored: 10 · 0.7 is 7 there and less than 7 in f64.
        let size = *n as f32 * scale as f32;
        return Ok((Dim::Fixed(size.floor() as usize), size.fract() == 0.0));
    }
    let near = |q: &i64| (scale * *q as f64 - (scale * *q as f64).round()).abs() <= 1e-6 * scale * *q as f64;
    let q = (1..=DENOMINATOR_MAX).find(near).ok_or_else(|| {
        format!("{dim} times {scale} is no size that can be told before a run; {}", super::FIX)
    })?;
    let p = Expr::number((scale * q as f64).round() as i64);
    let size = Expr::from(dim).mul(&p).and_then(|e| e.floor_div(&Expr::number(q)));
    let size = size.and_then(|e| e.to_dim()).ok_or("its size depends on too many symbols")?;
    Ok((size, q == 1))
}

/// Sizes of one shape with the input that are not larger, or not smaller, than the sizes given; and the scale.
fn alike(d: &[Dim], axes: &[usize], sizes: &[Dim], policy: &str) -> Result<(Vec<Dim>, f64), String> {
    let known = |dims: Vec<&Dim>| dims.into_iter().map(Dim::fixed).collect::<Option<Vec<usize>>>();
    let from = known(axes.iter().map(|&a| &d[a]).collect()).filter(|f| !f.contains(&0));
    let (from, to) = from.zip(known(sizes.iter().collect())).ok_or("its sizes must be known")?;
    if from.len() != to.len() {
        return Err("there must be one size an axis".into());
    }
    let ratios = from.iter().zip(&to).map(|(&f, &t)| t as f64 / f as f64);
    let scale = match policy {
        "not_larger" => ratios.fold(f64::INFINITY, f64::min),
        "not_smaller" => ratios.fold(0.0, f64::max),
        other => return Err(format!("`keep_aspect_ratio_policy` is {other}")),
    };
    Ok((from.iter().map(|&f| Dim::Fixed((f as f64 * scale).round() as usize)).collect(), scale))
}
