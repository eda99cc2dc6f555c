//! Unlabelled pictures in a weak and a strong view, for training by consistency (FixMatch; Sohn et al., 2020).

use headstart_core::{Batch, Dataset, Objective, TrainingPlan};
use headstart_data::{Augmentation, Prepared, Preparer, view_seed};
use headstart_train::{FixMatchSpec, TuneError, Unlabelled};
use rayon::prelude::*;

use crate::Error;
use crate::tune::Start;

/// The unlabelled examples of a run.
pub(crate) struct Views<'a> {
    dataset: &'a Dataset,
    preparer: Preparer,
    weak: Augmentation,
    strong: Augmentation,
    pub(crate) spec: FixMatchSpec,
    batch_size: usize,
    seed: u64,
}

/// The weak views, where the user names no augmentation.
const WEAK: &str = "light";
/// The strong ones: RandAugment, as in the paper, and erasing in place of its cutout.
const STRONG: &str = "strong";

impl<'a> Views<'a> {
    /// The views that a plan asks for; none if it asks for none.
    pub(crate) fn of(start: &Start<'a>, plan: &TrainingPlan, seed: u64) -> Result<Option<Self>, Error> {
        let (Objective::Consistency { threshold, ratio, weight }, Some(dataset)) =
            (plan.objective, start.unlabelled)
        else {
            return Ok(None);
        };
        let modality = start.dataset.modality;
        let weak = if plan.augmentation.is_empty() { WEAK } else { &plan.augmentation };
        Ok(Some(Views {
            dataset,
            preparer: Preparer::new(&start.model.preprocess, start.model.tokenizer.as_deref())?,
            weak: Augmentation::parse(weak, modality)?,
            strong: Augmentation::parse(STRONG, modality)?,
            spec: FixMatchSpec { threshold, n_unlabelled_per_labelled: ratio, unlabelled_weight: weight },
            batch_size: plan.batch_size,
            seed,
        }))
    }
}

impl Unlabelled for Views<'_> {
    fn views(&self, step: usize) -> Result<[Batch; 2], TuneError> {
        let n = self.dataset.examples.len();
        let drawn = self.spec.unlabelled_batch(step as u64, self.batch_size, n, self.seed);
        let batch = |augmentation: &Augmentation, view: u64| -> Result<Batch, TuneError> {
            let prepare = |&i: &usize| {
                let e = &self.dataset.examples[i];
                self.preparer.prepare_view(&e.input, augmentation, view_seed(&e.hash, view, self.seed))
            };
            let prepared: Result<Vec<Prepared>, _> = drawn.par_iter().map(prepare).collect();
            let prepared = prepared.map_err(|e| TuneError::Outside(Box::new(e)))?;
            Ok(self.preparer.batch(&prepared.iter().collect::<Vec<_>>()))
        };
        let step = step as u64;
        Ok([batch(&self.weak, 2 * step)?, batch(&self.strong, 2 * step + 1)?])
    }
}
