//! `freeze`: a mask over named groups of parameters, never over positions.

use serde::{Deserialize, Serialize};

use crate::{Graph, GraphError, Op, Role};

/// Parameters that are frozen or trained together: those of one layer, as people name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The common prefix of the parameters' names: `layer3.1`, `bert.encoder.layer.5`, `head`.
    pub name: String,
    /// Learned numbers in it.
    pub n_parameters: usize,
}

/// Which parameters learn.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FreezeMask {
    /// Groups whose parameters learn; all others are frozen.
    pub trained: Vec<String>,
}

/// The groups of a graph in the order of their making.  A group's name ends at the last numbered part of the path
/// (`layer3.1.conv2.weight` → `layer3.1`), or before the tensor's own name where there is none.
pub fn groups(graph: &Graph) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (_, name, param) in graph.params() {
        let learned = if param.role == Role::Learned { param.shape.iter().product() } else { 0 };
        let group = group_of(name);
        match groups.iter_mut().find(|g| g.name == group) {
            Some(g) => g.n_parameters += learned,
            None => groups.push(Group { name: group.into(), n_parameters: learned }),
        }
    }
    groups
}

/// The group that a parameter belongs to, by its name.
///
/// ```
/// use headstart_graph::rewrite::group_of;
/// assert_eq!(group_of("layer3.1.conv2.weight"), "layer3.1");
/// assert_eq!(group_of("fc.weight"), "fc");
/// ```
pub fn group_of(param: &str) -> &str {
    let stem = param.rsplit_once('.').map_or(param, |(stem, _)| stem);
    let mut end = None;
    let mut at = 0;
    for part in stem.split('.') {
        let next = at + part.len();
        if part.bytes().all(|b| b.is_ascii_digit()) && at > 0 {
            end = Some(next);
        }
        at = next + 1;
    }
    &stem[..end.unwrap_or(stem.len())]
}

/// Which parameters of a group learn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// All of them.
    All,
    /// Biases (Ben Zaken, Goldberg and Ravfogel, 2022).
    Biases,
    /// Scales and shifts of norms (Frankle, Schwab and Morcos, 2021).
    Norms,
    /// Those that adapters brought.
    Adapters,
}

/// The learned parameters of a group, or of one part of it, in the graph's order.
///
/// ```
/// use headstart_graph::rewrite::{Part, params_of};
/// use headstart_graph::{Conv, GraphBuilder};
/// let mut b = GraphBuilder::new("tiny");
/// let x = b.image("image", [3, 8, 8]);
/// let x = b.conv("layer.0.conv", x, Conv::new(4, 3))?;
/// let x = b.batch_norm("layer.0.bn", x, 1e-5, 0.1)?;
/// let graph = b.finish([("y", x)])?;
/// assert_eq!(params_of(&graph, "layer.0", Part::Norms), ["layer.0.bn.weight", "layer.0.bn.bias"]);
/// assert_eq!(params_of(&graph, "layer.0", Part::Biases), ["layer.0.conv.bias", "layer.0.bn.bias"]);
/// # Ok::<(), headstart_graph::GraphError>(())
/// ```
pub fn params_of<'a>(graph: &'a Graph, group: &str, part: Part) -> Vec<&'a str> {
    let is_norm = |id: crate::ValueId| {
        let reads = |n: &&crate::Node| n.inputs.contains(&id);
        let norm = |n: &crate::Node| matches!(n.op, Op::BatchNorm { .. } | Op::LayerNorm { .. });
        graph.nodes().iter().filter(reads).any(norm)
    };
    graph
        .params()
        .filter(|(_, name, p)| p.role == Role::Learned && group_of(name) == group)
        .filter(|(id, name, _)| match part {
            Part::All => true,
            Part::Biases => name.ends_with("bias"),
            Part::Norms => is_norm(*id),
            Part::Adapters => is_adapters(name),
        })
        .map(|(_, name, _)| name)
        .collect()
}

/// True for a parameter that an adapter brought.
pub fn is_adapters(param: &str) -> bool {
    [".lora_", ".ia3_l", ".adapter_"].iter().any(|part| param.contains(part))
}

impl FreezeMask {
    /// Nothing learns.
    pub fn all_frozen() -> Self {
        Self::default()
    }

    /// Everything learns.
    pub fn all_trained(graph: &Graph) -> Self {
        FreezeMask { trained: groups(graph).into_iter().map(|g| g.name).collect() }
    }

    /// The named groups learn.  A name must be a group of the graph.
    pub fn train(graph: &Graph, names: &[&str]) -> Result<Self, GraphError> {
        let known = groups(graph);
        for name in names {
            if !known.iter().any(|g| g.name == *name) {
                let list = known.iter().map(|g| g.name.as_str()).collect::<Vec<_>>().join(", ");
                return Err(GraphError::NoMatch((*name).into(), list));
            }
        }
        Ok(FreezeMask { trained: names.iter().map(|s| s.to_string()).collect() })
    }

    /// True if gradients change this parameter.
    pub fn learns(&self, param: &str) -> bool {
        self.trained.iter().any(|g| g == group_of(param))
    }
}

#[cfg(test)]
mod tests {
    use super::group_of;

    #[test]
    fn groups_are_the_layers_people_name() {
        for (param, group) in [
            ("layer3.1.conv2.weight", "layer3.1"),
            ("conv1.weight", "conv1"),
            ("features.0.weight", "features.0"),
            ("bert.encoder.layer.5.attention.self.query.weight", "bert.encoder.layer.5"),
            ("bert.embeddings.LayerNorm.bias", "bert.embeddings.LayerNorm"),
            ("layer1.0.downsample.1.running_var", "layer1.0.downsample.1"),
            ("head.weight", "head"),
        ] {
            assert_eq!(group_of(param), group);
        }
    }
}
