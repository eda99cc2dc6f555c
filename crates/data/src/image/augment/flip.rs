//! Horizontal flip.
//!
//! **Not safe for every label.**  A mirrored 2 is no digit, a mirrored "turn left" says "turn right", b becomes d, and a mirrored
//! text is unreadable.  Whether a flip keeps the label is knowledge about the task that no picture shows, so it happens only
//! where it is asked for; no preset contains it.

use headstart_core::Rng;

use crate::image::Rgb;

/// Mirrors left and right with this probability.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Flip {
    pub(crate) probability: f64,
}

impl Flip {
    pub(crate) fn apply(self, picture: &mut Rgb, rng: &mut Rng) {
        if rng.uniform() < self.probability {
            mirror(picture);
        }
    }
}

pub(super) fn mirror(picture: &mut Rgb) {
    for row in picture.values.chunks_exact_mut(3 * picture.width) {
        let (pixels, _) = row.as_chunks_mut::<3>();
        pixels.reverse();
    }
}
