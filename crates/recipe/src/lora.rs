//! `lora`: low-rank updates beside frozen weights learn, with the head (Hu et al., 2021; rsLoRA: Kalajdzievski, 2023).
//!
//! Without `--target` they stand beside every linear layer and every whole convolution, which does better than attention
//! alone at the same size (Dettmers et al., 2023).  Embeddings take one if a pattern names them.

use headstart_graph::rewrite::{AdapterKind, LoraSpec};
use headstart_graph::{Graph, Node, Op};

use crate::targets::{course_of, is_layer, is_param, layers, one};
use crate::training::{Course, Rates};
use crate::{Facts, RecipeError};

/// Rates of low-rank updates.
pub(crate) const IMAGE: Rates = Rates { network: 3e-3, head: 3e-3 };
/// The same for texts.
pub(crate) const TEXT: Rates = Rates { network: 1e-3, head: 1e-3 };

pub(crate) fn course(graph: &Graph, facts: &Facts<'_>) -> Result<Course, RecipeError> {
    let with_embeddings = !facts.targets.is_empty();
    let suits =
        |n: &Node| is_layer(graph, n) || (with_embeddings && n.op == Op::Embedding && is_param(graph, n, 0));
    let targets = layers(graph, facts, "lora", suits)?;
    course_of(graph, facts, one(AdapterKind::Lora(spec(facts)), targets), IMAGE, TEXT)
}

/// Rank and scale by the settings.
pub(crate) fn spec(facts: &Facts<'_>) -> LoraSpec {
    let s = &facts.settings;
    LoraSpec {
        rank: s.get("lora_rank") as usize,
        alpha: s.get("lora_alpha"),
        dropout: s.get("lora_dropout"),
        rank_stabilised: s.get("rslora") >= 0.5,
    }
}
