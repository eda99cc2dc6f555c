//! Memory for values that do not live all the time.

/// The steps between which something is needed, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lifetime {
    pub(super) first: usize,
    pub(super) last: usize,
}

impl Lifetime {
    fn overlaps(self, other: Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Where each block begins, and how long the arena is: the largest block first, each at the lowest place that is free
/// while it lives ("greedy by size", Pisarchyk and Lee, 2020).
pub(super) fn offsets(sizes: &[usize], lifetimes: &[Lifetime]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..sizes.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(sizes[i]), i));
    let mut starts = vec![0; sizes.len()];
    let mut placed: Vec<usize> = Vec::new();
    for i in order {
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&j| lifetimes[i].overlaps(lifetimes[j]))
            .map(|&j| (starts[j], starts[j] + sizes[j]))
            .collect();
        taken.sort_unstable();
        let mut start = 0;
        for (from, to) in taken {
            if start + sizes[i] <= from {
                break;
            }
            start = start.max(to);
        }
        starts[i] = start;
        placed.push(i);
    }
    let len = starts.iter().zip(sizes).map(|(start, size)| start + size).max().unwrap_or(0);
    (starts, len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_share_memory_when_they_do_not_live_together() {
        let life = |first, last| Lifetime { first, last };
        // A chain: each block lives with its neighbours only.
        let (starts, len) = offsets(&[10, 40, 20, 40], &[life(0, 1), life(1, 2), life(2, 3), life(3, 4)]);
        assert_eq!((starts, len), (vec![40, 0, 40, 0], 60));
    }

    #[test]
    fn no_two_live_blocks_overlap() {
        let mut seed = 1u64;
        let mut random = |n: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (seed >> 33) % n
        };
        for _ in 0..200 {
            let n = 1 + random(12) as usize;
            let sizes: Vec<usize> = (0..n).map(|_| 1 + random(50) as usize).collect();
            let mut life = || {
                let first = random(10) as usize;
                Lifetime { first, last: first + random(5) as usize }
            };
            let lifetimes: Vec<Lifetime> = (0..n).map(|_| life()).collect();
            let (starts, len) = offsets(&sizes, &lifetimes);
            for i in 0..n {
                assert!(starts[i] + sizes[i] <= len);
                for j in 0..i {
                    let apart = starts[i] + sizes[i] <= starts[j] || starts[j] + sizes[j] <= starts[i];
                    assert!(apart || !lifetimes[i].overlaps(lifetimes[j]), "{i} and {j} of {sizes:?}");
                }
            }
        }
    }
}
