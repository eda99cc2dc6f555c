//! From the names in a file to the names in a graph.

use std::collections::{HashMap, HashSet};

use headstart_graph::Weights;

use super::report::Ignored;
use super::{AssignRules, Candidate, Candidates, LoadReport, Reshape};
use crate::FormatError;
use crate::pattern::first_match;

/// How tensors find their parameters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Rename {
    /// Names are equal.
    #[default]
    None,
    /// By position: the tensors of the file in their order onto the parameters in theirs, whatever the names.
    ///
    /// Left out are `num_batches_tracked` and what matches `skip`; parameters that may be missing are left out if that
    /// makes the numbers equal.  Shapes must agree but for dimensions of length 1.
    ByOrder {
        /// Patterns of tensors that have no parameter.
        skip: Vec<String>,
    },
    /// The file lacks a prefix that the graph has.
    AddPrefix(String),
    /// The file has a prefix that the graph lacks; tensors without it keep their names.
    StripPrefix(String),
    /// Pairs `(name in the file, name in the graph)`; others keep their names.  A tensor that the table names may have
    /// any shape with the same number of elements.
    Table(Vec<(String, String)>),
}

/// Gives every tensor the name under which the graph may know it.
pub(super) fn apply<'a>(
    params: &[(&str, &[usize])],
    found: &'a Weights,
    rules: &AssignRules,
    report: &mut LoadReport,
) -> Result<Candidates<'a>, FormatError> {
    if let Rename::ByOrder { skip } = &rules.rename {
        return by_order(params, found, rules, skip, report);
    }
    let table: HashMap<&str, &str> = match &rules.rename {
        Rename::Table(pairs) => pairs.iter().map(|(from, to)| (from.as_str(), to.as_str())).collect(),
        _ => HashMap::new(),
    };
    let known: HashSet<&str> = params.iter().map(|(name, _)| *name).collect();
    let mut candidates = Candidates::new();
    for (from, tensor) in found.iter() {
        let mut name = match &rules.rename {
            Rename::AddPrefix(prefix) => format!("{prefix}{from}"),
            Rename::StripPrefix(prefix) => from.strip_prefix(prefix.as_str()).unwrap_or(from).into(),
            _ => table.get(from).copied().unwrap_or(from).to_string(),
        };
        if !known.contains(name.as_str())
            && let Some(modern) = modern_name(&name)
            && known.contains(modern.as_str())
        {
            name = modern;
        }
        let reshape = if table.contains_key(from) { Reshape::SameCount } else { Reshape::Never };
        if let Some(first) = candidates.insert(name.clone(), Candidate { from, tensor, reshape }) {
            return Err(FormatError::Collision { name, first: first.from.into(), second: from.into() });
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

fn by_order<'a>(
    params: &[(&str, &[usize])],
    found: &'a Weights,
    rules: &AssignRules,
    skip: &[String],
    report: &mut LoadReport,
) -> Result<Candidates<'a>, FormatError> {
    let mut tensors = Vec::with_capacity(found.len());
    for (from, tensor) in found.iter() {
        let counter = from.ends_with("num_batches_tracked").then_some("num_batches_tracked");
        match counter.or_else(|| first_match(skip, from)) {
            Some(rule) => report.ignored_by_rule.push(Ignored { name: from.into(), rule: rule.into() }),
            None => tensors.push((from, tensor)),
        }
    }
    let all: Vec<&str> = params.iter().map(|(name, _)| *name).collect();
    let required: Vec<&str> =
        all.iter().copied().filter(|name| first_match(&rules.allow_missing, name).is_none()).collect();
    let names = match tensors.len() {
        n if n == all.len() => all,
        n if n == required.len() => required,
        n_found => {
            let n_skipped = found.len() - n_found;
            return Err(FormatError::OrderCount { n_found, n_skipped, n_wanted: all.len() });
        }
    };
    let pairs = names.into_iter().zip(tensors);
    Ok(pairs
        .map(|(name, (from, tensor))| (name.into(), Candidate { from, tensor, reshape: Reshape::Ones }))
        .collect())
}
