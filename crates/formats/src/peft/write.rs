//! Writes `adapter_config.json` and `adapter_model.safetensors`.

use std::path::Path;

use headstart_graph::rewrite::{AdapterKind, LoraSpec};
use headstart_graph::{Tensor, Weights};
use serde_json::{Map, Value, json};

use super::read::PREFIX;
use super::{CONFIG_NAME, PeftAdapter, PeftLayer, error};
use crate::{FormatError, safetensors};

pub(super) fn save(adapter: &PeftAdapter, dir: &Path) -> Result<(), FormatError> {
    let path = dir.join(CONFIG_NAME);
    let config = config(adapter).map_err(|what| error(&path, what))?;
    let text = serde_json::to_string_pretty(&config).expect("a JSON value can be written");
    std::fs::write(&path, text + "\n").map_err(FormatError::write(&path))?;
    let mut weights = Weights::new();
    for layer in &adapter.layers {
        for (name, tensor) in &layer.tensors {
            let (name, tensor) = published(layer, name, tensor)?;
            weights.insert(format!("{PREFIX}{}.{name}", layer.module), tensor);
        }
    }
    for (name, tensor) in adapter.saved.iter() {
        weights.insert(format!("{PREFIX}{name}"), tensor.clone());
    }
    // transformers refuses files that do not say which library's tensors they hold.
    safetensors::save(dir.join("adapter_model.safetensors"), &weights, &[("format".into(), "pt".into())])
}

/// A tensor under PEFT's name and in its shape.
fn published<'a>(
    layer: &PeftLayer,
    name: &'a str,
    tensor: &Tensor,
) -> Result<(&'a str, Tensor), FormatError> {
    let n = tensor.len();
    Ok(match (name, layer.kind) {
        ("lora_embedding_A.weight", _) => ("lora_embedding_A", tensor.transposed()?),
        ("lora_embedding_B.weight", _) => ("lora_embedding_B", tensor.clone()),
        ("lora_magnitude_vector.weight", _) => {
            let shape = if layer.is_convolution { vec![1, n, 1, 1] } else { vec![n] };
            // Of the two names that PEFT reads, the one that transformers' own loader understands too.
            (name, tensor.reshaped(&shape)?)
        }
        ("ia3_l", AdapterKind::Ia3 { .. }) if layer.is_convolution => (name, tensor.reshaped(&[1, n, 1, 1])?),
        ("ia3_l", AdapterKind::Ia3 { before }) => {
            (name, tensor.reshaped(&if before { [1, n] } else { [n, 1] })?)
        }
        _ => (name, tensor.clone()),
    })
}

fn config(adapter: &PeftAdapter) -> Result<Value, String> {
    let c = &adapter.config;
    let mut json = json!({
        "auto_mapping": c.base_class.as_ref().map(|class| json!({"base_model_class": class, "parent_library": "transformers"})),
        "base_model_name_or_path": c.base,
        "fan_in_fan_out": false,
        "inference_mode": true,
        "modules_to_save": if c.modules_to_save.is_empty() { Value::Null } else { c.modules_to_save.clone().into() },
        "revision": c.revision,
        "target_modules": c.targets.to_json(),
        "task_type": c.task_type,
    });
    let first = adapter.layers.first().ok_or("an adapter without layers")?;
    match first.kind {
        AdapterKind::Ia3 { .. } => {
            json["peft_type"] = "IA3".into();
            json["feedforward_modules"] = c.feedforward.to_json();
            json["init_ia3_weights"] = true.into();
        }
        AdapterKind::Lora(spec) | AdapterKind::Dora(spec) => {
            let (ranks, alphas) = exceptions(adapter, &spec)?;
            json["peft_type"] = "LORA".into();
            json["r"] = spec.rank.into();
            json["lora_alpha"] = number(spec.alpha);
            json["lora_dropout"] = spec.dropout.into();
            json["rank_pattern"] = ranks.into();
            json["alpha_pattern"] = alphas.into();
            json["use_rslora"] = spec.rank_stabilised.into();
            json["use_dora"] = matches!(first.kind, AdapterKind::Dora(_)).into();
            json["bias"] = c.bias.name().into();
            json["init_lora_weights"] = true.into();
        }
        AdapterKind::Bottleneck { .. } => {
            return Err(format!("`{}` has a bottleneck, which PEFT does not know", first.module));
        }
    }
    if let Some(other) = adapter.layers.iter().find(|l| method(&l.kind) != method(&first.kind)) {
        let (a, b) = (method(&other.kind), method(&first.kind));
        return Err(format!(
            "`{}` has {a} and `{}` has {b}: one PEFT adapter is of one kind",
            other.module, first.module
        ));
    }
    Ok(json)
}

fn method(kind: &AdapterKind) -> &'static str {
    match kind {
        AdapterKind::Lora(spec) if spec.rank_stabilised => "rsLoRA",
        AdapterKind::Dora(spec) if spec.rank_stabilised => "rank-stabilised DoRA",
        AdapterKind::Lora(_) => "LoRA",
        AdapterKind::Dora(_) => "DoRA",
        AdapterKind::Ia3 { .. } => "(IA)³",
        AdapterKind::Bottleneck { .. } => "a bottleneck",
    }
}

/// Ranks and scales of the layers that differ from the first.
#[allow(clippy::type_complexity, reason = "two maps of the same kind")]
fn exceptions(
    adapter: &PeftAdapter,
    first: &LoraSpec,
) -> Result<(Map<String, Value>, Map<String, Value>), String> {
    let (mut ranks, mut alphas) = (Map::new(), Map::new());
    for layer in &adapter.layers {
        let (AdapterKind::Lora(spec) | AdapterKind::Dora(spec)) = layer.kind else { continue };
        if spec.rank != first.rank {
            ranks.insert(regex::escape(&layer.module), spec.rank.into());
        }
        if spec.alpha != first.alpha {
            alphas.insert(regex::escape(&layer.module), number(spec.alpha));
        }
    }
    Ok((ranks, alphas))
}

/// PEFT's alphas are whole numbers where they can be.
fn number(x: f64) -> Value {
    if x.fract() == 0.0 && x.abs() < 1e9 { (x as i64).into() } else { x.into() }
}
