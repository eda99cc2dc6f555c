//! From transformers' `preprocessor_config.json` to a preprocessing: ViT's, DeiT's and ConvNeXt's image processors.

use headstart_graph::{Filter, ImagePreprocess, Resize};
use serde_json::Value;

use crate::ZooError;

/// Reads a `preprocessor_config.json`.  Nothing is guessed: what decides how a picture is changed must be there.
///
/// # Errors
/// [`ZooError::Config`] for a field that is missing, or whose value is not supported.
///
/// ```
/// use headstart_zoo::image_processor;
/// let config = serde_json::json!({
///     "image_processor_type": "ViTImageProcessor", "do_resize": true, "size": {"height": 224, "width": 224},
///     "resample": 2, "do_rescale": true, "rescale_factor": 0.00392156862745098,
///     "do_normalize": true, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5],
/// });
/// assert_eq!(image_processor(&config)?.size_px, [224, 224]);
/// # Ok::<(), headstart_zoo::ZooError>(())
/// ```
pub fn image_processor(config: &Value) -> Result<ImagePreprocess, ZooError> {
    let bad = |field: &'static str, allowed: &str| {
        let got = if config[field].is_null() { "missing".into() } else { config[field].to_string() };
        ZooError::Config { field, got, allowed: allowed.into() }
    };
    for field in ["do_resize", "do_rescale"] {
        if config[field].as_bool() == Some(false) {
            return Err(bad(field, "true"));
        }
    }
    if config["rescale_factor"].as_f64().is_some_and(|f| (f * 255.0 - 1.0).abs() > 1e-6) {
        return Err(bad("rescale_factor", "1/255"));
    }
    let filter = match config["resample"].as_u64() {
        Some(2) => Filter::Bilinear,
        Some(3) => Filter::Bicubic,
        _ => return Err(bad("resample", "2 (bilinear), 3 (bicubic)")),
    };
    let three = |field: &'static str| -> Result<[f32; 3], ZooError> {
        serde_json::from_value(config[field].clone()).map_err(|_| bad(field, "three numbers"))
    };
    let (mean, std) = if config["do_normalize"].as_bool() == Some(false) {
        ([0.0; 3], [1.0; 3])
    } else {
        (three("image_mean")?, three("image_std")?)
    };
    let (size_px, resize) = if is_convnext(config) { convnext(config)? } else { plain(config)? };
    Ok(ImagePreprocess { size_px, resize, filter, mean, std })
}

/// The class that wrote the file; old files name it otherwise.
fn is_convnext(config: &Value) -> bool {
    let class = config["image_processor_type"].as_str().or(config["feature_extractor_type"].as_str());
    class.is_some_and(|c| c.to_lowercase().starts_with("convnext"))
}

/// Below 384 pixels the shorter side to size / crop_pct, rounded down, and the middle of it; else both sides to size.
fn convnext(config: &Value) -> Result<([usize; 2], Resize), ZooError> {
    let size = &config["size"];
    let n = pixels(&size["shortest_edge"]).or_else(|| pixels(size));
    let n = n.ok_or_else(|| wrong(config, "size", "a number of pixels as `shortest_edge`"))?;
    if n >= 384 {
        return Ok(([n; 2], Resize::Squash));
    }
    let share = config["crop_pct"].as_f64().filter(|p| *p > 0.0 && *p <= 1.0);
    let share = share.ok_or_else(|| wrong(config, "crop_pct", "a share above 0, at most 1"))?;
    Ok(([n; 2], Resize::ShorterThenCrop { shorter_px: (n as f64 / share) as usize }))
}

/// Both sides, or the shorter one, to `size`; then the middle of `crop_size`, where `do_center_crop` says so.
fn plain(config: &Value) -> Result<([usize; 2], Resize), ZooError> {
    let crop = config["do_center_crop"].as_bool() == Some(true);
    let size = &config["size"];
    let crop_px = if crop {
        Some(both(&config["crop_size"]).ok_or_else(|| wrong(config, "crop_size", "`height` and `width`"))?)
    } else {
        None
    };
    match (both(size), pixels(&size["shortest_edge"]), crop_px) {
        (Some(px), _, None) => Ok((px, Resize::Squash)),
        (Some(squashed_px), _, Some(px)) => Ok((px, Resize::SquashThenCrop { squashed_px })),
        (None, Some(shorter_px), Some(px)) => Ok((px, Resize::ShorterThenCrop { shorter_px })),
        _ => Err(wrong(config, "size", "`height` and `width`, or `shortest_edge` with `do_center_crop`")),
    }
}

