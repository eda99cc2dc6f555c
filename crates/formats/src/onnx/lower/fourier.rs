//! `DFT` and `STFT`: a discrete Fourier transform as two products with matrices of cosines and sines, `y_k = Σ_j x_j·e^(∓2πi·jk/n)`.
//!
//! Quadratic in the length, which in networks is a sequence's or a window's.

use headstart_graph::{Binary, Dim, ElementKind, Expr, Op, Unary, ValueId};

use super::super::node::{Node, front};
use super::super::reader::{Reader, Val};

/// `x [.., n, .., 1 or 2]`, real or complex, to `[.., n, .., 2]`.
pub(super) fn dft(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let dims = r.dims(x);
    let last = dims.len().checked_sub(1).filter(|&l| l > 0).ok_or("it has no axis to transform")?;
    let is_complex = match dims[last].fixed() {
        Some(1) => false,
        Some(2) => true,
        _ => return Err(format!("its last axis is {}, not 1 or 2", dims[last])),
    };
    // The axis became an input in opset 20, and its default another.
    let axis = match n.optional(2) {
        Some(axis) => r.numbers(axis)?.first().copied().unwrap_or(-2),
        None => n.int("axis", if r.opset < 20 { 1 } else { -2 }),
    };
    let axis = front(axis, dims.len())?;
    if axis == last {
        return Err("its axis is the one of real and imaginary parts".into());
    }
    let length = dims[axis].clone();
    if let Some(wanted) = n.optional(1) {
        let Val::Known(known, _) = wanted else { return Err("its length is known only to a run".into()) };
        if known.exprs().as_deref() != Some(&[Expr::from(&length)]) {
            return Err("its length is not the axis's".into());
        }
    }
    let inverse = n.flag("inverse", false);
    if inverse && n.flag("onesided", false) {
        return Err("the inverse of one side is not read".into());
    }
    let [cosines, sines] = waves(r, n, &length, n.flag("onesided", false))?;
    let mut perm: Vec<usize> = (0..last).filter(|&a| a != axis).collect();
    perm.push(axis);
    let mut back: Vec<usize> = (0..last).collect();
    back.sort_by_key(|&a| perm[a]);
    let part = |r: &mut Reader, index: usize, name: &str| {
        let part = r.apply(&n.part(name), Op::Select { axis: last, index }, &[x])?;
        let turned =
            r.apply(&n.part(&format!("{name}.turned")), Op::Transpose { perm: perm.clone() }, &[&part])?;
        r.value(&turned)
    };
    let real = part(r, 0, "real")?;
    let mut re = r.node(&n.part("real.cosines"), Op::MatMul, &[real, cosines])?;
    let mut im = r.node(&n.part("real.sines"), Op::MatMul, &[real, sines])?;
    if !inverse {
        im = r.node(&n.part("real.minus"), Op::Scale { by: -1.0 }, &[im])?;
    }
    if is_complex {
        let imaginary = part(r, 1, "imaginary")?;
        let by = if inverse { -1.0 } else { 1.0 };
        let sum = r.node(&n.part("imaginary.sines"), Op::MatMul, &[imaginary, sines])?;
        let sum = r.node(&n.part("imaginary.signed"), Op::Scale { by }, &[sum])?;
        re = r.node(&n.part("re"), Op::Add, &[re, sum])?;
        let sum = r.node(&n.part("imaginary.cosines"), Op::MatMul, &[imaginary, cosines])?;
        im = r.node(&n.part("im"), Op::Add, &[im, sum])?;
    }
    let mut turned = |id: ValueId, name: &str| {
        r.node(&n.part(&format!("{name}.back")), Op::Transpose { perm: back.clone() }, &[id])
    };
    let parts = [turned(re, "re")?, turned(im, "im")?];
    let path = if inverse { n.part("sum") } else { n.path.to_string() };
    let whole = both(r, n, &path, parts)?;
    if !inverse {
        return Ok(whole);
    }
    let count = Val::Value(count(r, n, &length)?);
    r.apply(n.path, Op::Binary { function: Binary::Div }, &[&whole, &count])
}

