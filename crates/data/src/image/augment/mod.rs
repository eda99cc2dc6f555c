//! Random views of pictures: one operation a file.
//!
//! The crop works on the decoded picture, because it takes the place of resizing; all else works on eight-bit pixels of the
//! network's size, just before they are normalised, which is where Pillow and torchvision do it and what they are compared with.

mod affine;
mod blend;
mod colour;
mod crop;
mod erase;
mod flip;
mod jitter;
mod levels;
mod randaugment;
mod rotate;
mod sharpness;

use std::fmt;

use headstart_core::Rng;

use crate::augment::value::{count, number, range};
use crate::image::Rgb;
use crop::{RandomResizedCrop, Window};
use erase::RandomErasing;
use flip::Flip;
use jitter::ColourJitter;
use randaugment::{MAGNITUDE_MAX, RandAugment};
use rotate::Rotate;

/// One operation and its strength.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum ImageStep {
    Flip(Flip),
    Crop(RandomResizedCrop),
    Rotate(Rotate),
    Jitter(ColourJitter),
    RandAugment(RandAugment),
    Erase(RandomErasing),
}

impl ImageStep {
    /// From a key of the table of steps and its value.
    pub(crate) fn parse(key: &str, value: &str) -> Result<Self, String> {
        Ok(match key {
            "flip" => ImageStep::Flip(Flip { probability: number(value, 0.0..=1.0)? }),
            "crop" => ImageStep::Crop(RandomResizedCrop { area: range(value, 0.01..=1.0)? }),
            "rotate" => ImageStep::Rotate(Rotate { degrees_max: number(value, 0.0..=180.0)? }),
            "jitter" => ImageStep::Jitter(jitter(value)?),
            "randaugment" => {
                let (n, magnitude) =
                    value.split_once('x').ok_or("allowed: OPERATIONSxMAGNITUDE, such as 2x9")?;
                let (n_operations, magnitude) = (count(n, 1..=8)?, count(magnitude, 0..=MAGNITUDE_MAX)?);
                ImageStep::RandAugment(RandAugment { n_operations, magnitude })
            }
            "erase" => ImageStep::Erase(RandomErasing { probability: number(value, 0.0..=1.0)? }),
            _ => return Err("no step for pictures".into()),
        })
    }

    pub(crate) fn key(&self) -> &'static str {
        match self {
            ImageStep::Flip(_) => "flip",
            ImageStep::Crop(_) => "crop",
            ImageStep::Rotate(_) => "rotate",
            ImageStep::Jitter(_) => "jitter",
            ImageStep::RandAugment(_) => "randaugment",
            ImageStep::Erase(_) => "erase",
        }
    }
}

fn jitter(value: &str) -> Result<ColourJitter, String> {
    let parts: Vec<&str> = value.split('/').collect();
    let strength = |part: &str| number(part, 0.0..=1.0);
    match parts[..] {
        [all] => {
            let s = strength(all)?;
            Ok(ColourJitter { brightness: s, contrast: s, saturation: s, hue: 0.0 })
        }
        [b, c, s, h] => Ok(ColourJitter {
            brightness: strength(b)?,
            contrast: strength(c)?,
            saturation: strength(s)?,
            hue: number(h, 0.0..=0.5)?,
        }),
        _ => Err("allowed: one number, or BRIGHTNESS/CONTRAST/SATURATION/HUE".into()),
    }
}

impl fmt::Display for ImageStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.key())?;
        match self {
            ImageStep::Flip(s) => write!(f, "{}", s.probability),
            ImageStep::Crop(s) => write!(f, "{}-{}", s.area[0], s.area[1]),
            ImageStep::Rotate(s) => write!(f, "{}", s.degrees_max),
            ImageStep::Jitter(s)
                if s.hue == 0.0 && s.brightness == s.contrast && s.contrast == s.saturation =>
            {
                write!(f, "{}", s.brightness)
            }
            ImageStep::Jitter(s) => write!(f, "{}/{}/{}/{}", s.brightness, s.contrast, s.saturation, s.hue),
            ImageStep::RandAugment(s) => write!(f, "{}x{}", s.n_operations, s.magnitude),
            ImageStep::Erase(s) => write!(f, "{}", s.probability),
        }
    }
}

/// The part of the decoded picture that a view shows, if its steps say so.
pub(crate) fn window(picture: &Rgb, steps: &[ImageStep], view_seed: u64) -> Option<Rgb> {
    let crop = steps.iter().find_map(|s| if let ImageStep::Crop(crop) = s { Some(*crop) } else { None })?;
    let window: Window = crop.draw(picture.width, picture.height, &mut Rng::named(view_seed, "crop"));
    Some(crop::cut(picture, window))
}

/// All but the crop, in their order.  Each step draws from a generator of its own, so that adding one leaves the others'
/// draws alone.
pub(crate) fn apply(picture: &mut Rgb, steps: &[ImageStep], view_seed: u64, fill: [u8; 3]) {
    for step in steps {
        let rng = &mut Rng::named(view_seed, step.key());
        match step {
            ImageStep::Crop(_) => {}
            ImageStep::Flip(s) => s.apply(picture, rng),
            ImageStep::Rotate(s) => s.apply(picture, rng, fill),
            ImageStep::Jitter(s) => s.apply(picture, rng),
            ImageStep::RandAugment(s) => s.apply(picture, rng, fill),
            ImageStep::Erase(s) => s.apply(picture, rng),
        }
    }
}

#[cfg(test)]
mod tests;
