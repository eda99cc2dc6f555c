//! Sums in lanes: the compiler may not reorder a plain sum of floats, so we say the order.

/// How many numbers are summed side by side.
const LANES: usize = 16;

/// Sum of `term(a)` over a slice: sixteen sums side by side, then their sum.
#[inline(always)]
pub(crate) fn sum(a: &[f32], term: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = a.as_chunks::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += term(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += term(v);
    }
    total(lanes)
}

/// Replaces every number by `f` of it, and sums as [`sum`] does.
#[inline(always)]
pub(crate) fn replaced_sum(a: &mut [f32], f: impl Fn(f32) -> f32) -> f32 {
    let (chunks, rest) = a.as_chunks_mut::<LANES>();
    let mut lanes = [0.0f32; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            chunk[i] = f(chunk[i]);
            lanes[i] += chunk[i];
        }
    }
    for (lane, v) in lanes.iter_mut().zip(rest) {
        *v = f(*v);
        *lane += *v;
    }
    total(lanes)
}

/// Sum of `term(a, b)` over two slices of one length.
#[inline(always)]
pub(crate) fn sum2(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let ((a_chunks, a_rest), (b_chunks, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0f32; LANES];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for i in 0..LANES {
            lanes[i] += term(a[i], b[i]);
        }
    }
    for ((lane, &a), &b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += term(a, b);
    }
    total(lanes)
}

/// The largest number, −∞ of none.
#[inline(always)]
pub(crate) fn max(a: &[f32]) -> f32 {
    let (chunks, rest) = a.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    for chunk in chunks {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = larger(*lane, v);
        }
    }
    rest.iter().fold(folded(lanes, larger), |a, &b| larger(a, b))
}

#[inline(always)]
fn total(lanes: [f32; LANES]) -> f32 {
    folded(lanes, |a, b| a + b)
}

/// Halves upon each other until one number is left.
#[inline(always)]
pub(crate) fn folded<T: Copy, const N: usize>(mut lanes: [T; N], join: impl Fn(T, T) -> T) -> T {
    let mut half = N / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] = join(lanes[i], lanes[i + half]);
        }
        half /= 2;
    }
    lanes[0]
}
