//! Everything between a file and a tensor.  It is part of the model and travels with it; `headstart-data` carries
//! it out.

use serde::{Deserialize, Serialize};

/// From one example to the graph's inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "modality", rename_all = "snake_case")]
pub enum Preprocess {
    /// A picture → input `image [batch, 3, height, width]`.
    Image(ImagePreprocess),
    /// A text → inputs `input_ids`, `attention_mask [batch, sequence]`.
    Text(TextPreprocess),
}

/// Decode, orient by EXIF, lay over white where transparent, convert to RGB, resize, crop, scale to 0…1, normalise by channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagePreprocess {
    /// Height and width that reach the network, pixels.
    pub size_px: [usize; 2],
    /// How a picture of any size gets there.
    pub resize: Resize,
    /// The interpolation, as Pillow does it (with antialiasing).
    pub filter: Filter,
    /// Subtracted from each channel (red, green, blue) after scaling to 0…1.
    pub mean: [f32; 3],
    /// Divides each channel after that.
    pub std: [f32; 3],
}

/// How a picture is brought to size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Resize {
    /// Height and width each to theirs; the aspect ratio may change.
    Squash,
    /// Height and width each to `squashed_px`, then the middle is cut out (DeiT's processor).
    SquashThenCrop {
        /// Height and width before the crop, pixels.
        squashed_px: [usize; 2],
    },
    /// The shorter side to so many pixels, then the middle is cut out (torchvision's `Resize` + `CenterCrop`).
    ShorterThenCrop {
        /// Length of the shorter side, pixels.
        shorter_px: usize,
    },
}

/// Interpolation of a resize.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Filter {
    /// Triangle.
    Bilinear,
    /// Cubic with a = −0.5.
    Bicubic,
}

impl ImagePreprocess {
    /// Mean of ImageNet's channels.
    pub const IMAGENET_MEAN: [f32; 3] = [0.485, 0.456, 0.406];
    /// Standard deviation of ImageNet's channels.
    pub const IMAGENET_STD: [f32; 3] = [0.229, 0.224, 0.225];

    /// Square pictures with ImageNet's normalisation.
    pub fn imagenet(size_px: usize, resize: Resize, filter: Filter) -> Self {
        ImagePreprocess {
            size_px: [size_px; 2],
            resize,
            filter,
            mean: Self::IMAGENET_MEAN,
            std: Self::IMAGENET_STD,
        }
    }
}

/// Tokenise with the `tokenizer.json` that travels with the model, cut to `length_max` tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextPreprocess {
    /// Longest sequence, tokens, special ones included; the rest of a text is cut off.
    pub length_max: usize,
}
