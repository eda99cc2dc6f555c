//! How the names in a published file become those of a graph.

mod keras;
mod transformers;

pub use keras::build_for_keras;
pub(crate) use transformers::published as published_name;

use headstart_graph::{Graph, Tensor, Weights};
use serde::{Deserialize, Serialize};

use crate::ZooError;

/// A rule that gives the tensors of a file the names that a graph's parameters have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rename {
    /// The names are already the reference's.
    #[default]
    ByName,
    /// The names differ, but the order is the same; every shape and the last part of every name (`weight`, `bias`,
    /// `running_mean`, …) are checked, because a batch norm's four tensors are of one shape.
    ByOrder,
    /// timm writes VGG's fully connected layers as convolutions: `pre_logits.fc1`, `pre_logits.fc2`, `head.fc`.
    TimmVgg,
    /// transformers' names of any age: a trunk under its model's prefix or without, `gamma` and `beta` of norms,
    /// `weight_g` and `weight_v`, the layers of vision transformers before version 5.
    #[serde(alias = "bert-trunk")]
    Transformers,
    /// Keras' layers, by kind and by the order of their names, onto a chain of convolutions and linear layers (VGG); kernels are turned.
    Keras,
}

/// True for tensors that implementations store but no network needs: counters and position numbers.  A loader may
/// leave them out, and should say so.
pub fn is_bookkeeping(name: &str) -> bool {
    name.ends_with("num_batches_tracked") || name.ends_with("embeddings.position_ids")
}

impl Rename {
    /// Renames; bookkeeping tensors keep their names and go last.
    ///
    /// Nothing is dropped: what the graph has no place for stays for the loader to report.  [`Rename::ByOrder`] pairs
    /// the rest with the graph's parameters one by one, so `weights` must be in the file's order and complete.
    ///
    /// # Errors
    /// [`ZooError::Count`] and [`ZooError::Order`] if tensors and parameters cannot be paired by order,
    /// [`ZooError::Collision`] if two tensors would get the same name.
    pub fn apply(self, graph: &Graph, weights: Weights) -> Result<Weights, ZooError> {
        let (aside, rest): (Vec<_>, Vec<_>) = weights
            .iter()
            .map(|(name, t)| (name.to_string(), t.clone()))
            .partition(|(name, _)| is_bookkeeping(name));
        let renamed: Vec<_> = match self {
            Rename::ByName => rest,
            Rename::ByOrder => by_order(graph, rest)?,
            Rename::TimmVgg => rest.into_iter().map(timm_vgg).collect::<Result<Vec<_>, ZooError>>()?,
            Rename::Transformers => transformers::rename(graph, rest),
            Rename::Keras => keras::rename(graph, rest)?,
        };
        let mut all = Weights::new();
        for (name, t) in renamed.into_iter().chain(aside) {
            if all.insert(name.clone(), t).is_some() {
                return Err(ZooError::Collision { name });
            }
        }
        Ok(all)
    }
}

/// The name in a graph of a tensor that transformers, of any version and with any prefix, calls `name`; the same name if the
/// graph has none.
///
/// ```
/// let config = serde_json::json!({"model_type": "bert", "architectures": ["BertModel"], "num_hidden_layers": 1});
/// let graph = headstart_zoo::from_config(&config)?.graph;
/// let name = headstart_zoo::name_in_graph(&graph, "bert.encoder.layer.0.output.dense.weight");
/// assert_eq!(name, "encoder.layer.0.output.dense.weight");
/// # Ok::<(), headstart_zoo::ZooError>(())
/// ```
pub fn name_in_graph(graph: &Graph, name: &str) -> String {
    transformers::name_of(graph, name)
}

fn by_order(graph: &Graph, tensors: Vec<(String, Tensor)>) -> Result<Vec<(String, Tensor)>, ZooError> {
    let want = graph.params().count();
    if tensors.len() != want {
        return Err(ZooError::Count { graph: graph.name().into(), want, got: tensors.len() });
    }
    tensors
        .into_iter()
        .zip(graph.params())
        .map(|((file, t), (_, param, p))| {
            if t.shape() != p.shape || last_part(&file) != last_part(param) {
                let (got, want) = (t.shape().to_vec(), p.shape.clone());
                return Err(ZooError::Order { file, got, param: param.into(), want });
            }
            Ok((param.to_string(), t))
        })
        .collect()
}

fn last_part(name: &str) -> &str {
    name.rsplit('.').next().unwrap_or(name)
}

