//! Pictures: encoded bytes → RGB → the network's input.

mod augment;
mod decode;
mod pipeline;
mod resize;

use headstart_core::Input;
use headstart_graph::Filter;
use image::ImageEncoder;
use image::codecs::jpeg::JpegEncoder;

use crate::DataError;
use crate::files::{EXAMPLE_BYTES_MAX, read};

pub(crate) use augment::ImageStep;
pub(crate) use decode::check_header;
pub(crate) use pipeline::ImagePipeline;

/// An RGB picture, 8 bits a channel, row-major `[height, width, 3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rgb {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) values: Vec<u8>,
}

/// Decodes an example that is a picture.
pub(crate) fn decode(input: &Input) -> Result<Rgb, DataError> {
    let (id, rgb) = match input {
        Input::File(path) => (path.display().to_string(), decode::to_rgb(&read(path, EXAMPLE_BYTES_MAX)?)),
        Input::Bytes(bytes) => ("an image in the table".into(), decode::to_rgb(bytes)),
        Input::Text(text) => {
            let id = format!("`{}`", text.chars().take(40).collect::<String>());
            return Err(DataError::WrongModality { id, expected: headstart_core::Modality::Image });
        }
    };
    rgb.map_err(|message| DataError::BadImage { id, message })
}

/// A picture as JPEG, scaled down so that no side is longer than `max_px`: for reports.
///
/// # Errors
/// [`DataError`] if the example is not a picture or cannot be decoded.
pub fn decode_thumbnail(input: &Input, max_px: u32) -> Result<Vec<u8>, DataError> {
    const QUALITY: u8 = 85;
    // JPEG's own bound on a side.
    let side_max = max_px.clamp(1, u32::from(u16::MAX)) as usize;
    let rgb = decode(input)?;
    let longest = rgb.width.max(rgb.height);
    let scaled = |side: usize| (side * side_max / longest).max(1);
    let rgb = if longest <= side_max {
        rgb
    } else {
        let (width, height) = (scaled(rgb.width), scaled(rgb.height));
        resize::resize(&rgb, width, height, Filter::Bilinear)
            .map_err(|message| DataError::Preprocess { message })?
    };
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, QUALITY)
        .write_image(&rgb.values, rgb.width as u32, rgb.height as u32, image::ExtendedColorType::Rgb8)
        .map_err(|e| DataError::Preprocess { message: format!("cannot write a thumbnail: {e}") })?;
    Ok(jpeg)
}
