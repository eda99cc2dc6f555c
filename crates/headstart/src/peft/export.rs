//! A bundle's adapter as a folder that `PeftModel.from_pretrained` lays onto the untouched base.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::path::Path;

use headstart_bundle::OpenBundle;
use headstart_formats::peft::{Modules, PeftAdapter, PeftConfig, PeftLayer};
use headstart_formats::safetensors;
use headstart_graph::rewrite::{AdapterKind, adapted_weight, adapter_owner, main_output};
use headstart_graph::{Graph, Model, Op, Weights};
use headstart_source::{Origin, Spec};
use headstart_zoo::{HubExport, catalogue, from_config, hub_export, name_in_graph, peft_task};

use super::attach::same;
use super::{AdapterRecord, open_base};
use crate::save_hub_folder::{write_modules, write_tokenizer};
use crate::source::{Source, SourceOptions};
use crate::{Error, Session, by_rename};

/// What an adapter's parameters are called behind the path of the layer that they stand beside.
const TENSORS: [&str; 6] = [
    "lora_A.weight",
    "lora_B.weight",
    "lora_embedding_A.weight",
    "lora_embedding_B.weight",
    "lora_magnitude_vector.weight",
    "ia3_l",
];

/// Writes the folder, reads it again onto the base, and lets `check` judge that network before the folder appears.  Returns
/// what loads it, and the bytes of its tensors.
pub(crate) fn export(
    session: &Session,
    bundle: &OpenBundle,
    merged: &Model,
    out: &Path,
    check: &dyn Fn(&Model) -> Result<(), Error>,
) -> Result<(String, usize), Error> {
    let (record, own) = read_record(bundle)?;
    let name = &bundle.manifest.plan.source;
    let source = Source::open(session, name, &SourceOptions::default())?.model;
    if source.weights.hash().to_hex().as_str() != record.base_blake3 {
        return Err(Error::request(
            format!("the base `{name}` is not the one that the adapter was trained on: its weights differ"),
            "bring the base back as it was, or export with --format hf, which needs no base",
        ));
    }
    let config = source.card.config.as_ref().ok_or_else(|| {
        Error::request(
            format!("the source `{name}` came without a config.json, so no library knows it as a base"),
            "train from a folder in the hub's layout, or export another format",
        )
    })?;
    let hub = hub_export(&merged.graph, config, &merged.labels, &merged.preprocess)?;
    let adapter = adapter(&record, &own, merged, &source, &hub, name)?;

    let bytes = by_rename::folder(out, |dir| {
        adapter.save(dir)?;
        if !hub.modules.is_empty() {
            write_modules(merged, &hub, dir)?;
        }
        write_tokenizer(merged, dir)?;
        let readme = dir.join("README.md");
        fs::write(&readme, page(&hub, &adapter, &merged.labels)).map_err(Error::io(&readme))?;

        let mut again = open_base(session, name)?.attach(&PeftAdapter::open(dir)?, dir)?.merged()?.model;
        again.graph = main_output(&again.graph)?;
        check(&again)?;
        let file = dir.join("adapter_model.safetensors");
        Ok(fs::metadata(&file).map_err(Error::io(file))?.len() as usize)
    })?;
    let is_class = hub.modules.is_empty();
    Ok((if is_class { format!("PeftModel on {}", hub.class) } else { "SentenceTransformer".into() }, bytes))
}

fn read_record(bundle: &OpenBundle) -> Result<(AdapterRecord, Weights), Error> {
    let manifest = &bundle.manifest;
    if bundle.path(AdapterRecord::NAME).is_none() {
        let why = match &manifest.results.fallback {
            Some(baseline) => format!("it holds `{baseline}`, because the adapted network did harm"),
            None => format!("its recipe is {}", manifest.plan.recipe),
        };
        return Err(Error::request(
            format!("the bundle holds no adapter that PEFT knows: {why}"),
            "fit with --recipe lora, dora or ia3 (and without interpolation), or export with --format hf",
        ));
    }
    let json = bundle.read(AdapterRecord::NAME)?;
    let record: AdapterRecord = serde_json::from_slice(&json).map_err(|e| Error::GraphJson {
        path: bundle.dir.join(AdapterRecord::NAME),
        message: e.to_string(),
    })?;
    if let Some(adapter) = &record.source_adapter {
        return Err(Error::request(
            format!("the source was itself a base with the adapter `{adapter}`: no base has both apart"),
            "export with --format hf",
        ));
    }
    let path = bundle.dir.join(AdapterRecord::TENSORS);
    Ok((record, safetensors::read(&path, bundle.read(AdapterRecord::TENSORS)?)?))
}

