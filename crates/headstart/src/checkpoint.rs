//! Checkpoints of a training: one file, replaced by rename, from which a killed run goes on to the same bytes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use headstart_formats::{load_weights, safetensors};
use headstart_graph::{DType, Tensor, Weights};
use headstart_train::{Progress, State, TunedPass};
use serde::{Deserialize, Serialize};

use crate::Error;

/// Where a training stands: finished seeds and phases, and the state of the running phase.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Checkpoint {
    pub(crate) position: Position,
    /// Final weights of finished seeds.
    pub(crate) finished: Vec<Weights>,
    /// Weights that earlier phases of the running seed changed.
    pub(crate) changed: Weights,
    /// The running phase.
    pub(crate) state: Option<State>,
}

/// The numbers of a [`Checkpoint`].
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Position {
    /// What is trained, on what: a checkpoint of another training is not gone on from.
    pub(crate) fingerprint: String,
    /// Phase that runs.
    pub(crate) phase: usize,
    /// Curves of the finished phases of the running seed.
    pub(crate) curves: Vec<Vec<TunedPass>>,
    pub(crate) progress: Option<Progress>,
}

/// The file of a run's checkpoint.
pub(crate) struct CheckpointFile {
    path: PathBuf,
    every: Duration,
    last: Instant,
}

const STATE: &str = "state:";
const CHANGED: &str = "changed:";
const POSITION: &str = "position";

impl CheckpointFile {
    /// The checkpoint of one of a run's trainings, written at most once in so many seconds.
    pub(crate) fn new(run: &Path, training: &str, seconds: f64) -> Self {
        // `last:3` is no name of a file everywhere.
        let path = run.join("checkpoints").join(format!("{}.safetensors", training.replace(':', "-")));
        // More seconds than a clock can count means never.
        let every = Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX);
        CheckpointFile { path, every, last: Instant::now() }
    }

    /// Whether a training has left one.
    pub(crate) fn exists(&self) -> bool {
        self.path.exists()
    }

    /// Whether the time has come.
    pub(crate) fn is_due(&self) -> bool {
        self.last.elapsed() >= self.every
    }

    /// Writes it.
    pub(crate) fn write(&mut self, checkpoint: &Checkpoint) -> Result<(), Error> {
        let mut tensors = Weights::new();
        let mut put = |prefix: &str, weights: &Weights| {
            for (name, tensor) in weights.iter() {
                tensors.insert(format!("{prefix}{name}"), tensor.clone());
            }
        };
        for (i, weights) in checkpoint.finished.iter().enumerate() {
            put(&format!("finished.{i}:"), weights);
        }
        put(CHANGED, &checkpoint.changed);
        let mut position = checkpoint.position.clone();
        if let Some(state) = &checkpoint.state {
            put(STATE, &state.tensors);
            position.progress = Some(state.progress.clone());
        }
        let json = serde_json::to_vec(&position).expect("numbers and names");
        tensors.insert(POSITION, Tensor::new(DType::U8, vec![json.len()], json.into())?);
        let dir = self.path.parent().expect("made of two parts above");
        fs::create_dir_all(dir).map_err(Error::io(dir))?;
        safetensors::save(&self.path, &tensors, &[])?;
        self.last = Instant::now();
        Ok(())
    }

    /// The checkpoint of an earlier run with this fingerprint, if there is one.
    pub(crate) fn read(&self, fingerprint: &str) -> Result<Option<Checkpoint>, Error> {
        if !self.exists() {
            return Ok(None);
        }
        let tensors = load_weights(&self.path)?;
        let position: Position =
            tensors.get(POSITION).and_then(|json| serde_json::from_slice(json.bytes()).ok()).ok_or_else(
                || Error::request(format!("{} is no checkpoint", self.path.display()), "leave --resume out"),
            )?;
        if position.fingerprint != fingerprint {
            return Err(Error::request(
                format!("{} is the checkpoint of another plan or of other data", self.path.display()),
                "repeat the command of that run, or leave --resume out to start anew",
            ));
        }
        let mut checkpoint = Checkpoint { position, ..Checkpoint::default() };
        let mut state = Weights::new();
        for (name, tensor) in tensors.iter() {
            checkpoint.sort_in(name, tensor, &mut state);
        }
        checkpoint.state =
            checkpoint.position.progress.take().map(|progress| State { progress, tensors: state });
        Ok(Some(checkpoint))
    }

    /// Deletes it: the run is through.
    pub(crate) fn remove(&self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Checkpoint {
    fn sort_in(&mut self, name: &str, tensor: &Tensor, state: &mut Weights) {
        let Some((prefix, rest)) = name.split_once(':') else { return };
        match prefix.strip_prefix("finished.").and_then(|i| i.parse::<usize>().ok()) {
            Some(i) if i < 1000 => {
                self.finished.resize_with(self.finished.len().max(i + 1), Weights::new);
                self.finished[i].insert(rest, tensor.clone());
            }
            Some(_) => {}
            None if prefix == "changed" => {
                self.changed.insert(rest, tensor.clone());
            }
            None => {
                state.insert(rest, tensor.clone());
            }
        }
    }
}
