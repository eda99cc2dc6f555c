//! Sentence pairs as lessons, for contrastive training.

use headstart_core::{Batch, Objective as Learning, TargetRows, Targets, TrainingPlan};
use headstart_train::{Lessons, PairSpec, PairStream, TuneError};

use super::Start;
use crate::Error;
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
    pub(super) fn new(
        start: &Start<'_>,
        material: &'a Material<'a>,
        plan: &TrainingPlan,
        seed: u64,
    ) -> Result<Self, Error> {
        let (Learning::Pairs { n_a_text }, Targets::Class(classes)) =
            (plan.objective, start.targets(start.train_idx))
        else {
            return Err(Error::request("pairs are made of classes", "choose another recipe"));
        };
        let lessons = PairLessons { material, classes, n_a_text, batch_size: plan.batch_size, seed };
        // What is wrong with the examples is said now, not in the first pass.
        lessons.stream(0)?;
        Ok(lessons)
    }

    fn stream(&self, pass: usize) -> Result<PairStream, Error> {
        let spec = PairSpec {
            n_iterations: Some(self.n_a_text as u64),
            seed: self.seed.wrapping_add(pass as u64),
            ..PairSpec::default()
        };
        Ok(PairStream::new(&self.classes, &spec)?)
    }
}

impl Lessons for PairLessons<'_> {
    fn pass(&self, pass: usize) -> Vec<Vec<usize>> {
        let stream = self.stream(pass).expect("checked when it was made");
        let all: Vec<(usize, usize)> = stream.iter().map(|p| (p.a, p.b)).collect();
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
