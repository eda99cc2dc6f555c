//! Golden numbers: an architecture filled with weights that are a pure function of name and shape must answer what
//! torchvision, timm or transformers answered (`crates/zoo/tests/golden/make.py` writes the files).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use headstart_core::{Array, Batch, Rng, Values};
use headstart_engine::{Device, Network, Sgd, cross_entropy, last_axis_as_rows as rows, span_loss};
use headstart_graph::{Graph, Op, Tensor, Weights};
use headstart_zoo::BuildOptions;
use headstart_zoo::bert::{self, BertConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Largest difference of logits, relative to the largest absolute logit.
pub const LOGITS_MAX: f64 = 1e-4;
/// Largest relative difference of a gradient's norm.
pub const GRADIENTS_MAX: f64 = 1e-3;
/// Largest relative difference of the first training loss.
pub const LOSS_FIRST_MAX: f64 = 1e-3;
/// Largest relative difference of the third training loss.
pub const LOSS_LAST_MAX: f64 = 2e-2;

/// One line of `cargo xtask golden`.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The architecture.
    pub name: String,
    /// Worst difference of a logit over the largest absolute logit.
    pub logits: f64,
    /// Worst relative difference of a gradient's norm.
    pub gradients: f64,
    /// Relative differences of the training losses; none where the file has no SGD trace.
    pub losses: Vec<f64>,
    /// Relative difference of the loss in inference after those steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss_after: Option<f64>,
    /// Within all bounds.
    pub ok: bool,
}

#[derive(Deserialize)]
struct Golden {
    name: String,
    #[serde(default)]
    input: Option<(String, usize, usize)>,
    #[serde(default)]
    input_ids: Option<Vec<Vec<i64>>>,
    #[serde(default)]
    attention_mask: Option<Vec<Vec<i64>>>,
    #[serde(default)]
    labels: Value,
    #[serde(default)]
    logits: Option<Vec<Vec<f64>>>,
    #[serde(default)]
    logits_first: Option<Vec<f64>>,
    #[serde(default)]
    start: Option<Vec<Vec<f64>>>,
    #[serde(default)]
    end: Option<Vec<Vec<f64>>>,
    #[serde(default)]
    n_outputs: Option<usize>,
    #[serde(default)]
    n_parameters: Option<usize>,
    #[serde(default)]
    loss: Option<f64>,
    grad_norms_eval: BTreeMap<String, f64>,
    #[serde(default)]
    sgd: Option<SgdTrace>,
    #[serde(default)]
    model_class: Option<String>,
    #[serde(default)]
    overrides: Value,
}

#[derive(Deserialize)]
struct SgdTrace {
    lr: f64,
    momentum: f64,
    weight_decay: f64,
    train_losses: Vec<f64>,
    eval_loss_after: f64,
}

/// Checks one file.
pub fn check(path: &Path) -> Result<Outcome, Box<dyn std::error::Error>> {
    let golden: Golden = serde_json::from_slice(&fs::read(path)?)?;
    let graph = without_dropout(&build(&golden)?)?;
    if let Some(n) = golden.n_parameters
        && n != graph.n_learned()
    {
        return Err(
            format!("{}: {} parameters, the reference has {n}", golden.name, graph.n_learned()).into()
        );
    }
    let weights = fill(&graph)?;
    let mut network = Network::load(graph, &weights, &Device::cpu())?;
    let batch = input(&golden)?;
    let mut outcome = Outcome {
        name: golden.name.clone(),
        logits: 0.0,
        gradients: 0.0,
        losses: Vec::new(),
        loss_after: None,
        ok: false,
    };
    outcome.logits = logits_error(&golden, &network, &batch)?;

    let labels = flat_labels(&golden);
    let (loss, gradients) = network.gradients(&batch, &|_| true, &|made| {
        let (output, device) = (made.output(), made.device);
        match &labels {
            Labels::Classes(labels) => cross_entropy(rows(output), labels, device),
            Labels::Spans { start, end } => span_loss(output, start, end, device),
        }
    })?;
    if let Some(want) = golden.loss {
        outcome.losses.push(relative(f64::from(loss), want));
    }
    let norms: BTreeMap<String, f64> = gradients.norms(network.graph())?.into_iter().collect();
    let largest = golden.grad_norms_eval.values().copied().fold(0.0, f64::max);
    for (name, want) in &golden.grad_norms_eval {
        let got = norms.get(name).ok_or_else(|| format!("no gradient of {name}"))?;
        // A query bias has no influence but by rounding; its norm is noise around 0 in every implementation.
        if want / largest > 1e-5 {
            outcome.gradients = outcome.gradients.max(relative(*got, *want));
        }
    }
    if let (Some(trace), Labels::Classes(labels)) = (&golden.sgd, &labels) {
        let mut sgd = Sgd::new(trace.lr, trace.momentum, trace.weight_decay);
        let mut rng = Rng::new(0);
        for want in &trace.train_losses {
            let loss = network.step(
                &batch,
                &|_| true,
                &|made| cross_entropy(made.output(), labels, made.device),
                &mut sgd,
                &mut rng,
            )?;
            outcome.losses.push(relative(f64::from(loss), *want));
        }
        // In inference the running statistics count too.  It is shown, not bounded: it inherits the last loss's chaos.
        let after = host_cross_entropy(&network.infer(&batch)?, labels);
        outcome.loss_after = Some(relative(after, trace.eval_loss_after));
    }
    let first = outcome.losses.first().is_none_or(|e| *e <= LOSS_FIRST_MAX);
    let third = outcome.losses.get(2).is_none_or(|e| *e <= LOSS_LAST_MAX);
    outcome.ok = outcome.logits <= LOGITS_MAX && outcome.gradients <= GRADIENTS_MAX && first && third;
    Ok(outcome)
}

