//! `Attention` (since opset 23): `softmax(scale·q·kᵀ + mask)·v`, of several heads that may share keys and values, with those of
//! earlier steps before them.

use headstart_graph::{Binary, Dim, ElementKind, Expr, Op, PadMode};

use super::super::node::Node;
use super::super::reader::{Reader, Val};
use super::elementwise::scalar;

/// Settings that are read, or that say how exactly a device computes.
const READ: [&str; 9] = [
    "is_causal",
    "kv_num_heads",
    "left_window_size",
    "q_num_heads",
    "qk_matmul_output_mode",
    "right_window_size",
    "scale",
    "softcap",
    "softmax_precision",
];

/// What attention is told besides its inputs.
pub(super) struct How {
    /// Heads of queries, and of keys and values, where they lie joined.
    pub(super) heads: [i64; 2],
    /// Multiplies the scores; one over the root of a head's width where it is `None`.
    pub(super) scale: Option<f64>,
    /// Scores lie within ± this; 0 leaves them.
    pub(super) softcap: f64,
    /// How far before and behind itself a query sees.
    pub(super) window: [Option<i64>; 2],
}

/// Queries `[batch, heads, sequence, width]`, or `[batch, sequence, heads·width]`; keys and values alike.
pub(super) fn attention(r: &mut Reader, n: &Node<'_>) -> Result<Vec<Val>, String> {
    if let Some(other) = n.attributes.iter().find(|a| !READ.contains(&a.name.as_str())) {
        return Err(format!("its setting `{}` is not read", other.name));
    }
    if n.optional(6).is_some() {
        return Err("lengths of the keys of a batch (nonpad_kv_seqlen) are not read".into());
    }
    let bound = |name: &str| Some(n.int(name, -1)).filter(|w| *w >= 0);
    // Whoever sees no key behind sees none in the window's right part either.
    let right = n.flag("is_causal", false).then_some(0).or(bound("right_window_size"));
    let how = How {
        heads: [n.int("q_num_heads", 0), n.int("kv_num_heads", 0)],
        scale: n.has("scale").then(|| n.float("scale", 1.0)),
        softcap: n.float("softcap", 0.0),
        window: [bound("left_window_size"), right],
    };
    let made = scored(r, n, &how)?;
    let stage = usize::try_from(n.int("qk_matmul_output_mode", 0)).ok();
    let stage = stage.and_then(|i| made.stages.get(i).cloned());
    let stage = stage.ok_or("`qk_matmul_output_mode` is not one of 0 to 3")?;
    let [k, v] = made.present;
    Ok(vec![made.y, k, v, stage])
}

/// What attention makes, and what it makes on the way.
pub(super) struct Scored {
    pub(super) y: Val,
    /// Keys and values, those of earlier steps before them.
    present: [Val; 2],
    /// Scores, within their bounds, with the mask, as probabilities.
    stages: [Val; 4],
}

