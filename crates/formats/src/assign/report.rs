//! What became of every tensor of a file and every parameter of a graph.

use std::fmt;

use headstart_graph::DType;
use serde::Serialize;

use crate::listing::list;

/// The account of one loading.  Every parameter is in one of `matched`, `missing`, `missing_announced`, `mismatched`;
/// every tensor of the file is a `matched` or `mismatched` one's, or in `unexpected` or `ignored_by_rule`.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct LoadReport {
    /// Parameters of the graph.
    pub n_params: usize,
    /// Tensors in the file.
    pub n_found: usize,
    /// Parameters that got their tensor.
    pub matched: Vec<String>,
    /// Parameters without a tensor that nobody announced: an error.
    pub missing: Vec<String>,
    /// Parameters without a tensor, as announced: somebody else fills them.
    pub missing_announced: Vec<String>,
    /// Tensors without a parameter that nobody announced: an error.
    pub unexpected: Vec<String>,
    /// Parameters whose tensor has another shape: an error.
    pub mismatched: Vec<Mismatch>,
    /// Tensors that were left aside, and why.
    pub ignored_by_rule: Vec<Ignored>,
    /// Tensors that have another name in the graph: `(file, graph)`.
    pub renamed: Vec<(String, String)>,
    /// Tensors that got another element type.
    pub converted: Vec<Conversion>,
}

/// A tensor whose shape in the file is not that in the graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mismatch {
    /// The parameter.
    pub name: String,
    /// Shape in the file.
    pub file: Vec<usize>,
    /// Shape in the graph.
    pub graph: Vec<usize>,
}

/// A tensor that was left aside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Ignored {
    /// Its name in the file.
    pub name: String,
    /// The pattern that it matched.
    pub rule: String,
}

/// A tensor that got another element type.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conversion {
    /// The parameter.
    pub name: String,
    /// Type in the file.
    pub from: DType,
    /// Type now.
    pub to: DType,
}

impl LoadReport {
    /// True if nothing happened that was not announced.
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty()
    }

    /// What was not announced, in one line; empty if there is nothing.
    pub fn problems(&self) -> String {
        let mut parts = Vec::new();
        if !self.missing.is_empty() {
            let (n, names) = (self.missing.len(), list(&self.missing));
            parts.push(format!("{n} of {} parameters missing ({names})", self.n_params));
        }
        if !self.unexpected.is_empty() {
            let (n, names) = (self.unexpected.len(), list(&self.unexpected));
            parts.push(format!("{n} of {} tensors unexpected ({names})", self.n_found));
        }
        if !self.mismatched.is_empty() {
            let shapes: Vec<String> = self.mismatched.iter().map(Mismatch::to_string).collect();
            parts.push(format!("{} of another shape ({})", shapes.len(), list(&shapes)));
        }
        parts.join("; ")
    }

    /// The next thing to try.
    pub(crate) fn hint(&self) -> Option<String> {
        if self.matched.is_empty() && !self.unexpected.is_empty() {
            return Some(
                "no name fits: this file is of another architecture, or its names carry another prefix"
                    .into(),
            );
        }
        (!self.is_complete())
            .then(|| "check that the file belongs to this architecture and number of classes".into())
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: file {:?}, graph {:?}", self.name, self.file, self.graph)
    }
}

impl fmt::Display for LoadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} parameters loaded from {} tensors",
            self.matched.len(),
            self.n_params,
            self.n_found
        )?;
        let mut line = |what: &str, names: Vec<String>| match names.len() {
            0 => Ok(()),
            n => write!(f, "\n  {what}: {n} ({})", list(&names)),
        };
        line("missing, as announced", self.missing_announced.clone())?;
        line("ignored", self.ignored_by_rule.iter().map(|i| i.name.clone()).collect())?;
        line("renamed", self.renamed.iter().map(|(from, to)| format!("{from} → {to}")).collect())?;
        let conversion = |c: &Conversion| format!("{}: {} → {}", c.name, c.from, c.to);
        line("converted", self.converted.iter().map(conversion).collect())?;
        line("MISSING", self.missing.clone())?;
        line("UNEXPECTED", self.unexpected.clone())?;
        line("OF ANOTHER SHAPE", self.mismatched.iter().map(Mismatch::to_string).collect())
    }
}
