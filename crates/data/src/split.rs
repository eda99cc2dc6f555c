//! Dividing a data set: as given, or stratified by class (rarest label, size of the number), seeded, never parting a group nor byte-identical examples.
//!
//! Examples of one group, and byte-identical ones, are one *unit*, transitively.  Within a class, units stand in the
//! order of blake3(seed, smallest example hash of the unit), and the first ones that fit become the test part.  The
//! order depends on nothing but the seed and the bytes, so it is the same in every version and on every machine,
//! whatever the files are called; and examples that are added later hardly move the others.

use std::collections::HashMap;

use headstart_core::{Dataset, Diagnostic, SealedTest, SplitName, Splits, Target};

use serde::{Deserialize, Serialize};

use crate::DataError;
use crate::assemble::{note, some_of_having};

mod given;
mod shots;
mod strata;

use strata::Strata;

/// How to divide a data set that was not given divided.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SplitOptions {
    /// Share of the examples that judge, above 0 and below 1.
    pub test_fraction: f64,
    /// Share of the examples that choose, from 0.
    pub valid_fraction: f64,
    /// Another seed, another division.
    pub seed: u64,
    /// Learn from this many examples of each class only; from all if none.
    pub shots: Option<usize>,
}

impl Default for SplitOptions {
    fn default() -> Self {
        SplitOptions { test_fraction: 0.2, valid_fraction: 0.0, seed: 0, shots: None }
    }
}

/// Divides a data set.  Given parts are respected (train is required; where there is no test part, the validation part
/// judges, and where there is neither, a test part is taken from train); examples of train or validation that are
/// byte-identical to one of a later part are dropped.  Otherwise the division is stratified.
///
/// Every class of two units or more has at least one in train and, where groups allow, one in test; a class of a single
/// unit is in train only.  `shots` then thins out the train part, given or not.  The diagnostics tell of dropped examples, of duplicates, of labels that contradict each
/// other, and of classes that a part lacks.
///
/// # Errors
/// [`DataError::OutOfRange`] for fractions outside their range, [`DataError::CannotSplit`] if there is no train part or
/// no test part can be made.
pub fn split(dataset: &Dataset, options: &SplitOptions) -> Result<(Splits, Vec<Diagnostic>), DataError> {
    check_fractions(options)?;
    let mut diagnostics = duplicates(dataset);
    let mut parts = match given::parts(dataset, &mut diagnostics)? {
        Some(parts) => parts,
        None => Parts { train: (0..dataset.examples.len()).collect(), ..Default::default() },
    };
    let carved = parts.test.is_empty();
    if carved {
        parts.test = carve(dataset, &mut parts.train, options.test_fraction, options.seed, "test");
        if parts.test.is_empty() {
            let why = "no class has two examples that are independent of each other (byte-identical examples and \
                       examples of one group count once)";
            return Err(DataError::CannotSplit { path: dataset.path.clone(), why: why.into() });
        }
    }
    if parts.valid.is_empty() && options.valid_fraction > 0.0 {
        // The fraction is of all examples; those of the test part are gone from train only if they were carved.
        let n = parts.train.len() + if carved { parts.test.len() } else { 0 };
        let fraction = options.valid_fraction * n as f64 / parts.train.len().max(1) as f64;
        parts.valid = carve(dataset, &mut parts.train, fraction.min(0.99), options.seed, "valid");
    }
    if let Some(shots) = options.shots {
        diagnostics.push(shots::draw(dataset, &mut parts.train, shots, options.seed)?);
    }
    for part in [&mut parts.train, &mut parts.valid, &mut parts.test] {
        part.sort_unstable();
    }
    diagnostics.extend(absent_classes(dataset, &parts));
    Ok((Splits { train: parts.train, valid: parts.valid, test: SealedTest::new(parts.test) }, diagnostics))
}

/// The part that a word stands for, in any case and with stray spaces.
pub(crate) fn part_named(word: &str) -> Option<SplitName> {
    match word.trim().to_lowercase().as_str() {
        "train" | "training" => Some(SplitName::Train),
        "val" | "valid" | "validation" | "dev" => Some(SplitName::Valid),
        "test" | "testing" | "eval" | "evaluation" => Some(SplitName::Test),
        _ => None,
    }
}

#[derive(Debug, Default)]
struct Parts {
    train: Vec<usize>,
    valid: Vec<usize>,
    test: Vec<usize>,
}

fn check_fractions(options: &SplitOptions) -> Result<(), DataError> {
    let SplitOptions { test_fraction: test, valid_fraction: valid, .. } = *options;
    if !(test > 0.0 && test < 1.0) {
        return Err(DataError::OutOfRange {
            name: "test-fraction",
            value: test,
            allowed: "above 0 and below 1",
        });
    }
    if !(valid >= 0.0 && test + valid < 1.0) {
        let allowed = "0 and above, and below 1 together with the test fraction";
        return Err(DataError::OutOfRange { name: "valid-fraction", value: valid, allowed });
    }
    Ok(())
}

