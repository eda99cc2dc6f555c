//! RandAugment (Cubuk et al., 2020): so many operations drawn from fourteen, all at one magnitude.
//!
//! The operations and their scales are torchvision's: magnitude 0 to 30, where 30 shears by 0.3, moves by 150/331 of a side,
//! turns by 30 degrees, changes brightness, colour, contrast and sharpness by 0.9, keeps 4 bits, or solarises everything.  Of a
//! signed operation both directions are equally likely.  None of the fourteen is a flip.
//!
//! **Deviation:** warps sample bilinearly and fill with the network's mean colour, where torchvision's default is the nearest
//! pixel and black.  A test pins every operation to torchvision's with these settings.

use headstart_core::Rng;

use super::affine::{rotation, shear_x, shear_y, translation, warp};
use super::colour::{brightness, contrast, saturation};
use super::levels::{autocontrast, equalise, posterise, solarise};
use super::sharpness::sharpness;
use crate::image::Rgb;

/// Largest magnitude.
pub(crate) const MAGNITUDE_MAX: u32 = 30;

/// How many operations, and how strong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct RandAugment {
    pub(crate) n_operations: u32,
    pub(crate) magnitude: u32,
}

/// The paper's fourteen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operation {
    Identity,
    ShearX,
    ShearY,
    TranslateX,
    TranslateY,
    Rotate,
    Brightness,
    Colour,
    Contrast,
    Sharpness,
    Posterise,
    Solarise,
    AutoContrast,
    Equalise,
}

impl Operation {
    pub(super) const ALL: [Operation; 14] = [
        Operation::Identity,
        Operation::ShearX,
        Operation::ShearY,
        Operation::TranslateX,
        Operation::TranslateY,
        Operation::Rotate,
        Operation::Brightness,
        Operation::Colour,
        Operation::Contrast,
        Operation::Sharpness,
        Operation::Posterise,
        Operation::Solarise,
        Operation::AutoContrast,
        Operation::Equalise,
    ];

    /// At a magnitude of 0 to 30; `negative` turns a signed operation round.
    pub(super) fn apply(self, picture: &mut Rgb, magnitude: u32, negative: bool, fill: [u8; 3]) {
        let (w, h) = (picture.width, picture.height);
        let share = f64::from(magnitude) / f64::from(MAGNITUDE_MAX);
        let signed = |largest: f64| if negative { -share * largest } else { share * largest };
        let pixels = |side: usize| signed(150.0 / 331.0 * side as f64) as i64;
        let mut warped = |matrix| *picture = warp(picture, &matrix, fill);
        match self {
            Operation::Identity => {}
            Operation::ShearX => warped(shear_x(signed(0.3))),
            Operation::ShearY => warped(shear_y(signed(0.3))),
            Operation::TranslateX => warped(translation(pixels(w), 0)),
            Operation::TranslateY => warped(translation(0, pixels(h))),
            Operation::Rotate => warped(rotation(signed(30.0), w, h)),
            Operation::Brightness => brightness(picture, 1.0 + signed(0.9)),
            Operation::Colour => saturation(picture, 1.0 + signed(0.9)),
            Operation::Contrast => contrast(picture, 1.0 + signed(0.9)),
            Operation::Sharpness => sharpness(picture, 1.0 + signed(0.9)),
            Operation::Posterise => posterise(picture, 8 - (share * 4.0).round_ties_even() as u32),
            Operation::Solarise => solarise(picture, 255.0 * (1.0 - share)),
            Operation::AutoContrast => autocontrast(picture),
            Operation::Equalise => equalise(picture),
        }
    }
}

impl RandAugment {
    pub(crate) fn apply(self, picture: &mut Rgb, rng: &mut Rng, fill: [u8; 3]) {
        for _ in 0..self.n_operations {
            let operation = Operation::ALL[rng.below(Operation::ALL.len())];
            let negative = rng.below(2) == 1;
            operation.apply(picture, self.magnitude, negative, fill);
        }
    }
}
