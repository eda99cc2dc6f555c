//! One phase of a training: the network behind the frontier, its examples, its guards, and who looks on.

use std::collections::BTreeMap;

use headstart_core::{Balance, Objective as Learning, Phase, Targets, TrainingPlan};
use headstart_engine::{Loss, Network};
use headstart_graph::rewrite::{self, split_at_frontier};
use headstart_graph::{Graph, Model, Weights};
use headstart_train::{
    Guards, Job, Lessons, Objective, State, TuneError, TunedPass, Validate, Watch, changes, find_lr,
    fine_tune,
};

use super::{Start, ending, outputs_of, pairs::PairLessons};
use crate::checkpoint::{Checkpoint, CheckpointFile};
use crate::lessons::{Material, Part, can_be_kept};
use crate::prefix::Extracted;
use crate::run::Run;
use crate::unlabelled::Views;
use crate::{Error, Session};

/// One phase: the network behind the frontier, and its examples.
pub(super) struct RunningPhase<'a> {
    pub(super) network: Network,
    lr_max: BTreeMap<String, f64>,
    train: Material<'a>,
    valid: Option<Material<'a>>,
    guards: Option<Guards>,
    pub(super) extracted: Extracted,
    n_passes: usize,
    seed: u64,
}

impl<'a> RunningPhase<'a> {
    pub(super) fn prepare(
        start: &Start<'a>,
        graph: &Graph,
        source: &Weights,
        now: Weights,
        phase: &Phase,
        seed: u64,
    ) -> Result<Self, Error> {
        let plan = start.training();
        let lr_max = phase.lr_max(graph);
        let mut parts = split_at_frontier(graph, &|name| lr_max.contains_key(name))?;
        // Mixing and views of unlabelled pictures want the pictures themselves, and what cannot be stacked cannot be kept.
        let wants_pictures =
            plan.mixup > 0.0 || plan.cutmix > 0.0 || matches!(plan.objective, Learning::Consistency { .. });
        let keeps = parts.prefix.as_ref().is_some_and(can_be_kept) && !wants_pictures;
        if !keeps {
            parts = rewrite::Divided { prefix: None, suffix: graph.clone() };
        }
        let model = Model { weights: now.clone(), ..start.model.clone() };
        let part = |idx: &'a [usize]| Part {
            dataset: start.dataset,
            example_idx: idx,
            rows: start.rows(idx),
            classes: match start.targets(idx) {
                Targets::Class(classes) => Some(classes),
                _ => None,
            },
        };
        let divided = Some(&parts);
        let (train, extracted) =
            Material::new(start.session, &model, divided, part(start.train_idx), plan, seed)?;
        let plain = TrainingPlan { augmentation: String::new(), balance: Balance::None, ..plan.clone() };
        let valid = (!start.valid_idx.is_empty() && !matches!(plan.objective, Learning::Pairs { .. }))
            .then(|| Material::new(start.session, &model, divided, part(start.valid_idx), &plain, seed))
            .transpose()?
            .map(|(material, _)| material);
        let mut network = Network::load(parts.suffix.clone(), &now, start.session.device())?;
        network.products_in(plan.precision);
        let guards = (!plan.regularisers.is_empty())
            .then(|| -> Result<Guards, Error> {
                let at_source = Network::load(parts.suffix.clone(), source, start.session.device())?;
                let outputs = outputs_of(&parts.suffix);
                let related = outputs
                    .source_logits
                    .map(|at| ending::source_relation(start, &at_source, &train, at))
                    .transpose()?;
                Ok(Guards::new(&plan.regularisers, outputs, &at_source, related)?)
            })
            .transpose()?;
        // Networks have the weights now.
        headstart_formats::release_pages();
        let n_passes = phase.n_passes;
        Ok(RunningPhase { network, lr_max, train, valid, guards, extracted, n_passes, seed })
    }

    /// Bytes that the frozen part made of the examples.
    pub(super) fn frozen_bytes(&self) -> usize {
        self.train.frozen_bytes()
    }

    /// Seconds of one pass, by a few of its steps without the slow first one.
    pub(super) fn try_pass(&mut self, start: &Start<'a>) -> Result<f64, Error> {
        let once = TrainingPlan { find_lr: false, n_accumulated: 1, ..start.training().clone() };
        let taught = Taught::of(start, &self.train, &once, self.seed)?;
        let n_steps = taught.lessons().pass(0).len();
        let mut seconds = 0.0;
        for n_tried in [1, n_steps.min(STEPS_TRIED)] {
            let clock = std::time::Instant::now();
            let job = Job {
                plan: &once,
                n_passes: 1,
                lr_max: self.lr_max.clone(),
                seed: self.seed,
                lessons: &First(taught.lessons(), n_tried),
                objective: taught.objective(),
                guards: Guards::default(),
                validate: None,
                watch: &mut Quiet,
            };
            fine_tune(&mut self.network, job, None)?;
            seconds = clock.elapsed().as_secs_f64() * n_steps as f64 / n_tried as f64;
        }
        Ok(seconds)
    }

    /// The weights that may have changed in this phase.
    pub(super) fn changed(&self, plan: &TrainingPlan) -> Result<Weights, Error> {
        Ok(self.network.weights_where(&|name| changes(name, plan, &self.lr_max))?)
    }

    pub(super) fn train(
        &mut self,
        start: &Start<'a>,
        kept: &Checkpoint,
        file: &mut CheckpointFile,
        run: &Run,
        state: Option<State>,
        (seed_idx, phase_idx): (usize, usize),
    ) -> Result<Vec<TunedPass>, Error> {
        let plan = start.training();
        let taught = Taught::of(start, &self.train, plan, self.seed)?;
        let validate = self.valid.as_ref().map(|material| {
            let loss = &taught.loss;
            move |network: &Network| -> Result<f64, TuneError> {
                ending::mean_loss(network, material, loss).map_err(|e| TuneError::Outside(Box::new(e)))
            }
        });
        let stage = match plan.phases.len() * plan.n_seeds {
            1 => "training".to_string(),
            n => format!("training {} of {n}", seed_idx * plan.phases.len() + phase_idx + 1),
        };
        let mut quiet = Quiet;
        let mut watch = Watcher { session: start.session, stage, kept, file, run, phase: phase_idx };
        let mut job = Job {
            plan,
            n_passes: self.n_passes,
            lr_max: self.lr_max.clone(),
            seed: self.seed,
            lessons: taught.lessons(),
            objective: taught.objective(),
            guards: Guards::default(),
            validate: None,
            watch: &mut quiet,
        };
        // A run that goes on finds the same rates again.
        if plan.find_lr {
            let multiple = find_lr(&mut self.network, &job, 60)?;
            run.event("learning rate found", serde_json::json!({"multiple": multiple}))?;
            job.lr_max.values_mut().for_each(|lr| *lr *= multiple);
        }
        job.guards = self.guards.take().unwrap_or_default();
        job.validate = validate.as_ref().map(|v| v as &Validate<'_>);
        job.watch = &mut watch;
        Ok(fine_tune(&mut self.network, job, state)?)
    }
}

