//! Batches of texts of about one length, so that hardly any padding is computed.

use headstart_core::Rng;

/// Batches sorted together at most.  Larger windows pad less and shuffle less.
const WINDOW_BATCHES: usize = 100;

/// What lengths are multiplied by at most, at random, when all texts fit into one window.
const LENGTH_NOISE: f64 = 1.1;

/// Batches for one epoch: examples are shuffled, sorted by length within windows of a hundred batches, cut into batches, and the
/// batches shuffled.  The batch with the longest text comes first, so that a memory that does not suffice shows at once.
///
/// Where one window holds all texts, sorting would make the same texts meet in every epoch; so lengths are first
/// multiplied by random numbers from 1 to 1.1.  Every example stands in one batch.  A last batch of one joins another,
/// because batch norm needs two; so a batch may hold one more than `batch_size`, and only a single example makes a batch of one
/// (or `batch_size` 1 does).
///
/// ```
/// use headstart_train::{length_grouped, padding_share};
/// let lengths: Vec<usize> = (0..1000).map(|i| 5 + i * 37 % 60).collect();
/// let batches = length_grouped(&lengths, 16, 0, 0);
/// assert_eq!(batches.iter().map(Vec::len).sum::<usize>(), 1000);
/// assert!(padding_share(&lengths, &batches) < 0.05);
/// ```
pub fn length_grouped(lengths: &[usize], batch_size: usize, seed: u64, epoch: u64) -> Vec<Vec<usize>> {
    let batch_size = batch_size.max(1);
    let mut keys = Rng::named(seed, "length grouped");
    let mut rng = Rng::stream(keys.next_u64(), epoch);
    let mut order: Vec<usize> = (0..lengths.len()).collect();
    rng.shuffle(&mut order);
    let window = batch_size.saturating_mul(WINDOW_BATCHES);
    let noise = if order.len() < window.saturating_add(batch_size) { LENGTH_NOISE - 1.0 } else { 0.0 };
    let mut batches: Vec<Vec<usize>> = Vec::with_capacity(lengths.len() / batch_size + 1);
    while !order.is_empty() {
        // A remainder of less than a batch is sorted together with the last window.
        let n = if order.len() < window.saturating_add(batch_size) { order.len() } else { window };
        let mut sorted: Vec<(f64, usize)> =
            order.drain(..n).map(|i| (lengths[i] as f64 * (1.0 + noise * rng.uniform()), i)).collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        batches.extend(sorted.chunks(batch_size).map(|batch| batch.iter().map(|(_, i)| *i).collect()));
    }
    if batch_size > 1
        && batches.len() > 1
        && let Some(single) = batches.pop_if(|last| last.len() == 1)
        && let Some(last) = batches.last_mut()
    {
        last.extend(single);
    }
    rng.shuffle(&mut batches);
    let longest = |batch: &Vec<usize>| batch.iter().map(|&i| lengths[i]).max();
    // The first of equals, so that the order stays random.
    let first = (0..batches.len()).max_by_key(|&i| (longest(&batches[i]), std::cmp::Reverse(i)));
    if let Some(first) = first {
        batches.swap(0, first);
    }
    batches
}

/// The share of tokens that are padding when every batch is as long as its longest text.
///
/// ```
/// assert_eq!(headstart_train::padding_share(&[1, 3, 2, 2], &[vec![0, 1], vec![2, 3]]), 0.2);
/// ```
pub fn padding_share(lengths: &[usize], batches: &[Vec<usize>]) -> f64 {
    let (mut used, mut computed) = (0, 0);
    for batch in batches {
        used += batch.iter().map(|&i| lengths[i]).sum::<usize>();
        computed += batch.len() * batch.iter().map(|&i| lengths[i]).max().unwrap_or(0);
    }
    if computed == 0 { 0.0 } else { (computed - used) as f64 / computed as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lengths as sentences have them: log-normal, 5 to 128 tokens.
    fn lengths(n: usize) -> Vec<usize> {
        let mut rng = Rng::new(5);
        (0..n).map(|_| ((2.9 + 0.6 * rng.normal()).exp() as usize).clamp(5, 128)).collect()
    }

    #[test]
    fn every_example_once_and_no_batch_of_one() {
        for (n, size) in [(0, 4), (1, 4), (2, 4), (5, 4), (9, 4), (65, 16), (100, 1), (1601, 8), (3201, 16)] {
            for epoch in 0..3 {
                let batches = length_grouped(&lengths(n), size, 1, epoch);
                let mut all: Vec<usize> = batches.concat();
                all.sort_unstable();
                assert!(all.into_iter().eq(0..n), "{n} by {size}");
                let largest = if size == 1 { 1 } else { size + 1 };
                for batch in &batches {
                    assert!(
                        batch.len() <= largest && (batch.len() > 1 || n == 1 || size == 1),
                        "{n} by {size}"
                    );
                }
            }
        }
    }

    #[test]
    fn little_is_padded_and_epochs_differ() {
        for n in [100, 300, 2000, 8000] {
            let lengths = lengths(n);
            let batches = length_grouped(&lengths, 16, 3, 0);
            let padded = |order: &[usize]| {
                padding_share(&lengths, &order.chunks(16).map(<[usize]>::to_vec).collect::<Vec<_>>())
            };
            let mut order: Vec<usize> = (0..n).collect();
            Rng::new(3).shuffle(&mut order);
            let shuffled = padded(&order);
            order.sort_by_key(|&i| lengths[i]);
            let (grouped, least) = (padding_share(&lengths, &batches), padded(&order));
            println!("{n} texts: {grouped:.3} padded; {shuffled:.3} in random batches, {least:.3} sorted");
            assert!(grouped < least + 0.07 && shuffled > 0.5, "{n}: {grouped}, {shuffled}, {least}");
            assert_eq!(batches, length_grouped(&lengths, 16, 3, 0));
            let next = length_grouped(&lengths, 16, 3, 1);
            let same = batches.iter().filter(|b| next.contains(b)).count();
            assert!(same * 20 < batches.len(), "{same} of {} batches again", batches.len());
        }
    }
}
