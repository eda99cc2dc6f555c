//! `take_pictures`: a network that reads grey pictures, or channels last, reads pictures as everyone prepares them.

use super::copy::Copy;
use crate::{AxisRange, Dim, Graph, GraphError, Op, Shape, ValueId, ValueKind};

/// How an input of rank 4 holds pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureLayout {
    /// 3, or 1 for grey.
    pub n_channels: usize,
    /// `[batch, height, width, channels]` instead of `[batch, channels, height, width]`.
    pub channels_last: bool,
}

impl PictureLayout {
    /// The layout that a shape says, if it is one of pictures.  Where both ends could be channels, they come first.
    ///
    /// ```
    /// use headstart_graph::{Dim, Shape, rewrite::PictureLayout};
    /// let of = |dims: [usize; 3]| {
    ///     let dims = [Dim::batch()].into_iter().chain(dims.map(Dim::Fixed));
    ///     PictureLayout::of(&Shape(dims.collect()))
    /// };
    /// assert_eq!(of([3, 224, 224]), Some(PictureLayout { n_channels: 3, channels_last: false }));
    /// assert_eq!(of([76, 32, 1]), Some(PictureLayout { n_channels: 1, channels_last: true }));
    /// assert_eq!(of([16, 24, 24]), None);
    /// ```
    pub fn of(shape: &Shape) -> Option<Self> {
        let channels = |axis: usize| shape.known(axis).filter(|n| [1, 3].contains(n));
        match (shape.rank(), channels(1), channels(3), shape.known(1)) {
            (4, Some(n_channels), ..) => Some(PictureLayout { n_channels, channels_last: false }),
            (4, None, Some(n_channels), _) => Some(PictureLayout { n_channels, channels_last: true }),
            // A network for any number of channels.
            (4, None, None, None) => Some(PictureLayout { n_channels: 3, channels_last: false }),
            _ => None,
        }
    }

    /// The axes of height and width.
    pub fn size_axes(self) -> [usize; 2] {
        if self.channels_last { [1, 2] } else { [2, 3] }
    }
}

/// Shares of red, green and blue in grey (ITU-R BT.601, as Pillow).
const GREY: [f64; 3] = [0.299, 0.587, 0.114];

/// The same network with its input `from` called `image` and of shape `[batch, 3, height, width]`: colours are made grey and
/// axes exchanged by nodes in front.
///
/// ```
/// use headstart_graph::{DType, Dim, GraphBuilder, InputSpec, Op, Shape, rewrite};
/// let mut b = GraphBuilder::new("grey");
/// let dims = [Dim::batch(), Dim::Fixed(8), Dim::Fixed(6), Dim::Fixed(1)];
/// let x = b.input("mel", InputSpec { dtype: DType::F32, shape: Shape(dims.to_vec()), default: None });
/// let y = b.node("relu", Op::Relu, &[x])?;
/// let graph = b.finish([("y", y)])?;
/// let layout = rewrite::PictureLayout::of(&Shape(dims.to_vec())).expect("pictures");
/// let graph = rewrite::take_pictures(&graph, "mel", layout)?;
/// let (_, name, spec) = graph.inputs().next().expect("one");
/// assert_eq!((name, spec.shape.to_string().as_str()), ("image", "[batch, 3, 8, 6]"));
/// assert_eq!(graph.value(graph.output()).shape.to_string(), "[batch, 8, 6, 1]");
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn take_pictures(graph: &Graph, from: &str, layout: PictureLayout) -> Result<Graph, GraphError> {
    let mut renamed = super::rename_input(graph, from, "image")?;
    if layout == (PictureLayout { n_channels: 3, channels_last: false }) {
        return Ok(renamed);
    }
    let (id, ..) = graph.inputs().find(|(_, name, _)| *name == from).expect("it was renamed");
    let value = &mut renamed.values[id.index()];
    if let ValueKind::Input(spec) = &mut value.kind {
        let at = |axis: usize| spec.shape.0[axis].clone();
        let [height, width] = layout.size_axes();
        spec.shape = Shape(vec![at(0), Dim::Fixed(3), at(height), at(width)]);
    }
    let mut copy = Copy::of(&renamed, |_| true)?;
    let mut x = copy.at(id)?;
    if layout.n_channels == 1 {
        x = grey(&mut copy, x)?;
    }
    if layout.channels_last {
        x = copy.builder.node("image.channels_last", Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x])?;
    }
    copy.set(id, x);
    graph.nodes().iter().try_for_each(|node| copy.node(node))?;
    copy.finish(graph)
}

/// `[batch, 3, height, width]` → `[batch, 1, height, width]`.
fn grey(copy: &mut Copy, x: ValueId) -> Result<ValueId, GraphError> {
    let mut sum = None;
    for (i, share) in GREY.into_iter().enumerate() {
        let ranges = vec![AxisRange { axis: 1, start: Dim::Fixed(i), length: Dim::Fixed(1), step: 1 }];
        let channel = copy.builder.node(&format!("image.channel{i}"), Op::Slice { ranges }, &[x])?;
        let part = copy.builder.node(&format!("image.share{i}"), Op::Scale { by: share }, &[channel])?;
        sum = Some(match sum {
            None => part,
            Some(before) => copy.builder.node(&format!("image.grey{i}"), Op::Add, &[before, part])?,
        });
    }
    Ok(sum.expect("there are three channels"))
}