/// A convolution that covers its whole input is a linear layer: `[4096, 512, 7, 7]` → `[4096, 25088]`.
fn timm_vgg((name, t): (String, Tensor)) -> Result<(String, Tensor), ZooError> {
    let table = [
        ("pre_logits.fc1.", "classifier.0."),
        ("pre_logits.fc2.", "classifier.3."),
        ("head.fc.", "classifier.6."),
    ];
    let Some((tail, to)) = table.iter().find_map(|(from, to)| Some((name.strip_prefix(from)?, to))) else {
        return Ok((name, t));
    };
    let flat = match *t.shape() {
        [out, channels, height, width] => t.reshaped(&[out, channels * height * width])?,
        _ => t,
    };
    Ok((format!("{to}{tail}"), flat))
}

#[cfg(test)]
mod tests {
    use headstart_graph::{DType, GraphBuilder};

    use super::*;

    fn zeros(shape: &[usize]) -> Tensor {
        let n = shape.iter().product();
        Tensor::from_f32(shape, &vec![0.0; n]).expect("fits")
    }

    fn tiny() -> Graph {
        let mut b = GraphBuilder::new("tiny");
        let x = b.image("image", [3, 4, 4]);
        let x = b.global_avg_pool("pool", x).expect("pools");
        let y = b.linear("fc", x, 2).expect("fits");
        b.finish([("logits", y)]).expect("is whole")
    }

    #[test]
    fn by_order_checks_every_shape() {
        let file = |a: &[usize], b: &[usize]| -> Weights {
            [
                ("_fc.weight".into(), zeros(a)),
                ("_bn.num_batches_tracked".into(), zeros(&[])),
                ("_fc.bias".into(), zeros(b)),
            ]
            .into_iter()
            .collect()
        };
        let named = Rename::ByOrder.apply(&tiny(), file(&[2, 3], &[2])).expect("fits");
        let names: Vec<_> = named.iter().map(|(n, _)| n.to_string()).collect();
        assert_eq!(names, ["fc.weight", "fc.bias", "_bn.num_batches_tracked"]);
        assert!(matches!(Rename::ByOrder.apply(&tiny(), file(&[3, 2], &[2])), Err(ZooError::Order { .. })));
        let swapped: Weights =
            [("_fc.bias".to_string(), zeros(&[2, 3])), ("_fc.weight".to_string(), zeros(&[2]))]
                .into_iter()
                .collect();
        assert!(matches!(Rename::ByOrder.apply(&tiny(), swapped), Err(ZooError::Order { .. })));
        let short: Weights = [("_fc.weight".to_string(), zeros(&[2, 3]))].into_iter().collect();
        assert!(matches!(Rename::ByOrder.apply(&tiny(), short), Err(ZooError::Count { .. })));
    }

    #[test]
    fn names_do_not_tell_an_order() {
        let file: Weights =
            [("b.weight".to_string(), zeros(&[2, 3])), ("a.bias".into(), zeros(&[2]))].into_iter().collect();
        let named = Rename::ByOrder.apply(&tiny(), file).expect("fits");
        assert_eq!(named.get("fc.bias").map(Tensor::shape), Some(&[2][..]));
        // Not even dimensions of length 1 may differ.
        let tall: Weights = [("b.weight".to_string(), zeros(&[2, 3, 1])), ("a.bias".into(), zeros(&[2]))]
            .into_iter()
            .collect();
        let error = Rename::ByOrder.apply(&tiny(), tall).expect_err("is of another shape");
        assert_eq!(
            error.to_string(),
            "by order, tensor `b.weight` [2, 3, 1] would become `fc.weight` [2, 3]"
        );
    }

    #[test]
    fn old_names_become_new_ones() {
        let (name, t) = timm_vgg(("pre_logits.fc1.weight".into(), zeros(&[8, 2, 7, 7]))).expect("fits");
        assert_eq!((name.as_str(), t.shape(), t.dtype()), ("classifier.0.weight", &[8, 98][..], DType::F32));
    }

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let (rename, names) = (Rename::TimmVgg, ["head.fc.bias", "classifier.6.bias"]);
        let file = names.map(|n| (n.to_string(), zeros(&[2]))).into_iter().collect();
        let error = rename.apply(&tiny(), file).expect_err("one would be lost");
        assert_eq!(error.to_string(), format!("two tensors of the file would both become `{}`", names[1]));
    }
}