/// Weights as a pure function of name and shape, as `fill` in `make.py`.
pub fn fill(graph: &Graph) -> Result<Weights, headstart_graph::GraphError> {
    graph
        .params()
        .map(|(_, name, param)| {
            let n: usize = param.shape.iter().product();
            let u = uniform(name, n);
            let fan_in: usize = param.shape.iter().skip(1).product();
            let scale = |u: f64| -> f64 {
                if name.ends_with("running_var") {
                    0.5 + u
                } else if name.ends_with("running_mean")
                    || (name.contains("embeddings") && param.shape.len() == 2)
                {
                    0.2 * (u - 0.5)
                } else if param.shape.len() >= 2 {
                    (2.0 * u - 1.0) * (3.0 / fan_in as f64).sqrt() * 1.4
                } else if name.ends_with("weight") {
                    0.8 + 0.4 * u
                } else {
                    0.2 * (u - 0.5)
                }
            };
            let values: Vec<f32> = u.into_iter().map(|u| scale(u) as f32).collect();
            Ok((name.to_string(), Tensor::from_f32(&param.shape, &values)?))
        })
        .collect()
}

/// `n` numbers in [0, 1): the top 24 bits of SplitMix64 seeded with the name's FNV-1a hash.
pub fn uniform(name: &str, n: usize) -> Vec<f64> {
    let mut seed = 0xcbf2_9ce4_8422_2325u64;
    for b in name.bytes() {
        seed = (seed ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3);
    }
    // `Rng` steps before it mixes; the files mix first.
    let mut rng = Rng::new(seed.wrapping_sub(0x9E37_79B9_7F4A_7C15));
    (0..n).map(|_| (rng.next_u64() >> 40) as f64 / f64::from(1 << 24)).collect()
}

fn build(golden: &Golden) -> Result<Graph, Box<dyn std::error::Error>> {
    if let Some((_, _, size)) = &golden.input {
        let n = golden.n_outputs.unwrap_or(10);
        return Ok(headstart_zoo::build(&golden.name, &BuildOptions::classes(n).size_px(*size))?);
    }
    let config: BertConfig = serde_json::from_value(golden.overrides.clone())?;
    let n_labels = golden.overrides.get("num_labels").and_then(Value::as_u64).unwrap_or(2) as usize;
    Ok(match golden.model_class.as_deref() {
        Some("BertForSequenceClassification") => {
            bert::sequence_classifier(&golden.name, &config, "bert.", n_labels)?
        }
        Some("BertForTokenClassification") => {
            bert::token_classifier(&golden.name, &config, "bert.", n_labels)?
        }
        Some("BertForQuestionAnswering") => bert::question_answering(&golden.name, &config, "bert.")?,
        other => return Err(format!("{}: model class {other:?} is not in the zoo", golden.name).into()),
    })
}

