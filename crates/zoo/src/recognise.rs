//! Which architecture a file of bare tensors belongs to, told by their names and shapes.

use std::collections::{HashMap, HashSet};

use headstart_graph::{Role, Weights};

use crate::{Architecture, BuildOptions, Rename, architectures, is_bookkeeping};

/// An architecture whose every layer but the classifier is in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recognised {
    /// Its name, as [`crate::build`] takes it.
    pub name: &'static str,
    /// Width of the file's classifier, where it has one of the reference's name.
    pub n_classes: Option<usize>,
    /// Tensors of the file that the architecture has no place for, counters left aside.
    pub n_unused: usize,
}

/// The architectures of the registry that the tensors belong to, the closest first.  Several may fit: ResNeXt and its wide
/// relatives differ in shapes, but ViT of two image sizes only in one tensor.
///
/// ```
/// use headstart_graph::{Tensor, Weights};
/// use headstart_zoo::{BuildOptions, build, recognise};
/// let graph = build("squeezenet1_1", &BuildOptions::classes(3))?;
/// let zeros = graph.params().map(|(_, name, p)| {
///     (name.to_string(), Tensor::from_f32(&p.shape, &vec![0.0; p.shape.iter().product()]).expect("fits"))
/// });
/// let found = recognise(&zeros.collect::<Weights>());
/// assert_eq!((found[0].name, found[0].n_classes, found[0].n_unused), ("squeezenet1_1", Some(3), 0));
/// # Ok::<(), headstart_zoo::ZooError>(())
/// ```
pub fn recognise(weights: &Weights) -> Vec<Recognised> {
    let mut found: Vec<Recognised> = architectures().filter_map(|a| matches(a, weights)).collect();
    found.sort_by_key(|r| r.n_unused);
    found
}

fn matches(architecture: &'static Architecture, weights: &Weights) -> Option<Recognised> {
    let with_head = (architecture.build)(&BuildOptions::classes(1000)).ok()?;
    let trunk = (architecture.build)(&BuildOptions::default()).ok()?;
    // Texts have prefixes and old names of norms; the rest is named as its reference names it.
    let renamed = if architecture.size_px.is_none() {
        Rename::Transformers.apply(&trunk, weights.clone()).ok()?
    } else {
        weights.clone()
    };
    let optional = |name: &str| name.contains("pooler.") || name.starts_with("AuxLogits.");
    let mut learned = trunk.params().filter(|(_, name, p)| p.role == Role::Learned && !optional(name));
    if !learned.all(|(_, name, p)| renamed.get(name).is_some_and(|t| t.shape() == p.shape)) {
        return None;
    }
    let shapes: HashMap<&str, &[usize]> =
        with_head.params().map(|(_, name, p)| (name, p.shape.as_slice())).collect();
    let in_trunk: HashSet<&str> = trunk.params().map(|(_, name, _)| name).collect();
    let head = |name: &str| !in_trunk.contains(name) && !optional(name);
    // The classifier is as wide as the file says, so only the other axes can tell.
    let n_classes =
        with_head.params().filter(|(_, name, p)| head(name) && p.shape.len() > 1).find_map(|(_, name, p)| {
            let shape = renamed.get(name)?.shape();
            (shape.len() == p.shape.len() && shape.get(1..) == p.shape.get(1..))
                .then(|| shape.first().copied())?
        });
    let unused = renamed.iter().filter(|(name, _)| !shapes.contains_key(name) && !is_bookkeeping(name));
    let n_unused = unused.count();
    Some(Recognised { name: architecture.name, n_classes, n_unused })
}
