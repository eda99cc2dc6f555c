//! Golden numbers: an architecture filled with weights that are a pure function of name and shape must answer what
//! torchvision, timm or transformers answered (`crates/zoo/tests/golden/make.py` writes the files).

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use headstart_core::{Array, Batch, Precision, Rng, Values};
use headstart_engine::{
    Device, Frozen, Network, Sgd, cross_entropy, ctc_loss, last_axis_as_rows as rows, mean_square, span_loss,
};
use headstart_graph::{Graph, Op, Tensor, Weights, rewrite};
use headstart_zoo::{BuildOptions, from_config, model_type_of};
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
    /// Whether inference compiles it.
    pub is_compiled: bool,
    /// Worst difference of a logit over the largest absolute logit, interpreted and as a frozen prefix runs it.
    pub logits: f64,
    /// Worst relative difference of a gradient's norm.
    pub gradients: f64,
    /// The parameter of that gradient.
    pub gradient_worst: String,
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
    /// Kind and sizes: `["image", batch, side]`, `["waveform", batch, samples]`, `["mel", batch, bins, frames]`.
    #[serde(default)]
    input: Option<Vec<Value>>,
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
    #[serde(default)]
    ctc_loss: Option<f64>,
    #[serde(default)]
    logits_stats: Option<Stats>,
    #[serde(default)]
    hidden_stats: Option<Stats>,
    grad_norms_eval: BTreeMap<String, f64>,
    #[serde(default)]
    sgd: Option<SgdTrace>,
    #[serde(default)]
    config_class: Option<String>,
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

/// What stands for a value too large to keep.
#[derive(Deserialize)]
struct Stats {
    mean: f64,
    std: f64,
    abs_sum: f64,
    first: Vec<f64>,
}

