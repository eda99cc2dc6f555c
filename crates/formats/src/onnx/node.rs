//! A node of the file as lowering sees it: where it stands, its settings, what reaches it.

use super::proto::{Attribute, Graph, Tensor};
use super::reader::Val;

/// One node.
pub(super) struct Node<'a> {
    /// Its name; that of its first output where it has none.
    pub(super) path: &'a str,
    pub(super) op: &'a str,
    pub(super) attributes: &'a [Attribute],
    /// None where an optional input is left out.
    pub(super) inputs: Vec<Option<Val>>,
    /// ONNX's element types of inputs that the file holds.
    pub(super) types: Vec<Option<i32>>,
    /// Whether all that read its first output multiply by it from the right.
    pub(super) makes_right_factor: bool,
    /// Names; empty where an output is not wanted.
    pub(super) outputs: &'a [String],
}

impl Node<'_> {
    /// Another operator with the same settings, at another place.
    pub(super) fn with<'b>(&'b self, path: &'b str, op: &'b str, inputs: Vec<Option<Val>>) -> Node<'b> {
        let (attributes, outputs) = (self.attributes, self.outputs);
        Node { path, op, attributes, inputs, types: Vec::new(), makes_right_factor: false, outputs }
    }

    /// An input that must be there.
    pub(super) fn input(&self, i: usize) -> Result<&Val, String> {
        self.optional(i).ok_or_else(|| format!("input {i} is missing"))
    }

    pub(super) fn optional(&self, i: usize) -> Option<&Val> {
        self.inputs.get(i).and_then(Option::as_ref)
    }

    fn attribute(&self, name: &str) -> Option<&Attribute> {
        self.attributes.iter().find(|a| a.name == name)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.attribute(name).is_some()
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.attribute(name).map_or(default, |a| a.i)
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.int(name, default.into()) != 0
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f64 {
        f64::from(self.attribute(name).map_or(default, |a| a.f))
    }

    pub(super) fn ints(&self, name: &str) -> Option<&[i64]> {
        self.attribute(name).map(|a| a.ints.as_slice())
    }

    pub(super) fn floats(&self, name: &str) -> Option<&[f32]> {
        self.attribute(name).map(|a| a.floats.as_slice())
    }

    /// Non-negative settings, one an axis; `default` for all where there are none.
    pub(super) fn sizes(&self, name: &str, n: usize, default: usize) -> Result<Vec<usize>, String> {
        let Some(values) = self.ints(name).filter(|v| !v.is_empty()) else { return Ok(vec![default; n]) };
        if values.len() != n {
            return Err(format!("`{name}` has {} numbers, not {n}", values.len()));
        }
        values
            .iter()
            .map(|&v| usize::try_from(v).map_err(|_| format!("`{name}` has the number {v}")))
            .collect()
    }

    pub(super) fn string(&self, name: &str) -> Option<&str> {
        self.attribute(name).and_then(|a| std::str::from_utf8(&a.s).ok())
    }

    pub(super) fn strings(&self, name: &str) -> Vec<String> {
        let all = self.attribute(name).map(|a| a.strings.as_slice()).unwrap_or_default();
        all.iter().map(|s| String::from_utf8_lossy(s).into_owned()).collect()
    }

    pub(super) fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.attribute(name).and_then(|a| a.t.as_ref())
    }

    pub(super) fn graph(&self, name: &str) -> Option<&Graph> {
        self.attribute(name).and_then(|a| a.g.as_ref())
    }

    /// An output that is wanted.
    pub(super) fn wants(&self, i: usize) -> bool {
        self.outputs.get(i).is_some_and(|name| !name.is_empty())
    }

    /// An axis counted from the front.
    pub(super) fn axis(&self, name: &str, default: i64, rank: usize) -> Result<usize, String> {
        front(self.int(name, default), rank)
    }

    /// A place below the node's own, for what one ONNX operator needs several of ours for.
    pub(super) fn part(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}

/// An axis counted from the front.
pub(super) fn front(axis: i64, rank: usize) -> Result<usize, String> {
    let at = if axis < 0 { axis + rank as i64 } else { axis };
    usize::try_from(at)
        .ok()
        .filter(|&i| i < rank)
        .ok_or_else(|| format!("there is no axis {axis} among {rank}"))
}

impl super::reader::Reader {
    /// Integers that are known now, from an input.
    pub(super) fn numbers(&self, val: &Val) -> Result<Vec<i64>, String> {
        match val {
            Val::Known(known, _) => known.as_numbers(),
            _ => None,
        }
        .ok_or_else(|| "a setting is computed from values that only a run gives".to_string())
    }

    /// Floats that are known now, from an input; small weights count.
    pub(super) fn floats(&self, val: &Val) -> Result<Vec<f64>, String> {
        match val {
            Val::Known(known, _) => known.floats(),
            Val::Weight(w) if w.tensor.len() <= 64 => {
                w.tensor.to_f32().ok().map(|v| v.iter().map(|&v| v.into()).collect())
            }
            _ => None,
        }
        .ok_or_else(|| "a setting is computed from values that only a run gives".to_string())
    }

    /// The axes of an attribute, or of input `i` since some opset; none if neither says.
    pub(super) fn axes(&self, n: &Node<'_>, i: usize, rank: usize) -> Result<Option<Vec<usize>>, String> {
        let given = match (n.ints("axes"), n.optional(i)) {
            (Some(axes), _) => axes.to_vec(),
            (None, Some(val)) => self.numbers(val)?,
            (None, None) => return Ok(None),
        };
        given.into_iter().map(|a| front(a, rank)).collect::<Result<Vec<_>, _>>().map(Some)
    }
}
