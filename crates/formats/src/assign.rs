//! Puts the tensors of a file onto the parameters of a graph, and accounts for every one on both sides.

mod report;

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use headstart_graph::{DType, Graph, Tensor, Weights};

use crate::FormatError;
use crate::pattern::first_match;
pub use report::{Conversion, Ignored, LoadReport, Mismatch};

/// Buffers that published files carry and no graph needs: counters, and positions 0, 1, 2, ….
const BUFFERS: [&str; 2] = ["num_batches_tracked", "position_ids"];

/// What a plan announced about the fit of weights and graph; all else that does not fit is an error.
///
/// A pattern without `*` means the name and all below it (`fc` is `fc.weight` and `fc.bias`); `*` is any run of
/// characters.
#[derive(Debug, Clone, Default)]
pub struct AssignRules {
    /// Parameters that may be missing, or have another shape in the file: those of a new head.
    pub allow_missing: Vec<String>,
    /// Tensors of the file that may have no parameter: those of the old head.
    pub allow_unexpected: Vec<String>,
}

/// Puts tensors onto parameters by name.
///
/// The result is in the order of the graph; all floating-point tensors are f32.  Parameters that are missing by
/// announcement are not in it: whoever announced them fills them.  `gamma` and `beta` (BERT files of 2019) serve as
/// `weight` and `bias` where the graph has those.  Other renaming is the caller's, who knows where the file is from.
///
/// # Errors
/// [`FormatError::Unannounced`] with the whole report if something is missing, unexpected or of another shape that
/// `rules` do not announce; [`FormatError::Collision`] if the file has both a `gamma` and the `weight` that it would
/// serve as; [`FormatError::NotFinite`] if a weight is NaN or infinite.
///
/// ```
/// use headstart_formats::{AssignRules, assign};
/// use headstart_graph::{GraphBuilder, Tensor, Weights};
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.image("image", [1, 2, 2]);
/// let x = b.global_avg_pool("pool", x)?;
/// let x = b.linear("fc", x, 2)?;
/// let graph = b.finish([("logits", x)])?;
///
/// let mut found = Weights::new();
/// found.insert("fc.weight", Tensor::from_f32(&[2, 1], &[1.0, 2.0])?);
/// let error = assign(&graph, found.clone(), &AssignRules::default()).unwrap_err();
/// assert_eq!(error.to_string(), "the weights do not fit: 1 of 2 parameters missing (fc.bias)");
///
/// let rules = AssignRules { allow_missing: vec!["fc.bias".into()], ..Default::default() };
/// let (weights, report) = assign(&graph, found, &rules)?;
/// assert_eq!((weights.len(), &report.missing_announced[..]), (1, &["fc.bias".to_string()][..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn assign(
    graph: &Graph,
    found: Weights,
    rules: &AssignRules,
) -> Result<(Weights, LoadReport), FormatError> {
    let params: Vec<(&str, &[usize])> = graph.params().map(|(_, name, p)| (name, &p.shape[..])).collect();
    let mut report = LoadReport { n_params: params.len(), n_found: found.len(), ..Default::default() };
    let mut candidates = candidates(&params, &found)?;
    let mut weights = Weights::new();
    for &(name, shape) in &params {
        let announced = first_match(&rules.allow_missing, name);
        let Some((from, tensor)) = candidates.remove(name) else {
            match announced {
                Some(_) => report.missing_announced.push(name.into()),
                None => report.missing.push(name.into()),
            }
            continue;
        };
        if tensor.shape() != shape {
            match announced {
                Some(rule) => {
                    report.missing_announced.push(name.into());
                    report.ignored_by_rule.push(Ignored { name: from.into(), rule: rule.into() });
                }
                None => report.mismatched.push(Mismatch {
                    name: name.into(),
                    file: tensor.shape().to_vec(),
                    graph: shape.to_vec(),
                }),
            }
            continue;
        }
        if from != name {
            report.renamed.push((from.into(), name.into()));
        }
        let dtype = tensor.dtype();
        if dtype.is_float() && dtype != DType::F32 {
            report.converted.push(Conversion { name: name.into(), from: dtype, to: DType::F32 });
        }
        weights.insert(name, tensor.clone());
        report.matched.push(name.into());
    }
    sort_out_the_rest(&candidates, &found, rules, &mut report);
    if !report.is_complete() {
        return Err(FormatError::Unannounced(Box::new(report)));
    }
    let weights = weights
        .iter()
        .map(|(name, tensor)| Ok((name.to_string(), finite_f32(name, tensor)?)))
        .collect::<Result<Weights, FormatError>>()?;
    Ok((weights, report))
}

/// Tensors by the name that the graph may know, each with its name in the file.
type Candidates<'a> = HashMap<String, (&'a str, &'a Tensor)>;

/// Every tensor under its own name, or under its modern one where only that is a parameter.
fn candidates<'a>(params: &[(&str, &[usize])], found: &'a Weights) -> Result<Candidates<'a>, FormatError> {
    let known: HashSet<&str> = params.iter().map(|(name, _)| *name).collect();
    let mut candidates = Candidates::new();
    for (from, tensor) in found.iter() {
        let modern = modern_name(from).filter(|m| !known.contains(from) && known.contains(m.as_str()));
        let name = modern.unwrap_or_else(|| from.into());
        if let Some((first, _)) = candidates.insert(name.clone(), (from, tensor)) {
            return Err(FormatError::Collision { name, first: first.into(), second: from.into() });
        }
    }
    Ok(candidates)
}

/// What TensorFlow called the parameters of a layer norm, as BERT's first files still do.
fn modern_name(name: &str) -> Option<String> {
    let (stem, last) = name.rsplit_once('.')?;
    match last {
        "gamma" => Some(format!("{stem}.weight")),
        "beta" => Some(format!("{stem}.bias")),
        _ => None,
    }
}

/// Tensors for which the graph has no parameter, in the order of the file.
fn sort_out_the_rest(rest: &Candidates<'_>, found: &Weights, rules: &AssignRules, report: &mut LoadReport) {
    // Only a parameter's tensor has another name than in the file, and those are no longer here.
    for (name, _) in found.iter().filter(|(name, _)| rest.contains_key(*name)) {
        let buffer = BUFFERS.iter().find(|b| name.rsplit('.').next() == Some(*b)).copied();
        match buffer.or_else(|| first_match(&rules.allow_unexpected, name)) {
            Some(rule) => report.ignored_by_rule.push(Ignored { name: name.into(), rule: rule.into() }),
            None => report.unexpected.push(name.into()),
        }
    }
}

/// Floating-point tensors as f32, after looking at every number.
fn finite_f32(name: &str, tensor: &Tensor) -> Result<Tensor, FormatError> {
    if !tensor.dtype().is_float() {
        return Ok(tensor.clone());
    }
    let refuse = |n_bad: usize| {
        if n_bad == 0 {
            return Ok(());
        }
        Err(FormatError::NotFinite { tensor: name.into(), n_bad, n: tensor.len() })
    };
    if tensor.dtype() == DType::F32 {
        // Looked at where it lies, and not copied.
        let (values, _) = tensor.bytes().as_chunks::<4>();
        refuse(values.iter().filter(|b| !f32::from_le_bytes(**b).is_finite()).count())?;
        return Ok(tensor.clone());
    }
    let values = tensor.to_f32()?;
    refuse(values.iter().filter(|v| !v.is_finite()).count())?;
    let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    Ok(Tensor::new(DType::F32, tensor.shape().to_vec(), Bytes::from(bytes))?)
}