/// Height and width, which may be one number.
fn both(size: &Value) -> Option<[usize; 2]> {
    match (pixels(size), pixels(&size["height"]), pixels(&size["width"])) {
        (Some(n), _, _) => Some([n; 2]),
        (None, Some(height), Some(width)) => Some([height, width]),
        _ => None,
    }
}

fn pixels(value: &Value) -> Option<usize> {
    value.as_u64().and_then(|n| usize::try_from(n).ok()).filter(|&n| n > 0)
}

fn wrong(config: &Value, field: &'static str, allowed: &str) -> ZooError {
    let got = if config[field].is_null() { "missing".into() } else { config[field].to_string() };
    ZooError::Config { field, got, allowed: allowed.into() }
}

/// What [`image_processor`] reads: the fields of a ViT, DeiT or ConvNeXt processor that does this preprocessing.
pub(crate) fn write(image: &ImagePreprocess, class: &str) -> Value {
    let [height, width] = image.size_px;
    let sides = |h: usize, w: usize| serde_json::json!({"height": h, "width": w});
    let mut config = serde_json::json!({
        "image_processor_type": format!("{class}ImageProcessor"),
        "do_resize": true, "do_rescale": true, "rescale_factor": 1.0 / 255.0,
        "do_normalize": true, "image_mean": image.mean, "image_std": image.std,
        "resample": if image.filter == Filter::Bilinear { 2 } else { 3 },
    });
    match image.resize {
        Resize::Squash if class == "ConvNext" => {
            config["size"] = serde_json::json!({"shortest_edge": height})
        }
        Resize::Squash => config["size"] = sides(height, width),
        Resize::SquashThenCrop { squashed_px: [h, w] } => {
            config["size"] = sides(h, w);
            config["do_center_crop"] = true.into();
            config["crop_size"] = sides(height, width);
        }
        Resize::ShorterThenCrop { shorter_px } if class == "ConvNext" => {
            config["size"] = serde_json::json!({"shortest_edge": height});
            // Half a pixel more, so that rounding down gives the shorter side again.
            config["crop_pct"] = (height as f64 / (shorter_px as f64 + 0.5)).into();
        }
        Resize::ShorterThenCrop { shorter_px } => {
            config["size"] = serde_json::json!({"shortest_edge": shorter_px});
            config["do_center_crop"] = true.into();
            config["crop_size"] = sides(height, width);
        }
    }
    config
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn with(fields: Value) -> Value {
        let mut config = json!({
            "resample": 3, "image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5], "do_normalize": true,
        });
        for (field, value) in fields.as_object().expect("an object") {
            config[field] = value.clone();
        }
        config
    }

    #[test]
    fn each_processor_resizes_its_own_way() {
        let of = |fields| image_processor(&with(fields)).map(|i| (i.size_px, i.resize));
        let vit = json!({"feature_extractor_type": "ViTFeatureExtractor", "size": 224});
        assert_eq!(of(vit), Ok(([224, 224], Resize::Squash)));
        let deit = json!({"size": {"height": 256, "width": 256}, "do_center_crop": true, "crop_size": 224});
        assert_eq!(of(deit), Ok(([224, 224], Resize::SquashThenCrop { squashed_px: [256, 256] })));
        let convnext = |n: usize| json!({"image_processor_type": "ConvNextImageProcessor", "size": {"shortest_edge": n}, "crop_pct": 0.875});
        assert_eq!(of(convnext(224)), Ok(([224, 224], Resize::ShorterThenCrop { shorter_px: 256 })));
        assert_eq!(of(convnext(384)), Ok(([384, 384], Resize::Squash)));
    }

    #[test]
    fn nothing_is_guessed() {
        for (fields, field) in [
            (json!({"size": 224, "resample": 5}), "resample"),
            (json!({"size": 224, "image_mean": null}), "image_mean"),
            (json!({}), "size"),
            (json!({"size": 224, "rescale_factor": 1.0}), "rescale_factor"),
            (json!({"size": 224, "do_center_crop": true}), "crop_size"),
            (json!({"image_processor_type": "ConvNextImageProcessor", "size": 224}), "crop_pct"),
        ] {
            let error = image_processor(&with(fields)).expect_err("is not supported").to_string();
            assert!(error.contains(&format!("`{field}`")), "{error}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        for (class, resize) in [
            ("ViT", Resize::Squash),
            ("ViT", Resize::ShorterThenCrop { shorter_px: 248 }),
            ("DeiT", Resize::SquashThenCrop { squashed_px: [256, 256] }),
            ("ConvNext", Resize::ShorterThenCrop { shorter_px: 236 }),
        ] {
            let image = ImagePreprocess::imagenet(224, resize, Filter::Bicubic);
            assert_eq!(image_processor(&write(&image, class)), Ok(image), "{class}");
        }
    }
}
