//! The frozen prefix at work: each example runs through it once, in parallel, and what comes out is cached.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};

use headstart_core::{Dataset, Diagnostic, Features, Precision};
use headstart_data::Augmentation;
use headstart_graph::{Graph, Model};

use crate::feature_cache::PrefixCache;
use crate::runner::{Runner, View};
use crate::{Error, Session};

/// Values between two writes to the cache: what a killed run loses at most.
const SEGMENT_VALUES: usize = 4 << 20;
/// Examples between two writes at the most.
const SEGMENT: usize = 1024;

/// The frozen part of a network with its cache.
pub(crate) struct Prefix {
    /// What its products are computed in.
    pub(crate) precision: Precision,
    pub(crate) runner: Runner,
    cache: PrefixCache,
}

/// What extracting cost and saved, in distinct examples.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extracted {
    pub(crate) n_computed: usize,
    pub(crate) n_cached: usize,
    /// Bytes written to the cache.
    pub(crate) n_bytes: usize,
}

impl std::ops::AddAssign for Extracted {
    fn add_assign(&mut self, other: Extracted) {
        self.n_computed += other.n_computed;
        self.n_cached += other.n_cached;
        self.n_bytes += other.n_bytes;
    }
}

/// One example or view that is wanted, under the name that the cache knows it by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted<'a> {
    pub(crate) key: [u8; 32],
    pub(crate) view: View<'a>,
}

/// What came out, by key.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) known: HashMap<[u8; 32], Vec<f32>>,
    pub(crate) failed: HashMap<[u8; 32], String>,
    pub(crate) extracted: Extracted,
}

impl Prefix {
    /// Loads the prefix `graph` of a model.
    pub(crate) fn new(session: &Session, model: &Model, graph: &Graph) -> Result<Self, Error> {
        Self::with_products_in(Precision::F32, session, model, graph)
    }

    /// The same with products in another precision.
    pub(crate) fn with_products_in(
        precision: Precision,
        session: &Session,
        model: &Model,
        graph: &Graph,
    ) -> Result<Self, Error> {
        let (tokenizer, device) = (model.tokenizer.as_deref(), &session.device);
        let runner = Runner::new(graph, &model.weights, &model.preprocess, tokenizer, device, precision)?;
        let cache = session.features.prefix(runner.key());
        Ok(Prefix { precision, runner, cache })
    }

    /// The same with views augmented so.
    pub(crate) fn augmented(self, augmentation: Augmentation) -> Self {
        Prefix { runner: self.runner.augmented(augmentation), ..self }
    }

    /// What comes out for each of `wanted`: from the cache, or computed and cached.
    pub(crate) fn rows(&self, session: &Session, wanted: &[Wanted<'_>], stage: &str) -> Result<Rows, Error> {
        if wanted.is_empty() {
            return Ok(Rows::default());
        }
        let keys: HashSet<[u8; 32]> = wanted.iter().map(|w| w.key).collect();
        let mut known = self.cache.read(&keys).map_err(Error::cache)?;
        let n_cached = known.len();
        // Byte-identical examples run once.
        let mut seen: HashSet<[u8; 32]> = known.keys().copied().collect();
        let missing: Vec<&Wanted<'_>> = wanted.iter().filter(|w| seen.insert(w.key)).collect();
        let mut failed: HashMap<[u8; 32], String> = HashMap::new();
        let done = AtomicUsize::new(n_cached);
        let tick = |n| {
            let now = done.fetch_add(n, Ordering::Relaxed) + n;
            session.observer.progress(stage, now as u64, keys.len() as u64);
        };
        tick(0);
        let (mut at, mut n_bytes) = (0, 0);
        // The first segment is small: it shows how large a row is.
        let mut size = 64;
        while at < missing.len() {
            let chunk = &missing[at..(at + size).min(missing.len())];
            let views: Vec<View<'_>> = chunk.iter().map(|w| w.view).collect();
            let mut segment = Vec::with_capacity(chunk.len());
            for (w, row) in chunk.iter().zip(self.runner.run(&views, &tick)?) {
                match row {
                    Ok(values) => segment.push((w.key, values)),
                    Err(e) => {
                        failed.insert(w.key, e.to_string());
                    }
                }
            }
            self.cache.write(&segment).map_err(Error::cache)?;
            n_bytes += segment.iter().map(|(_, v)| 36 + 4 * v.len()).sum::<usize>();
            let longest = segment.iter().map(|(_, v)| v.len()).max().unwrap_or(1).max(1);
            size = (SEGMENT_VALUES / longest).clamp(1, SEGMENT);
            known.extend(segment);
            at += chunk.len();
        }
        if !missing.is_empty() {
            session.features.evict().map_err(Error::cache)?;
        }
        let extracted = Extracted { n_computed: missing.len() - failed.len(), n_cached, n_bytes };
        Ok(Rows { known, failed, extracted })
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
        let wanted: Vec<Wanted<'_>> = example_idx
            .iter()
            .map(|&i| &dataset.examples[i])
            .map(|e| Wanted { key: e.hash, view: View { input: &e.input, seed: None } })
            .collect();
        let Rows { known, failed, extracted } = self.rows(session, &wanted, stage)?;
        let mut features = Features { width: self.runner.width(), ..Features::default() };
        let mut diagnostics = Vec::new();
        for (&i, w) in example_idx.iter().zip(&wanted) {
            if let Some(row) = known.get(&w.key) {
                features.example_idx.push(i);
                features.values.extend_from_slice(row);
            } else {
                let message = failed.get(&w.key).cloned().unwrap_or_default();
                let path = dataset.name_of(i);
                diagnostics.push(Diagnostic { path, line: None, message, skipped: true });
            }
        }
        Ok((features, diagnostics, extracted))
    }
}
