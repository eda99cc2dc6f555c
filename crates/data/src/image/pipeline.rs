//! The image half of a [`Preprocess`](headstart_graph::Preprocess).

use headstart_core::Input;
use headstart_graph::{ImagePreprocess, Resize};

use super::augment::{self, ImageStep};
use super::{Rgb, decode, resize::resize};
use crate::DataError;

/// Largest side that a network takes, pixels.
const SIDE_MAX: usize = 8192;

/// A checked [`ImagePreprocess`] with its normalisation tabulated.
#[derive(Debug, Clone)]
pub(crate) struct ImagePipeline {
    spec: ImagePreprocess,
    /// `(v / 255 − mean) / std` for each channel and value, in f32 as torchvision computes it.
    normalised: [[f32; 256]; 3],
}

impl ImagePipeline {
    pub(crate) fn new(spec: &ImagePreprocess) -> Result<Self, DataError> {
        let refuse = |message: String| Err(DataError::Preprocess { message });
        let mut sides = spec.size_px.to_vec();
        match spec.resize {
            Resize::Squash => {}
            Resize::SquashThenCrop { squashed_px } => sides.extend(squashed_px),
            Resize::ShorterThenCrop { shorter_px } => sides.push(shorter_px),
        }
        if let Some(side) = sides.into_iter().find(|s| !(1..=SIDE_MAX).contains(s)) {
            return refuse(format!("an image size of {side} pixels; allowed: 1 to {SIDE_MAX}"));
        }
        if let Some(std) = spec.std.iter().find(|s| !s.is_normal()) {
            return refuse(format!("a standard deviation of {std}; allowed: any finite number but 0"));
        }
        if let Some(mean) = spec.mean.iter().find(|m| !m.is_finite()) {
            return refuse(format!("a mean of {mean}; allowed: any finite number"));
        }
        let channel = |c: usize| std::array::from_fn(|v| (v as f32 / 255.0 - spec.mean[c]) / spec.std[c]);
        Ok(ImagePipeline { spec: spec.clone(), normalised: std::array::from_fn(channel) })
    }

    /// Height and width of what it makes.
    pub(crate) fn size_px(&self) -> [usize; 2] {
        self.spec.size_px
    }

    /// The same at another square size, kept within what is allowed; a shorter side in proportion.
    pub(crate) fn with_size(&self, size_px: usize) -> Self {
        let mut pipeline = self.clone();
        let size_px = size_px.clamp(1, SIDE_MAX);
        let old_px = self.spec.size_px[0].min(self.spec.size_px[1]);
        pipeline.spec.size_px = [size_px; 2];
        let scale = |px: &mut usize| {
            let scaled = (*px as f64 * size_px as f64 / old_px as f64).round() as usize;
            *px = scaled.clamp(1, SIDE_MAX);
        };
        match &mut pipeline.spec.resize {
            Resize::Squash => {}
            Resize::SquashThenCrop { squashed_px } => squashed_px.iter_mut().for_each(scale),
            Resize::ShorterThenCrop { shorter_px } => scale(shorter_px),
        }
        pipeline
    }

    /// One example → `[3, height, width]`.
    pub(crate) fn prepare(&self, input: &Input) -> Result<Vec<f32>, DataError> {
        let rgb = self.fit(&decode(input)?).map_err(|message| refused(input, message))?;
        Ok(self.normalise(&rgb))
    }

    /// A random view of one example → `[3, height, width]`.  A crop takes the place of the resizing.
    pub(crate) fn prepare_view(
        &self,
        input: &Input,
        steps: &[ImageStep],
        view_seed: u64,
    ) -> Result<Vec<f32>, DataError> {
        let decoded = decode(input)?;
        let [height, width] = self.spec.size_px;
        let sized = match augment::window(&decoded, steps, view_seed) {
            Some(window) => resize(&window, width, height, self.spec.filter),
            None => self.fit(&decoded),
        };
        let mut rgb = sized.map_err(|message| refused(input, message))?;
        augment::apply(&mut rgb, steps, view_seed, self.spec.mean.map(|m| (m * 255.0).round() as u8));
        Ok(self.normalise(&rgb))
    }

    fn normalise(&self, rgb: &Rgb) -> Vec<f32> {
        let n = rgb.width * rgb.height;
        let mut values = vec![0.0; 3 * n];
        let (red, rest) = values.split_at_mut(n);
        let (green, blue) = rest.split_at_mut(n);
        let [r_of, g_of, b_of] = &self.normalised;
        for (((pixel, r), g), b) in rgb.values.chunks_exact(3).zip(red).zip(green).zip(blue) {
            *r = r_of[usize::from(pixel[0])];
            *g = g_of[usize::from(pixel[1])];
            *b = b_of[usize::from(pixel[2])];
        }
        values
    }

    /// To the size of the network's input, still 8 bits.
    fn fit(&self, rgb: &Rgb) -> Result<Rgb, String> {
        let [height, width] = self.spec.size_px;
        match self.spec.resize {
            Resize::Squash => resize(rgb, width, height, self.spec.filter),
            Resize::SquashThenCrop { squashed_px: [h, w] } => {
                Ok(crop_centre(&resize(rgb, w, h, self.spec.filter)?, width, height))
            }
            Resize::ShorterThenCrop { shorter_px } => {
                let (w, h) = shorter_to(rgb.width, rgb.height, shorter_px);
                Ok(crop_centre(&resize(rgb, w, h, self.spec.filter)?, width, height))
            }
        }
    }
}

fn refused(input: &Input, message: String) -> DataError {
    let id = match input {
        Input::File(path) => path.display().to_string(),
        _ => "an image in the table".into(),
    };
    DataError::BadImage { id, message }
}

/// Width and height after torchvision's `Resize(size)`: the longer side is truncated, not rounded.
fn shorter_to(width: usize, height: usize, shorter_px: usize) -> (usize, usize) {
    if width <= height {
        (shorter_px, (shorter_px * height / width).max(shorter_px))
    } else {
        (shorter_px * width / height, shorter_px)
    }
}

/// torchvision's `CenterCrop`: black beyond the edges of a smaller picture; halves round to even, as Python rounds.
fn crop_centre(from: &Rgb, width: usize, height: usize) -> Rgb {
    // Where the crop begins in the picture, and the picture in the crop.
    let offsets = |from: usize, to: usize| {
        if to > from {
            (0, (to - from) / 2)
        } else {
            (((from - to) as f64 / 2.0).round_ties_even() as usize, 0)
        }
    };
    let (left, left_black) = offsets(from.width, width);
    let (top, top_black) = offsets(from.height, height);
    let n_columns = from.width.min(width);
    let mut values = vec![0; 3 * width * height];
    for y in 0..from.height.min(height) {
        let source = 3 * ((top + y) * from.width + left);
        let target = 3 * ((top_black + y) * width + left_black);
        values[target..target + 3 * n_columns].copy_from_slice(&from.values[source..source + 3 * n_columns]);
    }
    Rgb { width, height, values }
}

#[cfg(test)]
mod tests;
