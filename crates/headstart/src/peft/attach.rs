//! Puts a PEFT adapter onto the network of its base: modules are found as layers of the graph.

use std::collections::HashSet;
use std::path::Path;

use headstart_formats::listing::list;
use headstart_formats::peft::{PeftAdapter, PeftLayer};
use headstart_formats::{AssignRules, HfFolder, assign};
use headstart_graph::rewrite::{Adapter, adapt, adapted_weight, adapter_owner, merge};
use headstart_graph::{Card, Graph, Model, Op, Weights};
use headstart_zoo::{adapted_config, name_in_graph};

use crate::source::Source;
use crate::{Error, hub_folder};

/// The folder of a base, read once for all adapters on it.
pub(super) struct Base {
    pub(super) folder: HfFolder,
    pub(super) tensors: Weights,
    pub(super) card: Card,
}

/// A base with an adapter beside its layers.
pub(super) struct Attached {
    /// The network without the adapter, with the tensors that the adapter replaces as a whole.
    pub(super) source: Source,
    /// What stands beside it.
    pub(super) adapters: Vec<Adapter>,
    /// The adapters' own parameters.
    pub(super) own: Weights,
    /// The network with the adapter.
    pub(super) graph: Graph,
}

impl Base {
    pub(super) fn open(dir: &Path, card: Card) -> Result<Self, Error> {
        let folder = HfFolder::open(dir)?;
        let tensors = folder.load_weights()?;
        Ok(Base { folder, tensors, card })
    }

    /// The network without any adapter.
    pub(super) fn plain(&self) -> Result<Source, Error> {
        hub_folder::assemble(&self.folder, self.tensors.clone(), &Weights::new(), self.card.clone())
    }

    /// Puts an adapter onto the network; `dir` is the adapter's folder, for messages.
    pub(super) fn attach(&self, adapter: &PeftAdapter, dir: &Path) -> Result<Attached, Error> {
        let config = &adapter.config;
        let n_classes = ["classifier.weight", "classifier.out_proj.weight", "cls_classifier.weight"]
            .iter()
            .find_map(|name| adapter.saved.get(name)?.shape().first().copied());
        let mut folder = self.folder.clone();
        folder.config = adapted_config(
            &self.folder.config,
            config.task_type.as_deref(),
            config.base_class.as_deref(),
            n_classes,
        )?;
        if !adapter.modules.is_empty() {
            folder.modules = adapter.modules.clone();
        }
        let source = hub_folder::assemble(&folder, self.tensors.clone(), &adapter.saved, self.card.clone())?;
        let base = &source.model.graph;
        let (adapters, tensors) = beside_layers(base, adapter, dir)?;
        let adapted: HashSet<&str> =
            adapters.iter().flat_map(|a| a.targets.iter().map(String::as_str)).collect();
        everything_named_is_there(base, adapter, &adapted, dir)?;
        let mut graph = base.clone();
        for a in &adapters {
            graph = adapt(&graph, a)?;
        }
        let mut all = source.model.weights.clone();
        for (name, tensor) in tensors.iter() {
            all.insert(name, tensor.clone());
        }
        let (all, _) = assign(&graph, all, &AssignRules::default())?;
        let own = tensors.iter().map(|(name, _)| Ok((name.to_string(), all.require(name)?.clone())));
        let own = own.collect::<Result<Weights, Error>>()?;
        Ok(Attached { source, adapters, own, graph })
    }
}

impl Attached {
    /// The network with the adapter folded into its weights.
    pub(super) fn merged(&self) -> Result<Source, Error> {
        let model = &self.source.model;
        let mut weights = model.weights.clone();
        for (name, tensor) in self.own.iter() {
            weights.insert(name, tensor.clone());
        }
        let mut graph = self.graph.clone();
        for adapter in self.adapters.iter().rev() {
            (graph, weights) = merge(&graph, &weights, adapter)?;
        }
        Ok(Source { model: Model { graph, weights, ..model.clone() }, report: self.source.report.clone() })
    }
}

