//! From a model folder's `config.json` to a graph: transformers' and timm's are understood.

use headstart_graph::{Filter, Graph, ImagePreprocess, Preprocess, Resize, TextPreprocess, rewrite};
use serde_json::Value;

use crate::{
    BuildOptions, Rename, ZooError, albert, architecture, bert, build, convnext_config, deberta_v2,
    distilbert, electra, mpnet, roberta, t5, text_head, vit, wav2vec2, whisper,
};

/// What a `config.json` says about the file beside it.
#[derive(Debug, Clone)]
pub struct Configured {
    /// The network, with the head that the file holds.
    pub graph: Graph,
    /// How its inputs are prepared, as far as `config.json` says: transformers' pictures have a
    /// `preprocessor_config.json` of their own.
    pub preprocess: Option<Preprocess>,
    /// From the names in the file to the graph's.
    pub rename: Rename,
    /// Names of the classes by position of the logit, where the configuration gives them (`id2label`).
    pub labels: Vec<String>,
}

/// Values of `model_type` that are understood.
const FAMILIES: &str = "albert, bert, convnext, deberta-v2, deit, distilbert, electra, mpnet, roberta, t5, vit, \
                        wav2vec2, whisper, xlm-roberta";

/// Reads a `config.json` of transformers (`model_type`) or timm (`architecture`).
///
/// ```
/// use headstart_zoo::from_config;
/// let config = serde_json::json!({
///     "model_type": "bert", "architectures": ["BertForTokenClassification"],
///     "num_hidden_layers": 2, "hidden_size": 128, "num_attention_heads": 2, "intermediate_size": 512,
///     "id2label": {"0": "O", "1": "B-PER", "2": "I-PER"},
/// });
/// let found = from_config(&config)?;
/// assert_eq!(found.graph.value(found.graph.output()).shape.to_string(), "[batch, sequence, 3]");
/// assert_eq!(found.labels[1], "B-PER");
/// # Ok::<(), headstart_zoo::ZooError>(())
/// ```
pub fn from_config(config: &Value) -> Result<Configured, ZooError> {
    let Some(model_type) = config["model_type"].as_str() else {
        if let Some(name) = config["architecture"].as_str() {
            return from_timm(config, name);
        }
        let allowed = format!("{FAMILIES}, or a timm configuration with `architecture`");
        return Err(ZooError::Config { field: "model_type", got: "missing".into(), allowed });
    };
    match model_type {
        "albert" => text(albert::from_json, config),
        "bert" => text(bert::from_json, config),
        "convnext" => graph_only(convnext_config::from_json(config)?, config),
        "deberta-v2" => text(deberta_v2::from_json, config),
        "distilbert" => text(distilbert::from_json, config),
        "electra" => text(electra::from_json, config),
        "mpnet" => text(mpnet::from_json, config),
        "roberta" | "xlm-roberta" => text(roberta::from_json, config),
        "t5" => text(t5::from_json, config),
        "vit" | "deit" => graph_only(vit::from_json(config)?, config),
        "wav2vec2" => graph_only(wav2vec2::from_json(config)?, config),
        "whisper" => graph_only(whisper::from_json(config)?, config),
        other => Err(ZooError::Config {
            field: "model_type",
            got: format!("`{other}`"),
            allowed: format!("{FAMILIES}, or a timm configuration with `architecture`"),
        }),
    }
}

/// The `model_type` of transformers' configuration class (`BertConfig`), if its family is in the zoo.
pub fn model_type_of(config_class: &str) -> Option<&'static str> {
    // Classes are called as their types, in capitals here and there.
    let family = config_class.strip_suffix("Config")?.to_lowercase();
    FAMILIES.split(", ").find(|t| t.replace('-', "") == family)
}

fn text(
    family: fn(&Value) -> Result<(Graph, usize), ZooError>,
    config: &Value,
) -> Result<Configured, ZooError> {
    let (graph, length_max) = family(config)?;
    let preprocess = Some(Preprocess::Text(TextPreprocess { length_max }));
    Ok(Configured { graph, preprocess, rename: Rename::Transformers, labels: text_head::labels(config) })
}

/// Pictures and sounds: how they are prepared stands in a file of its own.
fn graph_only(graph: Graph, config: &Value) -> Result<Configured, ZooError> {
    Ok(Configured {
        graph,
        preprocess: None,
        rename: Rename::Transformers,
        labels: text_head::labels(config),
    })
}

