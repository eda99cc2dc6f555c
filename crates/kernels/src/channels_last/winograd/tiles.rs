//! The arithmetic of tiles, which networks that learn and those that do not have in common: points, transforms, products.

use super::super::tile::{ROWS_MAX, Segment, Tile, compute, rows};
use super::super::vector::{Halves, Store, Vector, Whole, by_isa, lanes};
use crate::{Isa, Precision};

/// Side of a tile of the image, and of what is made of it.
pub(in crate::channels_last) const SIDE: usize = 6;
pub(in crate::channels_last) const OUT: usize = 4;
/// Positions of a transformed tile.
pub(in crate::channels_last) const POSITIONS: usize = SIDE * SIDE;
/// Polynomials are evaluated at 0, ±`P`, ±`Q` and ∞.  Powers of both, and their products, are exact in f32.
pub(in crate::channels_last) const P: f32 = 0.75;
pub(in crate::channels_last) const Q: f32 = 1.5;

/// `G`: a filter's polynomial at each point, over the product of the point's distances from the others.
pub(in crate::channels_last) fn points() -> [[f64; 3]; SIDE] {
    let (p, q) = (f64::from(P), f64::from(Q));
    let at = |x: f64, distances: f64| [1.0, x, x * x].map(|power| power / distances);
    let (of_p, of_q) = (2.0 * p * p * (p * p - q * q), 2.0 * q * q * (q * q - p * p));
    [at(0.0, p * p * q * q), at(p, of_p), at(-p, of_p), at(q, of_q), at(-q, of_q), [0.0, 0.0, 1.0]]
}

/// Tiles of a block at most, for so many channels and filters: what is made of them stays in the second cache while the filters
/// fit there too, or the filters are read for many tiles at once.
pub(in crate::channels_last) fn block([c, o]: [usize; 2]) -> usize {
    if c * o <= 8192 { (3500 / (c + o)).next_multiple_of(ROWS_MAX).clamp(2 * ROWS_MAX, TILES) } else { TILES }
}

/// Tiles of the largest block.
pub(in crate::channels_last) const TILES: usize = 64;

/// `to [tiles, cols] = a [tiles, c]·b [c, cols]` on this thread, or `to += a·b`, for sizes `[tiles, c, cols]`; rows of `a` and of
/// the result come with how far they lie apart, and `b` is a panel, padded to whole vectors.
pub(in crate::channels_last) fn multiply(
    isa: Isa,
    (a, pitch): (&[f32], usize),
    b: &[f32],
    (to, width): (&mut [f32], usize),
    [tiles, c, cols]: [usize; 3],
    add: bool,
) {
    let segments = [Segment { offset: 0, len: c }];
    assert!(
        a.len() >= (tiles - 1) * pitch + c && to.len() >= (tiles - 1) * width + cols,
        "rows of a product"
    );
    assert!(b.len() >= c * cols.next_multiple_of(lanes(isa)), "a panel");
    for i in (0..tiles).step_by(rows(isa)) {
        let n = rows(isa).min(tiles - i);
        let (mut from, mut at) = ([std::ptr::null(); ROWS_MAX], [std::ptr::null_mut(); ROWS_MAX]);
        for r in 0..n {
            from[r] = a[(i + r) * pitch..].as_ptr();
            at[r] = to[(i + r) * width..].as_mut_ptr();
        }
        let tile = Tile {
            a: &from[..n],
            steps: &[],
            segments: &segments,
            b: b.as_ptr(),
            scales: std::ptr::null(),
            sums: std::ptr::null(),
            c: &at[..n],
            residual: None,
            first: 0,
            bias: std::ptr::null(),
            cols,
            add,
            clamp: None,
            gate: None,
            in_halves: false,
        };
        // SAFETY: rows and the panel are as long as was just checked.
        unsafe { compute(isa, Precision::F32, &tile) };
    }
}

/// Six values by their number, written out: a library's function would call a closure without its caller's instructions.
macro_rules! six {
    (|$i:ident| $value:expr) => {
        [
            {
                let $i = 0;
                $value
            },
            {
                let $i = 1;
                $value
            },
            {
                let $i = 2;
                $value
            },
            {
                let $i = 3;
                $value
            },
            {
                let $i = 4;
                $value
            },
            {
                let $i = 5;
                $value
            },
        ]
    };
}

by_isa! {
    /// `Bᵀ·d·B` of one tile of an image, channel by channel, a row at each of 36 places in `to`, `stride` apart.
    ///
    /// # Safety
    /// `c` numbers can be read at each of `from`; the machine has the instructions.
    transform => transform_any::<Alone>(
        from: &[*const f32; POSITIONS], c: usize, to: &mut [f32], stride: usize)
}

by_isa! {
    /// The same of the second tile of a pair, whose first lies in `to` already: both in bf16 there, side by side.
    ///
    /// # Safety
    /// As [`transform`].
    transform_second with "avx512bf16" => transform_any::<Second>(
        from: &[*const f32; POSITIONS], c: usize, to: &mut [f32], stride: usize)
}

