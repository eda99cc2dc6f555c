//! `GridSample`: an image at positions that another value gives (Jaderberg et al., 2015).

use headstart_graph::{Binary, Dim, ElementKind, Expr, Op, Unary};

use super::super::node::Node;
use super::super::reader::{Reader, Val};
use super::elementwise::scalar;

/// `x [n, c, ..]` at `grid [n, .., axes]`, from −1 to 1 with the last axis first, to `[n, c, ..]`.
pub(super) fn grid_sample(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let (x, grid) = (n.input(0)?, n.input(1)?);
    let (d, g) = (r.dims(x), r.dims(grid));
    let axes = d.len().saturating_sub(2);
    let sizes: Option<Vec<usize>> = d.get(2..).unwrap_or_default().iter().map(Dim::fixed).collect();
    let sizes =
        sizes.filter(|s| !s.is_empty() && !s.contains(&0)).ok_or("its image must have a known size")?;
    if g.len() != d.len() || g.last() != Some(&Dim::Fixed(axes)) {
        return Err(format!("its grid has not {axes} coordinates a position"));
    }
    let is_linear = match n.string("mode").unwrap_or("linear") {
        "linear" | "bilinear" => true,
        "nearest" => false,
        other => return Err(format!("`mode` is {other}")),
    };
    let count = |dims: &[Dim]| {
        let product = dims.iter().try_fold(Expr::number(1), |n, d| n.mul(&Expr::from(d)));
        product.and_then(|e| e.to_dim()).ok_or_else(|| "its sizes are too large".to_string())
    };
    let places = count(&g[1..=axes])?;
    let mut lines = Vec::new();
    for (axis, &size) in sizes.iter().enumerate() {
        let part = Op::Select { axis: axes + 1, index: axes - 1 - axis };
        let at = r.apply(&n.part(&format!("axis{axis}")), part, &[grid])?;
        let shape = vec![g[0].clone(), Dim::Fixed(1), places.clone()];
        let at = r.apply(&n.part(&format!("axis{axis}.line")), Op::Reshape { shape }, &[&at])?;
        lines.push(Line::of(r, n, axis, size, at, is_linear)?);
    }
    let flat = vec![d[0].clone(), d[1].clone(), count(&d[2..])?];
    let flat = r.apply(&n.part("flat"), Op::Reshape { shape: flat }, &[x])?;
    let corners = if is_linear { 1usize << axes } else { 1 };
    let mut y: Option<Val> = None;
    for corner in 0..corners {
        let part = at_corner(r, n, &flat, &lines, corner, &[d[0].clone(), d[1].clone(), places.clone()])?;
        y = Some(match y {
            Some(y) => r.apply(&n.part(&format!("sum{corner}")), Op::Add, &[&y, &part])?,
            None => part,
        });
    }
    let y = y.ok_or("it has no corners")?;
    r.apply(n.path, Op::Reshape { shape: [&d[..2], &g[1..=axes]].concat() }, &[&y])
}

/// The neighbours of every position along one axis: where each lies, and what it counts.
struct Line {
    neighbours: Vec<[Val; 2]>,
    size: usize,
}

