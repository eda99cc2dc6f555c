//! Examples as the part of a network that trains takes them: raw, or as what the frozen prefix made of them.

use std::collections::HashMap;

use headstart_core::{Array, Balance, Batch, Dataset, Rng, TargetRows, TrainingPlan, Values};
use headstart_data::{Augmentation, Prepared, Preparer, view_seed};
use headstart_graph::rewrite::Divided;
use headstart_graph::{Dim, Graph, Model};
use headstart_train::{BalancedSampler, Lessons, TuneError, length_grouped};
use rayon::prelude::*;

use crate::prefix::{Extracted, Prefix, Wanted};
use crate::runner::View;
use crate::{Error, Session};

/// Frontier values and prepared examples held in memory at the most, bytes; more are computed when they are needed.
const BYTES_HELD_MAX: usize = 3 << 30;

/// What a phase learns from.
pub(crate) struct Material<'a> {
    session: &'a Session,
    dataset: &'a Dataset,
    /// Positions of the examples in their data set.
    pub(crate) example_idx: Vec<usize>,
    rows: TargetRows,
    preparer: Preparer,
    views: Views,
    frontier: Option<Frontier>,
    /// Whether the part that trains also takes what the preprocessing makes.
    reads_raw: bool,
    /// By position: what is prepared once and for all.
    held: Vec<Option<Prepared>>,
    lengths: Vec<usize>,
    order: Order,
}

/// How views are drawn.
#[derive(Debug, Clone)]
struct Views {
    augmentation: Augmentation,
    n: usize,
    seed: u64,
}

/// How batches are drawn.
#[derive(Debug, Clone)]
struct Order {
    batch_size: usize,
    seed: u64,
    /// Classes, where they are drawn equally often.
    balanced: Option<Vec<usize>>,
}

/// The frozen prefix, and what came out of it for each view of each example.
struct Frontier {
    prefix: Prefix,
    /// Outputs of the prefix: name and shape.
    outputs: Vec<(String, Vec<Dim>)>,
    /// By key of the view.
    rows: HashMap<[u8; 32], Vec<f32>>,
}

/// Which examples, and what they should be answered.
pub(crate) struct Part<'a> {
    pub(crate) dataset: &'a Dataset,
    pub(crate) example_idx: &'a [usize],
    pub(crate) rows: TargetRows,
    /// Classes by example, where the task has them.
    pub(crate) classes: Option<Vec<usize>>,
}

impl<'a> Material<'a> {
    /// Runs the prefix of a divided network, if there is one, over every view of every example, as far as memory goes.
    pub(crate) fn new(
        session: &'a Session,
        model: &Model,
        parts: Option<&Divided>,
        part: Part<'a>,
        plan: &TrainingPlan,
        seed: u64,
    ) -> Result<(Self, Extracted), Error> {
        let modality = part.dataset.modality;
        let augmentation = Augmentation::parse(&plan.augmentation, modality)?;
        let n_views = if augmentation.is_none() { 1 } else { plan.n_views.max(1) };
        let views = Views { augmentation: augmentation.clone(), n: n_views, seed };
        let preparer = Preparer::new(&model.preprocess, model.tokenizer.as_deref())?;
        let divided = parts.and_then(|p| Some((p.prefix.as_ref()?, &p.suffix)));
        // What stands beside a frozen layer may read the same input as that layer.
        let reads_raw = divided.is_none_or(|(graph, suffix)| {
            let crosses = |name: &str| graph.outputs().iter().any(|o| o.name == name);
            suffix.inputs().any(|(_, name, _)| !crosses(name))
        });
        let balanced = part.classes.filter(|_| plan.balance == Balance::Sampling);
        let mut material = Material {
            session,
            dataset: part.dataset,
            example_idx: part.example_idx.to_vec(),
            rows: part.rows,
            preparer,
            views,
            frontier: None,
            reads_raw,
            held: Vec::new(),
            lengths: Vec::new(),
            order: Order { batch_size: plan.batch_size, seed, balanced },
        };
        material.hold()?;
        let mut extracted = Extracted::default();
        if let Some((graph, _)) = divided {
            let outputs = graph
                .outputs()
                .iter()
                .map(|o| (o.name.clone(), graph.value(o.value).shape.0.clone()))
                .collect();
            let prefix = Prefix::new(session, model, graph)?.augmented(augmentation);
            let mut frontier = Frontier { prefix, outputs, rows: HashMap::new() };
            extracted = material.fill(&mut frontier)?;
            material.frontier = Some(frontier);
        }
        Ok((material, extracted))
    }