/// Checks one file.
pub fn check(path: &Path) -> Result<Outcome, Box<dyn std::error::Error>> {
    let golden: Golden = serde_json::from_slice(&fs::read(path)?)?;
    let graph = without_dropout(&build(&golden)?)?;
    if let Some(n) = golden.n_parameters
        && n != n_parameters(&graph)
    {
        let got = n_parameters(&graph);
        return Err(format!("{}: {got} parameters, the reference has {n}", golden.name).into());
    }
    let graph = match &golden.hidden_stats {
        // What is judged is the encoder's output, not what a head would read of it.
        Some(_) => {
            let last = graph.outputs().iter().find(|o| o.name == "last_hidden_state").cloned();
            rewrite::cut_at(&graph, &[last.ok_or("the graph has no last_hidden_state")?])?
        }
        None => graph,
    };
    let weights = fill(&graph)?;
    let batch = input(&golden)?;
    // As a frozen prefix runs it: folded and, where that is possible, compiled.
    let (folded, folded_weights) = rewrite::fold(&graph, &weights)?;
    let frozen = Frozen::load(folded, &folded_weights, &Device::cpu(), Precision::F32)?;
    let (compiled, is_compiled) = (frozen.infer(&batch)?, frozen.is_compiled());
    drop((frozen, folded_weights));
    let mut network = Network::load(graph, &weights, &Device::cpu())?;
    let mut outcome = Outcome {
        name: golden.name.clone(),
        is_compiled,
        logits: 0.0,
        gradients: 0.0,
        gradient_worst: String::new(),
        losses: Vec::new(),
        loss_after: None,
        ok: false,
    };
    outcome.logits = logits_error(&golden, &network.infer(&batch)?)?.max(logits_error(&golden, &compiled)?);

    let labels = flat_labels(&golden);
    let (loss, gradients) = network.gradients(&batch, &|_| true, &|made| {
        let (output, device) = (made.output(), made.device);
        match &labels {
            Labels::Classes(labels) => cross_entropy(rows(output), labels, device),
            Labels::Spans { start, end } => span_loss(output, start, end, device),
            Labels::Transcripts(targets) => ctc_loss(output, targets, 0, device),
            Labels::None => mean_square(output),
        }
    })?;
    if let Some(want) = golden.loss.or(golden.ctc_loss) {
        outcome.losses.push(relative(f64::from(loss), want));
    }
    let norms: BTreeMap<String, f64> = gradients.norms(network.graph())?.into_iter().collect();
    let largest = golden.grad_norms_eval.values().copied().fold(0.0, f64::max);
    for (name, want) in &golden.grad_norms_eval {
        let got = norms.get(name).ok_or_else(|| format!("no gradient of {name}"))?;
        // A query bias has no influence but by rounding; its norm is noise around 0 in every implementation.
        if want / largest > 1e-5 {
            let error = relative(*got, *want);
            if error > outcome.gradients {
                (outcome.gradients, outcome.gradient_worst) = (error, name.clone());
            }
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
        .map(|(_, own, param)| {
            let n: usize = param.shape.iter().product();
            let name = filled_as(graph, own);
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
            Ok((own.to_string(), Tensor::from_f32(&param.shape, &values)?))
        })
        .collect()
}

/// The name whose numbers a parameter has: `make.py` fills tied ones under each of their names, the last of which stays.
fn filled_as<'a>(graph: &Graph, name: &'a str) -> &'a str {
    if name != "shared.weight" {
        return name;
    }
    let has = |part: &str| graph.nodes().iter().any(|n| n.path == part);
    if has("lm_head") { "lm_head.weight" } else { "encoder.embed_tokens.weight" }
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

/// Learned numbers, and those that the reference declares as parameters but does not train (Whisper's positions).
fn n_parameters(graph: &Graph) -> usize {
    let is_statistic = |name: &str| name.ends_with("running_mean") || name.ends_with("running_var");
    let size = |p: &headstart_graph::Param| p.shape.iter().product::<usize>();
    graph.params().filter(|(_, name, _)| !is_statistic(name)).map(|(_, _, p)| size(p)).sum()
}

fn build(golden: &Golden) -> Result<Graph, Box<dyn std::error::Error>> {
    if let Some(class) = &golden.config_class {
        // Overrides of the configuration class's defaults are what its config.json holds.
        let mut config = golden.overrides.clone();
        if !config.is_object() {
            config = serde_json::json!({});
        }
        config["model_type"] = model_type_of(class).ok_or(format!("{class} is not in the zoo"))?.into();
        config["architectures"] = vec![golden.model_class.as_deref().unwrap_or_default()].into();
        return Ok(from_config(&config)?.graph);
    }
    if let Some((_, sizes)) = golden.sizes() {
        let size = sizes.last().ok_or("the input has no size")?;
        let n = golden.n_outputs.unwrap_or(10);
        return Ok(headstart_zoo::build(&golden.name, &BuildOptions::classes(n).size_px(*size))?);
    }
    Err(format!("{}: neither a configuration nor an input", golden.name).into())
}

/// The files were made with dropout switched off.
fn without_dropout(graph: &Graph) -> Result<Graph, Box<dyn std::error::Error>> {
    let mut json = serde_json::to_value(graph)?;
    for node in json["nodes"].as_array_mut().into_iter().flatten() {
        let op: Op = serde_json::from_value(node["op"].clone())?;
        if op.is_identity_in_inference() {
            node["op"]["p"] = 0.0.into();
        }
        if matches!(op, Op::Attention(_)) {
            node["op"]["dropout"] = 0.0.into();
        }
    }
    Ok(serde_json::from_value(json)?)
}

impl Golden {
    /// Kind and sizes of an input that is not text.
    fn sizes(&self) -> Option<(&str, Vec<usize>)> {
        let [kind, sizes @ ..] = self.input.as_deref()? else { return None };
        let sizes = sizes.iter().map(|n| n.as_u64().map(|n| n as usize)).collect::<Option<Vec<_>>>()?;
        Some((kind.as_str()?, sizes))
    }

    /// The tokens of the answer, by example.
    fn targets(&self) -> Vec<Vec<i64>> {
        let rows = self.labels.as_array().into_iter().flatten();
        rows.map(|row| row.as_array().into_iter().flatten().filter_map(Value::as_i64).collect()).collect()
    }
}

fn input(golden: &Golden) -> Result<Batch, Box<dyn std::error::Error>> {
    if let Some((kind, sizes)) = golden.sizes() {
        let (name, shape) = match (kind, &sizes[..]) {
            ("image", &[n, side]) => ("image", vec![n, 3, side, side]),
            ("waveform", &[n, samples]) => ("input_values", vec![n, samples]),
            ("mel", &[n, bins, frames]) => ("input_features", vec![n, bins, frames]),
            _ => return Err(format!("{}: input {kind} of {sizes:?} is not known", golden.name).into()),
        };
        let n = shape.iter().product();
        let values = uniform("input", n).into_iter().map(|u| (2.0 * u - 1.0) as f32).collect();
        return Ok(Batch { inputs: vec![(name.into(), Array::f32(&shape, values))] });
    }
    let ids = golden.input_ids.as_ref().ok_or("the file has no input")?;
    let shape = [ids.len(), ids[0].len()];
    let mut inputs = vec![("input_ids".to_string(), Array::i64(&shape, ids.concat()))];
    if let Some(mask) = &golden.attention_mask {
        inputs.push(("attention_mask".into(), Array::i64(&shape, mask.concat())));
    }
    if golden.model_class.as_deref() == Some("T5ForConditionalGeneration") {
        // Each position reads the answer up to the one before it.
        let start = golden.overrides["decoder_start_token_id"].as_i64().unwrap_or(0);
        let targets = golden.targets();
        let shifted: Vec<i64> = targets
            .iter()
            .flat_map(|row| [start].into_iter().chain(row[..row.len().saturating_sub(1)].iter().copied()))
            .collect();
        let shape = [targets.len(), targets.first().map_or(0, Vec::len)];
        inputs.push(("decoder_input_ids".into(), Array::i64(&shape, shifted)));
    }
    Ok(Batch { inputs })
}

enum Labels {
    /// One class a row of the logits.
    Classes(Vec<usize>),
    /// First and last token of each answer.
    Spans { start: Vec<usize>, end: Vec<usize> },
    /// The tokens that each example's frames spell.
    Transcripts(Vec<Vec<i64>>),
    /// The loss is the mean square of the output.
    None,
}

fn flat_labels(golden: &Golden) -> Labels {
    if golden.start.is_some() {
        // The spans that `make.py` asks for.
        return Labels::Spans { start: vec![3, 5], end: vec![6, 9] };
    }
    if golden.ctc_loss.is_some() {
        return Labels::Transcripts(golden.targets());
    }
    if golden.hidden_stats.is_some() {
        return Labels::None;
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

fn logits_error(golden: &Golden, logits: &Array) -> Result<f64, Box<dyn std::error::Error>> {
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
    } else if let Some(stats) = golden.hidden_stats.as_ref().or(golden.logits_stats.as_ref())
        && golden.logits.is_none()
    {
        return Ok(stats_error(stats, values));
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

/// The worst of the first values, over the largest of them, and of the whole's mean, spread and size.
fn stats_error(want: &Stats, values: &[f32]) -> f64 {
    let n = values.len().max(1) as f64;
    let sum = |f: &dyn Fn(f64) -> f64| values.iter().map(|&v| f(f64::from(v))).sum::<f64>();
    let mean = sum(&|v| v) / n;
    let std = (sum(&|v| (v - mean).powi(2)) / (n - 1.0).max(1.0)).sqrt();
    let largest = want.first.iter().fold(want.std, |m, v| m.max(v.abs()));
    let first =
        want.first.iter().zip(values).fold(0.0f64, |m, (w, &g)| m.max((w - f64::from(g)).abs())) / largest;
    [
        first,
        (mean - want.mean).abs() / want.std,
        relative(std, want.std),
        relative(sum(&f64::abs), want.abs_sum),
    ]
    .into_iter()
    .fold(0.0, f64::max)
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
