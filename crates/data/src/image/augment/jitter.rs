//! Colour jitter (Howard, 2013; as torchvision does it): brightness, contrast, saturation and hue by random factors, in
//! random order.

use headstart_core::Rng;

use super::colour::{brightness, contrast, hue, saturation};
use super::crop::between;
use crate::image::Rgb;

/// Factors are drawn from 1 − s to 1 + s; the hue is turned by up to this share of the colour circle either way.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct ColourJitter {
    pub(crate) brightness: f64,
    pub(crate) contrast: f64,
    pub(crate) saturation: f64,
    pub(crate) hue: f64,
}

impl ColourJitter {
    pub(crate) fn apply(self, picture: &mut Rgb, rng: &mut Rng) {
        let mut order = [0, 1, 2, 3];
        rng.shuffle(&mut order);
        let [b, c, s] = [self.brightness, self.contrast, self.saturation]
            .map(|strength| between([1.0 - strength, 1.0 + strength], rng));
        let turn = between([-self.hue, self.hue], rng);
        for operation in order {
            match operation {
                0 => brightness(picture, b),
                1 => contrast(picture, c),
                2 => saturation(picture, s),
                // Eight bits of hue cost a little even where nothing turns.
                _ if self.hue > 0.0 => hue(picture, turn),
                _ => {}
            }
        }
    }
}
