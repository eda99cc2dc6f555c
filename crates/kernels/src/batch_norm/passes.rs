//! Passes over the rows of images, in lanes of channels.

use crate::Number;
use crate::simd::widest_fn;

/// Elements that one task takes, and about how many are summed in f32: a few rows of every channel.
const TASK: usize = 1 << 16;
const BLOCK: usize = 1 << 13;

/// Numbers by channel for the elements of a period.
pub(super) fn repeat(values: &[f32]) -> Vec<f32> {
    values.repeat(period(values.len()) / values.len().max(1))
}

/// Elements of some whole rows, and of whole lanes, so that loops are long where channels are few.
fn period(c: usize) -> usize {
    let c = c.max(1);
    c << (LANES.trailing_zeros() - c.trailing_zeros().min(LANES.trailing_zeros()))
}

/// Elements of a task and of a block: whole periods.
pub(super) fn task(c: usize) -> usize {
    TASK.next_multiple_of(period(c))
}

pub(super) fn block(c: usize) -> usize {
    BLOCK.max(8 * period(c)).next_multiple_of(period(c))
}

/// Elements that are summed side by side.
const LANES: usize = 32;

/// Adds two sums by channel over whole rows of two images: `term(a, b, numbers of the channel)`.
///
/// Sums are variables of the loop, so that the compiler sees that they lie apart from all that is read.
#[inline(always)]
pub(super) fn add_sums<A: Number, B: Number>(
    sums: &mut [Vec<f64>; 2],
    a: &[A],
    b: &[B],
    channels: [&[f32]; 3],
    term: impl Fn(f32, f32, [f32; 3]) -> [f32; 2],
) {
    let (c, period) = (sums[0].len(), channels[0].len());
    let whole = a.len() / period * period;
    add_whole(sums, &a[..whole], &b[..whole], channels, &term);
    // The last rows of an image may be less than a period.
    for i in whole..a.len() {
        let at = i - whole;
        let [s, t] = term(a[i].get(), b[i].get(), channels.map(|channel| channel[at]));
        sums[0][at % c] += f64::from(s);
        sums[1][at % c] += f64::from(t);
    }
}

widest_fn! {
    /// The same over whole periods.
    fn add_whole(
        sums: &mut [Vec<f64>; 2],
        a: &[impl Number],
        b: &[impl Number],
        channels: [&[f32]; 3],
        term: impl Fn(f32, f32, [f32; 3]) -> [f32; 2],
    ) {
        let (c, period) = (sums[0].len(), channels[0].len());
        for first in (0..period).step_by(LANES) {
            let [p, q, r] = [0, 1, 2].map(|i| lanes(channels[i], first));
            let [mut one, mut two] = [[0.0f32; LANES]; 2];
            for (a, b) in a.chunks_exact(period).zip(b.chunks_exact(period)) {
                let (a, b) = (lanes(a, first), lanes(b, first));
                for i in 0..LANES {
                    let [s, t] = term(a[i], b[i], [p[i], q[i], r[i]]);
                    one[i] += s;
                    two[i] += t;
                }
            }
            for i in 0..LANES {
                sums[0][(first + i) % c] += f64::from(one[i]);
                sums[1][(first + i) % c] += f64::from(two[i]);
            }
        }
    }
}

/// Numbers of a row from `first` on.
#[inline(always)]
fn lanes<N: Number>(row: &[N], first: usize) -> [f32; LANES] {
    let row = row[first..].first_chunk::<LANES>().expect("a period has whole lanes");
    let mut numbers = [0.0; LANES];
    // A library's function would call a closure without its caller's instructions.
    for (to, v) in numbers.iter_mut().zip(row) {
        *to = v.get();
    }
    numbers
}

/// `to = f(to, a, b, numbers of the channel)` over whole rows.
#[inline(always)]
pub(super) fn replace<A: Number, B: Number>(
    to: &mut [f32],
    a: &[A],
    b: &[B],
    channels: [&[f32]; 5],
    f: impl Fn(f32, f32, f32, [f32; 5]) -> f32,
) {
    let period = channels[0].len();
    let whole = to.len() / period * period;
    replace_whole(&mut to[..whole], &a[..whole], &b[..whole], channels, &f);
    for i in whole..to.len() {
        to[i] = f(to[i], a[i].get(), b[i].get(), channels.map(|channel| channel[i - whole]));
    }
}

widest_fn! {
    /// The same over whole periods.
    fn replace_whole(
        to: &mut [f32],
        a: &[impl Number],
        b: &[impl Number],
        channels: [&[f32]; 5],
        f: impl Fn(f32, f32, f32, [f32; 5]) -> f32,
    ) {
        let period = channels[0].len();
        for first in (0..period).step_by(LANES) {
            let [p, q, r, s, t] = [0, 1, 2, 3, 4].map(|i| lanes(channels[i], first));
            let images = a.chunks_exact(period).zip(b.chunks_exact(period));
            for (to, (a, b)) in to.chunks_exact_mut(period).zip(images) {
                let to = to[first..].first_chunk_mut::<LANES>().expect("a period has whole lanes");
                let (a, b, mut made) = (lanes(a, first), lanes(b, first), *to);
                for i in 0..LANES {
                    made[i] = f(made[i], a[i], b[i], [p[i], q[i], r[i], s[i], t[i]]);
                }
                *to = made;
            }
        }
    }
}
