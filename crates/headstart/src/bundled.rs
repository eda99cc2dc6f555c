//! An opened bundle with the model that it holds.

use std::path::Path;

use headstart_bundle::{GoldenInput, OpenBundle};
use headstart_core::Input;
use headstart_graph::Model;

use crate::Error;

/// A bundle whose files are what its manifest says; nothing has run yet.
pub(crate) struct Bundled {
    pub(crate) bundle: OpenBundle,
    pub(crate) model: Model,
}

impl Bundled {
    /// Checks every file's hash and reads the model.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let bundle = headstart_bundle::open(dir)?;
        let weights = headstart_formats::load_weights(bundle.dir.join("model.safetensors"))?;
        let graph = serde_json::from_slice(&bundle.read("graph.json")?)
            .map_err(|e| Error::GraphJson { path: bundle.dir.join("graph.json"), message: e.to_string() })?;
        let tokenizer = bundle.path("tokenizer.json").map(|_| bundle.read("tokenizer.json")).transpose()?;
        let m = &bundle.manifest;
        let (preprocess, labels, card) = (m.preprocess.clone(), m.labels.clone(), m.card.clone());
        let model = Model { graph, weights, preprocess, tokenizer, labels, card };
        Ok(Bundled { bundle, model })
    }

    /// The inputs of its golden predictions.
    pub(crate) fn golden_inputs(&self) -> Vec<Input> {
        let inputs = self.bundle.manifest.golden.inputs.iter().map(|input| match input {
            GoldenInput::File(name) => Input::File(self.bundle.dir.join(name)),
            GoldenInput::Text(text) => Input::Text(text.as_str().into()),
        });
        inputs.collect()
    }
}
