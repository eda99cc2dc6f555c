//! Blocks of pixels as channels.

use headstart_graph::{Dim, Op};

use super::super::node::Node;
use super::super::reader::{Reader, Val};

/// `DepthToSpace` and `SpaceToDepth`.
pub(super) fn blocks(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let x = n.input(0)?;
    let d = r.dims(x);
    let sizes: Option<Vec<usize>> = d.iter().skip(1).map(Dim::fixed).collect();
    let Some([c, h, w]) = sizes.and_then(|s| <[usize; 3]>::try_from(s).ok()) else {
        return Err("its image must have a known size".into());
    };
    let b = usize::try_from(n.int("blocksize", 0))
        .ok()
        .filter(|b| (1..=1024).contains(b))
        .ok_or("`blocksize` is missing")?;
    let shape = |s: &[usize]| Op::Reshape {
        shape: std::iter::once(d[0].clone()).chain(s.iter().map(|&n| Dim::Fixed(n))).collect(),
    };
    // Which comes first among the channels: the block's place, or what was a channel.
    let block_first = n.string("mode") != Some("CRD");
    let (apart, perm, whole): ([usize; 5], [usize; 6], [usize; 3]) = match (n.op, block_first) {
        ("SpaceToDepth", true) => ([c, h / b, b, w / b, b], [0, 3, 5, 1, 2, 4], [c * b * b, h / b, w / b]),
        ("SpaceToDepth", false) => ([c, h / b, b, w / b, b], [0, 1, 3, 5, 2, 4], [c * b * b, h / b, w / b]),
        (_, true) => ([b, b, c / (b * b), h, w], [0, 3, 4, 1, 5, 2], [c / (b * b), h * b, w * b]),
        (_, false) => ([c / (b * b), b, b, h, w], [0, 1, 4, 2, 5, 3], [c / (b * b), h * b, w * b]),
    };
    let y = r.apply(&n.part("apart"), shape(&apart), &[x])?;
    let y = r.apply(&n.part("turned"), Op::Transpose { perm: perm.to_vec() }, &[&y])?;
    r.apply(n.path, shape(&whole), &[&y])
}