/// What a phase shows the network, and what it makes small.
struct Taught<'m> {
    material: &'m Material<'m>,
    pairs: Option<PairLessons<'m>>,
    unlabelled: Option<Views<'m>>,
    loss: Loss,
}

impl<'m> Taught<'m> {
    fn of(
        start: &Start<'m>,
        material: &'m Material<'m>,
        plan: &TrainingPlan,
        seed: u64,
    ) -> Result<Self, Error> {
        let pairs = matches!(plan.objective, Learning::Pairs { .. })
            .then(|| PairLessons::new(start, material, plan, seed))
            .transpose()?;
        let unlabelled = Views::of(start, plan, seed)?;
        Ok(Taught { material, pairs, unlabelled, loss: start.loss()? })
    }

    fn lessons(&self) -> &dyn Lessons {
        match &self.pairs {
            Some(pairs) => pairs,
            None => self.material,
        }
    }

    fn objective(&self) -> Objective<'_> {
        match (&self.pairs, &self.unlabelled) {
            (Some(_), _) => Objective::Pairs,
            (None, Some(views)) => {
                Objective::Consistency { loss: self.loss.clone(), unlabelled: views, spec: views.spec }
            }
            (None, None) => Objective::Supervised(self.loss.clone()),
        }
    }
}

/// Shows progress, writes events and checkpoints.
struct Watcher<'a> {
    session: &'a Session,
    stage: String,
    kept: &'a Checkpoint,
    file: &'a mut CheckpointFile,
    run: &'a Run,
    phase: usize,
}

impl Watch for Watcher<'_> {
    fn step(&mut self, done: usize, total: usize) {
        self.session.observer.progress(&self.stage, done as u64, total as u64);
    }

    fn pass(&mut self, point: &TunedPass) -> Result<(), TuneError> {
        let facts = serde_json::json!({"phase": self.phase, "point": point});
        self.run.event("pass", facts).map_err(|e| TuneError::Outside(Box::new(e)))
    }

    fn wants_checkpoint(&mut self) -> bool {
        self.file.is_due()
    }

    fn checkpoint(&mut self, state: &State) -> Result<(), TuneError> {
        let mut checkpoint = self.kept.clone();
        checkpoint.position.phase = self.phase;
        checkpoint.state = Some(state.clone());
        self.file.write(&checkpoint).map_err(|e| TuneError::Outside(Box::new(e)))
    }
}

/// Nobody looks on.
struct Quiet;

impl Watch for Quiet {
    fn step(&mut self, _done: usize, _total: usize) {}

    fn pass(&mut self, _point: &TunedPass) -> Result<(), TuneError> {
        Ok(())
    }

    fn wants_checkpoint(&mut self) -> bool {
        false
    }

    fn checkpoint(&mut self, _state: &State) -> Result<(), TuneError> {
        Ok(())
    }
}

/// Steps that a forecast goes by: enough for texts of several lengths.
const STEPS_TRIED: usize = 4;

/// The first batches of a pass only.
struct First<'a>(&'a dyn Lessons, usize);

impl Lessons for First<'_> {
    fn pass(&self, pass: usize) -> Vec<Vec<usize>> {
        self.0.pass(pass).into_iter().take(self.1).collect()
    }

    fn batch(&self, idx: &[usize], pass: usize) -> Result<headstart_core::Batch, TuneError> {
        self.0.batch(idx, pass)
    }

    fn targets(&self, idx: &[usize]) -> headstart_core::TargetRows {
        self.0.targets(idx)
    }
}