/// The adapter under the names of the class that computes the network.
fn adapter(
    record: &AdapterRecord,
    own: &Weights,
    merged: &Model,
    source: &Model,
    hub: &HubExport,
    name: &str,
) -> Result<PeftAdapter, Error> {
    // PEFT goes by the names that modules have in the library's newest version, which are the graph's.
    let candidate = from_config(&hub.config)?.graph;
    let live: Vec<(&str, String)> =
        hub.names.iter().map(|(own, file)| (own.as_str(), name_in_graph(&candidate, file))).collect();
    let adapted = adapted_params(&merged.graph, record);
    let mut modules_to_save = BTreeSet::new();
    for (own_name, live_name) in &live {
        let tensor = merged.weights.require(own_name)?;
        let is_base = source.weights.get(own_name).is_some_and(|base| same(base, tensor));
        if !is_base && !adapted.contains(*own_name) {
            modules_to_save.insert(module_to_save(live_name).to_string());
        }
    }
    // PEFT takes every module whose name ends so, whatever stands before: `pre_classifier` goes with `classifier`.
    let is_saved = |name: &str| {
        let mut modules = name.match_indices('.').map(|(at, _)| &name[..at]);
        modules.any(|module| modules_to_save.iter().any(|saved| module.ends_with(saved.as_str())))
    };
    let mut saved = Weights::new();
    for (own_name, live_name) in live.iter().filter(|(_, live_name)| is_saved(live_name)) {
        saved.insert(live_name.clone(), merged.weights.require(own_name)?.clone());
    }
    let module_of: HashMap<&str, &str> = live
        .iter()
        .filter(|(_, live_name)| !is_saved(live_name))
        .filter_map(|(own_name, live_name)| Some((*own_name, live_name.strip_suffix(".weight")?)))
        .collect();
    let layers = layers(record, own, &merged.graph, &module_of)?;
    let named = |wanted: &dyn Fn(&PeftLayer) -> bool| {
        Modules::Named(layers.iter().filter(|l| wanted(l)).map(|l| l.module.clone()).collect())
    };
    let before = |l: &PeftLayer| l.kind == AdapterKind::Ia3 { before: true };
    let dropout = layers.iter().find_map(|l| match l.kind {
        AdapterKind::Lora(spec) | AdapterKind::Dora(spec) => Some(spec.dropout),
        _ => None,
    });
    let (base, revision) = base_of(name)?;
    let task_type = peft_task(&hub.class);
    let config = PeftConfig {
        base: Some(base),
        revision,
        task_type: task_type.map(String::from),
        base_class: task_type.is_none().then(|| hub.class.clone()),
        targets: named(&|_| true),
        modules_to_save: modules_to_save.into_iter().collect(),
        feedforward: named(&before),
        dropout: dropout.unwrap_or(0.0),
        ..PeftConfig::default()
    };
    Ok(PeftAdapter { config, layers, saved, modules: Vec::new() })
}

/// Parameters that merging changes.
fn adapted_params<'a>(graph: &'a Graph, record: &AdapterRecord) -> HashSet<&'a str> {
    let is_target = |path: &String| record.adapters.iter().any(|a| a.targets.contains(path));
    let nodes = graph.nodes().iter().filter(|n| is_target(&n.path));
    nodes.flat_map(|n| n.inputs.iter().map(|&id| graph.value(id).name.as_str())).collect()
}

/// The module that is replaced for one parameter: a head as a whole, as PEFT's tasks have it.
fn module_to_save(name: &str) -> &str {
    if name.starts_with("classifier.") {
        "classifier"
    } else {
        name.rsplit_once('.').map_or(name, |(stem, _)| stem)
    }
}

fn layers(
    record: &AdapterRecord,
    own: &Weights,
    graph: &Graph,
    module_of: &HashMap<&str, &str>,
) -> Result<Vec<PeftLayer>, Error> {
    let mut layers = Vec::new();
    for adapter in &record.adapters {
        for target in &adapter.targets {
            if adapter_owner(graph, adapter, target)? != target {
                continue;
            }
            let node = graph.producer(graph.find(target)?).expect("find returns what a node makes");
            // A layer that is written as a whole, in the head or behind the network, has the adapter merged.
            let Some(module) = adapted_weight(graph, node).and_then(|w| module_of.get(w)) else { continue };
            let named = |name: &'static str| Some((name, own.get(&format!("{target}.{name}"))?.clone()));
            layers.push(PeftLayer {
                module: module.to_string(),
                kind: adapter.kind,
                is_convolution: matches!(node.op, Op::Conv2d { .. }),
                tensors: TENSORS.into_iter().filter_map(named).collect(),
            });
        }
    }
    Ok(layers)
}

/// What PEFT calls the base, and its revision.
fn base_of(name: &str) -> Result<(String, Option<String>), Error> {
    let spec = match catalogue().entry(name) {
        Ok(entry) => Spec::parse(&entry.origin)?,
        Err(_) => Spec::parse(name)?,
    };
    let revision = spec.version().filter(|_| spec.origin() == Origin::Hf).map(String::from);
    Ok((spec.name().to_string(), revision))
}

/// How to load it, for people.
fn page(hub: &HubExport, adapter: &PeftAdapter, labels: &[String]) -> String {
    let base = adapter.config.base.as_deref().unwrap_or_default();
    let mut text = format!("# An adapter for `{base}`\n\nThe base stays as it is.\n\n```python\n");
    let n = labels.len().max(1);
    if !hub.modules.is_empty() {
        text += "from sentence_transformers import SentenceTransformer\n\
                 model = SentenceTransformer(\"this folder\")\n\
                 logits = model.encode([\"a text\"])\n```\n\n\
                 The adapter alone loads with `PeftModel.from_pretrained(AutoModel.from_pretrained(base), \"this folder\")`.  \
                 No class of\ntransformers has this head: `modules.json` lists it, pooling and linear layers behind the \
                 token vectors.\n";
    } else {
        let class = &hub.class;
        text += &format!(
            "from peft import PeftModel\nfrom transformers import {class}\n\
             base = {class}.from_pretrained(\"{base}\", num_labels={n}, ignore_mismatched_sizes=True)\n\
             model = PeftModel.from_pretrained(base, \"this folder\").eval()\n```\n"
        );
    }
    if !labels.is_empty() {
        text += "\nWhat the outputs stand for, in order:\n\n";
        for (i, label) in labels.iter().enumerate() {
            text += &format!("{i}. {label}\n");
        }
    }
    text
}