by_isa! {
    /// `A·g·Aᵀ` of one tile of a gradient, likewise.
    ///
    /// # Safety
    /// As [`transform`].
    spread => spread_any::<Alone>(
        from: &[*const f32; OUT * OUT], c: usize, to: &mut [f32], stride: usize)
}

by_isa! {
    /// `A·g·Aᵀ` of the second tile of a pair.
    ///
    /// # Safety
    /// As [`transform`].
    spread_second with "avx512bf16" => spread_any::<Second>(
        from: &[*const f32; OUT * OUT], c: usize, to: &mut [f32], stride: usize)
}

#[inline(always)]
unsafe fn transform_any<V: Vector, P: Put>(
    from: &[*const f32; POSITIONS],
    c: usize,
    to: &mut [f32],
    stride: usize,
) {
    // SAFETY: by the caller.
    unsafe { both_ways::<V, P, Inner, SIDE>(from, c, to, stride) }
}

#[inline(always)]
unsafe fn spread_any<V: Vector, P: Put>(
    from: &[*const f32; OUT * OUT],
    c: usize,
    to: &mut [f32],
    stride: usize,
) {
    // SAFETY: by the caller.
    unsafe { both_ways::<V, P, Values, OUT>(from, c, to, stride) }
}

/// How what was made of a tile is written.
///
/// # Safety of the method
/// As those of [`Vector`].
trait Put {
    unsafe fn put<V: Vector>(v: V, to: *mut f32);
}

/// As it is.
struct Alone;

/// As the second of a pair, of which the first is there.
struct Second;

// SAFETY of every block: by the trait's contract.
impl Put for Alone {
    #[inline(always)]
    unsafe fn put<V: Vector>(v: V, to: *mut f32) {
        unsafe { v.store(to) }
    }
}

impl Put for Second {
    #[inline(always)]
    unsafe fn put<V: Vector>(v: V, to: *mut f32) {
        unsafe { V::load(to).pair(v).store(to) }
    }
}

/// What is done to every column of a tile of `N×N`, and then to every row.
///
/// # Safety of the method
/// As those of [`Vector`].
trait Transform<const N: usize> {
    unsafe fn of<V: Vector>(line: [V; N]) -> [V; SIDE];
}

#[inline(always)]
unsafe fn both_ways<V: Vector, P: Put, F: Transform<N>, const N: usize>(
    from: &[*const f32],
    c: usize,
    to: &mut [f32],
    stride: usize,
) {
    assert!(
        from.len() == N * N && (POSITIONS - 1) * stride + c.next_multiple_of(V::LANES) <= to.len(),
        "rows of a transformed tile"
    );
    let to = to.as_mut_ptr();
    let mut channel = 0;
    while channel < c {
        let n = V::LANES.min(c - channel);
        // SAFETY: by the caller, and by the assertion above.
        unsafe {
            let mut columns = [[V::splat(0.0); SIDE]; N];
            for (j, column) in columns.iter_mut().enumerate() {
                let mut line = [V::splat(0.0); N];
                for (i, v) in line.iter_mut().enumerate() {
                    let at = from[i * N + j].add(channel);
                    *v = if n == V::LANES { V::load(at) } else { V::load_first(at, n) };
                }
                *column = F::of(line);
            }
            for i in 0..SIDE {
                let mut line = [V::splat(0.0); N];
                for (v, column) in line.iter_mut().zip(&columns) {
                    *v = column[i];
                }
                for (j, v) in F::of(line).into_iter().enumerate() {
                    P::put(v, to.add((i * SIDE + j) * stride + channel));
                }
            }
        }
        channel += V::LANES;
    }
}

/// `Bᵀ·d`.
struct Inner;

/// `A·g`: the values of a polynomial at the points.
struct Values;

// SAFETY of every block: by the trait's contract.
impl Transform<SIDE> for Inner {
    #[inline(always)]
    unsafe fn of<V: Vector>(d: [V; SIDE]) -> [V; SIDE] {
        unsafe {
            let splat = |v: f32| V::splat(v);
            let (p2, q2) = (P * P, Q * Q);
            // Even and odd powers of the polynomials that are 0 at all points but ±P, and but ±Q.
            let a = d[4].add_product(d[2], splat(-q2));
            let b = d[3].add_product(d[1], splat(-q2));
            let e = d[4].add_product(d[2], splat(-p2));
            let f = d[3].add_product(d[1], splat(-p2));
            let (sum, product) = (splat(-p2 - q2), splat(p2 * q2));
            [
                d[4].add_product(d[0], product).add_product(d[2], sum),
                a.add_product(b, splat(P)),
                a.add_product(b, splat(-P)),
                e.add_product(f, splat(Q)),
                e.add_product(f, splat(-Q)),
                d[5].add_product(d[1], product).add_product(d[3], sum),
            ]
        }
    }
}

