//! What is known of tokens by their positions and masks.

use headstart_graph::{Dim, ElementKind, Expr, Literal, Reduction, relative_position_bucket};

use super::super::emit::{Emitter, int, ints};
use super::{Written, reduce, scalar};

/// `0, 1, …` plus an offset; padding stands still if its id is told.
pub(super) fn position_ids(
    e: &mut Emitter,
    n: &Written<'_>,
    offset: usize,
    padding_id: Option<i64>,
) -> String {
    let (zero, one) = (e.int(0), e.int(1));
    let kept = match padding_id {
        None => {
            let zeros = e.one("Mul", &n.part("zeros"), &[n.x(), &zero], Vec::new());
            e.one("Add", &n.part("ones"), &[&zeros, &one], Vec::new())
        }
        Some(id) => {
            let id = e.int(id);
            let is_padding = e.one("Equal", &n.part("is_padding"), &[n.x(), &id], Vec::new());
            let is_kept = e.one("Not", &n.part("is_kept"), &[&is_padding], Vec::new());
            e.cast(&n.part("kept"), &is_kept, ElementKind::Int)
        }
    };
    let mut count = e.one("CumSum", &n.part("count"), &[&kept, &one], Vec::new());
    if padding_id.is_some() {
        count = e.one("Mul", &n.part("counted"), &[&count, &kept], Vec::new());
    }
    let offset = e.int(offset as i64 - 1);
    e.one("Add", n.path, &[&count, &offset], Vec::new())
}

/// The mask `[batch, sequence]` as floats `[batch, sequence, 1]`.
pub(super) fn column(e: &mut Emitter, n: &Written<'_>) -> String {
    let keep = e.cast(&n.part("keep"), &n.names[1], ElementKind::Float);
    let axis = e.ints(&[2]);
    e.one("Unsqueeze", &n.part("column"), &[&keep, &axis], Vec::new())
}

pub(super) fn mask_tokens(e: &mut Emitter, n: &Written<'_>) -> String {
    let column = column(e, n);
    e.one("Mul", n.path, &[n.x(), &column], Vec::new())
}

/// The largest kept token; −10⁹ where none is.
pub(super) fn masked_max(e: &mut Emitter, n: &Written<'_>) -> String {
    let column = column(e, n);
    let (one, low) = (e.float(1.0), e.float(1e9));
    let off = e.one("Sub", &n.part("off"), &[&column, &one], Vec::new());
    let never = e.one("Mul", &n.part("never"), &[&off, &low], Vec::new());
    let kept = e.one("Mul", &n.part("kept"), &[n.x(), &column], Vec::new());
    let sum = e.one("Add", &n.part("masked"), &[&kept, &never], Vec::new());
    reduce(e, n.path, &sum, Reduction::Max, &[1], false)
}

/// `key − query` position, `[queries, keys]`.
pub(super) fn distance(
    e: &mut Emitter,
    n: &Written<'_>,
    [queries, keys]: [&Dim; 2],
) -> Result<String, String> {
    let mut places = |dim: &Dim, name: &str| -> Result<String, String> {
        let size = e.size(&Expr::from(dim))?;
        let end = scalar(e, &n.part(&format!("{name}.count")), &size);
        let (zero, one) = (e.int(0), e.int(1));
        Ok(e.one("Range", &n.part(name), &[&zero, &end, &one], Vec::new()))
    };
    let (queries, keys) = (places(queries, "queries")?, places(keys, "keys")?);
    let axis = e.ints(&[1]);
    let queries = e.one("Unsqueeze", &n.part("queries.column"), &[&queries, &axis], Vec::new());
    Ok(e.one("Sub", &n.part("distance"), &[&keys, &queries], Vec::new()))
}

