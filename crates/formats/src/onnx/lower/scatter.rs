//! Parts of an array that are written or added: `ScatterND`, `ScatterElements`, and the patches of `Col2Im`.

use headstart_graph::{Dim, ElementKind, Literal, Op};

use super::super::node::Node;
use super::super::reader::{Reader, Val};

/// Numbers in the kernel that lays patches down.
const KERNEL_MAX: usize = 1 << 24;

fn adds(n: &Node<'_>) -> Result<bool, String> {
    match n.string("reduction").unwrap_or("none") {
        "none" => Ok(false),
        "add" => Ok(true),
        other => Err(format!("`reduction` is {other}")),
    }
}

pub(super) fn scatter_nd(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let add = adds(n)?;
    r.apply(n.path, Op::ScatterNd { add }, &[n.input(0)?, n.input(1)?, n.input(2)?])
}

/// An update goes where it lies, but for one axis, along which its index says where: written with whole positions.
pub(super) fn scatter_elements(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let add = adds(n)?;
    let (x, indices, updates) = (n.input(0)?, n.input(1)?, n.input(2)?);
    let rank = r.rank(x);
    let axis = n.axis("axis", 0, rank)?;
    let shape = r.dims(indices);
    if shape.len() != rank {
        return Err(format!("its indices have {} axes, its data {rank}", shape.len()));
    }
    let mut whole = shape.clone();
    whole.push(Dim::Fixed(1));
    let mut parts = Vec::new();
    for (i, length) in shape.iter().enumerate() {
        let at = if i == axis {
            indices.clone()
        } else {
            let line = r.counted(&n.part(&format!("axis{i}")), [&Dim::Fixed(0), length], 1, i, rank)?;
            let all = Op::Expand { shape: shape.clone() };
            r.apply(&n.part(&format!("axis{i}.all")), all, &[&line])?
        };
        let column = Op::Reshape { shape: whole.clone() };
        let at = r.apply(&n.part(&format!("axis{i}.column")), column, &[&at])?;
        parts.push(r.apply(&n.part(&format!("axis{i}.int")), Op::Cast { to: ElementKind::Int }, &[&at])?);
    }
    let parts: Vec<&Val> = parts.iter().collect();
    let positions = r.apply(&n.part("positions"), Op::Concat { axis: rank }, &parts)?;
    r.apply(n.path, Op::ScatterNd { add }, &[x, &positions, updates])
}

/// `[batch, channels × block, places]` → `[batch, channels, height, width]`: overlapping patches are added, as a transposed
/// convolution does whose kernel has a single 1 for each place of the block.
pub(super) fn col2im(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let sizes = |r: &Reader, i: usize| -> Result<Vec<usize>, String> {
        let numbers = r.numbers(n.input(i)?)?;
        let fits =
            |v: &i64| usize::try_from(*v).ok().filter(|&v| v > 0).ok_or_else(|| format!("a size is {v}"));
        numbers.iter().map(fits).collect()
    };
    let (image, block) = (sizes(r, 1)?, sizes(r, 2)?);
    let (&[height, width], &[rows, cols]) = (&image[..], &block[..]) else {
        return Err(format!("its image has {} axes; 2 are read", image.len()));
    };
    let stride = n.sizes("strides", 2, 1)?;
    let dilation = n.sizes("dilations", 2, 1)?;
    let pads = n.sizes("pads", 4, 0)?;
    if stride.contains(&0) {
        return Err("a stride is 0".into());
    }
    let [d0, d1, _] = &r.dims(x)[..] else { return Err("its patches have not three axes".into()) };
    let (batch, deep) = (d0.clone(), d1.fixed().ok_or("the number of its channels must be known")?);
    let places = rows.checked_mul(cols).filter(|&p| deep.is_multiple_of(p) && deep > 0);
    let places = places.ok_or_else(|| format!("{deep} numbers a place are no blocks of {rows}×{cols}"))?;
    // How often the block fits, and what is left over behind the last.
    let mut grid = Vec::new();
    let mut rest = Vec::new();
    for (axis, (size, k)) in [(height, rows), (width, cols)].into_iter().enumerate() {
        let reach = dilation[axis].checked_mul(k - 1).and_then(|d| d.checked_add(1));
        let padded = size.checked_add(pads[axis]).and_then(|s| s.checked_add(pads[axis + 2]));
        let free = padded.zip(reach).and_then(|(s, d)| s.checked_sub(d));
        let free = free.ok_or("the block does not fit into its image")?;
        grid.push(Dim::Fixed(free / stride[axis] + 1));
        rest.push(free % stride[axis]);
    }
    let count = deep.checked_mul(places).filter(|&c| c <= KERNEL_MAX);
    let count = count.ok_or_else(|| format!("its kernel would have {deep} × {places} numbers"))?;
    let mut kernel = vec![0.0; count];
    for channel in 0..deep {
        kernel[channel * places + channel % places] = 1.0;
    }
    let kernel = Literal::f32(&[deep, 1, rows, cols], &kernel).map_err(|e| e.to_string())?;
    let kernel = r.node(&n.part("kernel"), Op::Constant { value: kernel }, &[])?;
    let shape = vec![batch, Dim::Fixed(deep), grid[0].clone(), grid[1].clone()];
    let x = r.apply(&n.part("grid"), Op::Reshape { shape }, &[x])?;
    let x = r.value(&x)?;
    let op = Op::ConvTranspose {
        stride,
        padding: vec![[pads[0], pads[2]], [pads[1], pads[3]]],
        output_padding: rest,
        dilation,
        groups: deep / places,
    };
    r.node(n.path, op, &[x, kernel]).map(Val::Value)
}