    /// How many examples.
    pub(crate) fn len(&self) -> usize {
        self.example_idx.len()
    }

    /// Bytes that the frozen part made of the examples.
    pub(crate) fn frozen_bytes(&self) -> usize {
        self.frontier.iter().flat_map(|f| f.rows.values()).map(|row| 4 * row.len()).sum()
    }

    /// Prepares every example once, where it has one view only and memory allows; texts in any case, for their lengths.
    fn hold(&mut self) -> Result<(), Error> {
        let is_text = self.dataset.modality == headstart_core::Modality::Text;
        self.lengths = vec![1; self.len()];
        self.held = vec![None; self.len()];
        if !is_text && (!self.reads_raw || self.views.n > 1) {
            return Ok(());
        }
        let one = self.preparer.prepare(&self.dataset.examples[self.example_idx[0]].input)?;
        let bytes = match &one {
            Prepared::Image(pixels) => 4 * pixels.len(),
            Prepared::Tokens(ids) => 8 * ids.len(),
        };
        if !is_text && bytes.saturating_mul(self.len()) > BYTES_HELD_MAX {
            return Ok(());
        }
        let prepared: Vec<Prepared> = self
            .example_idx
            .par_iter()
            .map(|&i| Ok(self.preparer.prepare(&self.dataset.examples[i].input)?))
            .collect::<Result<_, Error>>()?;
        for (length, p) in self.lengths.iter_mut().zip(&prepared) {
            if let Prepared::Tokens(ids) = p {
                *length = ids.len();
            }
        }
        self.held = prepared.into_iter().map(Some).collect();
        Ok(())
    }

    /// Runs the prefix over all views, one after the other, while they fit.
    fn fill(&self, frontier: &mut Frontier) -> Result<Extracted, Error> {
        let bytes_max = BYTES_HELD_MAX.min(self.session.features.bytes_max() as usize);
        // A few examples show how large a row is.
        let sample: Vec<Wanted<'_>> = (0..self.len().min(32)).map(|at| self.wanted(at, 0)).collect();
        let sampled = frontier.prefix.rows(self.session, &sample, STAGE)?;
        let row = sampled.known.values().map(|v| 4 * v.len()).max().unwrap_or(0);
        let mut sum = sampled.extracted;
        frontier.rows.extend(sampled.known);
        for view in 0..self.views.n {
            if row.saturating_mul(self.len()).saturating_mul(view + 1) > bytes_max {
                break;
            }
            let known = if view == 0 { sample.len() } else { 0 };
            let rest: Vec<Wanted<'_>> = (known..self.len()).map(|at| self.wanted(at, view)).collect();
            let rows = frontier.prefix.rows(self.session, &rest, STAGE)?;
            sum += rows.extracted;
            frontier.rows.extend(rows.known);
        }
        Ok(sum)
    }

    fn wanted(&self, at: usize, view: usize) -> Wanted<'_> {
        let example = &self.dataset.examples[self.example_idx[at]];
        let seed = (!self.views.augmentation.is_none())
            .then(|| view_seed(&example.hash, view as u64, self.views.seed));
        let key = match seed {
            Some(seed) => {
                let mut h = blake3::Hasher::new();
                h.update(&example.hash).update(self.views.augmentation.to_string().as_bytes());
                *h.update(&seed.to_le_bytes()).finalize().as_bytes()
            }
            None => example.hash,
        };
        Wanted { key, view: View { input: &example.input, seed } }
    }

    /// The inputs of some examples in one view.
    pub(crate) fn inputs(&self, at: &[usize], view: usize) -> Result<Batch, Error> {
        let wanted: Vec<Wanted<'_>> = at.iter().map(|&i| self.wanted(i, view)).collect();
        let mut batch = Batch::default();
        if self.reads_raw {
            let prepare = |(&i, w): (&usize, &Wanted<'_>)| match (&self.held[i], w.view.seed) {
                (Some(held), None) => Ok(held.clone()),
                (_, Some(seed)) => {
                    Ok(self.preparer.prepare_view(w.view.input, &self.views.augmentation, seed)?)
                }
                (None, None) => Ok(self.preparer.prepare(w.view.input)?),
            };
            let prepared: Vec<Prepared> =
                at.par_iter().zip(&wanted).map(prepare).collect::<Result<_, Error>>()?;
            batch = self.preparer.batch(&prepared.iter().collect::<Vec<_>>());
        }
        if let Some(frontier) = &self.frontier {
            batch.inputs.splice(0..0, frontier.arrays(self.session, &wanted)?);
        }
        Ok(batch)
    }
}

