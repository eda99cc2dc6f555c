//! From the tensors of `adapter_model.safetensors` to what stands beside each module.
//!
//! ```text
//! linear       X.lora_A.weight [r, in]            X.lora_B.weight [out, r]
//! convolution  X.lora_A.weight [r, in, kh, kw]    X.lora_B.weight [out, r, 1, 1]
//! embedding    X.lora_embedding_A [r, rows]       X.lora_embedding_B [width, r]
//! DoRA         X.lora_magnitude_vector [out]      a convolution's [1, out, 1, 1]
//! (IA)³        X.ia3_l [out, 1] behind, [1, in] before, a convolution's [1, c, 1, 1]
//! ```
//!
//! `X` is `base_model.model.` and the module's name.  Whatever else there is replaces a tensor of the base.

use std::collections::BTreeMap;
use std::path::Path;

use headstart_graph::rewrite::{AdapterKind, LoraSpec};
use headstart_graph::{Tensor, Weights};

use super::config::Method;
use super::{Modules, PeftConfig, PeftLayer, error};
use crate::FormatError;
use crate::listing::{brief, list};

/// What names in the file begin with.
pub(super) const PREFIX: &str = "base_model.model.";

/// What the tensors of adapted modules end with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Part {
    A,
    B,
    EmbeddingA,
    EmbeddingB,
    Magnitude,
    Factor,
}

const ENDINGS: [(&str, Part); 7] = [
    (".lora_A.weight", Part::A),
    (".lora_B.weight", Part::B),
    (".lora_embedding_A", Part::EmbeddingA),
    (".lora_embedding_B", Part::EmbeddingB),
    (".lora_magnitude_vector", Part::Magnitude),
    // The parameter's whole name, which transformers' own loader needs.
    (".lora_magnitude_vector.weight", Part::Magnitude),
    (".ia3_l", Part::Factor),
];

/// Wrappers whose names stand inside those of the tensors that they wrap.
const WRAPPERS: [&str; 2] = [".base_layer.", ".modules_to_save."];

type Parts<'a> = BTreeMap<Part, &'a Tensor>;

/// Sorts the tensors by module, and checks each module against the configuration.
pub(super) fn layers(
    path: &Path,
    config: &PeftConfig,
    method: &Method,
    weights: &Weights,
) -> Result<(Vec<PeftLayer>, Weights), FormatError> {
    let mut modules: BTreeMap<&str, Parts<'_>> = BTreeMap::new();
    let (mut saved, mut unread) = (Weights::new(), Vec::new());
    for (full, tensor) in weights.iter() {
        let name = full.strip_prefix(PREFIX).unwrap_or(full);
        let part = ENDINGS.iter().find_map(|(end, part)| Some((name.strip_suffix(end)?, *part)));
        match part {
            Some((module, _)) if module.ends_with(".base_layer") => unread.push(brief(full)),
            Some((module, part)) => {
                if modules.entry(module).or_default().insert(part, tensor).is_some() {
                    return Err(error(path, format!("two tensors for one part of `{}`", brief(module))));
                }
            }
            None if [".lora_", ".ia3_"].iter().any(|p| name.contains(p)) => unread.push(brief(full)),
            // What stands there without the adapter, which the base has.
            None if name.contains(".original_module.") => {}
            None => {
                let plain = WRAPPERS.iter().fold(name.to_string(), |n, w| n.replace(w, "."));
                // A name without a wrapper is the one that PEFT itself loads.
                if plain == name || saved.get(&plain).is_none() {
                    saved.insert(plain, tensor.clone());
                }
            }
        }
    }
    if !unread.is_empty() {
        return Err(error(path, format!("tensors that are not supported: {}", list(&unread))));
    }
    if modules.is_empty() && saved.is_empty() {
        return Err(error(path, "the weights hold no tensor of an adapter"));
    }
    let layers = modules
        .into_iter()
        .map(|(module, parts)| {
            layer(config, method, module, &parts)
                .map_err(|what| error(path, format!("module `{}`: {what}", brief(module))))
        })
        .collect::<Result<_, _>>()?;
    Ok((layers, saved))
}