/// The files were made with dropout switched off.
fn without_dropout(graph: &Graph) -> Result<Graph, Box<dyn std::error::Error>> {
    let mut json = serde_json::to_value(graph)?;
    for node in json["nodes"].as_array_mut().into_iter().flatten() {
        let op: Op = serde_json::from_value(node["op"].clone())?;
        if op.is_identity_in_inference() {
            node["op"]["p"] = 0.0.into();
        }
    }
    Ok(serde_json::from_value(json)?)
}

fn input(golden: &Golden) -> Result<Batch, Box<dyn std::error::Error>> {
    if let Some((kind, n, size)) = &golden.input {
        if kind != "image" {
            return Err(format!("{}: input {kind} is not known", golden.name).into());
        }
        let values =
            uniform("input", n * 3 * size * size).into_iter().map(|u| (2.0 * u - 1.0) as f32).collect();
        return Ok(Batch::image(Array::f32(&[*n, 3, *size, *size], values)));
    }
    let ids = golden.input_ids.as_ref().ok_or("the file has no input")?;
    let shape = [ids.len(), ids[0].len()];
    let mut inputs = vec![("input_ids".to_string(), Array::i64(&shape, ids.concat()))];
    if let Some(mask) = &golden.attention_mask {
        inputs.push(("attention_mask".into(), Array::i64(&shape, mask.concat())));
    }
    Ok(Batch { inputs })
}

enum Labels {
    /// One class a row of the logits.
    Classes(Vec<usize>),
    /// First and last token of each answer.
    Spans { start: Vec<usize>, end: Vec<usize> },
}

fn flat_labels(golden: &Golden) -> Labels {
    if golden.start.is_some() {
        // The spans that `make.py` asks for.
        return Labels::Spans { start: vec![3, 5], end: vec![6, 9] };
    }
    fn flatten(v: &Value, out: &mut Vec<usize>) {
        match v {
            Value::Array(a) => a.iter().for_each(|v| flatten(v, out)),
            Value::Number(n) => out.extend(n.as_u64().map(|n| n as usize)),
            _ => {}
        }
    }
    let mut labels = Vec::new();
    flatten(&golden.labels, &mut labels);
    Labels::Classes(labels)
}

fn logits_error(
    golden: &Golden,
    network: &Network,
    batch: &Batch,
) -> Result<f64, Box<dyn std::error::Error>> {
    let logits = network.infer(batch)?;
    let Values::F32(values) = &logits.values else { return Err("logits are not f32".into()) };
    let want: Vec<f64>;
    let got: Vec<f64>;
    if let (Some(start), Some(end)) = (&golden.start, &golden.end) {
        // [batch, sequence, 2]: start and end.
        want = start.concat().into_iter().zip(end.concat()).flat_map(|(s, e)| [s, e]).collect();
        got = values.iter().map(|&v| f64::from(v)).collect();
    } else if let Some(first) = &golden.logits_first {
        want = first.clone();
        got = values[..first.len()].iter().map(|&v| f64::from(v)).collect();
    } else {
        let rows = golden.logits.as_ref().ok_or("the file has no logits")?;
        let width = logits.shape[1];
        want = rows.concat();
        got = rows
            .iter()
            .enumerate()
            .flat_map(|(i, row)| values[i * width..i * width + row.len()].iter().map(|&v| f64::from(v)))
            .collect();
    }
    if want.len() != got.len() {
        return Err(format!("{} logits, the reference has {}", got.len(), want.len()).into());
    }
    let largest = want.iter().fold(0.0f64, |m, v| m.max(v.abs()));
    Ok(want.iter().zip(&got).fold(0.0f64, |m, (w, g)| m.max((w - g).abs())) / largest)
}

fn relative(got: f64, want: f64) -> f64 {
    (got - want).abs() / want.abs().max(1e-12)
}

fn host_cross_entropy(logits: &Array, labels: &[usize]) -> f64 {
    let Values::F32(values) = &logits.values else { unreachable!("logits are f32") };
    let width = logits.shape[1];
    let loss: f64 = values
        .chunks_exact(width)
        .zip(labels)
        .map(|(row, &l)| {
            let max = row.iter().fold(f32::NEG_INFINITY, |m, v| m.max(*v));
            let sum: f64 = row.iter().map(|v| f64::from(v - max).exp()).sum();
            sum.ln() - f64::from(row[l] - max)
        })
        .sum();
    loss / labels.len() as f64
}