/// Examples that must stay together.
struct Unit {
    examples: Vec<usize>,
    /// The stratum of most of them, the first of equals.
    stratum: usize,
    order: [u8; 32],
}

/// Takes about `fraction` of the examples out of `from`, stratum by stratum.
fn carve(dataset: &Dataset, from: &mut Vec<usize>, fraction: f64, seed: u64, part: &str) -> Vec<usize> {
    let kinds = Strata::of(dataset, from, fraction);
    let mut strata: Vec<Vec<Unit>> = (0..kinds.n).map(|_| Vec::new()).collect();
    for unit in units(dataset, from, &kinds, seed, part) {
        strata[unit.stratum].push(unit);
    }
    let sizes: Vec<(usize, usize)> =
        strata.iter().map(|units| (units.len(), units.iter().map(|u| u.examples.len()).sum())).collect();
    let (mut kept, mut taken) = (Vec::new(), Vec::new());
    for (units, quota) in strata.into_iter().zip(quotas(&sizes, fraction)) {
        let (k, t) = divide(units, quota);
        kept.extend(k);
        taken.extend(t);
    }
    mend(dataset, &mut kept, &mut taken);
    *from = kept.into_iter().flat_map(|u| u.examples).collect();
    taken.into_iter().flat_map(|u| u.examples).collect()
}

/// How many examples of each class to take, given its numbers of units and examples: the largest remainders share what
/// rounding down leaves of the total; at least one of every class of two units, and never all.
fn quotas(sizes: &[(usize, usize)], fraction: f64) -> Vec<usize> {
    let n: usize = sizes.iter().map(|(_, n)| n).sum();
    let total = (fraction * n as f64).round() as usize;
    let most = |(n_units, n): (usize, usize)| if n_units > 1 { n - 1 } else { 0 };
    let exact = |n: usize| fraction * n as f64;
    let mut quotas: Vec<usize> =
        sizes.iter().map(|&s| (exact(s.1).floor() as usize).max(1).min(most(s))).collect();
    let remainder = |i: usize, quotas: &[usize]| exact(sizes[i].1) - quotas[i] as f64;
    let mut by_remainder: Vec<usize> =
        (0..sizes.len()).filter(|&i| quotas[i] < most(sizes[i]) && remainder(i, &quotas) > 0.0).collect();
    by_remainder.sort_by(|&a, &b| remainder(b, &quotas).total_cmp(&remainder(a, &quotas)));
    let n_left = total.saturating_sub(quotas.iter().sum());
    for i in by_remainder.into_iter().take(n_left) {
        quotas[i] += 1;
    }
    quotas
}

/// Takes units of one class in their order until the quota is met as nearly as their sizes allow; one always stays.
fn divide(mut units: Vec<Unit>, quota: usize) -> (Vec<Unit>, Vec<Unit>) {
    units.sort_by_key(|u| u.order);
    let (mut kept, mut taken) = (Vec::new(), Vec::new());
    let (mut n_taken, mut n_undecided) = (0, units.len());
    for unit in units {
        n_undecided -= 1;
        if n_taken + unit.examples.len() <= quota && kept.len() + n_undecided > 0 {
            n_taken += unit.examples.len();
            taken.push(unit);
        } else {
            kept.push(unit);
        }
    }
    // One more, if it brings the number nearer or is the first.
    let smallest = (0..kept.len()).min_by_key(|&i| kept[i].examples.len());
    if let Some(i) = smallest
        && kept.len() > 1
        && quota > n_taken
        && (taken.is_empty() || kept[i].examples.len() < 2 * (quota - n_taken))
    {
        taken.push(kept.remove(i));
    }
    (kept, taken)
}

/// Units of several classes may have left a class without examples on one side: moves the smallest unit that mends it.
fn mend(dataset: &Dataset, kept: &mut Vec<Unit>, taken: &mut Vec<Unit>) {
    let labels = |i: &usize| dataset.examples[*i].target.classes();
    let holds = |u: &Unit, class: usize| u.examples.iter().any(|i| labels(i).contains(&class));
    let count = |units: &[Unit]| {
        let mut counts = vec![0usize; dataset.classes.len()];
        units.iter().flat_map(|u| &u.examples).flat_map(labels).for_each(|&c| counts[c] += 1);
        counts
    };
    // A move must not take the last example of another class away.
    let spares = |counts: &[usize], u: &Unit| {
        u.examples
            .iter()
            .flat_map(labels)
            .all(|class| counts[*class] > u.examples.iter().filter(|j| labels(j).contains(class)).count())
    };
    let (n_kept, n_taken) = (count(kept), count(taken));
    for class in (0..dataset.classes.len()).filter(|&c| n_kept[c] == 0) {
        let candidates = (0..taken.len()).filter(|&i| holds(&taken[i], class) && taken.len() > 1);
        if let Some(i) = candidates.min_by_key(|&i| taken[i].examples.len()) {
            kept.push(taken.remove(i));
        }
    }
    for class in (0..dataset.classes.len()).filter(|&c| n_taken[c] == 0 && n_kept[c] > 1) {
        let counts = count(kept);
        let candidates = (0..kept.len()).filter(|&i| holds(&kept[i], class) && spares(&counts, &kept[i]));
        if let Some(i) = candidates.min_by_key(|&i| kept[i].examples.len()) {
            taken.push(kept.remove(i));
        }
    }
}