fn layer(config: &PeftConfig, method: &Method, module: &str, parts: &Parts<'_>) -> Result<PeftLayer, String> {
    let found: Vec<Part> = parts.keys().copied().collect();
    let tensor = |part: Part| parts[&part];
    let (kind, tensors, rank) = match method {
        Method::Ia3 => {
            if found != [Part::Factor] {
                return Err(format!("peft_type is IA3, but it has {}", names(&found)));
            }
            let (before, n) = side(&config.feedforward, module, tensor(Part::Factor).shape())?;
            let factor = reshaped(tensor(Part::Factor), &[n])?;
            (AdapterKind::Ia3 { before }, vec![("ia3_l", factor)], tensor(Part::Factor).shape().len())
        }
        Method::Lora { rank, alpha, rank_stabilised, is_dora } => {
            let (a, b, is_embedding) = match found[..] {
                [Part::A, Part::B] | [Part::A, Part::B, Part::Magnitude] => (Part::A, Part::B, false),
                [Part::EmbeddingA, Part::EmbeddingB]
                | [Part::EmbeddingA, Part::EmbeddingB, Part::Magnitude] => {
                    (Part::EmbeddingA, Part::EmbeddingB, true)
                }
                _ => return Err(format!("it has {}, not A and B", names(&found))),
            };
            let has_magnitude = found.contains(&Part::Magnitude);
            if has_magnitude != *is_dora {
                let (has, says) = (if has_magnitude { "a" } else { "no" }, is_dora);
                return Err(format!("it has {has} magnitude vector, but use_dora is {says}"));
            }
            let (a, b) = (tensor(a), tensor(b));
            let r = a.shape().first().copied().unwrap_or(0);
            if a.shape().len() < 2 || a.is_empty() || b.shape().get(1) != Some(&r) {
                return Err(format!("A {:?} and B {:?} do not fit each other", a.shape(), b.shape()));
            }
            let ranks = rank.of(module);
            if !ranks.contains(&(r as f64)) {
                return Err(format!("A {:?} is of rank {r}, the configuration says {}", a.shape(), ranks[0]));
            }
            let alphas = alpha.of(module);
            let [alpha] = alphas[..] else { return Err(format!("alpha_pattern gives it {alphas:?}")) };
            let spec =
                LoraSpec { rank: r, alpha, dropout: config.dropout, rank_stabilised: *rank_stabilised };
            if is_embedding && !a.dtype().is_float() {
                return Err(format!("A is of type {}", a.dtype()));
            }
            let mut tensors = if is_embedding {
                vec![
                    ("lora_embedding_A.weight", a.transposed().map_err(|e| e.to_string())?),
                    ("lora_embedding_B.weight", b.clone()),
                ]
            } else {
                vec![("lora_A.weight", a.clone()), ("lora_B.weight", b.clone())]
            };
            if *is_dora {
                let m = tensor(Part::Magnitude);
                tensors.push(("lora_magnitude_vector.weight", reshaped(m, &[m.len()])?));
            }
            let kind = if *is_dora { AdapterKind::Dora(spec) } else { AdapterKind::Lora(spec) };
            (kind, tensors, a.shape().len())
        }
    };
    Ok(PeftLayer { module: module.into(), kind, is_convolution: rank == 4, tensors })
}

/// Whether a factor stands before its layer, and how long it is.  Only a convolution's shape does not tell.
fn side(feedforward: &Modules, module: &str, shape: &[usize]) -> Result<(bool, usize), String> {
    match *shape {
        [1, 1] | [1, _, 1, 1] => Ok((feedforward.contains(module), shape[1])),
        [n, 1] => Ok((false, n)),
        [1, n] => Ok((true, n)),
        _ => Err(format!("ia3_l has the shape {shape:?}")),
    }
}

fn reshaped(tensor: &Tensor, shape: &[usize]) -> Result<Tensor, String> {
    tensor.reshaped(shape).map_err(|e| e.to_string())
}

fn names(parts: &[Part]) -> String {
    let name = |part: &Part| ENDINGS.iter().find(|(_, p)| p == part).map_or("", |(end, _)| &end[1..]);
    parts.iter().map(name).collect::<Vec<_>>().join(", ")
}
