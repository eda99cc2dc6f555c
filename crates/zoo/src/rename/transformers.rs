//! The names that transformers' files have had over the years, and those of the graph.
//!
//! A name that the graph has is kept.  Else the rules below are tried until one gives a name that the graph has; what
//! none of them explains keeps its name, and the loader reports it.

use std::collections::HashSet;

use headstart_graph::{Graph, Tensor};

/// Parts of a name, old and new.
const PARTS: [(&str, &str); 10] = [
    // Norms as TensorFlow's checkpoints had them.
    (".gamma", ".weight"),
    (".beta", ".bias"),
    // Weight norm before PyTorch's parametrisations.
    (".weight_g", ".parametrizations.weight.original0"),
    (".weight_v", ".parametrizations.weight.original1"),
    // Layers of vision transformers before version 5.
    ("encoder.layer.", "layers."),
    (".attention.attention.query.", ".attention.q_proj."),
    (".attention.attention.key.", ".attention.k_proj."),
    (".attention.attention.value.", ".attention.v_proj."),
    (".attention.output.dense.", ".attention.o_proj."),
    (".intermediate.dense.", ".mlp.fc1."),
];

/// After [`PARTS`], because the attention's output ends alike.
const LAST: (&str, &str) = (".output.dense.", ".mlp.fc2.");

/// Names under which one tensor is also stored where models tie them.
const TIED: [(&str, &str); 3] = [
    ("encoder.embed_tokens.weight", "shared.weight"),
    ("decoder.embed_tokens.weight", "shared.weight"),
    ("lm_head.weight", "shared.weight"),
];

/// What a graph's parameters are called, and what their names begin with.
fn wanted(graph: &Graph) -> (HashSet<&str>, Vec<&str>) {
    let wanted: HashSet<&str> = graph.params().map(|(_, name, _)| name).collect();
    let prefixes: HashSet<&str> = wanted.iter().filter_map(|n| Some(n.split_once('.')?.0)).collect();
    let mut prefixes: Vec<&str> = prefixes.into_iter().collect();
    prefixes.sort_unstable();
    (wanted, prefixes)
}

/// One name, by the same rules.
pub(super) fn name_of(graph: &Graph, name: &str) -> String {
    let (wanted, prefixes) = wanted(graph);
    let found = candidates(name, &prefixes).into_iter().find(|c| wanted.contains(c.as_str()));
    found.unwrap_or_else(|| name.into())
}

/// Renames what the rules explain.
pub(super) fn rename(graph: &Graph, tensors: Vec<(String, Tensor)>) -> Vec<(String, Tensor)> {
    let (wanted, prefixes) = wanted(graph);
    let have: HashSet<String> = tensors.iter().map(|(name, _)| name.clone()).collect();
    tensors
        .into_iter()
        .map(|(name, t)| {
            let found = candidates(&name, &prefixes).into_iter().find(|c| wanted.contains(c.as_str()));
            match found {
                // Only a tensor that is not there under its own name is taken from a tied one.
                Some(new) if new == name || !have.contains(&new) => (new, t),
                _ => (name, t),
            }
        })
        .collect()
}

/// The name that published files of a family have, whatever version reads them: vision transformers keep those of before
/// version 5.
pub(crate) fn published(model_type: &str, name: &str) -> String {
    if !["vit", "deit"].contains(&model_type) {
        return name.into();
    }
    PARTS[4..].iter().chain([&LAST]).fold(name.to_string(), |name, (old, new)| name.replace(new, old))
}

/// Every name that a tensor might have in the graph, its own first.
fn candidates(name: &str, prefixes: &[&str]) -> Vec<String> {
    let mut modern = name.to_string();
    for (old, new) in PARTS.into_iter().chain([LAST]) {
        // Only whole endings of weight norm and norms, any place of the others.
        modern = match old.ends_with('.') {
            true => modern.replace(old, new),
            false => modern.strip_suffix(old).map_or(modern.clone(), |stem| format!("{stem}{new}")),
        };
    }
    let ended = |name: &str| {
        PARTS[..4].iter().find_map(|(old, new)| Some(format!("{}{new}", name.strip_suffix(old)?)))
    };
    let mut all = vec![name.to_string()];
    all.extend(ended(name));
    all.push(modern);
    for candidate in all.clone() {
        // The trunk stands alone in the graph, or in the file.
        if let Some((_, rest)) = candidate.split_once('.') {
            all.push(rest.to_string());
        }
        all.extend(prefixes.iter().map(|prefix| format!("{prefix}.{candidate}")));
    }
    let tied = TIED.iter().filter(|(alias, _)| *alias == name).map(|(_, own)| own.to_string());
    all.extend(tied);
    all
}

#[cfg(test)]
mod tests {
    use headstart_graph::{GraphBuilder, Init};

    use super::*;

    fn graph(params: &[&str]) -> Graph {
        let mut b = GraphBuilder::new("named");
        let x = b.image("image", [1, 1, 1]);
        for name in params {
            b.param((*name).into(), &[1], Init::Constant(0.0)).expect("named once");
        }
        b.finish([("image", x)]).expect("is whole")
    }

    fn renamed(params: &[&str], file: &[&str]) -> Vec<String> {
        let t = || Tensor::from_f32(&[1], &[0.0]).expect("fits");
        let file = file.iter().map(|n| (n.to_string(), t())).collect();
        rename(&graph(params), file).into_iter().map(|(n, _)| n).collect()
    }

    #[test]
    fn prefixes_come_and_go() {
        let bare = ["embeddings.LayerNorm.weight", "pooler.dense.bias"];
        let file = ["bert.embeddings.LayerNorm.gamma", "bert.pooler.dense.bias", "cls.seq_relationship.bias"];
        assert_eq!(renamed(&bare, &file), [bare[0], bare[1], file[2]]);
        let inside = ["bert.embeddings.LayerNorm.bias"];
        assert_eq!(renamed(&inside, &["embeddings.LayerNorm.beta"]), inside);
        // Where both are there, each keeps its own name.
        let both = ["bert.pooler.dense.bias", "pooler.dense.bias"];
        assert_eq!(renamed(&["pooler.dense.bias"], &both), both);
    }

    #[test]
    fn vision_layers_of_before_version_5() {
        let graph = [
            "vit.layers.11.attention.q_proj.bias",
            "vit.layers.11.attention.o_proj.weight",
            "vit.layers.11.mlp.fc1.bias",
            "vit.layers.11.mlp.fc2.weight",
            "vit.layers.11.layernorm_before.weight",
        ];
        let file = [
            "encoder.layer.11.attention.attention.query.bias",
            "encoder.layer.11.attention.output.dense.weight",
            "encoder.layer.11.intermediate.dense.bias",
            "encoder.layer.11.output.dense.weight",
            "encoder.layer.11.layernorm_before.weight",
        ];
        assert_eq!(renamed(&graph, &file), graph);
        assert_eq!(renamed(&graph, &file.map(|n| format!("vit.{n}")).each_ref().map(|s| s.as_str())), graph);
    }

    #[test]
    fn tied_tables_are_taken_where_their_own_is_missing() {
        assert_eq!(renamed(&["shared.weight"], &["encoder.embed_tokens.weight"]), ["shared.weight"]);
        let both = ["shared.weight", "lm_head.weight"];
        assert_eq!(renamed(&["shared.weight"], &both), both);
        let old = ["encoder.pos_conv_embed.conv.weight_g"];
        let new = ["wav2vec2.encoder.pos_conv_embed.conv.parametrizations.weight.original0"];
        assert_eq!(renamed(&new, &old), new);
    }
}
