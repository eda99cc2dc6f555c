//! The frozen prefix at work: each example runs through it once, in parallel, and its features are cached.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use headstart_core::{Dataset, Diagnostic, Features, Input};
use headstart_graph::{Graph, Model};

use crate::feature_cache::PrefixCache;
use crate::runner::Runner;
use crate::{Error, Session};

/// Examples between two writes to the cache: what a killed run loses at most.
const SEGMENT: usize = 1024;

/// The frozen part of a network with its cache.
pub(crate) struct Prefix {
    runner: Runner,
    cache: PrefixCache,
}

/// What extracting cost and saved, in distinct examples.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extracted {
    pub(crate) n_computed: usize,
    pub(crate) n_cached: usize,
}

impl Prefix {
    /// Loads the prefix `graph` of a model.
    pub(crate) fn new(session: &Session, model: &Model, graph: &Graph) -> Result<Self, Error> {
        let tokenizer = model.tokenizer.as_deref();
        let runner = Runner::new(graph, &model.weights, &model.preprocess, tokenizer, &session.device)?;
        let cache = session.features.prefix(runner.key(), runner.width());
        Ok(Prefix { runner, cache })
    }

    /// Features of the examples at `example_idx`, in that order.  Examples that cannot be decoded have no row and a
    /// diagnostic.
    pub(crate) fn extract(
        &self,
        session: &Session,
        dataset: &Dataset,
        example_idx: &[usize],
        stage: &str,
    ) -> Result<(Features, Vec<Diagnostic>, Extracted), Error> {
        let hash = |i: usize| dataset.examples[i].hash;
        let wanted: HashSet<[u8; 32]> = example_idx.iter().map(|&i| hash(i)).collect();
        let mut known = self.cache.read(&wanted).map_err(Error::cache)?;
        let n_cached = known.len();
        // Byte-identical examples run once.
        let mut seen: HashSet<[u8; 32]> = known.keys().copied().collect();
        let missing: Vec<usize> = example_idx.iter().copied().filter(|&i| seen.insert(hash(i))).collect();
        let mut failed: HashMap<[u8; 32], String> = HashMap::new();
        let done = AtomicUsize::new(n_cached);
        let tick = |n| {
            let now = done.fetch_add(n, Ordering::Relaxed) + n;
            session.observer.progress(stage, now as u64, wanted.len() as u64);
        };
        tick(0);
        for chunk in missing.chunks(SEGMENT) {
            let inputs: Vec<&Input> = chunk.iter().map(|&i| &dataset.examples[i].input).collect();
            let mut segment = Vec::with_capacity(chunk.len());
            for (&i, row) in chunk.iter().zip(self.runner.run(&inputs, &tick)?) {
                match row {
                    Ok(values) => segment.push((hash(i), values)),
                    Err(e) => {
                        failed.insert(hash(i), e.to_string());
                    }
                }
            }
            self.cache.write(&segment).map_err(Error::cache)?;
            known.extend(segment);
        }
        if !missing.is_empty() {
            session.features.evict().map_err(Error::cache)?;
        }
        let mut features = Features { width: self.runner.width(), ..Features::default() };
        let mut diagnostics = Vec::new();
        for &i in example_idx {
            if let Some(row) = known.get(&hash(i)) {
                features.example_idx.push(i);
                features.values.extend_from_slice(row);
            } else {
                let message = failed.get(&hash(i)).cloned().unwrap_or_default();
                let path = dataset.name_of(i);
                diagnostics.push(Diagnostic { path, line: None, message, skipped: true });
            }
        }
        Ok((features, diagnostics, Extracted { n_computed: missing.len() - failed.len(), n_cached }))
    }
}
