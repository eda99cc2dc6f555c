//! Balanced sampling: every class equally often, and no example left out.

use headstart_core::Rng;

use crate::permutation::Permutation;

/// An order of examples in which every class stands equally often.
///
/// An epoch has as many rounds as the largest class has examples; a round takes one example of every class, the classes in
/// random order.  Within a class examples come in passes, each in another random order, so in an epoch the counts of two
/// examples of one class differ by one at most, and every example occurs.  Any run of examples as long as there are classes
/// holds each class at most twice, so batches are balanced too.
///
/// Memory is proportional to the examples, whatever the imbalance.  The order is a function of seed and epoch.
///
/// ```
/// use headstart_train::BalancedSampler;
/// let labels = [0, 0, 0, 0, 1];
/// let sampler = BalancedSampler::new(&labels);
/// let epoch: Vec<usize> = sampler.epoch(7, 0).collect();
/// assert_eq!(epoch.len(), 8);
/// assert_eq!(epoch.iter().filter(|i| labels[**i] == 1).count(), 4);
/// assert!((0..5).all(|i| epoch.contains(&i)));
/// ```
#[derive(Debug, Clone)]
pub struct BalancedSampler {
    /// Positions of each class's examples; classes without any are not here.
    members: Vec<Vec<usize>>,
    n_rounds: usize,
}

impl BalancedSampler {
    /// For examples with these labels.
    pub fn new(labels: &[usize]) -> Self {
        let members = members(labels);
        let n_rounds = members.iter().map(Vec::len).max().unwrap_or(0);
        BalancedSampler { members, n_rounds }
    }

    /// Examples in an epoch: classes times the size of the largest.
    pub fn len(&self) -> usize {
        self.members.len() * self.n_rounds
    }

    /// True if there are no examples.
    pub fn is_empty(&self) -> bool {
        self.n_rounds == 0
    }

    /// The positions of one epoch's examples, in order.
    pub fn epoch(&self, seed: u64, epoch: u64) -> impl Iterator<Item = usize> + '_ {
        let mut keys = Rng::named(seed, "balanced");
        let key = Rng::stream(keys.next_u64(), epoch).next_u64();
        let n_classes = self.members.len();
        (0..self.len()).map(move |i| {
            let (round, place) = (i / n_classes, i % n_classes);
            let of_round = Rng::stream(key, round as u64).next_u64();
            let class = Permutation::new(n_classes as u64, of_round).at(place as u64) as usize;
            let members = &self.members[class];
            let (pass, place) = (round / members.len(), round % members.len());
            let of_class = Rng::stream(!key, class as u64).next_u64();
            let of_pass = Rng::stream(of_class, pass as u64).next_u64();
            members[Permutation::new(members.len() as u64, of_pass).at(place as u64) as usize]
        })
    }
}

/// Positions of each class's examples, classes without any left out.
pub(crate) fn members(labels: &[usize]) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..labels.len()).collect();
    order.sort_by_key(|&i| labels[i]);
    order.chunk_by(|&a, &b| labels[a] == labels[b]).map(<[usize]>::to_vec).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_and_examples_come_equally_often() {
        let labels: Vec<usize> = (0..103).map(|i| if i % 10 == 0 { 4 } else { i % 3 }).collect();
        let sampler = BalancedSampler::new(&labels);
        let epoch: Vec<usize> = sampler.epoch(1, 0).collect();
        let largest = (0..5).map(|c| labels.iter().filter(|l| **l == c).count()).max().unwrap();
        assert_eq!(epoch.len(), 4 * largest);
        for class in [0, 1, 2, 4] {
            assert_eq!(epoch.iter().filter(|i| labels[**i] == class).count(), largest);
            let counts = (0..labels.len())
                .filter(|i| labels[*i] == class)
                .map(|i| epoch.iter().filter(|e| **e == i).count());
            let counts: Vec<usize> = counts.collect();
            let (most, least) = (counts.iter().max().unwrap(), counts.iter().min().unwrap());
            assert!(*least >= 1 && most - least <= 1, "{counts:?}");
        }
        for round in epoch.chunks(4) {
            let mut classes: Vec<usize> = round.iter().map(|i| labels[*i]).collect();
            classes.sort_unstable();
            assert_eq!(classes, [0, 1, 2, 4]);
        }
        assert!(epoch.iter().copied().eq(sampler.epoch(1, 0)));
        assert!(!epoch.iter().copied().eq(sampler.epoch(1, 1)));
        assert!(!epoch.iter().copied().eq(sampler.epoch(2, 0)));
    }

    #[test]
    fn a_label_may_be_any_number_and_there_may_be_none() {
        assert_eq!(BalancedSampler::new(&[usize::MAX, 3]).epoch(0, 0).count(), 2);
        assert!(BalancedSampler::new(&[]).is_empty());
        assert_eq!(BalancedSampler::new(&[]).epoch(0, 0).count(), 0);
    }
}
