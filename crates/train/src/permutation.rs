//! A pseudo-random order of any number of things, by position, in no memory.

use headstart_core::Rng;

/// Rounds of the network.  Four make it pseudo-random (Luby and Rackoff, 1988); small domains want more.
const N_ROUNDS: u64 = 8;

/// A permutation of `0..n`: a Feistel network over the next even number of bits, walked until it falls into the range
/// (Black and Rogaway, 2002).  The range is at least a quarter of the domain, so the walk takes four steps at most on average.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Permutation {
    n: u64,
    half_bits: u32,
    key: u64,
}

impl Permutation {
    pub(crate) fn new(n: u64, key: u64) -> Self {
        let bits = u64::BITS - n.saturating_sub(1).leading_zeros();
        Permutation { n, half_bits: bits.div_ceil(2).max(1), key }
    }

    /// What stands at position `i`, which must be below `n`.
    pub(crate) fn at(&self, i: u64) -> u64 {
        assert!(i < self.n, "position {i} of {}", self.n);
        let mut v = self.shuffled(i);
        while v >= self.n {
            v = self.shuffled(v);
        }
        v
    }

    fn shuffled(&self, i: u64) -> u64 {
        let mask = (1 << self.half_bits) - 1;
        let (mut left, mut right) = (i >> self.half_bits, i & mask);
        for round in 0..N_ROUNDS {
            let mixed = Rng::stream(self.key, right << 3 | round).next_u64() & mask;
            (left, right) = (right, left ^ mixed);
        }
        left << self.half_bits | right
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn every_position_once() {
        for n in [1, 2, 3, 4, 5, 7, 16, 17, 64, 100, 1000, 4097] {
            let order = Permutation::new(n, 42);
            let mut seen: Vec<u64> = (0..n).map(|i| order.at(i)).collect();
            assert!(n < 16 || !seen.is_sorted());
            seen.sort_unstable();
            assert!(seen.into_iter().eq(0..n), "{n}");
        }
    }

    #[test]
    fn all_orders_are_equally_likely() {
        let mut counts = BTreeMap::new();
        for key in 0..24_000 {
            let order = Permutation::new(4, key);
            *counts.entry([0, 1, 2, 3].map(|i| order.at(i))).or_insert(0u32) += 1;
        }
        assert_eq!(counts.len(), 24);
        // Chi squared with 23 degrees of freedom is below 49.7 in 999 of 1,000 draws.
        let chi: f64 = counts.values().map(|n| (f64::from(*n) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi < 49.7, "{chi}: {counts:?}");
    }

    #[test]
    fn a_huge_range_costs_nothing() {
        let n = u64::from(u32::MAX) * 1_000_000_000;
        let order = Permutation::new(n, 1);
        let mut seen: Vec<u64> = (0..2000).map(|i| order.at(i)).collect();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 2000);
        let mean = seen.iter().map(|v| *v as f64 / n as f64).sum::<f64>() / 2000.0;
        assert!((mean - 0.5).abs() < 0.03, "{mean}");
    }
}
