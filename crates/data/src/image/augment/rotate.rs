//! Rotation by a random angle.

use headstart_core::Rng;

use super::affine::{rotation, warp};
use super::crop::between;
use crate::image::Rgb;

/// Turns about the middle by an angle up to this many degrees either way.  Corners that come from outside get the mean
/// colour that the network subtracts, so that they are 0 to it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rotate {
    pub(crate) degrees_max: f64,
}

impl Rotate {
    pub(crate) fn apply(self, picture: &mut Rgb, rng: &mut Rng, fill: [u8; 3]) {
        let degrees = between([-self.degrees_max, self.degrees_max], rng);
        *picture = warp(picture, &rotation(degrees, picture.width, picture.height), fill);
    }
}