/// Of `q, k, v, mask?, earlier keys?, earlier values?`.
pub(super) fn scored(r: &mut Reader, n: &Node<'_>, how: &How) -> Result<Scored, String> {
    let rank = r.rank(n.input(0)?);
    if !(3..=4).contains(&rank) || r.rank(n.input(1)?) != rank || r.rank(n.input(2)?) != rank {
        return Err("queries, keys and values must all have three axes, or four".into());
    }
    let q = heads(r, n, 0, "q", how.heads[0])?;
    let (mut k, mut v) = (heads(r, n, 1, "k", how.heads[1])?, heads(r, n, 2, "v", how.heads[1])?);
    let mut before = Dim::Fixed(0);
    if let (Some(keys), Some(values)) = (n.optional(4), n.optional(5)) {
        before = r.dims(keys).get(2).cloned().ok_or("keys of earlier steps must have four axes")?;
        k = r.apply(&n.part("k.all"), Op::Concat { axis: 2 }, &[keys, &k])?;
        v = r.apply(&n.part("v.all"), Op::Concat { axis: 2 }, &[values, &v])?;
    } else if n.optional(4).is_some() || n.optional(5).is_some() {
        return Err("keys of earlier steps come without values, or values without keys".into());
    }
    let present = [k.clone(), v.clone()];
    let (k, v) = (shared(r, n, &k, &q, "k")?, shared(r, n, &v, &q, "v")?);

    let d = r.dims(&q);
    let width = d[3].fixed().ok_or("the width of a head must be known")?;
    let scale = how.scale.unwrap_or_else(|| 1.0 / (width as f64).sqrt());
    let kt = r.apply(&n.part("k.turned"), Op::Transpose { perm: vec![0, 1, 3, 2] }, &[&k])?;
    let scaled = r.times(&n.part("q.scaled"), &q, scale)?;
    let scores = r.apply(&n.part("scores"), Op::MatMul, &[&scaled, &kt])?;
    let bounded = capped(r, n, &scores, how.softcap)?;
    let (biased, allowed) = masked(r, n, &bounded, how, &r.dims(&k)[2].clone(), &before)?;
    let mut weights = r.apply(&n.part("softmax"), Op::Softmax { axis: 3 }, &[&biased])?;
    if let Some(allowed) = allowed {
        // A query that may see nothing gets nothing.
        weights = r.apply(&n.part("guarded"), Op::Where, &[&allowed, &weights, &scalar(0.0)])?;
    }
    let path = if rank == 4 { n.path.to_string() } else { n.part("mixed") };
    let mixed = r.apply(&path, Op::MatMul, &[&weights, &v])?;
    let y = if rank == 4 { mixed } else { joined(r, n, &mixed)? };
    Ok(Scored { y, present, stages: [scores, bounded, biased, weights] })
}

/// Heads as an axis.
fn heads(r: &mut Reader, n: &Node<'_>, i: usize, name: &str, heads: i64) -> Result<Val, String> {
    let x = n.input(i)?;
    let d = r.dims(x);
    if d.len() == 4 {
        return Ok(x.clone());
    }
    let heads = usize::try_from(heads).ok().filter(|&h| h > 0).ok_or("its number of heads is missing")?;
    let width =
        d[2].fixed().filter(|w| w.is_multiple_of(heads)).ok_or("its width does not divide into heads")?;
    let shape = vec![d[0].clone(), d[1].clone(), Dim::Fixed(heads), Dim::Fixed(width / heads)];
    let x = r.apply(&n.part(&format!("{name}.heads")), Op::Reshape { shape }, &[x])?;
    r.apply(&n.part(name), Op::Transpose { perm: vec![0, 2, 1, 3] }, &[&x])
}

/// Heads joined again.
fn joined(r: &mut Reader, n: &Node<'_>, x: &Val) -> Result<Val, String> {
    let turned = r.apply(&n.part("turned"), Op::Transpose { perm: vec![0, 2, 1, 3] }, &[x])?;
    let d = r.dims(&turned);
    let width = d[2]
        .fixed()
        .zip(d[3].fixed())
        .and_then(|(h, w)| h.checked_mul(w))
        .ok_or("its width must be known")?;
    let shape = vec![d[0].clone(), d[1].clone(), Dim::Fixed(width)];
    r.apply(n.path, Op::Reshape { shape }, &[&turned])
}

/// Keys or values as often as groups of queries share them (Ainslie et al., 2023).
fn shared(r: &mut Reader, n: &Node<'_>, x: &Val, q: &Val, name: &str) -> Result<Val, String> {
    let (d, q) = (r.dims(x), r.dims(q));
    if d[1] == q[1] {
        return Ok(x.clone());
    }
    let both = d[1].fixed().zip(q[1].fixed()).filter(|(have, want)| *have > 0 && want.is_multiple_of(*have));
    let (have, want) =
        both.ok_or_else(|| format!("{} heads of keys do not serve {} of queries", d[1], q[1]))?;
    let apart = |copies| vec![d[0].clone(), Dim::Fixed(have), Dim::Fixed(copies), d[2].clone(), d[3].clone()];
    let y = r.apply(&n.part(&format!("{name}.apart")), Op::Reshape { shape: apart(1) }, &[x])?;
    let y = r.apply(&n.part(&format!("{name}.repeated")), Op::Expand { shape: apart(want / have) }, &[&y])?;
    let shape = vec![d[0].clone(), Dim::Fixed(want), d[2].clone(), d[3].clone()];
    r.apply(&n.part(&format!("{name}.shared")), Op::Reshape { shape }, &[&y])
}