impl Transform<OUT> for Values {
    #[inline(always)]
    unsafe fn of<V: Vector>(g: [V; OUT]) -> [V; SIDE] {
        unsafe {
            let splat = |v: f32| V::splat(v);
            let even = |x: f32| g[0].add_product(g[2], splat(x * x));
            let odd = |x: f32| g[1].add_product(g[3], splat(x * x));
            let (p, q) = ((even(P), odd(P)), (even(Q), odd(Q)));
            let at = |(even, odd): (V, V), x: f32| even.add_product(odd, splat(x));
            [g[0], at(p, P), at(p, -P), at(q, Q), at(q, -Q), g[3]]
        }
    }
}

/// Where the results of a tile go.
pub(in crate::channels_last) struct Target {
    /// The first pixel, how many rows and columns of them, and their strides.
    pub(in crate::channels_last) to: *mut f32,
    pub(in crate::channels_last) size: [usize; 2],
    pub(in crate::channels_last) strides: [usize; 2],
    /// What is added to them, with its strides.
    pub(in crate::channels_last) residual: Option<(*const f32, [usize; 2])>,
    /// Least and greatest value.
    pub(in crate::channels_last) clamp: [f32; 2],
    /// Results are 0 where what they replace does not lie inside a range.
    pub(in crate::channels_last) gate: Option<[f32; 2]>,
}

by_isa! {
    /// Writes `clamp(Aᵀ·m·A + bias + residual)` for `count` channels of a tile.
    ///
    /// # Safety
    /// A row of products lies at each of 36 places, `stride` apart; the target's pixels can be written, and the residual's read; the
    /// machine has the instructions.
    finish => finish_any::<Whole>(
        products: &[f32], stride: usize, bias: &[f32], count: usize, t: &Target)
}

by_isa! {
    /// The same in bf16, two to a word; neither gate nor residual.
    ///
    /// # Safety
    /// As [`finish`]; strides count results.
    finish_in_halves with "avx512bf16" => finish_any::<Halves>(
        products: &[f32], stride: usize, bias: &[f32], count: usize, t: &Target)
}

#[inline(always)]
unsafe fn finish_any<V: Vector, S: Store>(
    products: &[f32],
    stride: usize,
    bias: &[f32],
    count: usize,
    t: &Target,
) {
    let padded = count.next_multiple_of(V::LANES);
    assert!((POSITIONS - 1) * stride + padded <= products.len() && padded <= bias.len(), "rows of products");
    let [lo, hi] = t.clamp;
    let mut channel = 0;
    while channel < count {
        let n = V::LANES.min(count - channel);
        // SAFETY: by the caller, and by the assertion above.
        unsafe {
            let load = |i: usize| V::load(products.as_ptr().add(i * stride + channel));
            let mut columns = [[V::splat(0.0); OUT]; SIDE];
            for (j, column) in columns.iter_mut().enumerate() {
                *column = outer(six!(|i| load(i * SIDE + j)));
            }
            let bias = V::load(bias.as_ptr().add(channel));
            let mut made = [[V::splat(0.0); OUT]; OUT];
            for (i, made) in made.iter_mut().enumerate() {
                *made = outer(six!(|j| columns[j][i]));
            }
            for (i, made) in made.iter().enumerate().take(t.size[0]) {
                for (j, &v) in made.iter().enumerate().take(t.size[1]) {
                    let mut v = v.add(bias);
                    if let Some((from, [row, pixel])) = t.residual {
                        v = v.add(V::load_first(from.add(i * row + j * pixel + channel), n));
                    }
                    v = v.at_least(V::splat(lo)).at_most(V::splat(hi));
                    let at = i * t.strides[0] + j * t.strides[1] + channel;
                    if let Some([lo, hi]) = t.gate {
                        v = v.where_inside(V::load_first(t.to.add(at), n), V::splat(lo), V::splat(hi));
                    }
                    S::store(v, t.to, at, n);
                }
            }
        }
        channel += V::LANES;
    }
}

/// `Aᵀ·m`.
#[inline(always)]
pub(in crate::channels_last) unsafe fn outer<V: Vector>(m: [V; SIDE]) -> [V; OUT] {
    // SAFETY: by the caller.
    unsafe {
        let splat = |v: f32| V::splat(v);
        let (minus, zero) = (splat(-1.0), splat(0.0));
        let (a, b) = (m[1].add(m[2]), m[1].add_product(m[2], minus));
        let (e, f) = (m[3].add(m[4]), m[3].add_product(m[4], minus));
        // Powers of the points times what was multiplied there.
        let powers =
            |to: V, x: V, y: V, n: i32| to.add_product(x, splat(P.powi(n))).add_product(y, splat(Q.powi(n)));
        [m[0].add(a).add(e), powers(zero, b, f, 1), powers(zero, a, e, 2), powers(m[5], b, f, 3)]
    }
}