const STAGE: &str = "running the frozen part";

impl Frontier {
    /// The frontier's values for some views, stacked; sequences are padded with zeros, which masks hide.
    fn arrays(&self, session: &Session, wanted: &[Wanted<'_>]) -> Result<Vec<(String, Array)>, Error> {
        let missing: Vec<Wanted<'_>> =
            wanted.iter().filter(|w| !self.rows.contains_key(&w.key)).copied().collect();
        let computed = match missing.is_empty() {
            true => HashMap::new(),
            false => self.prefix.rows(session, &missing, STAGE)?.known,
        };
        let rows: Vec<&[f32]> = wanted
            .iter()
            .map(|w| self.rows.get(&w.key).or_else(|| computed.get(&w.key)).map(Vec::as_slice))
            .map(|row| {
                row.ok_or_else(|| Error::request("an example cannot be read any more", "run it again"))
            })
            .collect::<Result<_, Error>>()?;
        // Elements that do not depend on the sequence, and those for each of its positions.
        let per = |dims: &[Dim]| -> usize { dims[1..].iter().filter_map(Dim::fixed).product() };
        let is_sequence = |dims: &[Dim]| dims[1..].iter().any(|d| d.fixed().is_none());
        let of = |sequence: bool| -> usize {
            self.outputs.iter().filter(|(_, d)| is_sequence(d) == sequence).map(|(_, d)| per(d)).sum()
        };
        let (fixed, by_position) = (of(false), of(true));
        let lengths: Vec<usize> =
            rows.iter().map(|r| (r.len() - fixed).checked_div(by_position).unwrap_or(1)).collect();
        let longest = lengths.iter().copied().max().unwrap_or(1);
        let mut at = vec![0; rows.len()];
        let mut arrays = Vec::new();
        for (name, dims) in &self.outputs {
            let (width, sequence) = (per(dims), is_sequence(dims));
            let full = if sequence { width * longest } else { width };
            let mut values = vec![0.0f32; rows.len() * full];
            for (i, row) in rows.iter().enumerate() {
                let n = if sequence { width * lengths[i] } else { width };
                values[i * full..i * full + n].copy_from_slice(&row[at[i]..at[i] + n]);
                at[i] += n;
            }
            let mut shape = vec![rows.len()];
            shape.extend(dims[1..].iter().map(|d| d.fixed().unwrap_or(longest)));
            arrays.push((name.clone(), Array { shape, values: Values::F32(values) }));
        }
        Ok(arrays)
    }
}

/// Whether what crosses a frontier can be stacked with padding: `[batch, sequence, …]` with nothing else unknown.
pub(crate) fn can_be_kept(prefix: &Graph) -> bool {
    prefix.outputs().iter().all(|o| {
        let dims = &prefix.value(o.value).shape.0;
        let is_by_example = dims.first().is_some_and(|d| d.fixed().is_none());
        is_by_example && dims.iter().skip(2).all(|d| d.fixed().is_some())
    })
}

impl Lessons for Material<'_> {
    fn pass(&self, pass: usize) -> Vec<Vec<usize>> {
        let Order { batch_size, seed, balanced } = &self.order;
        if let Some(classes) = balanced {
            let drawn: Vec<usize> = BalancedSampler::new(classes).epoch(*seed, pass as u64).collect();
            return headstart_train::in_batches(&drawn, *batch_size);
        }
        if self.dataset.modality == headstart_core::Modality::Text {
            return length_grouped(&self.lengths, *batch_size, *seed, pass as u64);
        }
        let mut order: Vec<usize> = (0..self.len()).collect();
        Rng::stream(*seed ^ 0x0bde, pass as u64).shuffle(&mut order);
        headstart_train::in_batches(&order, *batch_size)
    }

    fn batch(&self, idx: &[usize], pass: usize) -> Result<Batch, TuneError> {
        self.inputs(idx, pass % self.views.n).map_err(|e| TuneError::Outside(Box::new(e)))
    }

    fn targets(&self, idx: &[usize]) -> TargetRows {
        self.rows.select(idx)
    }
}