/// Scores within ±`softcap`.
fn capped(r: &mut Reader, n: &Node<'_>, scores: &Val, cap: f64) -> Result<Val, String> {
    if cap == 0.0 {
        return Ok(scores.clone());
    }
    let share = r.times(&n.part("share"), scores, 1.0 / cap)?;
    let share = r.apply(&n.part("tanh"), Op::Tanh, &[&share])?;
    r.times(&n.part("capped"), &share, cap)
}

/// Scores with the mask, −∞ where a key must not be seen; and where it may, if a query may see none.
fn masked(
    r: &mut Reader,
    n: &Node<'_>,
    scores: &Val,
    how: &How,
    keys: &Dim,
    before: &Dim,
) -> Result<(Val, Option<Val>), String> {
    let mut allowed = near(r, n, how.window, &r.dims(scores)[2].clone(), keys, before)?;
    let mut may_be_blind = how.window[0].is_some();
    let mut y = scores.clone();
    if let Some(mask) = n.optional(3) {
        let is_bool = r.kind(mask) == ElementKind::Bool;
        let mask = lengthened(r, n, mask, keys, if is_bool { 0.0 } else { f64::NEG_INFINITY })?;
        if is_bool {
            may_be_blind = true;
            allowed = Some(match allowed {
                Some(near) => {
                    r.apply(&n.part("allowed"), Op::Binary { function: Binary::And }, &[&near, &mask])?
                }
                None => mask,
            });
        } else {
            y = r.apply(&n.part("biased"), Op::Add, &[&y, &mask])?;
        }
    }
    let Some(allowed) = allowed else { return Ok((y, None)) };
    y = r.apply(&n.part("masked"), Op::Where, &[&allowed, &y, &scalar(f64::NEG_INFINITY)])?;
    Ok((y, may_be_blind.then_some(allowed)))
}

/// A mask of all keys: those that it does not name are not seen.
fn lengthened(r: &mut Reader, n: &Node<'_>, mask: &Val, keys: &Dim, with: f64) -> Result<Val, String> {
    let d = r.dims(mask);
    let missing =
        d.last().and_then(Dim::fixed).zip(keys.fixed()).map_or(0, |(have, all)| all.saturating_sub(have));
    if missing == 0 || d.last() == Some(&Dim::Fixed(1)) {
        return Ok(mask.clone());
    }
    let mut pads = vec![[0, 0]; d.len()];
    pads[d.len() - 1][1] = missing;
    r.apply(&n.part("mask.all"), Op::Pad { pads, mode: PadMode::Constant(with) }, &[mask])
}

/// `[queries, keys]`: true where a key is not behind its query, and within the window around it.
fn near(
    r: &mut Reader,
    n: &Node<'_>,
    [left, right]: [Option<i64>; 2],
    queries: &Dim,
    keys: &Dim,
    before: &Dim,
) -> Result<Option<Val>, String> {
    if left.is_none() && right.is_none() {
        return Ok(None);
    }
    let at = r.counted(&n.part("queries"), [before, queries], 1, 0, 2)?;
    let key = r.counted(&n.part("keys"), [&Dim::Fixed(0), keys], 1, 1, 2)?;
    let mut allowed: Option<Val> = None;
    for (name, by, function) in
        [("right", right, Binary::LessOrEqual), ("left", left.map(|w| -w), Binary::GreaterOrEqual)]
    {
        let Some(by) = by else { continue };
        let by = Val::Known(super::super::known::Known::int(Expr::number(by)), None);
        let edge = r.apply(&n.part(&format!("{name}.edge")), Op::Add, &[&at, &by])?;
        let side = r.apply(&n.part(name), Op::Binary { function }, &[&key, &edge])?;
        allowed = Some(match allowed {
            Some(other) => {
                r.apply(&n.part("window"), Op::Binary { function: Binary::And }, &[&other, &side])?
            }
            None => side,
        });
    }
    Ok(allowed)
}