/// What a function says of each distance, by a table that ends where the function does not change any more.
fn by_distance(
    e: &mut Emitter,
    n: &Written<'_>,
    distance: &str,
    reach: usize,
    of: &dyn Fn(i64) -> i64,
) -> Result<String, String> {
    let reach = i64::try_from(reach).ok().filter(|&r| r <= 1 << 20).ok_or("its distances are too far")?;
    let table: Vec<i64> = (-reach..=reach).map(of).collect();
    let table = Literal::i64(&[table.len()], &table).map_err(|e| e.to_string())?;
    let table = e.literal(&n.part("table"), &table);
    let (low, high) = (e.int(-reach), e.int(reach));
    let clipped = e.one("Max", &n.part("distance.low"), &[distance, &low], Vec::new());
    let clipped = e.one("Min", &n.part("distance.high"), &[&clipped, &high], Vec::new());
    let at = e.one("Add", &n.part("distance.row"), &[&clipped, &high], Vec::new());
    Ok(e.one("Gather", &n.part("rows"), &[&table, &at], vec![int("axis", 0)]))
}

pub(super) fn relative_position_bias(
    e: &mut Emitter,
    n: &Written<'_>,
    buckets: usize,
    distance_max: usize,
    bidirectional: bool,
) -> Result<String, String> {
    let distance = distance(e, n, [&n.dims[1][1], &n.dims[2][1]])?;
    let bucket = |d: i64| relative_position_bucket(d, buckets, distance_max, bidirectional);
    let rows = by_distance(e, n, &distance, distance_max, &bucket)?;
    let taken = e.one("Gather", &n.part("taken"), &[n.x(), &rows], vec![int("axis", 0)]);
    let turned = e.one("Transpose", &n.part("turned"), &[&taken], vec![ints("perm", &[2, 0, 1])]);
    let axis = e.ints(&[0]);
    Ok(e.one("Unsqueeze", n.path, &[&turned, &axis], Vec::new()))
}

pub(super) fn disentangled_scores(
    e: &mut Emitter,
    n: &Written<'_>,
    heads: usize,
    scale: f64,
    by_key: bool,
    reach: usize,
    row: &dyn Fn(i64) -> i64,
) -> Result<String, String> {
    let (batch, length) = (n.dims[0][0].clone(), n.dims[0][1].clone());
    let width = n.dims[0][2].fixed().ok_or("its width must be known")?;
    let rows = n.dims[1][0].fixed().ok_or("its positions must be known")?;
    let (heads, part) = (Dim::Fixed(heads), Dim::Fixed(width / heads));
    let factor = e.float(scale);
    let x = e.one("Mul", &n.part("scaled"), &[n.x(), &factor], Vec::new());
    let x =
        e.reshape(&n.part("x.heads"), &x, &[batch.clone(), length.clone(), heads.clone(), part.clone()])?;
    let x = e.one("Transpose", &n.part("x"), &[&x], vec![ints("perm", &[0, 2, 1, 3])]);
    let shape = [Dim::Fixed(1), Dim::Fixed(rows), heads.clone(), part];
    let places = e.reshape(&n.part("positions.heads"), &n.names[1], &shape)?;
    let places = e.one("Transpose", &n.part("positions"), &[&places], vec![ints("perm", &[0, 2, 3, 1])]);
    let every = e.one("MatMul", &n.part("every"), &[&x, &places], Vec::new());
    // Rows go by `query − key`; by key they go by the distance of (j, i), which is `key − query`.
    let ahead = distance(e, n, [&length, &length])?;
    let wanted = by_distance(e, n, &ahead, reach, &|d| row(if by_key { d } else { -d }))?;
    let shape = e.dims(&[batch, heads, length.clone(), length])?;
    let wanted = e.one("Expand", &n.part("wanted"), &[&wanted, &shape], Vec::new());
    if !by_key {
        return Ok(e.one("GatherElements", n.path, &[&every, &wanted], vec![int("axis", 3)]));
    }
    let scores = e.one("GatherElements", &n.part("scores"), &[&every, &wanted], vec![int("axis", 3)]);
    Ok(e.one("Transpose", n.path, &[&scores], vec![ints("perm", &[0, 1, 3, 2])]))
}
