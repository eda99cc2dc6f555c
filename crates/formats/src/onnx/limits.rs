//! What a file may ask for before it is decoded: the decoder turns two bytes into a hundred, so messages are counted first.

use std::path::Path;

use crate::FormatError;

/// Messages and strings of one file; the largest networks have some hundred thousand.
const MESSAGES_MAX: u64 = 2_000_000;
/// Messages inside messages; the decoder's own limit is higher.
const DEPTH_MAX: usize = 60;

/// A kind of message, as far as others lie inside it.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Function,
    Graph,
    Node,
    Attribute,
    Tensor,
    Value,
    Type,
    TensorType,
    Shape,
    /// Holds strings at most.
    Leaf,
}

impl Kind {
    /// The message that a field holds, if it holds one that is decoded.
    fn field(self, number: u64) -> Option<Kind> {
        Some(match (self, number) {
            (Kind::Model, 7) | (Kind::Attribute, 6) => Kind::Graph,
            (Kind::Model, 25) => Kind::Function,
            (Kind::Graph, 1) | (Kind::Function, 7) => Kind::Node,
            (Kind::Graph, 5) | (Kind::Attribute, 5) => Kind::Tensor,
            (Kind::Graph, 11 | 12) => Kind::Value,
            (Kind::Node, 5) | (Kind::Function, 11) => Kind::Attribute,
            (Kind::Value, 2) => Kind::Type,
            (Kind::Type, 1) => Kind::TensorType,
            (Kind::TensorType, 2) => Kind::Shape,
            (Kind::Model, 8 | 14) | (Kind::Tensor, 13) | (Kind::Shape, 1) => Kind::Leaf,
            _ => return None,
        })
    }
}

enum Refusal {
    Malformed(String),
    TooMany,
}

/// Counts the messages of a file; more than it may have is an error, and so is anything that is not protobuf.
pub(super) fn check(path: &Path, bytes: &[u8]) -> Result<(), FormatError> {
    let mut left = MESSAGES_MAX;
    walk(bytes, Kind::Model, 0, &mut left).map_err(|refusal| match refusal {
        Refusal::Malformed(what) => FormatError::malformed(path, super::FORMAT, what),
        Refusal::TooMany => {
            FormatError::Limit { path: path.into(), what: "its number of messages".into(), max: MESSAGES_MAX }
        }
    })
}

fn walk(mut bytes: &[u8], kind: Kind, depth: usize, left: &mut u64) -> Result<(), Refusal> {
    let malformed = |what: &str| Refusal::Malformed(what.into());
    if depth > DEPTH_MAX {
        return Err(malformed("graphs lie in graphs too deeply"));
    }
    while !bytes.is_empty() {
        let key = varint(&mut bytes).ok_or_else(|| malformed("it ends inside a field"))?;
        let length = match key & 7 {
            0 => varint(&mut bytes).map(|_| 0),
            1 => Some(8),
            2 => varint(&mut bytes),
            5 => Some(4),
            other => return Err(Refusal::Malformed(format!("a field has the unknown wire type {other}"))),
        };
        let length = length.ok_or_else(|| malformed("it ends inside a number"))?;
        let split = usize::try_from(length).ok().and_then(|n| bytes.split_at_checked(n));
        let (field, rest) =
            split.ok_or_else(|| malformed("a field reaches beyond its end (is the file cut off?)"))?;
        bytes = rest;
        if key & 7 == 2 {
            *left = left.checked_sub(1).ok_or(Refusal::TooMany)?;
            if let Some(inner) = kind.field(key >> 3) {
                walk(field, inner, depth + 1, left)?;
            }
        }
    }
    Ok(())
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for i in 0..10 {
        let (&b, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(b & 0x7f) << (7 * i);
        if b < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_million_empty_nodes_are_refused_before_they_are_decoded() {
        // Two bytes a node.
        let nodes = [0x0a, 0x00].repeat(3_000_000);
        let mut bytes = vec![0x3a];
        let mut n = nodes.len();
        while n >= 0x80 {
            bytes.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
        bytes.extend(nodes);
        let error = check(Path::new("many.onnx"), &bytes).expect_err("too many").to_string();
        assert!(error.contains("2000000"), "{error}");
    }

    #[test]
    fn graphs_in_graphs_without_end_are_refused() {
        // A node with an attribute with a graph with a node …
        let mut graph = Vec::new();
        for _ in 0..30 {
            for tag in [0x32, 0x2a, 0x0a] {
                let mut outer = vec![tag];
                let mut n = graph.len();
                while n >= 0x80 {
                    outer.push((n & 0x7f) as u8 | 0x80);
                    n >>= 7;
                }
                outer.push(n as u8);
                outer.append(&mut graph);
                graph = outer;
            }
        }
        let mut n = graph.len();
        let mut bytes = vec![0x3a];
        while n >= 0x80 {
            bytes.push((n & 0x7f) as u8 | 0x80);
            n >>= 7;
        }
        bytes.push(n as u8);
        bytes.extend(graph);
        let error = check(Path::new("deep.onnx"), &bytes).expect_err("too deep").to_string();
        assert!(error.contains("too deeply"), "{error}");
    }
}
