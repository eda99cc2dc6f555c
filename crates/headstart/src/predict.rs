//! Opening a bundle and predicting with it.

use std::path::Path;

use headstart_bundle::Manifest;
use headstart_core::{Array, Input, Task};
use headstart_data::DataError;
use headstart_engine::Device;
use headstart_graph::{Graph, Weights};

use crate::Error;
use crate::bundled::Bundled;
use crate::predictions_csv::THRESHOLD;
use crate::proof::most_probable;
use crate::rival::outputs;
use crate::runner::{Runner, View};

/// A sealed bundle, opened, its golden predictions replayed.
pub struct Predictor {
    runner: Runner,
    manifest: Manifest,
}

/// What a bundle says of one input.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// What was asked.
    pub task: Task,
    /// Probability of each class or label, in the order of [`Predictor::labels`], or the number alone.
    pub outputs: Vec<f32>,
}

impl Prediction {
    /// Position of the most probable class or label; the first of equals.
    pub fn class_idx(&self) -> usize {
        most_probable(&self.outputs)
    }

    /// Positions of the labels that apply, each with a probability of 0.5 or more.
    pub fn label_idx(&self) -> Vec<usize> {
        (0..self.outputs.len()).filter(|&c| self.outputs[c] >= THRESHOLD).collect()
    }

    /// The number, where a number was asked for.
    pub fn value(&self) -> Option<f32> {
        if self.task == Task::Regression { self.outputs.first().copied() } else { None }
    }
}

impl Predictor {
    /// Opens a bundle: checks every file's hash, loads the network and replays the golden predictions.  A bundle that
    /// does not predict what it predicted when it was sealed is refused.
    pub fn open(dir: &Path, device: &Device) -> Result<Self, Error> {
        let bundled = Bundled::open(dir)?;
        let Bundled { bundle, model } = &bundled;
        let tokenizer = model.tokenizer.as_deref();
        let predictor =
            Predictor::new(model.graph.clone(), &model.weights, tokenizer, bundle.manifest.clone(), device)?;
        let inputs = bundled.golden_inputs();
        let got = predictor
            .predict(&inputs, &|_| {})?
            .into_iter()
            .map(|p| Ok(p?.outputs))
            .collect::<Result<Vec<_>, Error>>()?;
        bundle.check_golden(&got)?;
        Ok(predictor)
    }

    /// A predictor of parts that are in memory already.
    pub(crate) fn new(
        graph: Graph,
        weights: &Weights,
        tokenizer: Option<&[u8]>,
        manifest: Manifest,
        device: &Device,
    ) -> Result<Self, Error> {
        let Manifest { preprocess, precision, .. } = &manifest;
        let runner = Runner::new(&graph, weights, preprocess, tokenizer, device, *precision)?;
        Ok(Predictor { runner, manifest })
    }

    /// What it answers.
    pub fn task(&self) -> Task {
        self.manifest.plan.task
    }

    /// Names of the classes; none where the answer is a number.
    pub fn labels(&self) -> &[String] {
        &self.manifest.labels
    }

    /// What the bundle says of itself.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Predicts each input, or says why it cannot be read.  `tick` hears of finished inputs.
    pub fn predict(
        &self,
        inputs: &[Input],
        tick: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Result<Prediction, DataError>>, Error> {
        let inputs: Vec<View<'_>> = inputs.iter().map(|input| View { input, seed: None }).collect();
        let rows = self.runner.run(&inputs, tick)?;
        Ok(rows.into_iter().map(|row| row.map(|raw| self.prediction(raw))).collect())
    }

    fn prediction(&self, raw: Vec<f32>) -> Prediction {
        let task = self.task();
        Prediction { task, outputs: outputs(task, &Array::f32(&[1, raw.len()], raw)) }
    }
}