/// The adapters by kind, and their tensors under the graph's names.
fn beside_layers(base: &Graph, adapter: &PeftAdapter, dir: &Path) -> Result<(Vec<Adapter>, Weights), Error> {
    let mut adapters: Vec<Adapter> = Vec::new();
    let mut placed: Vec<(&PeftLayer, String)> = Vec::new();
    let mut nowhere = Vec::new();
    let mut taken = HashSet::new();
    for layer in &adapter.layers {
        let weight = name_in_graph(base, &format!("{}.weight", layer.module));
        let nodes = base.nodes().iter().filter(|n| adapted_weight(base, n) == Some(&weight));
        let targets: Vec<String> = nodes.map(|n| n.path.clone()).collect();
        let Some(first) = targets.first().cloned() else {
            nowhere.push(format!("`{}`", layer.module));
            continue;
        };
        if !taken.insert(weight) {
            return Err(Error::request(
                format!(
                    "{}: two modules are the layer `{first}`, one of them `{}`",
                    dir.display(),
                    layer.module
                ),
                "the adapter's tensors carry names of two versions of transformers",
            ));
        }
        match adapters.iter_mut().find(|a| a.kind == layer.kind) {
            Some(known) => known.targets.extend(targets),
            None => adapters.push(Adapter { kind: layer.kind, targets }),
        }
        placed.push((layer, first));
    }
    if !nowhere.is_empty() {
        return Err(Error::request(
            format!("{}: the base has no layers {}", dir.display(), list(&nowhere)),
            "the adapter was made for another network: name its base with --source",
        ));
    }
    let mut tensors = Weights::new();
    for (layer, first) in placed {
        let adapter = adapters.iter().find(|a| a.kind == layer.kind).expect("every placed layer has one");
        let owner = adapter_owner(base, adapter, &first)?;
        for (name, tensor) in &layer.tensors {
            tensors.insert(format!("{owner}.{name}"), tensor.clone());
        }
    }
    Ok((adapters, tensors))
}

/// A file that lacks what its configuration names was cut short, or belongs to another network.
fn everything_named_is_there(
    base: &Graph,
    adapter: &PeftAdapter,
    adapted: &HashSet<&str>,
    dir: &Path,
) -> Result<(), Error> {
    let config = &adapter.config;
    let is_named = |module: &str| {
        let mut ancestors = module.match_indices('.').map(|(at, _)| &module[..at]).chain([module]);
        config.targets.contains(module)
            && !config.excluded.contains(module)
            // PEFT takes every module whose name ends so.
            && !ancestors.any(|a| config.modules_to_save.iter().any(|saved| a.ends_with(saved.as_str())))
    };
    if config.only_some_layers {
        return Ok(());
    }
    let is_layer = |op: &Op| matches!(op, Op::Linear | Op::Embedding | Op::Conv2d { .. });
    let mut lacking: Vec<String> = base
        .nodes()
        .iter()
        .filter(|n| is_layer(&n.op) && !adapted.contains(n.path.as_str()))
        .filter_map(|n| adapted_weight(base, n)?.strip_suffix(".weight"))
        .filter(|module| is_named(module))
        .map(|module| format!("`{module}`"))
        .collect();
    lacking.sort();
    lacking.dedup();
    if lacking.is_empty() {
        return Ok(());
    }
    Err(Error::request(
        format!("{}: target_modules names {}, for which there are no tensors", dir.display(), list(&lacking)),
        "the file of the adapter's weights is incomplete, or belongs to another base",
    ))
}

/// Whether two tensors are the same; those that share memory are not looked at.
pub(super) fn same(a: &headstart_graph::Tensor, b: &headstart_graph::Tensor) -> bool {
    let in_one_place = a.bytes().as_ptr() == b.bytes().as_ptr() && a.bytes().len() == b.bytes().len();
    (in_one_place && a.shape() == b.shape() && a.dtype() == b.dtype()) || a == b
}
