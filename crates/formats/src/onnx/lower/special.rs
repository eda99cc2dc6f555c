//! Attention, and blocks of pixels as channels.

use headstart_graph::{Dim, ElementKind, Op};

use super::super::node::Node;
use super::super::reader::{Reader, Val};

/// `Attention` (since opset 23): `softmax(q·kᵀ·scale + mask)·v`.
pub(super) fn attention(r: &mut Reader, n: &Node<'_>) -> Result<Vec<Val>, String> {
    if (1..4).any(|i| n.wants(i)) || n.optional(4).is_some() || n.optional(5).is_some() {
        return Err("keys and values of earlier steps are not read".into());
    }
    if n.flag("is_causal", false) || n.float("softcap", 0.0) != 0.0 {
        return Err("is_causal and softcap are not read".into());
    }
    let (q_heads, kv_heads) = (n.int("q_num_heads", 0), n.int("kv_num_heads", 0));
    let rank = r.rank(n.input(0)?);
    if !(3..=4).contains(&rank) || r.rank(n.input(1)?) != rank || r.rank(n.input(2)?) != rank {
        return Err("queries, keys and values must all have three axes, or four".into());
    }
    let is_joined = rank == 3;
    let mut split = |i: usize, heads: i64, name: &str| -> Result<Val, String> {
        let x = n.input(i)?;
        let d = r.dims(x);
        if !is_joined {
            return Ok(x.clone());
        }
        let heads = usize::try_from(heads).ok().filter(|&h| h > 0).ok_or("its number of heads is missing")?;
        let width =
            d[2].fixed().filter(|w| w.is_multiple_of(heads)).ok_or("its width does not divide into heads")?;
        let shape = vec![d[0].clone(), d[1].clone(), Dim::Fixed(heads), Dim::Fixed(width / heads)];
        let x = r.apply(&n.part(&format!("{name}.heads")), Op::Reshape { shape }, &[x])?;
        r.apply(&n.part(name), Op::Transpose { perm: vec![0, 2, 1, 3] }, &[&x])
    };
    let (q, k, v) = (split(0, q_heads, "q")?, split(1, kv_heads, "k")?, split(2, kv_heads, "v")?);
    let d = r.dims(&q);
    if r.dims(&k)[1] != d[1] {
        return Err("queries and keys have different numbers of heads".into());
    }
    let width = d[3].fixed().ok_or("the width of a head must be known")?;
    let scale = if n.has("scale") { n.float("scale", 1.0) } else { 1.0 / (width as f64).sqrt() };
    let kt = r.apply(&n.part("k.turned"), Op::Transpose { perm: vec![0, 1, 3, 2] }, &[&k])?;
    let q = r.times(&n.part("q.scaled"), &q, scale)?;
    let mut scores = r.apply(&n.part("scores"), Op::MatMul, &[&q, &kt])?;
    if let Some(mask) = n.optional(3) {
        // A mask of truth values keeps where true; one of numbers is added.  Truth as 0 or −∞ is their common form.
        let is_bool = r.kind(mask) == ElementKind::Bool;
        let mask = if is_bool {
            let (zero, low) =
                (super::elementwise::scalar(0.0), super::elementwise::scalar(f64::from(f32::MIN)));
            r.apply(&n.part("mask"), Op::Where, &[mask, &zero, &low])?
        } else {
            mask.clone()
        };
        scores = r.apply(&n.part("masked"), Op::Add, &[&scores, &mask])?;
    }
    let weights = r.apply(&n.part("softmax"), Op::Softmax { axis: 3 }, &[&scores])?;
    let mixed = r.apply(&n.part("mixed"), Op::MatMul, &[&weights, &v])?;
    if !is_joined {
        return Ok(vec![mixed]);
    }
    let turned = r.apply(&n.part("turned"), Op::Transpose { perm: vec![0, 2, 1, 3] }, &[&mixed])?;
    let d = r.dims(&turned);
    let width = d[2]
        .fixed()
        .zip(d[3].fixed())
        .and_then(|(h, w)| h.checked_mul(w))
        .ok_or("its width must be known")?;
    let shape = vec![d[0].clone(), d[1].clone(), Dim::Fixed(width)];
    r.apply(n.path, Op::Reshape { shape }, &[&turned]).map(|y| vec![y])
}

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
    let (apart, perm, whole): ([usize; 5], [usize; 6], [usize; 3]) = if n.op == "SpaceToDepth" {
        ([c, h / b, b, w / b, b], [0, 3, 5, 1, 2, 4], [c * b * b, h / b, w / b])
    } else if n.string("mode") == Some("CRD") {
        ([c / (b * b), b, b, h, w], [0, 1, 4, 2, 5, 3], [c / (b * b), h * b, w * b])
    } else {
        ([b, b, c / (b * b), h, w], [0, 3, 4, 1, 5, 2], [c / (b * b), h * b, w * b])
    };
    let y = r.apply(&n.part("apart"), shape(&apart), &[x])?;
    let y = r.apply(&n.part("turned"), Op::Transpose { perm: perm.to_vec() }, &[&y])?;
    r.apply(n.path, shape(&whole), &[&y])
}