fn from_timm(config: &Value, name: &str) -> Result<Configured, ZooError> {
    // timm's name first: where torchvision has the same one, the parameters are called differently.
    let found = architecture(&format!("timm/{name}")).or_else(|_| architecture(name))?;
    if found.name == name && !["resnet", "inception", "vgg", "densenet"].contains(&found.family) {
        return Err(ZooError::Config {
            field: "architecture",
            got: format!("`{name}`, which timm and torchvision name differently"),
            allowed: "the zoo's timm/…, resnet, vgg, densenet and inception networks".into(),
        });
    }
    // Older files nest less: the same keys stand at the top.
    let pretrained = if config["pretrained_cfg"].is_object() { &config["pretrained_cfg"] } else { config };
    let image = image(pretrained)?;
    let classes = config["num_classes"].as_u64().or(pretrained["num_classes"].as_u64()).unwrap_or(1000);
    let n_classes = (classes > 0).then_some(classes as usize);
    let options = BuildOptions { n_classes, image_size_px: Some(image.size_px[0]) };
    let rename = if found.family == "vgg" { Rename::TimmVgg } else { Rename::ByName };
    let mut graph = build(found.name, &options)?;
    if pretrained["tag"].as_str() != Some("tv_in1k") {
        // Of timm's files, only those from torchvision keep Inception's auxiliary head.
        graph = rewrite::main_output(&graph)?;
    }
    Ok(Configured { graph, preprocess: Some(Preprocess::Image(image)), rename, labels: Vec::new() })
}

/// timm's evaluation transform: the shorter side to size / crop_pct, rounded down, then the middle.
fn image(c: &Value) -> Result<ImagePreprocess, ZooError> {
    let bad = |field: &'static str, allowed: &str| ZooError::Config {
        field,
        got: c[field].to_string(),
        allowed: allowed.into(),
    };
    let size = match c["input_size"].as_array().map(Vec::as_slice) {
        Some([channels, h, w]) if *channels == 3 && h == w => h.as_u64().filter(|&n| n > 0),
        _ => None,
    };
    let size = size.ok_or_else(|| bad("input_size", "[3, n, n]"))? as usize;
    let crop = c["crop_pct"].as_f64().unwrap_or(0.875);
    if !(crop > 0.0 && crop <= 1.0) {
        return Err(bad("crop_pct", "a share above 0, at most 1"));
    }
    let shorter_px = (size as f64 / crop) as usize;
    let resize = match c["crop_mode"].as_str() {
        None | Some("center") => Resize::ShorterThenCrop { shorter_px },
        Some("squash") if shorter_px == size => Resize::Squash,
        _ => return Err(bad("crop_mode", "`center`, or `squash` with crop_pct 1")),
    };
    let filter = match c["interpolation"].as_str() {
        Some("bilinear") => Filter::Bilinear,
        None | Some("bicubic") => Filter::Bicubic,
        _ => return Err(bad("interpolation", "`bilinear`, `bicubic`")),
    };
    let three = |field: &'static str, default: [f32; 3]| -> Result<[f32; 3], ZooError> {
        if c[field].is_null() {
            return Ok(default);
        }
        serde_json::from_value(c[field].clone()).map_err(|_| bad(field, "three numbers"))
    };
    let mean = three("mean", ImagePreprocess::IMAGENET_MEAN)?;
    let std = three("std", ImagePreprocess::IMAGENET_STD)?;
    Ok(ImagePreprocess { size_px: [size; 2], resize, filter, mean, std })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn timm_configurations_carry_their_preprocessing() {
        let config = json!({
            "architecture": "tf_efficientnet_lite0", "num_classes": 1000, "num_features": 1280,
            "pretrained_cfg": {"input_size": [3, 224, 224], "interpolation": "bicubic", "crop_pct": 0.875,
                "crop_mode": "center", "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
        });
        let found = from_config(&config).expect("known");
        let Some(Preprocess::Image(p)) = found.preprocess else { panic!("an image network") };
        assert_eq!(p.resize, Resize::ShorterThenCrop { shorter_px: 256 });
        assert_eq!((p.filter, p.mean), (Filter::Bicubic, [0.5; 3]));
        assert_eq!(found.graph.name(), "timm/tf_efficientnet_lite0");
    }

    #[test]
    fn a_name_that_both_have_is_read_as_timm_means_it() {
        let of = |name: &str| {
            from_config(&json!({"architecture": name, "num_classes": 0, "input_size": [3, 224, 224]}))
        };
        assert_eq!(of("efficientnet_b0").expect("known").graph.name(), "timm/efficientnet_b0");
        assert_eq!(of("vgg16").expect("known").rename, Rename::TimmVgg);
        assert_eq!(of("resnet50").expect("known").graph.outputs()[0].name, "features");
        assert!(of("mobilenet_v2").is_err());
        let inception = |tag: &str| {
            from_config(&json!({"architecture": "inception_v3", "num_classes": 1000,
                "pretrained_cfg": {"tag": tag, "input_size": [3, 299, 299], "interpolation": "bicubic"}}))
            .expect("known")
            .graph
        };
        assert_eq!(inception("tv_in1k").outputs().len(), 2);
        assert_eq!(inception("tf_in1k").outputs().len(), 1);
        assert!(of("resnet50d").is_err());
    }

    #[test]
    fn what_is_not_supported_is_named_with_what_is() {
        let e = from_config(&json!({"model_type": "gpt2"})).expect_err("not here");
        assert!(e.to_string().contains("gpt2") && e.to_string().contains("bert"), "{e}");
        let e = from_config(&json!({"model_type": "bert", "architectures": ["BertLMHeadModel"]}));
        assert!(e.expect_err("not here").to_string().contains("BertForTokenClassification"));
    }
}