/// The units of some examples: groups and byte-identical examples, joined transitively.
fn units(dataset: &Dataset, examples: &[usize], strata: &Strata, seed: u64, part: &str) -> Vec<Unit> {
    let mut parent: Vec<usize> = (0..examples.len()).collect();
    let (mut by_hash, mut by_group) = (HashMap::new(), HashMap::new());
    for (i, &e) in examples.iter().enumerate() {
        let e = &dataset.examples[e];
        let same_bytes = *by_hash.entry(e.hash).or_insert(i);
        join(&mut parent, i, same_bytes);
        if let Some(group) = &e.group {
            let same_group = *by_group.entry(group.as_str()).or_insert(i);
            join(&mut parent, i, same_group);
        }
    }
    let mut members: Vec<Vec<usize>> = vec![Vec::new(); examples.len()];
    for (i, &e) in examples.iter().enumerate() {
        members[root(&mut parent, i)].push(e);
    }
    let unit = |examples: Vec<usize>| {
        let smallest = examples.iter().map(|&e| dataset.examples[e].hash).min().unwrap_or_default();
        let mut hasher = blake3::Hasher::new();
        hasher.update(part.as_bytes()).update(&seed.to_le_bytes()).update(&smallest);
        Unit { stratum: strata.of_unit(&examples), examples, order: *hasher.finalize().as_bytes() }
    };
    members.into_iter().filter(|m| !m.is_empty()).map(unit).collect()
}

fn root(parent: &mut [usize], mut i: usize) -> usize {
    while parent[i] != i {
        parent[i] = parent[parent[i]];
        i = parent[i];
    }
    i
}

fn join(parent: &mut [usize], a: usize, b: usize) {
    let (a, b) = (root(parent, a), root(parent, b));
    parent[a.max(b)] = a.min(b);
}

/// What to know of byte-identical examples.
fn duplicates(dataset: &Dataset) -> Vec<Diagnostic> {
    let mut by_hash: HashMap<&[u8; 32], usize> = HashMap::new();
    let (mut n_surplus, mut contradictory) = (0, Vec::new());
    for (i, e) in dataset.examples.iter().enumerate() {
        let first = *by_hash.entry(&e.hash).or_insert(i);
        n_surplus += usize::from(first != i);
        let first = &dataset.examples[first];
        if first.target != e.target {
            let words = |target: &Target| match target {
                Target::Number(value) => value.to_string(),
                other => {
                    let names = other.classes().iter().map(|&c| dataset.classes[c].as_str());
                    names.collect::<Vec<_>>().join(" and ")
                }
            };
            contradictory.push(format!(
                "{} is {}, {} is {}",
                first.id,
                words(&first.target),
                e.id,
                words(&e.target)
            ));
        }
    }
    let mut diagnostics = Vec::new();
    if n_surplus > 0 {
        let message =
            format!("{n_surplus} examples repeat others byte by byte; copies stay on one side of the split");
        diagnostics.push(note(&dataset.path, message));
    }
    if let Some(first) = contradictory.first() {
        let message = format!(
            "{} byte-identical examples contradict each other, such as: {first}",
            contradictory.len()
        );
        diagnostics.push(note(&dataset.path, message));
    }
    diagnostics
}

fn absent_classes(dataset: &Dataset, parts: &Parts) -> Vec<Diagnostic> {
    let absent = |part: &[usize], name: &str| {
        let mut present = vec![false; dataset.classes.len()];
        part.iter().flat_map(|&i| dataset.examples[i].target.classes()).for_each(|&c| present[c] = true);
        let names = dataset.classes.iter().zip(present).filter(|(_, p)| !p).map(|(c, _)| c.clone());
        let names: Vec<String> = names.collect();
        let message =
            || format!("{} no example in the {name} part", some_of_having(&names, "class", "classes"));
        (!names.is_empty()).then(|| note(&dataset.path, message()))
    };
    [absent(&parts.train, "train"), absent(&parts.test, "test")].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests;