/// Pairs of numbers turned by an angle that their position says (Su et al., 2021): of `x [batch, heads, sequence, width]`, or
/// `[batch, sequence, heads·width]`, by cosines and sines `[positions, width/2]` and positions `[batch, sequence]`, or by
/// cosines and sines `[batch, sequence, width/2]`.
pub(super) fn rotary(r: &mut Reader, n: &Node<'_>) -> Result<Val, String> {
    let rank = r.rank(n.input(0)?);
    if !(3..=4).contains(&rank) {
        return Err("its input has not three axes, or four".into());
    }
    let x = heads(r, n, 0, "x", n.int("num_heads", 0))?;
    let d = r.dims(&x);
    let width = d[3].fixed().ok_or("the width of a head must be known")?;
    let turned = match usize::try_from(n.int("rotary_embedding_dim", 0)) {
        Ok(0) => width,
        Ok(part) if part <= width => part,
        _ => return Err("`rotary_embedding_dim` is not a width".into()),
    };
    if turned % 2 != 0 {
        return Err("its width has no halves".into());
    }
    let mut angle = |i: usize, name: &str| -> Result<Val, String> {
        let mut table = n.input(i)?.clone();
        if let Some(positions) = n.optional(3) {
            table = r.apply(&n.part(&format!("{name}.at")), Op::Gather { axis: 0 }, &[&table, positions])?;
        }
        let t = r.dims(&table);
        let [batch, sequence, half] = t.as_slice() else {
            return Err("its cosines and sines are not one row a position".into());
        };
        if *half != Dim::Fixed(turned / 2) {
            return Err(format!("its cosines and sines are {half} wide, not {}", turned / 2));
        }
        let shape = vec![batch.clone(), Dim::Fixed(1), sequence.clone(), half.clone()];
        r.apply(&n.part(name), Op::Reshape { shape }, &[&table])
    };
    let (cosines, sines) = (angle(1, "cosines")?, angle(2, "sines")?);
    let is_interleaved = n.flag("interleaved", false);
    let mut part = |name: &str, start: usize, length: usize, step: i64| {
        r.stretch(&n.part(name), &x, 3, [start, length].map(Dim::Fixed), step)
    };
    let half = turned / 2;
    let first = part("first", 0, half, if is_interleaved { 2 } else { 1 })?;
    let second = if is_interleaved { part("second", 1, half, 2)? } else { part("second", half, half, 1)? };
    let rest = part("rest", turned, width - turned, 1)?;
    let mut turn = |name: &str, a: &Val, b: &Val, function: Op| {
        let a = r.apply(&n.part(&format!("{name}.cosines")), Op::Mul, &[a, &cosines])?;
        let b = r.apply(&n.part(&format!("{name}.sines")), Op::Mul, &[b, &sines])?;
        r.apply(&n.part(name), function, &[&a, &b])
    };
    let re = turn("re", &first, &second, Op::Binary { function: Binary::Sub })?;
    let im = turn("im", &second, &first, Op::Add)?;
    let mut y = if is_interleaved {
        let column = Op::Reshape { shape: [&d[..3], &[Dim::Fixed(half), Dim::Fixed(1)]].concat() };
        let re = r.apply(&n.part("re.column"), column.clone(), &[&re])?;
        let im = r.apply(&n.part("im.column"), column, &[&im])?;
        let pairs = r.apply(&n.part("pairs"), Op::Concat { axis: 4 }, &[&re, &im])?;
        r.apply(&n.part("flat"), Op::Reshape { shape: [&d[..3], &[Dim::Fixed(turned)]].concat() }, &[&pairs])?
    } else {
        r.apply(&n.part("halves"), Op::Concat { axis: 3 }, &[&re, &im])?
    };
    if width > turned {
        y = r.apply(&n.part("whole"), Op::Concat { axis: 3 }, &[&y, &rest])?;
    }
    if rank == 4 { Ok(y) } else { joined(r, n, &y) }
}