impl Line {
    fn of(
        r: &mut Reader,
        n: &Node<'_>,
        axis: usize,
        size: usize,
        at: Val,
        is_linear: bool,
    ) -> Result<Self, String> {
        let name = |what: &str| n.part(&format!("axis{axis}.{what}"));
        let whole = size as f64;
        let aligned = n.flag("align_corners", false);
        // −1 and 1 are the middles of the outermost elements, or their outer edges.
        let (by, plus) = if aligned {
            ((whole - 1.0) / 2.0, (whole - 1.0) / 2.0)
        } else {
            (whole / 2.0, (whole - 1.0) / 2.0)
        };
        let at = r.times(&name("scaled"), &at, by)?;
        let mut at = r.plus(&name("at"), &at, plus)?;
        let outside = n.string("padding_mode").unwrap_or("zeros");
        match outside {
            "zeros" => {}
            "border" => at = r.apply(&name("border"), Op::Clip { min: 0.0, max: whole - 1.0 }, &[&at])?,
            "reflection" => {
                let (edge, span) = if aligned { (0.0, whole - 1.0) } else { (-0.5, whole) };
                at = reflected(r, &name("reflected"), &at, edge, span)?;
                at = r.apply(&name("border"), Op::Clip { min: 0.0, max: whole - 1.0 }, &[&at])?;
            }
            other => return Err(format!("`padding_mode` is {other}")),
        }
        let function = if is_linear { Unary::Floor } else { Unary::Round };
        let first = r.apply(&name("first"), Op::Unary { function }, &[&at])?;
        let mut neighbours = Vec::new();
        for k in 0..if is_linear { 2 } else { 1 } {
            let place = if k == 0 { first.clone() } else { r.plus(&name("second"), &first, 1.0)? };
            let away =
                r.apply(&name(&format!("away{k}")), Op::Binary { function: Binary::Sub }, &[&at, &place])?;
            let away =
                r.apply(&name(&format!("distance{k}")), Op::Unary { function: Unary::Abs }, &[&away])?;
            let near = r.times(&name(&format!("nearness{k}")), &away, -1.0)?;
            let near = r.plus(&name(&format!("weight{k}")), &near, 1.0)?;
            let near = if is_linear { near } else { scalar(1.0) };
            let inside =
                r.apply(&name(&format!("inside{k}")), Op::Clip { min: 0.0, max: whole - 1.0 }, &[&place])?;
            let is_inside = Op::Binary { function: Binary::Equal };
            let is_inside = r.apply(&name(&format!("is_inside{k}")), is_inside, &[&inside, &place])?;
            let counts =
                r.apply(&name(&format!("counts{k}")), Op::Where, &[&is_inside, &near, &scalar(0.0)])?;
            neighbours.push([inside, counts]);
        }
        Ok(Line { neighbours, size })
    }
}

/// Mirrored at `edge` and at `edge + span` as often as it takes.
fn reflected(r: &mut Reader, path: &str, at: &Val, edge: f64, span: f64) -> Result<Val, String> {
    if span <= 0.0 {
        return r.times(path, at, 0.0);
    }
    let at = r.plus(&format!("{path}.from"), at, -edge)?;
    let at = r.apply(&format!("{path}.distance"), Op::Unary { function: Unary::Abs }, &[&at])?;
    let rest = Op::Binary { function: Binary::Fmod };
    let there = r.apply(&format!("{path}.rest"), rest, &[&at, &scalar(2.0 * span)])?;
    let back = r.times(&format!("{path}.negative"), &there, -1.0)?;
    let back = r.plus(&format!("{path}.back"), &back, 2.0 * span)?;
    let near = r.apply(&format!("{path}.nearer"), Op::Binary { function: Binary::Min }, &[&there, &back])?;
    r.plus(path, &near, edge)
}

/// What one corner of every position's neighbourhood adds, `[n, c, places]`.
fn at_corner(
    r: &mut Reader,
    n: &Node<'_>,
    flat: &Val,
    lines: &[Line],
    corner: usize,
    shape: &[Dim],
) -> Result<Val, String> {
    let name = |what: &str| n.part(&format!("corner{corner}.{what}"));
    let mut both: Option<[Val; 2]> = None;
    for (axis, line) in lines.iter().enumerate() {
        let [place, counts] = &line.neighbours[corner >> axis & 1];
        both = Some(match both {
            Some([at, weight]) => {
                let row = r.times(&name(&format!("rows{axis}")), &at, line.size as f64)?;
                let at = r.apply(&name(&format!("at{axis}")), Op::Add, &[&row, place])?;
                [at, r.apply(&name(&format!("weight{axis}")), Op::Mul, &[&weight, counts])?]
            }
            None => [place.clone(), counts.clone()],
        });
    }
    let [at, weight] = both.ok_or("it has no axes")?;
    let at = r.apply(&name("index"), Op::Cast { to: ElementKind::Int }, &[&at])?;
    let at = r.apply(&name("indices"), Op::Expand { shape: shape.to_vec() }, &[&at])?;
    let picked = r.apply(&name("picked"), Op::GatherElements { axis: 2 }, &[flat, &at])?;
    r.apply(&name("weighted"), Op::Mul, &[&picked, &weight])
}