/// Cosines and sines of `2π·jk/n`, `[n, n]`, or `[n, n/2 + 1]` where the other half is its mirror.
fn waves(r: &mut Reader, n: &Node<'_>, length: &Dim, is_half: bool) -> Result<[ValueId; 2], String> {
    let zero = Dim::Fixed(0);
    let column = r.counted(&n.part("positions.column"), [&zero, length], 1, 0, 2)?;
    let mut row = r.counted(&n.part("positions.row"), [&zero, length], 1, 1, 2)?;
    if is_half {
        let half = Expr::from(length).floor_div(&Expr::number(2)).and_then(|e| e.add(&Expr::number(1)));
        let half = half.and_then(|e| e.to_dim()).ok_or("its length depends on too many symbols")?;
        row = r.stretch(&n.part("positions.half"), &row, 1, [zero, half], 1)?;
    }
    let turns = r.apply(&n.part("turns"), Op::Mul, &[&column, &row])?;
    let turns = r.value(&turns)?;
    // Whole turns say nothing, and floats would round them.
    let whole = r.signed_sizes(&[Expr::from(length)], true)?;
    let turns = r.node(&n.part("turns.rest"), Op::Binary { function: Binary::Mod }, &[turns, whole])?;
    let turns = r.node(&n.part("turns.float"), Op::Cast { to: ElementKind::Float }, &[turns])?;
    let count = count(r, n, length)?;
    let turns = r.node(&n.part("turns.share"), Op::Binary { function: Binary::Div }, &[turns, count])?;
    let angle = r.node(&n.part("angle"), Op::Scale { by: std::f64::consts::TAU }, &[turns])?;
    Ok([
        r.node(&n.part("cosines"), Op::Unary { function: Unary::Cos }, &[angle])?,
        r.node(&n.part("sines"), Op::Unary { function: Unary::Sin }, &[angle])?,
    ])
}

/// The length as a float.
fn count(r: &mut Reader, n: &Node<'_>, length: &Dim) -> Result<ValueId, String> {
    let whole = r.signed_sizes(&[Expr::from(length)], true)?;
    r.node(&n.part("length"), Op::Cast { to: ElementKind::Float }, &[whole])
}

/// `STFT`: windows of a real signal `[batch, length]` or `[batch, length, 1]`, each transformed, to `[batch, windows, n, 2]`.
pub(super) fn stft(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let dims = r.dims(x);
    if !matches!(dims.as_slice(), [_, _] | [_, _, Dim::Fixed(1)]) {
        return Err("its signal is not real, or has not two axes".into());
    }
    let single = |r: &Reader, val: &Val| {
        let numbers = r.numbers(val)?;
        let number = numbers.first().copied().filter(|&n| n > 0);
        number.ok_or_else(|| "a length or step is not positive".to_string())
    };
    let step = single(r, n.input(1)?)?;
    let length = match (n.optional(3), n.optional(2)) {
        (Some(length), _) => single(r, length)?,
        (None, Some(window)) => match r.dims(window).as_slice() {
            [Dim::Fixed(n)] => *n as i64,
            _ => return Err("its window must have a known length".into()),
        },
        (None, None) => return Err("it has neither a window nor a length".into()),
    };
    let too_long = "its signal depends on too many symbols, or is shorter than a window";
    let count =
        Expr::from(&dims[1]).sub(&Expr::number(length)).and_then(|e| e.floor_div(&Expr::number(step)));
    let count = count.and_then(|e| e.add(&Expr::number(1))).and_then(|e| e.to_dim()).ok_or(too_long)?;
    // Positions of every window: where it begins, plus where each of its samples lies.
    let (zero, whole) = (Dim::Fixed(0), usize::try_from(length).map_err(|_| "its window is too long")?);
    let whole = Dim::Fixed(whole);
    let begins = r.counted(&n.part("begins"), [&zero, &count], step, 0, 2)?;
    let samples = r.counted(&n.part("samples"), [&zero, &whole], 1, 1, 2)?;
    let at = r.apply(&n.part("at"), Op::Add, &[&begins, &samples])?;
    let flat = r.apply(&n.part("signal"), Op::Reshape { shape: dims[..2].to_vec() }, &[x])?;
    let mut frames = r.apply(&n.part("frames"), Op::Gather { axis: 1 }, &[&flat, &at])?;
    if let Some(window) = n.optional(2) {
        frames = r.apply(&n.part("windowed"), Op::Mul, &[&frames, window])?;
    }
    let [cosines, sines] = waves(r, n, &whole, n.flag("onesided", true))?;
    let frames = r.value(&frames)?;
    let re = r.node(&n.part("re"), Op::MatMul, &[frames, cosines])?;
    let im = r.node(&n.part("sines.sum"), Op::MatMul, &[frames, sines])?;
    let im = r.node(&n.part("im"), Op::Scale { by: -1.0 }, &[im])?;
    both(r, n, n.path, [re, im])
}

/// Real and imaginary parts beside each other on a new last axis.
fn both(r: &mut Reader, n: &Node<'_>, path: &str, parts: [ValueId; 2]) -> Result<Val, String> {
    let mut columns = Vec::new();
    for (id, name) in parts.into_iter().zip(["re", "im"]) {
        let mut shape = r.dims(&Val::Value(id));
        shape.push(Dim::Fixed(1));
        columns.push(r.node(&n.part(&format!("{name}.column")), Op::Reshape { shape }, &[id])?);
    }
    let axis = r.rank(&Val::Value(columns[0])) - 1;
    r.node(path, Op::Concat { axis }, &columns).map(Val::Value)
}
