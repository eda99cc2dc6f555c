//! Streams of pairs against all pairs listed one by one.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

fn stream(labels: &[usize], balance: PairBalance, n_iterations: Option<u64>) -> PairStream {
    PairStream::new(labels, &PairSpec { n_iterations, balance, seed: 5, n_pairs_max: None }).unwrap()
}

/// All pairs of a kind, the slow way.
fn all_pairs(labels: &[usize], same: bool) -> BTreeSet<(usize, usize)> {
    let n = labels.len();
    let pairs = (0..n).flat_map(|a| (a + 1..n).map(move |b| (a, b)));
    pairs.filter(|&(a, b)| (labels[a] == labels[b]) == same).collect()
}

fn sorted(pair: Pair) -> (usize, usize) {
    (pair.a.min(pair.b), pair.a.max(pair.b))
}

#[test]
fn two_of_numbers_every_pair() {
    let mut number = 0;
    for b in 1..60 {
        for a in 0..b {
            assert_eq!(two_of(number), (a, b));
            number += 1;
        }
    }
    let b = u64::from(u32::MAX);
    assert_eq!(two_of(b * (b - 1) / 2), (0, b));
    assert_eq!(two_of(b * (b - 1) / 2 - 1), (b - 2, b - 1));
}

#[test]
fn oversampling_shows_every_pair_and_repeats_the_rarer_kind() {
    let labels = [2, 0, 0, 1, 0, 1, 2, 2, 0, 1, 1, 1];
    let (positive, negative) = (all_pairs(&labels, true), all_pairs(&labels, false));
    let stream = stream(&labels, PairBalance::Pairs, None);
    assert_eq!((stream.n_positive(), stream.n_negative()), (positive.len() as u64, negative.len() as u64));
    assert_eq!(stream.len(), 2 * negative.len() as u64);
    let of_kind = |same| stream.iter().filter(move |p| p.same == same).map(sorted);
    assert_eq!(of_kind(false).collect::<BTreeSet<_>>(), negative);
    assert_eq!(of_kind(true).collect::<BTreeSet<_>>(), positive);
    // A pass over the positive ones, and then another in another order.
    let n = positive.len();
    let passes: Vec<Vec<(usize, usize)>> =
        of_kind(true).collect::<Vec<_>>().chunks(n).map(<[_]>::to_vec).collect();
    assert_eq!(passes[0].iter().copied().collect::<BTreeSet<_>>(), positive);
    assert_eq!(passes[1].iter().copied().collect::<BTreeSet<_>>(), positive);
    assert_ne!(passes[0], passes[1]);
}

#[test]
fn rare_classes_come_as_often_as_frequent_ones() {
    let labels: Vec<usize> = (0..200).map(|i| if i < 180 { 0 } else { 1 + i % 4 }).collect();
    let stream = stream(&labels, PairBalance::Classes, Some(3));
    assert_eq!(stream.len(), 1200);
    let (mut positive, mut negative) = (BTreeMap::new(), BTreeMap::new());
    let mut seen = BTreeMap::new();
    for pair in stream.iter() {
        let (a, b) = (labels[pair.a], labels[pair.b]);
        assert_eq!(a == b, pair.same);
        assert_ne!(pair.a, pair.b);
        if pair.same {
            *positive.entry(a).or_insert(0) += 1;
            *seen.entry(sorted(pair)).or_insert(0) += 1;
        } else {
            *negative.entry((a.min(b), a.max(b))).or_insert(0) += 1;
        }
    }
    assert!(positive.values().all(|n| *n == 120) && positive.len() == 5, "{positive:?}");
    assert!(negative.values().all(|n| *n == 60) && negative.len() == 10, "{negative:?}");
    // Ten pairs of a class of five, 120 times: each of them twelve times.  Of 16,110 pairs 120: each once.
    for (pair, n) in seen {
        assert_eq!(n, if labels[pair.0] == 0 { 1 } else { 12 });
    }
}

#[test]
fn one_example_of_a_class_is_paired_with_itself_and_one_class_is_refused() {
    for balance in [PairBalance::Classes, PairBalance::Pairs] {
        let stream = stream(&[7, 3, 3], balance, None);
        let positive: BTreeSet<_> = stream.iter().filter(|p| p.same).map(sorted).collect();
        assert_eq!(positive, [(0, 0), (1, 2)].into());
    }
    let spec = PairSpec::default();
    assert!(matches!(PairStream::new(&[4, 4], &spec), Err(TrainError::OneClass { class_idx: 4 })));
    assert!(PairStream::new(&[], &spec).is_err());
    let none = PairSpec { n_pairs_max: Some(0), ..spec };
    assert_eq!(
        PairStream::new(&[0, 1], &none).unwrap_err().to_string(),
        "most pairs is 0; allowed: 1 and above"
    );
}

#[test]
fn a_limit_cuts_and_the_order_is_the_seed_s() {
    let labels: Vec<usize> = (0..50).map(|i| i % 3).collect();
    let of = |seed, n_pairs_max| -> Vec<Pair> {
        let spec = PairSpec { seed, n_pairs_max: Some(n_pairs_max), ..PairSpec::default() };
        PairStream::new(&labels, &spec).unwrap().iter().collect()
    };
    let (short, long) = (of(1, 31), of(1, 400));
    assert_eq!((short.len(), long.len()), (31, 400));
    assert_eq!(short, long[..31]);
    assert_ne!(long, of(2, 400));
    for batch in long.chunks_exact(16) {
        assert_eq!(batch.iter().filter(|p| p.same).count(), 8);
    }
    // Examples are met about equally often: 800 places for 50 examples.
    let mut met = [0; 50];
    long.iter().for_each(|p| [p.a, p.b].iter().for_each(|i| met[*i] += 1));
    assert!(met.iter().all(|n| (4..35).contains(n)), "{met:?}");
}

#[test]
fn a_million_examples_take_no_more_memory_than_their_labels() {
    let labels: Vec<usize> = (0..1_000_000).map(|i| i % 1000).collect();
    for balance in [PairBalance::Classes, PairBalance::Pairs] {
        let stream = stream(&labels, balance, None);
        assert_eq!(stream.len(), 2 * 499_500_000_000);
        for i in (0..4000).map(|i| i * 249_750_001) {
            let pair = stream.at(i);
            assert_eq!(labels[pair.a] == labels[pair.b], pair.same);
            assert_ne!(pair.a, pair.b);
        }
    }
}
