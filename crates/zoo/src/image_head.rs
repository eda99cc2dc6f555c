//! What stands on an image encoder, by the name of transformers' class, and the size of its pictures.

use serde_json::Value;

use crate::ZooError;
use crate::limits::WIDTH_MAX;
use crate::text_head::n_labels;

/// The heads that the image families have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ImageHead {
    /// The bare encoder, `XModel`: names have no prefix.
    Model,
    /// The encoder inside a model whose head is of no use here.
    Trunk,
    /// `XForImageClassification` with so many classes.
    Classes(usize),
    /// `XForImageClassificationWithTeacher`: one classifier for each of two tokens, averaged.
    Teacher(usize),
}

impl ImageHead {
    /// Reads `architectures`; `class` is what the family's classes begin with (`ViT`).
    pub(crate) fn read(config: &Value, class: &str) -> Result<Self, ZooError> {
        let Some(name) = config["architectures"][0].as_str() else { return Ok(ImageHead::Model) };
        match name.strip_prefix(class).unwrap_or_default() {
            "Model" => Ok(ImageHead::Model),
            "ForMaskedImageModeling" => Ok(ImageHead::Trunk),
            "ForImageClassification" => Ok(ImageHead::Classes(n_labels(config))),
            "ForImageClassificationWithTeacher" if class == "DeiT" => {
                Ok(ImageHead::Teacher(n_labels(config)))
            }
            _ => {
                let allowed = format!("{class}Model, {class}ForImageClassification");
                Err(ZooError::Config { field: "architectures", got: format!("`{name}`"), allowed })
            }
        }
    }

    /// `vit.` before the trunk's names unless it stands alone.
    pub(crate) fn prefix(self, name: &str) -> String {
        if self == ImageHead::Model { String::new() } else { format!("{name}.") }
    }
}

/// A number, or the same number twice: sizes of pictures and patches, which are square here.
pub(crate) fn square(config: &Value, field: &'static str, default: usize) -> Result<usize, ZooError> {
    let value = &config[field];
    let number = match value.as_array().map(Vec::as_slice) {
        _ if value.is_null() => return Ok(default),
        Some([height, width]) if height == width => height.as_u64(),
        Some(_) => None,
        None => value.as_u64(),
    };
    match number.and_then(|n| usize::try_from(n).ok()) {
        Some(n) if n > 0 && n <= WIDTH_MAX => Ok(n),
        _ => Err(ZooError::Config {
            field,
            got: value.to_string(),
            allowed: "a number of pixels, or it twice".into(),
        }),
    }
}

/// Pictures have three channels.
pub(crate) fn three_channels(config: &Value) -> Result<(), ZooError> {
    match config["num_channels"].as_u64() {
        None | Some(3) => Ok(()),
        Some(n) => Err(ZooError::Config { field: "num_channels", got: n.to_string(), allowed: "3".into() }),
    }
}
