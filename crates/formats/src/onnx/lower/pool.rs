//! Pools under a sliding window: ours over images where they can, else the window's positions one by one.

use headstart_graph::{AxisRange, Binary, Dim, ElementKind, Op, PadMode, Unary, window_count};

use super::super::node::Node;
use super::super::reader::{Reader, Val};
use super::window::{Window, padded_window, pair};

/// Positions of a window that are taken one by one.
const POSITIONS_MAX: usize = 1024;

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
    let mut w = padded_window(r, n, x, &k)?;
    if axes == 1 {
        k.insert(0, 1);
        w.stride.insert(0, 1);
        w.padding.insert(0, [0, 0]);
        w.dilation.insert(0, 1);
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
    let given = n.input(0)?;
    if r.kind(given) == ElementKind::Int {
        // Quantised pictures are pooled as floats, which hold their numbers exactly.
        let x = r.apply(&n.part("float"), Op::Cast { to: ElementKind::Float }, &[given])?;
        let y = max_pool(r, &n.with(n.path, n.op, vec![Some(x)]))?;
        return r.apply(&n.part("int"), Op::Cast { to: ElementKind::Int }, &[&y]);
    }
    if let Some(p) = Positions::of(r, n, given)? {
        let x = p.around(r, n, given, f64::from(f32::MIN), "pad")?;
        return p.joined(r, &x, &Op::Binary { function: Binary::Max }, n.path);
    }
    let (kernel, w, ceil_mode) = pool_window(r, n, given)?;
    let (x, is_line) = as_image(r, n, given)?;
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
    if let Some(p) = Positions::of(r, n, n.input(0)?)? {
        let x = p.around(r, n, n.input(0)?, 0.0, "pad")?;
        let sum = p.joined(r, &x, &Op::Add, &n.part("sum"))?;
        let count = p.counts(r, n)?;
        return r.apply(n.path, Op::Binary { function: Binary::Div }, &[&sum, &count]);
    }
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

/// `(Σ|x|ᵖ)^(1/p)` of a window.
pub(super) fn lp_pool(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let p = n.int("p", 2) as f64;
    let size = r.apply(&n.part("size"), Op::Unary { function: Unary::Abs }, &[x])?;
    let raised = r.apply(&n.part("raised"), Op::Unary { function: Unary::Pow(p) }, &[&size])?;
    let positions = Positions::each(r, n, x)?;
    let raised = positions.around(r, n, &raised, 0.0, "pad")?;
    let sum = positions.joined(r, &raised, &Op::Add, &n.part("sum"))?;
    r.apply(n.path, Op::Unary { function: Unary::Pow(1.0 / p) }, &[&sum])
}

/// A window over any number of axes, with gaps or without, whose positions are slices of the whole.
struct Positions {
    kernel: Vec<usize>,
    window: Window,
    /// Sizes of the axes, and how many windows there are along each.
    sizes: Vec<Dim>,
    out: Vec<Dim>,
    /// What the last window reaches beyond the padding.
    beyond: Vec<usize>,
}

impl Positions {
    /// None where our pools of images do it.
    fn of(r: &Reader, n: &Node<'_>, x: &Val) -> Result<Option<Self>, String> {
        let axes = r.rank(x).saturating_sub(2);
        let has_gaps = n.ints("dilations").is_some_and(|d| d.iter().any(|&d| d != 1));
        if matches!(axes, 1 | 2) && !has_gaps { Ok(None) } else { Self::each(r, n, x).map(Some) }
    }

    fn each(r: &Reader, n: &Node<'_>, x: &Val) -> Result<Self, String> {
        let dims = r.dims(x);
        let sizes = dims.get(2..).unwrap_or_default().to_vec();
        let kernel = n.sizes("kernel_shape", sizes.len(), 0)?;
        let count = kernel.iter().try_fold(1usize, |n, &k| n.checked_mul(k));
        if sizes.is_empty() || count.is_none_or(|n| n == 0 || n > POSITIONS_MAX) {
            return Err(format!("its window is {kernel:?}"));
        }
        let window = padded_window(r, n, x, &kernel)?;
        let mut p = Positions { kernel, window, sizes, out: Vec::new(), beyond: Vec::new() };
        for axis in 0..p.kernel.len() {
            let (out, beyond) = p.along(axis, n.flag("ceil_mode", false))?;
            p.out.push(out);
            p.beyond.push(beyond);
        }
        Ok(p)
    }

    /// How many windows an axis has, and what the last of them needs behind the padding.
    fn along(&self, axis: usize, ceil_mode: bool) -> Result<(Dim, usize), String> {
        let (size, kernel) = (&self.sizes[axis], self.kernel[axis]);
        let (stride, dilation) = (self.window.stride[axis], self.window.dilation[axis]);
        let [before, after] = self.window.padding[axis];
        let out = window_count(size, kernel, stride, (before, after), dilation, ceil_mode);
        let out = out.ok_or("its window does not fit its input")?;
        let beyond = match (size, &out) {
            (Dim::Fixed(size), Dim::Fixed(out)) => {
                ((out - 1) * stride + (kernel - 1) * dilation + 1).saturating_sub(size + before + after)
            }
            _ if ceil_mode && stride > 1 => {
                return Err(format!("rounding up needs a known size; {}", super::FIX));
            }
            _ => 0,
        };
        Ok((out, beyond))
    }

    /// With padding, and what the last windows need behind it.
    fn around(&self, r: &mut Reader, n: &Node<'_>, x: &Val, with: f64, name: &str) -> Result<Val, String> {
        let mut pads = vec![[0, 0]; 2];
        let axes = self.window.padding.iter().zip(&self.beyond);
        pads.extend(axes.map(|(&[before, after], beyond)| [before, after + beyond]));
        if pads.iter().all(|p| *p == [0, 0]) {
            return Ok(x.clone());
        }
        r.apply(&n.part(name), Op::Pad { pads, mode: PadMode::Constant(with) }, &[x])
    }

    /// Every position of the window joined to the others.
    fn joined(&self, r: &mut Reader, x: &Val, by: &Op, path: &str) -> Result<Val, String> {
        let count: usize = self.kernel.iter().product();
        let mut y: Option<Val> = None;
        for position in 0..count {
            let mut rest = position;
            let mut ranges = Vec::new();
            for axis in (0..self.kernel.len()).rev() {
                let start = Dim::Fixed(rest % self.kernel[axis] * self.window.dilation[axis]);
                rest /= self.kernel[axis];
                let step = i64::try_from(self.window.stride[axis]).map_err(|_| "its stride is too large")?;
                ranges.push(AxisRange { axis: 2 + axis, start, length: self.out[axis].clone(), step });
            }
            let part = r.apply(&format!("{path}.{position}"), Op::Slice { ranges }, &[x])?;
            let last = position + 1 == count;
            y = Some(match y {
                Some(y) => {
                    let path = if last { path.to_string() } else { format!("{path}.to{position}") };
                    r.apply(&path, by.clone(), &[&y, &part])?
                }
                None => part,
            });
        }
        y.ok_or_else(|| "its window is empty".into())
    }

    /// How many positions of each window count.
    fn counts(&self, r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
        let one = super::elementwise::scalar(1.0);
        let shape = [vec![Dim::Fixed(1); 2], self.sizes.clone()].concat();
        let mut ones = r.apply(&n.part("ones"), Op::Expand { shape }, &[&one])?;
        let rim = if n.flag("count_include_pad", false) { 1.0 } else { 0.0 };
        let pads = [vec![[0, 0]; 2], self.window.padding.clone()].concat();
        ones = r.apply(&n.part("ones.padded"), Op::Pad { pads, mode: PadMode::Constant(rim) }, &[&ones])?;
        let pads = [vec![[0, 0]; 2], self.beyond.iter().map(|&b| [0, b]).collect()].concat();
        ones = r.apply(&n.part("ones.all"), Op::Pad { pads, mode: PadMode::Constant(0.0) }, &[&ones])?;
        self.joined(r, &ones, &Op::Add, &n.part("count"))
    }
}
