//! Blending with a plainer picture: what Pillow's `ImageEnhance` makes of brightness, contrast, colour and sharpness.

use crate::image::Rgb;

/// Every pixel becomes `plain + factor · (pixel − plain)`: 0 gives the plain picture, 1 the picture itself, more
/// exaggerates.  `plain` gets the pixel's position and value.
pub(super) fn blend(picture: &mut Rgb, factor: f64, plain: impl Fn(usize, [u8; 3]) -> [u8; 3]) {
    let factor = factor as f32;
    let (pixels, _) = picture.values.as_chunks_mut::<3>();
    for (i, pixel) in pixels.iter_mut().enumerate() {
        let plain = plain(i, *pixel);
        for (v, p) in pixel.iter_mut().zip(plain) {
            // The cast truncates and saturates, as Pillow clips.
            *v = (f32::from(p) + factor * (f32::from(*v) - f32::from(p))) as u8;
        }
    }
}

/// Luma by ITU-R 601-2, in Pillow's fixed point.
pub(super) fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}
