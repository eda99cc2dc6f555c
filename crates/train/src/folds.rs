//! Divides rows into folds that have the same mix of classes and never part rows that belong together.

use std::collections::HashMap;

use headstart_core::{Features, Rng, Targets};

/// The fold in which each row is held out; none for rows that always stay in training.
pub(crate) struct Folds {
    pub(crate) of_row: Vec<Option<usize>>,
    pub(crate) n_folds: usize,
}

/// Greedy and seeded: units (groups, and rows with identical features) in random order, large ones first, each to the
/// fold that has the smallest share of its classes.  With single rows that deals each class out in turn.
///
/// A unit that alone holds all rows of some class is never held out: without it the class could not be learned, and its
/// loss would say nothing of the strength.  So a class with few rows does not reduce the number of folds for the others.
/// If fewer than two units are left to hold out there are no folds (`n_folds` 0).
pub(crate) fn divide(
    features: &Features,
    targets: &Targets,
    n_classes: usize,
    groups: Option<&[u64]>,
    n_folds: usize,
    seed: u64,
) -> Folds {
    let mut units = units(features, groups);
    let mut units_of_class = vec![0usize; n_classes];
    let mut rows_of_class = vec![0usize; n_classes];
    let mixes: Vec<Vec<(usize, usize)>> = units.iter().map(|rows| mix(rows, targets)).collect();
    for (class_idx, n) in mixes.iter().flatten() {
        units_of_class[*class_idx] += 1;
        rows_of_class[*class_idx] += n;
    }
    let mut order: Vec<usize> =
        (0..units.len()).filter(|&u| mixes[u].iter().all(|&(c, _)| units_of_class[c] > 1)).collect();
    let n_folds = n_folds.min(order.len());
    let mut of_row = vec![None; targets.len()];
    if n_folds < 2 {
        return Folds { of_row, n_folds: 0 };
    }
    Rng::new(seed).shuffle(&mut order);
    order.sort_by_key(|&u| std::cmp::Reverse(units[u].len()));
    let mut held = vec![vec![0usize; n_classes]; n_folds];
    let mut size = vec![0usize; n_folds];
    for u in order {
        let cost = |f: usize| -> f64 {
            mixes[u]
                .iter()
                .map(|&(c, n)| (2 * held[f][c] * n + n * n) as f64 / (rows_of_class[c] as f64).powi(2))
                .sum()
        };
        let best = (0..n_folds)
            .min_by(|&a, &b| cost(a).total_cmp(&cost(b)).then(size[a].cmp(&size[b])))
            .expect("there are at least two folds");
        for &(c, n) in &mixes[u] {
            held[best][c] += n;
        }
        size[best] += units[u].len();
        for row in std::mem::take(&mut units[u]) {
            of_row[row] = Some(best);
        }
    }
    Folds { of_row, n_folds }
}

/// Rows that belong together: those with an equal group, and those with the same features bit for bit, transitively.
fn units(features: &Features, groups: Option<&[u64]>) -> Vec<Vec<usize>> {
    let n = features.len();
    let mut parent: Vec<usize> = (0..n).collect();
    let mut first_alike = HashMap::new();
    let mut first_of_group = HashMap::new();
    for row in 0..n {
        let bits: Vec<u32> = features.row(row).iter().map(|v| v.to_bits()).collect();
        let alike = *first_alike.entry(fingerprint(&bits)).or_insert(row);
        if features.row(alike).iter().map(|v| v.to_bits()).eq(bits) {
            join(&mut parent, alike, row);
        }
        if let Some(groups) = groups {
            let first = *first_of_group.entry(groups[row]).or_insert(row);
            join(&mut parent, first, row);
        }
    }
    let mut of_root: HashMap<usize, usize> = HashMap::new();
    let mut units: Vec<Vec<usize>> = Vec::new();
    for row in 0..n {
        let root = root(&mut parent, row);
        let unit = *of_root.entry(root).or_insert_with(|| {
            units.push(Vec::new());
            units.len() - 1
        });
        units[unit].push(row);
    }
    units
}

fn root(parent: &mut [usize], mut row: usize) -> usize {
    while parent[row] != row {
        parent[row] = parent[parent[row]];
        row = parent[row];
    }
    row
}

fn join(parent: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parent, a), root(parent, b));
    parent[a.max(b)] = a.min(b);
}

/// FNV-1a by words.  Rows that collide are compared, so a collision at worst leaves twins apart.
fn fingerprint(bits: &[u32]) -> u64 {
    bits.iter().fold(0xcbf2_9ce4_8422_2325, |h, &b| (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// How many rows of each class; a row with several labels counts for each.
fn mix(rows: &[usize], targets: &Targets) -> Vec<(usize, usize)> {
    let mut mix: Vec<(usize, usize)> = Vec::new();
    for &class in rows.iter().flat_map(|&row| targets.classes_of(row)) {
        match mix.iter_mut().find(|(c, _)| *c == class) {
            Some((_, n)) => *n += 1,
            None => mix.push((class, 1)),
        }
    }
    mix
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distinct(n: usize) -> Features {
        Features { width: 1, example_idx: (0..n).collect(), values: (0..n).map(|i| i as f32).collect() }
    }

    #[test]
    fn classes_are_spread_evenly() {
        let labels: Vec<usize> =
            (0..103).map(|i| usize::from(i % 10 == 0) + usize::from(i % 4 == 0)).collect();
        let folds = divide(&distinct(103), &Targets::Class(labels.clone()), 3, None, 5, 7);
        for class in 0..3 {
            let held = |f| (0..103).filter(|&r| labels[r] == class && folds.of_row[r] == Some(f)).count();
            let counts: Vec<usize> = (0..5).map(held).collect();
            assert!(counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1, "{class}: {counts:?}");
        }
        assert!(folds.of_row.iter().all(Option::is_some));
    }

    #[test]
    fn groups_and_twins_stay_together() {
        let mut features = distinct(60);
        features.values[59] = features.values[0];
        let groups: Vec<u64> = (0..60).map(|i| i / 3).collect();
        let labels: Vec<usize> = (0..60).map(|i| i % 2).collect();
        let folds = divide(&features, &Targets::Class(labels), 2, Some(&groups), 4, 0);
        for row in 0..60 {
            assert_eq!(folds.of_row[row], folds.of_row[row / 3 * 3]);
        }
        assert_eq!(folds.of_row[0], folds.of_row[59]);
    }

    #[test]
    fn a_class_with_one_row_stays_in_training() {
        let labels = Targets::Class(vec![0, 0, 0, 1, 1, 1, 2]);
        let folds = divide(&distinct(7), &labels, 3, None, 5, 0);
        assert_eq!(folds.n_folds, 5);
        assert_eq!(folds.of_row[6], None);
        assert_eq!(divide(&distinct(2), &Targets::Class(vec![0, 1]), 2, None, 5, 0).n_folds, 0);
    }
}
