//! Sentence pairs as lessons, for contrastive training.

use headstart_core::{Batch, Objective as Learning, TargetRows, Targets, TrainingPlan};
use headstart_train::{Lessons, TuneError};

use super::Start;
use crate::lessons::Material;

/// A batch holds all first sentences, then all second ones.
pub(super) struct PairLessons<'a> {
    material: &'a Material<'a>,
    classes: Vec<usize>,
    n_a_text: usize,
    batch_size: usize,
    seed: u64,
}

impl<'a> PairLessons<'a> {
    pub(super) fn new(start: &Start<'_>, material: &'a Material<'a>, plan: &TrainingPlan, seed: u64) -> Self {
        let Learning::Pairs { n_a_text } = plan.objective else { unreachable!("checked by the caller") };
        let Targets::Class(classes) = start.targets(start.train_idx) else {
            unreachable!("the recipe is for classes")
        };
        PairLessons { material, classes, n_a_text, batch_size: plan.batch_size, seed }
    }
}

impl Lessons for PairLessons<'_> {
    fn pass(&self, pass: usize) -> Vec<Vec<usize>> {
        let n_pairs = self.n_a_text * self.classes.len();
        let pairs = headstart_train::pairs(&self.classes, n_pairs, self.seed.wrapping_add(pass as u64));
        let all: Vec<(usize, usize)> = pairs.map(|p| (p.a, p.b)).collect();
        all.chunks(self.batch_size)
            .map(|c| c.iter().map(|p| p.0).chain(c.iter().map(|p| p.1)).collect())
            .collect()
    }

    fn batch(&self, idx: &[usize], pass: usize) -> Result<Batch, TuneError> {
        self.material.batch(idx, pass)
    }

    fn targets(&self, idx: &[usize]) -> TargetRows {
        let n = idx.len() / 2;
        let same = |i: usize| self.classes[idx[i]] == self.classes[idx[n + i]];
        TargetRows { width: 1, values: (0..n).map(|i| f32::from(u8::from(same(i)))).collect() }
    }
}

