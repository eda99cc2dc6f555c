//! Which files of a hub's repository make up a model.

/// Everything that a reader of models and tokenizers, or a card, looks at, besides the weights.
const USUAL_FILES: [&str; 17] = [
    "config.json",
    "generation_config.json",
    "preprocessor_config.json",
    "adapter_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "modules.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "1_Pooling/config.json",
    "README.md",
    "LICENSE",
];

/// The weights, best first: as one file, or as an index whose shards share its stem.
const WEIGHTS: [&str; 6] = [
    "model.safetensors",
    "model.safetensors.index.json",
    "adapter_model.safetensors",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "adapter_model.bin",
];

/// The usual files that a repository has, with the first of the weights; or why there are none.
pub(crate) fn usual_files(names: &[String]) -> Result<Vec<String>, String> {
    let has = |wanted: &str| names.iter().any(|name| name == wanted);
    let mut files: Vec<String> =
        USUAL_FILES.iter().filter(|name| has(name)).map(|&name| name.to_owned()).collect();
    let Some(weights) = WEIGHTS.iter().find(|name| has(name)) else {
        let listed: Vec<&str> = names.iter().map(String::as_str).take(12).collect();
        return Err(format!(
            "it has no weights under a usual name ({}); it has {}; name one by `!path`",
            WEIGHTS.join(", "),
            listed.join(", ")
        ));
    };
    files.push((*weights).to_owned());
    if let Some(whole) = weights.strip_suffix(".index.json") {
        files.extend(shards(whole, names)?);
    }
    Ok(files)
}

/// `model-00001-of-00003.safetensors` and its siblings, all of them.
fn shards(whole: &str, names: &[String]) -> Result<Vec<String>, String> {
    let (stem, ending) = whole.rsplit_once('.').unwrap_or((whole, ""));
    let number_of = |name: &str| -> Option<(usize, usize)> {
        let middle = name.strip_prefix(stem)?.strip_prefix('-')?.strip_suffix(ending)?.strip_suffix('.')?;
        let (idx, of) = middle.split_once("-of-")?;
        Some((idx.parse().ok()?, of.parse().ok()?))
    };
    let mut found: Vec<(usize, usize, &String)> =
        names.iter().filter_map(|name| number_of(name).map(|(idx, of)| (idx, of, name))).collect();
    found.sort();
    let n_shards = found.first().map_or(0, |shard| shard.1);
    let complete = n_shards > 0
        && found.len() == n_shards
        && found.iter().enumerate().all(|(idx, shard)| (shard.0, shard.1) == (idx + 1, n_shards));
    match complete {
        true => Ok(found.into_iter().map(|shard| shard.2.clone()).collect()),
        false => Err(format!("`{whole}` is in parts, and of {n_shards} parts it has {}", found.len())),
    }
}

/// A git commit: 40 lower-case hexadecimal digits.
pub(crate) fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn safetensors_are_preferred_and_the_rest_is_left() {
        let repo =
            names(&["config.json", "model.safetensors", "pytorch_model.bin", "onnx/model.onnx", "train.py"]);
        assert_eq!(usual_files(&repo).unwrap(), ["config.json", "model.safetensors"]);
    }

    #[test]
    fn all_shards_come_or_none() {
        let mut repo = names(&[
            "model.safetensors.index.json",
            "model-00002-of-00002.safetensors",
            "model-00001-of-00002.safetensors",
            "model-notes.safetensors",
        ]);
        let files = usual_files(&repo).unwrap();
        assert_eq!(
            files,
            [
                "model.safetensors.index.json",
                "model-00001-of-00002.safetensors",
                "model-00002-of-00002.safetensors"
            ]
        );
        repo.remove(1);
        assert!(usual_files(&repo).unwrap_err().contains("of 2 parts it has 1"));
    }

    #[test]
    fn a_repository_without_weights_says_what_it_has() {
        let reason = usual_files(&names(&["onnx/model.onnx"])).unwrap_err();
        assert!(reason.contains("it has onnx/model.onnx"), "{reason}");
    }
}
