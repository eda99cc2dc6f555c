//! A folded network and its preprocessing, ready to run on examples: what extraction, prediction and evaluation share.

use std::collections::HashMap;

use headstart_core::{Input, Precision, Values};
use headstart_data::{Augmentation, DataError, Prepared, Preparer};
use headstart_engine::{Device, Frozen};
use headstart_graph::rewrite::fold;
use headstart_graph::{Graph, Preprocess, Weights};
use rayon::prelude::*;

use crate::Error;

/// Examples that a device other than the processor takes at once.
const DEVICE_BATCH: usize = 16;
/// Texts of one length that the processor takes at once: enough rows to make packing the weights worth while.
const TEXT_BATCH: usize = 16;
/// Pictures for each thread that are prepared and run together where the network is compiled.
const IMAGES_A_THREAD: usize = 16;
/// Names the way in which features are computed.  One that changes their bits gets a new number, so that no cache mixes
/// the old with the new.
const NUMERICS: u32 = 7;

/// Runs a network that will not learn any more.
pub(crate) struct Runner {
    network: Frozen,
    preparer: Preparer,
    device: Device,
    is_text: bool,
    width: usize,
    key: blake3::Hash,
    augmentation: Augmentation,
}

/// An example, or an augmented view of one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct View<'a> {
    pub(crate) input: &'a Input,
    /// Draws the augmentation; none leaves the example as it is.
    pub(crate) seed: Option<u64>,
}

impl Runner {
    /// Folds the graph and loads it.
    pub(crate) fn new(
        graph: &Graph,
        weights: &Weights,
        preprocess: &Preprocess,
        tokenizer: Option<&[u8]>,
        device: &Device,
        precision: Precision,
    ) -> Result<Self, Error> {
        let (graph, weights) = fold(graph, weights)?;
        let width = graph.value(graph.output()).shape.width().unwrap_or(0);
        let preparer = Preparer::new(preprocess, tokenizer)?;
        let mut h = blake3::Hasher::new();
        h.update(env!("CARGO_PKG_VERSION").as_bytes()).update(&NUMERICS.to_le_bytes());
        h.update(device.to_string().as_bytes()).update(precision.to_string().as_bytes());
        h.update(graph.hash().as_bytes()).update(weights.hash().as_bytes());
        h.update(format!("{preprocess:?}").as_bytes()).update(tokenizer.unwrap_or_default());
        let network = Frozen::load(graph, &weights, device, precision)?;
        let is_text = matches!(preprocess, Preprocess::Text(_));
        let (device, augmentation) = (device.clone(), Augmentation::none());
        Ok(Runner { network, preparer, device, is_text, width, key: h.finalize(), augmentation })
    }

    /// The same with views augmented so.
    pub(crate) fn augmented(self, augmentation: Augmentation) -> Self {
        Runner { augmentation, ..self }
    }

    /// One example or view as the network takes it.
    pub(crate) fn prepare(&self, view: &View<'_>) -> Result<Prepared, DataError> {
        match view.seed {
            Some(seed) => self.preparer.prepare_view(view.input, &self.augmentation, seed),
            None => self.preparer.prepare(view.input),
        }
    }

    /// Length of the main output.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    /// A hash of all that the output depends on, besides the example.
    pub(crate) fn key(&self) -> &blake3::Hash {
        &self.key
    }

    /// The outputs for each input, or why it could not be decoded.  On the processor an example's numbers do not depend on
    /// its neighbours: pictures share a batch only in compiled networks, and texts only with texts of the same length, so
    /// that nothing is padded.  `tick` hears of finished examples.
    pub(crate) fn run(
        &self,
        inputs: &[View<'_>],
        tick: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Result<Vec<f32>, DataError>>, Error> {
        if self.device.is_cpu() && self.is_text {
            return self.run_texts(inputs, tick);
        }
        if self.device.is_cpu() && !self.network.is_compiled() {
            let one = |input: &View<'_>| {
                let result = match self.prepare(input) {
                    Ok(prepared) => self.forward(&[&prepared]).map(|mut rows| Ok(rows.swap_remove(0))),
                    Err(e) => Ok(Err(e)),
                };
                tick(1);
                result
            };
            return inputs.par_iter().map(one).collect();
        }
        let mut rows = Vec::with_capacity(inputs.len());
        let size = if self.network.is_compiled() {
            IMAGES_A_THREAD * rayon::current_num_threads()
        } else {
            DEVICE_BATCH
        };
        for chunk in inputs.chunks(size) {
            let prepared: Vec<Result<Prepared, DataError>> =
                chunk.par_iter().map(|input| self.prepare(input)).collect();
            let good: Vec<&Prepared> = prepared.iter().filter_map(|p| p.as_ref().ok()).collect();
            let mut outputs = if good.is_empty() { Vec::new() } else { self.forward(&good)? }.into_iter();
            for p in prepared {
                rows.push(p.map(|_| outputs.next().expect("one output an input")));
            }
            tick(chunk.len());
        }
        Ok(rows)
    }

    fn run_texts(
        &self,
        inputs: &[View<'_>],
        tick: &(dyn Fn(usize) + Sync),
    ) -> Result<Vec<Result<Vec<f32>, DataError>>, Error> {
        let prepared: Vec<Result<Prepared, DataError>> =
            inputs.par_iter().map(|input| self.prepare(input)).collect();
        let length = |i: usize| match &prepared[i] {
            Ok(Prepared::Tokens(ids)) => ids.len(),
            _ => 0,
        };
        let mut order: Vec<usize> = (0..prepared.len()).filter(|&i| prepared[i].is_ok()).collect();
        order.sort_by_key(|&i| std::cmp::Reverse(length(i)));
        let batches: Vec<&[usize]> = order
            .chunk_by(|&a, &b| length(a) == length(b))
            .flat_map(|same| same.chunks(TEXT_BATCH))
            .collect();
        let made = batches
            .par_iter()
            .map(|idx| {
                let texts: Vec<&Prepared> = idx.iter().filter_map(|&i| prepared[i].as_ref().ok()).collect();
                let rows = self.forward(&texts);
                tick(idx.len());
                rows
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let mut by_idx: HashMap<usize, Vec<f32>> =
            order.iter().copied().zip(made.into_iter().flatten()).collect();
        Ok(prepared
            .into_iter()
            .enumerate()
            .map(|(i, p)| p.map(|_| by_idx.remove(&i).expect("every prepared text was run")))
            .collect())
    }

    /// For each example, all outputs one after the other.
    fn forward(&self, prepared: &[&Prepared]) -> Result<Vec<Vec<f32>>, Error> {
        let mut rows = vec![Vec::new(); prepared.len()];
        for output in self.network.infer_all(&self.preparer.batch(prepared))? {
            let Values::F32(values) = output.values else { unreachable!("a network's output is f32") };
            let width = values.len() / prepared.len();
            rows.iter_mut()
                .zip(values.chunks_exact(width))
                .for_each(|(row, part)| row.extend_from_slice(part));
        }
        Ok(rows)
    }
}

/// Mean number of tokens of some texts; 1 if there are none.
pub(crate) fn tokens_mean(preparer: &Preparer, inputs: &[&Input]) -> usize {
    let lengths: Vec<usize> = inputs
        .par_iter()
        .filter_map(|input| match preparer.prepare(input) {
            Ok(Prepared::Tokens(ids)) => Some(ids.len()),
            _ => None,
        })
        .collect();
    if lengths.is_empty() { 1 } else { lengths.iter().sum::<usize>().div_ceil(lengths.len()) }
}
